"""A distribution that is one of two, datum by datum: the joint guide of complete data, or a conditional one."""

from __future__ import annotations

import torch
from pyro import distributions as dist
from torch import Tensor
from torch.distributions import constraints


class JointOrConditional(dist.TorchDistribution):
    """For each datum of the batch one of two distributions over real vectors.

    Args:
        complete: which data have the first one [*batch], or a shape that broadcasts to it.
        joint: [*batch], event shape [L].
        conditional: of the same shapes.
    """

    arg_constraints = {}  # noqa: RUF012  (torch's protocol)
    has_rsample = True
    support = constraints.real_vector

    def __init__(
        self, complete: Tensor, joint: dist.TorchDistribution, conditional: dist.TorchDistribution
    ) -> None:
        self.complete, self.joint, self.conditional = complete, joint, conditional
        self._last: tuple[Tensor, Tensor] | None = None
        super().__init__(joint.batch_shape, joint.event_shape, validate_args=False)

    def rsample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """Draw [*sample, *batch, L]."""
        shape = torch.Size(sample_shape)
        of_part = self.conditional.rsample(shape)
        value = torch.where(self.complete.unsqueeze(-1), self.joint.rsample(shape), of_part)
        self._last = value, of_part
        return value

    def log_prob(self, value: Tensor) -> Tensor:
        """The log density [*batch], nats."""
        # A flow knows the way to its own draw; to any other value it has to look for one, coordinate by coordinate.
        of_part = self._last[1] if self._last is not None and value is self._last[0] else value
        return torch.where(self.complete, self.joint.log_prob(value), self.conditional.log_prob(of_part))

    @property
    def mean(self) -> Tensor:
        """The point estimates of the two [*batch, L]."""
        return torch.where(self.complete.unsqueeze(-1), self.joint.mean, self.conditional.mean)

    def expand(self, batch_shape: list[int] | tuple[int, ...], _instance: object = None) -> JointOrConditional:
        """Repeat the distribution over a larger batch."""
        return JointOrConditional(
            self.complete, self.joint.expand(batch_shape), self.conditional.expand(batch_shape)
        )
