"""The parts of a topic model: a prior near a Dirichlet, a product of experts, and counts given their sum."""

from __future__ import annotations

import torch
from pyro import distributions as dist
from torch import Tensor, nn

from ppl_vae.distributions import MultinomialCounts
from ppl_vae.models.likelihoods.base import Likelihood
from ppl_vae.models.likelihoods.counts import check_counts
from ppl_vae.precision import widened


def laplace_dirichlet(concentration: Tensor) -> tuple[Tensor, Tensor]:
    r"""The Laplace approximation of a Dirichlet(a) in the basis of the softmax: means and variances, [K] each.

    m_k = log a_k - mean_i log a_i,   v_k = (1 - 2 / K) / a_k + mean_i(1 / a_i) / K

    MacKay (1998), "Choice of basis for Laplace approximation"; Srivastava & Sutton (2017), sec. 3.3,
    https://arxiv.org/abs/1703.01488

    >>> laplace_dirichlet(torch.ones(4))[1]
    tensor([0.7500, 0.7500, 0.7500, 0.7500])
    """
    count, log_a, inverse = len(concentration), concentration.log(), concentration.reciprocal()
    return log_a - log_a.mean(), inverse * (1 - 2 / count) + inverse.mean() / count


class LaplaceDirichletPrior(nn.Module):
    """The prior N(m, diag v) of z, whose softmax is nearly Dirichlet(a).

    Args:
        concentration: a [K].
    """

    loc: Tensor
    scale: Tensor

    def __init__(self, concentration: Tensor) -> None:
        super().__init__()
        loc, variance = laplace_dirichlet(concentration)
        self.register_buffer("loc", loc.float(), persistent=False)
        self.register_buffer("scale", variance.sqrt().float(), persistent=False)

    def forward(self) -> dist.TorchDistribution:
        """The prior p(z): batch shape (), event shape [K]."""
        return dist.Normal(widened(self.loc), widened(self.scale)).to_event(1)


class ProductOfExperts(nn.Module):
    """The decoder theta B of theta = softmax(z): the log shares of words, up to a constant.

    Args:
        num_topics: K.
        num_words: V.
    """

    def __init__(self, num_topics: int, num_words: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_topics, num_words))
        nn.init.xavier_uniform_(self.weight)

    def forward(self, z: Tensor) -> Tensor:
        """Decode z [B, K]: [B, V]."""
        return z.softmax(-1) @ self.weight


class CountsGivenTotal(Likelihood):
    """Counts given their sum n: multinomial, with softmax(features) the shares.

    Where it is conditioned on x, n is the sum of each datum's own counts. Drawn from without data n is the mean of
    those that it was trained on, and 1 before.
    """

    name = "multinomial"
    encoder_sees = "log1p"
    total: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("total", torch.tensor(1.0))
        self.register_buffer("num_seen", torch.tensor(0.0))
        self.num_seen: Tensor

    def forward(self, features: Tensor, event_dim: int) -> dist.TorchDistribution:
        """The distribution p(x|z) of counts that sum to the mean total."""
        return MultinomialCounts(widened(self.total), features.squeeze(-1 - event_dim), event_dim)

    def adapt(self, features: Tensor, x: Tensor, event_dim: int) -> dist.TorchDistribution:
        """The distribution p(x|z, n) with the sums n of x [N, *event_shape]."""
        return MultinomialCounts(x.flatten(1).sum(1), features.squeeze(-1 - event_dim), event_dim)

    def check(self, x: Tensor) -> None:
        """Refuse data that are no counts."""
        check_counts(self.name, x)

    @torch.no_grad()
    def look_at(self, x: Tensor) -> None:
        """Take the mean total of the training data, once."""
        if self.num_seen == 0:
            self.num_seen.fill_(len(x))
            self.total.copy_(x.double().flatten(1).sum(1).mean().round().clamp(min=1))
