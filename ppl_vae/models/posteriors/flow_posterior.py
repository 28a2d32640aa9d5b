r"""Normalising-flow posteriors (Rezende & Mohamed 2015): a diagonal Gaussian bent by steps that know x.

    z_0 ~ N(mu(x), diag s(x)^2),   z = f_T(... f_1(z_0; x); x)
    log q(z|x) = log q_0(z_0|x) - sum_t log |det df_t / dz_{t-1}|

"planar" (Rezende & Mohamed 2015, eq. 10) has no inverse in closed form, so its density is known at its own
draws only. "iaf" (Kingma et al. 2016, eq. 10) and "spline" (autoregressive rational-linear splines, Durkan
et al. 2019, Dolatabadi et al. 2020) draw in one pass and invert in L of them. A spline bends a box around the
origin and is the identity elsewhere, so there the noise is bent first and then placed: z = mu + s f(e).

Rezende & Mohamed (2015): https://arxiv.org/abs/1505.05770
Kingma et al. (2016): https://arxiv.org/abs/1606.04934
Durkan, Bekasov, Murray & Papamakarios (2019): https://arxiv.org/abs/1906.04032
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import cast

import torch
from pyro import distributions as dist
from pyro.distributions import transforms
from pyro.nn import ConditionalAutoRegressiveNN
from torch import Tensor, nn

from ppl_vae.checks import whole
from ppl_vae.errors import ModelError, unknown_name
from ppl_vae.models.configuration import Configured, remembers
from ppl_vae.models.priors.flow_prior import conditioned, require_room, with_reversals
from ppl_vae.precision import require_single, scale, widened

SPLINE_BINS = 8


class FlowDistribution(dist.TransformedDistribution):
    """A transformed distribution with a point estimate, and a clear error where a density cannot be had."""

    @property
    def mean(self) -> Tensor:
        """The image of the base's mean [*batch, L]: a point estimate, not the expectation of z."""
        point = self.base_dist.mean
        # What an encoder said without a history has none here either, though the steps have parameters.
        with torch.set_grad_enabled(torch.is_grad_enabled() and point.requires_grad):
            for transform in self.transforms:
                # A copy, as each transform remembers one draw only and a density may yet be asked for it.
                point = copy.copy(transform)(point)
        return point

    def log_prob(self, value: Tensor) -> Tensor:
        """The log density [*batch] at a draw of its own, or anywhere if all steps have an inverse.

        Raises:
            NotImplementedError: a planar step is asked for the density of what it has not just drawn.
        """
        # A step conditioned on many data does not broadcast one value over them by itself.
        batch = torch.broadcast_shapes(value.shape[:-1], self.batch_shape)
        value = value if value.shape[:-1] == batch else value.expand(*batch, value.shape[-1])
        try:
            return super().log_prob(value)
        except KeyError as error:
            raise NotImplementedError(
                "a planar flow has no inverse: its density is known at its own last draws only"
            ) from error


def _planar(latent_dim: int, num_features: int, hidden: int) -> nn.Module:
    return transforms.conditional_planar(latent_dim, num_features, hidden_dims=[hidden])


def _iaf(latent_dim: int, num_features: int, hidden: int) -> nn.Module:
    return transforms.ConditionalAffineAutoregressive(_masked(latent_dim, num_features, hidden, [1, 1]))


def _spline(latent_dim: int, num_features: int, hidden: int) -> nn.Module:
    sizes = [SPLINE_BINS, SPLINE_BINS, SPLINE_BINS - 1, SPLINE_BINS]
    network = _masked(latent_dim, num_features, hidden, sizes)
    return transforms.ConditionalSplineAutoregressive(latent_dim, network, count_bins=SPLINE_BINS)


def _masked(latent_dim: int, num_features: int, hidden: int, sizes: list[int]) -> nn.Module:
    order = cast(torch.LongTensor, torch.arange(latent_dim))
    return ConditionalAutoRegressiveNN(
        latent_dim, num_features, [hidden, hidden], param_dims=sizes, permutation=order
    )


KINDS: Mapping[str, Callable[[int, int, int], nn.Module]] = {"planar": _planar, "iaf": _iaf, "spline": _spline}


class FlowPosterior(Configured):
    """The posterior q(z|x) of a conditional normalising flow; its ``mean`` is the image of the base's mean.

    Args:
        kind: "iaf", "planar" or "spline".
        num_transforms: how many steps.
        hidden: the width of the hidden layers in every step's network (two of them; one in "planar");
            at least the latent dimension.
    """

    name = "flow"
    order: Tensor

    @remembers
    def __init__(self, kind: str = "iaf", num_transforms: int = 2, hidden: int = 64) -> None:
        super().__init__()
        if kind not in KINDS:
            raise ModelError(unknown_name("kind", kind, KINDS))
        self.kind = kind
        self.invertible = kind != "planar"
        self.num_transforms = whole("num_transforms", num_transforms)
        self.hidden = whole("hidden", hidden)

    def build(self, num_features: int, latent_dim: int) -> None:
        """Make the heads of the base and the steps' networks, which see the features."""
        if self.kind != "planar":
            require_room(self.name, latent_dim, self.hidden)
        self.loc_head = nn.Linear(num_features, latent_dim)
        self.scale_head = nn.Linear(num_features, latent_dim)
        self.register_buffer("order", torch.arange(latent_dim).flip(0), persistent=False)
        make = KINDS[self.kind]
        self.steps = nn.ModuleList(make(latent_dim, num_features, self.hidden) for _ in range(self.num_transforms))

    def forward(self, features: Tensor) -> dist.TorchDistribution:
        """The posterior q(z|x) of features [*batch, H]."""
        require_single(self.name, self.loc_head.weight)
        loc, spread = widened(self.loc_head(features)), scale(0.5 * widened(self.scale_head(features)))
        steps = conditioned(self.steps, features)
        if self.kind == "planar":
            return FlowDistribution(dist.Normal(loc, spread).to_event(1), steps)
        steps = with_reversals(steps, self.order)
        if self.kind == "iaf":
            return FlowDistribution(dist.Normal(loc, spread).to_event(1), steps)
        noise = dist.Normal(torch.zeros_like(loc), torch.ones_like(spread)).to_event(1)
        place = transforms.AffineTransform(loc, spread, event_dim=1, cache_size=1)
        return FlowDistribution(noise, [*steps, place])
