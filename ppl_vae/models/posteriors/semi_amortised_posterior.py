r"""A semi-amortised posterior (Kim et al. 2018): the encoder's output, refined by a few gradient steps per datum.

    lambda_0 = encoder(x),    lambda_k+1 = lambda_k + a_k F^-1 grad ELBO(lambda_k; x),    q(z|x) = q(z; lambda_K)

with lambda = (mu, log s) of a diagonal Gaussian. F is the identity ("plain", the paper's steps) or the Fisher
information of lambda, diag(1 / s^2, 2) ("natural", Amari 1998), under which one step size suits every scale.

The expectation in the ELBO is a mean over 2 L points +-sqrt(L) r_i, r_i the rows of an orthogonal matrix (spherical
cubature of degree 3, Arasaratnam & Haykin 2009). It has no noise, so that q(z|x) is a function of x, and it is
exact where the log joint density is quadratic in z. A step that lowers a datum's bound is not taken and halves the
datum's step size, one that is taken raises it by a quarter, so that no bound ends below where the encoder left it.
No step changes s by more than a factor of e.

Kim, Wiseman, Miller, Sontag & Rush (2018): https://arxiv.org/abs/1802.02550
Amari (1998): https://doi.org/10.1162/089976698300017746
Arasaratnam & Haykin (2009): https://doi.org/10.1109/TAC.2009.2019800
"""

from __future__ import annotations

import math

import torch
from pyro import distributions as dist
from torch import Tensor, nn

from ppl_vae.checks import positive, whole
from ppl_vae.errors import ModelError, unknown_name
from ppl_vae.models.configuration import Configured, remembers
from ppl_vae.models.programs import GenerativeProgram
from ppl_vae.precision import scale, widened

STEPS = ("natural", "plain")
# Numbers a chunk of data may hold: cubature points times data times coordinates.
CHUNK_NUMBERS = 1 << 23
GROWTH = 1.25
# The most that a step moves log s: where the decoder is steep, one step could take s to 0 in floating point.
MOST_LOG_SCALE = 1.0


class SemiAmortisedPosterior(Configured):
    """A diagonal Gaussian from two linear heads, refined by the model itself; 2 L decoder passes per step.

    Its gradients flow through the steps, by second derivatives, as in the paper, so that q depends on the encoder's
    and on the model's parameters. Without ``second_order`` the refinement is a constant that is added to the
    encoder's output: half the time a step, but the encoder does not learn to be a good start, nor the decoder to be
    climbed. In either case the model has its own gradient at the refined q, and evaluation is the same.

    Args:
        num_steps: K, how many steps.
        step_size: a_0.
        steps: "natural" or "plain".
        second_order: whether gradients flow through the steps.

    Raises:
        ModelError: a number is out of its range, or the kind of steps is unknown.
    """

    name = "semi-amortised"

    @remembers
    def __init__(
        self, num_steps: int = 5, step_size: float = 0.5, steps: str = "natural", second_order: bool = True
    ) -> None:
        super().__init__()
        if steps not in STEPS:
            raise ModelError(unknown_name("steps", steps, STEPS))
        self.num_steps = whole("num_steps", num_steps)
        self.step_size = positive("step_size", step_size)
        self.steps, self.second_order = steps, bool(second_order)

    def build(self, num_features: int, latent_dim: int) -> None:
        """Make the heads."""
        self.loc_head = nn.Linear(num_features, latent_dim)
        self.scale_head = nn.Linear(num_features, latent_dim)

    def attach(self, model: GenerativeProgram) -> None:
        """Give the posterior the model that it climbs, whose parameters stay the model's own."""
        # In a tuple, so that nn.Module does not take the model for a part of the posterior.
        self._model = (model,)

    def forward(self, features: Tensor) -> dist.TorchDistribution:
        """The posterior q(z; lambda_0) of features [*batch, H], before the refinement."""
        return _gaussian(widened(torch.cat([self.loc_head(features), self.scale_head(features)], -1)))

    def refine(self, q: dist.TorchDistribution, x: Tensor) -> dist.TorchDistribution:
        """Refine q(z; lambda_0) for data [N, *event_shape] into q(z; lambda_K)."""
        start = torch.cat([q.base_dist.loc, q.base_dist.scale.log()], -1)
        size = max(1, CHUNK_NUMBERS // (start.shape[-1] * x[0].numel()))
        parts = [self._climb(*chunk) for chunk in zip(start.split(size), x.split(size), strict=True)]
        refined = torch.cat(parts)
        if torch.is_grad_enabled() and not self.second_order:
            refined = refined + start - start.detach()
        return _gaussian(refined)

    def _climb(self, start: Tensor, x: Tensor) -> Tensor:
        """Climb from lambda_0 [N, 2L] to lambda_K; a graph is kept if gradients shall flow through the steps."""
        keep = torch.is_grad_enabled() and self.second_order
        with torch.enable_grad():
            here = start if keep and start.requires_grad else start.detach().requires_grad_()
            begun = self._is_number(here, x) if keep else None
            here = here if begun is None else torch.where(begun, here, 0.0)
            bound, slope = self._slope(here, x, keep)
            rate = torch.full_like(bound, self.step_size).unsqueeze(-1)
            for _ in range(self.num_steps):
                there = self._step(here, slope, rate)
                if keep:
                    # Behind torch.where the derivative of what is not a number is none either, as that of a rate
                    # which overflows: a step is looked at first, and one that is not taken leaves no graph.
                    with torch.no_grad():
                        better = _better(self.bound(there, x), bound)
                    here = torch.where(better, there, here)
                    bound, slope = self._slope(here, x, keep)
                else:
                    there = there.detach().requires_grad_()
                    bound_there, slope_there = self._slope(there, x, keep)
                    better = _better(bound_there, bound)
                    here, slope = torch.where(better, there, here), torch.where(better, slope_there, slope)
                    bound = torch.where(better.squeeze(-1), bound_there, bound)
                rate = torch.where(better, GROWTH * rate, 0.5 * rate)
        here = here if begun is None else torch.where(begun, here, start)
        return here if keep else here.detach()

    @torch.no_grad()
    def _is_number(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Tell for which data there is a bound to climb from: [N, 1]."""
        return self.bound(parameters, x).isfinite().unsqueeze(-1)

    def _slope(self, parameters: Tensor, x: Tensor, keep: bool) -> tuple[Tensor, Tensor]:
        """The bound of every datum [N] and its gradient [N, 2L]."""
        bound = self.bound(parameters, x)
        (slope,) = torch.autograd.grad(bound.sum(), parameters, create_graph=keep)
        return bound.detach(), slope

    def bound(self, parameters: Tensor, x: Tensor) -> Tensor:
        """The ELBO of q(z; lambda) by cubature, but for a constant: [N], nats.

        Args:
            parameters: lambda [N, 2L].
            x: [N, *event_shape].
        """
        (model,) = self._model
        loc, log_scale = parameters.chunk(2, -1)
        z = loc + scale(log_scale) * cubature_points(loc).unsqueeze(1)
        log_joint = model.decode(z).log_prob(x) + model.prior().log_prob(z)
        return log_joint.mean(0) + log_scale.sum(-1)

    def _step(self, parameters: Tensor, slope: Tensor, rate: Tensor) -> Tensor:
        (loc, log_scale), (by_loc, by_log_scale) = parameters.chunk(2, -1), slope.chunk(2, -1)
        if self.steps == "natural":
            by_loc, by_log_scale = (2 * log_scale).exp() * by_loc, 0.5 * by_log_scale
        change = (rate * by_log_scale).clamp(-MOST_LOG_SCALE, MOST_LOG_SCALE)
        return torch.cat([loc + rate * by_loc, log_scale + change], -1)


def _better(there: Tensor, here: Tensor) -> Tensor:
    """Tell which data a step betters: [N, 1]; what is not a number is no improvement."""
    return (there.isfinite() & (there >= here)).unsqueeze(-1)


def cubature_points(like: Tensor) -> Tensor:
    """Points [2L, L] of equal weight with mean 0, covariance I and third moments 0, as N(0, I) has them.

    The rows are those of the discrete cosine transform, in which no coordinate stands out.

    Args:
        like: [N, L], whose kind of number they are.
    """
    size = like.shape[-1]
    index = torch.arange(size, dtype=like.dtype, device=like.device)
    waves = math.sqrt(2) * (math.pi / size * index.unsqueeze(-1) * (index + 0.5)).cos()
    waves[0] = 1.0
    return torch.cat([waves, -waves])


def _gaussian(parameters: Tensor) -> dist.TorchDistribution:
    loc, log_scale = parameters.chunk(2, -1)
    return dist.Normal(loc, scale(log_scale)).to_event(1)
