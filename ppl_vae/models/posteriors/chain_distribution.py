r"""The law of the last state of a chain that begins at a draw of another law and is moved by Hamiltonian steps.

    z_0 ~ q_0(z|x),  v_1 ~ N(0, I),  (z_k, v_k') = leapfrog(z_k-1, v_k),  v_k+1 = g v_k' + sqrt(1 - g^2) noise

A leapfrog keeps volumes, so that the states and momenta of the way there, read backwards, are a reverse model, and

    log w = log p(x, z_K) - log q_0(z_0|x) - sum_k [ log N(v_k) - log N(v_k') ]

is the log weight of a draw from the extended space: E[w] = p(x), and E[log w] bounds log p(x) from below (Geffner &
Domke 2021, eq. 8). What is told here as log q is the part of it that is not log p(x, z_K). It belongs to one draw
and the way it came, so it is known of the last draws alone.

Geffner & Domke (2021): https://arxiv.org/abs/2107.04150
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from pyro import distributions as dist
from torch import Tensor

from ppl_vae.distributions.log_normal import HALF_LOG_2_PI
from ppl_vae.models.programs import GenerativeProgram

# From the law of the start and a draw [*batch, L] of it: the end of the way, and sum_k [log N(v_k) - log N(v_k')].
Way = Callable[[dist.TorchDistribution, Tensor], tuple[Tensor, Tensor]]


class ChainDistribution(dist.TorchDistribution):
    """The last state of a chain.

    ``mean`` is that of the start: a point estimate, not the expectation.

    Args:
        start: q_0(z|x), batch shape [*batch].
        way: moves draws of it.
    """

    arg_constraints = {}  # noqa: RUF012  (torch's protocol)
    has_rsample = True

    def __init__(self, start: dist.TorchDistribution, way: Way, validate_args: bool | None = None) -> None:
        self.start, self.way = start, way
        self._last: tuple[Tensor, Tensor] | None = None
        super().__init__(start.batch_shape, start.event_shape, validate_args=validate_args)

    @property
    def support(self) -> torch.distributions.constraints.Constraint | None:
        """The support of the start."""
        return self.start.support

    @property
    def mean(self) -> Tensor:
        """The mean of the start [*batch, L]."""
        return self.start.mean

    def rsample(self, sample_shape: list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draw the start and move it: [*sample, *batch, L]."""
        first = self.start.rsample(torch.Size(sample_shape))
        last, gained = self.way(self.start, first)
        self._last = last, self.start.log_prob(first) + gained
        return last

    def log_prob(self, value: Tensor) -> Tensor:
        """The part of the log weight that stands for log q: [*batch], nats.

        Raises:
            NotImplementedError: the value is not the last draw.
        """
        if self._last is None or value is not self._last[0]:
            raise NotImplementedError("a chain knows the density of its last draws alone")
        return self._last[1]

    def expand(self, batch_shape: list[int] | tuple[int, ...], _instance: object = None) -> ChainDistribution:
        """Repeat the distribution over a larger batch."""
        return ChainDistribution(self.start.expand(torch.Size(batch_shape)), self.way, self._validate_args)


def log_normal(v: Tensor) -> Tensor:
    """The log density of N(0, I) at v [*batch, L]: [*batch], nats."""
    return (-0.5 * v.square() - HALF_LOG_2_PI).sum(-1)


def log_joint(model: GenerativeProgram, x: Tensor) -> Callable[[Tensor], Tensor]:
    """The function log p(x, z) of z [*particles, N, L]: [*particles, N], nats."""
    return lambda z: model.decode(z).log_prob(x) + model.prior().log_prob(z)


def force(log_density: Callable[[Tensor], Tensor], z: Tensor, second_order: bool) -> Tensor:
    """The gradient of a log density at z [*batch, L]; a constant unless gradients shall flow through it."""
    keep = torch.is_grad_enabled() and second_order
    with torch.enable_grad():
        here = z if keep and z.requires_grad else z.detach().requires_grad_()
        (slope,) = torch.autograd.grad(log_density(here).sum(), here, create_graph=keep)
    return slope if keep else slope.detach()
