r"""Adam inside a captured step: one pass over weight, gradient and moments, in the state of torch's own optimiser.

    m <- m + (1 - b1) (g - m),   v <- b2 v + (1 - b2) g^2
    w <- w - lr / (1 - b1^t) m / (sqrt(v) / sqrt(1 - b2^t) + eps)           (Kingma & Ba 2015, algorithm 1)

What depends on the step t, the learning rate among it, is computed beforehand and read as numbers: written into
the graph, the powers would be taken anew for every weight. AdamW's decay and Adam's L2 penalty are there too.

Moments below the smallest normal number become zero after each epoch. A weight whose gradient stays away, such as
that of a pixel that is rarely on, would keep a first moment of the smallest subnormal numbers for ever, as .9 of
them rounds to themselves, and some processors take many times as long over these. They are dropped only where the
root of such a second moment is lost beside eps, so that no weight moves otherwise; and not within the step, where
looking for them took a sixth of the time of compiling a convolutional pair.

Kingma & Ba (2015): https://arxiv.org/abs/1412.6980
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ppl_vae.inference.training.optimizer import ParamGroup

# Numbers of a group that a step reads: the step size, 1 / sqrt(1 - b2^t), and the learning rate.
RATES = 3


@dataclass(frozen=True)
class CapturedAdam:
    """An Adam over all the leaves that get a gradient.

    Attributes:
        optimizer: whose groups and state are used.
        trained: the leaves, by group.
    """

    optimizer: torch.optim.Optimizer
    trained: list[list[Tensor]]

    def leaves(self) -> list[Tensor]:
        """The leaves, in the order of the gradients that ``update`` takes."""
        return [leaf for group in self.trained for leaf in group]

    def state(self) -> list[Tensor]:
        """The first and second moments, one of each per leaf; they are made where there are none yet."""
        for group, leaves in zip(self.optimizer.param_groups, self.trained, strict=True):
            for leaf in leaves:
                _prepare(self.optimizer.state[leaf], leaf, group)
        return [self.optimizer.state[leaf][name] for name in ("exp_avg", "exp_avg_sq") for leaf in self.leaves()]

    def rates(self, factors: Sequence[float], lr: Sequence[float]) -> Tensor:
        """The numbers that the next steps read: [S, groups * RATES], in float64.

        Args:
            factors: of the learning rate, one per step.
            lr: of every group before the schedule.
        """
        steps = torch.arange(1, len(factors) + 1, dtype=torch.float64)
        factor = torch.tensor(list(factors), dtype=torch.float64)
        columns = []
        for group, rate, leaves in zip(self.optimizer.param_groups, lr, self.trained, strict=True):
            done = float(self.optimizer.state[leaves[0]]["step"]) if leaves else 0.0
            beta1, beta2 = group["betas"]
            size = rate * factor / (1 - beta1 ** (done + steps))
            columns += [size, (1 - beta2 ** (done + steps)).rsqrt(), rate * factor]
        return torch.stack(columns, dim=1)

    @torch.no_grad()
    def update(self, gradients: Sequence[Tensor], state: Sequence[Tensor], rates: Tensor) -> None:
        """One step, in place; ``rates`` is a row of what ``rates`` gives."""
        leaves = self.leaves()
        kept = iter(zip(leaves, gradients, state[: len(leaves)], state[len(leaves) :], strict=True))
        for index, (group, own) in enumerate(zip(self.optimizer.param_groups, self.trained, strict=True)):
            numbers = rates[RATES * index : RATES * (index + 1)].unbind()
            for _ in own:
                _update(*next(kept), group, numbers)

    def advance(self, steps: int) -> None:
        """Count steps that were taken without the optimiser."""
        for leaf in self.leaves():
            self.optimizer.state[leaf]["step"] += steps

    @torch.no_grad()
    def drop_subnormal(self) -> None:
        """Set moments below the smallest normal number to zero, where that moves no weight otherwise."""
        for group, leaves in zip(self.optimizer.param_groups, self.trained, strict=True):
            for leaf in leaves:
                if _unread_below_normal(leaf.dtype, group["eps"]):
                    for name in ("exp_avg", "exp_avg_sq"):
                        moment = self.optimizer.state[leaf][name]
                        moment.masked_fill_(moment.abs() < torch.finfo(moment.dtype).tiny, 0)


def captured_adam(optimizer: torch.optim.Optimizer, trained: Sequence[Tensor]) -> CapturedAdam | None:
    """The same optimiser for a captured step, or None where it is another than a plain Adam or AdamW."""
    if type(optimizer) not in (torch.optim.Adam, torch.optim.AdamW):
        return None
    for group in optimizer.param_groups:
        if group["amsgrad"] or group["maximize"] or isinstance(group["lr"], Tensor):
            return None
    known = {id(leaf) for leaf in trained}
    return CapturedAdam(
        optimizer, [[leaf for leaf in group["params"] if id(leaf) in known] for group in optimizer.param_groups]
    )


def _prepare(state: dict[str, Tensor], leaf: Tensor, group: ParamGroup) -> None:
    if state:
        return
    on_device = group.get("fused") or group.get("capturable")
    state["step"] = torch.zeros((), dtype=torch.float32, device=leaf.device if on_device else "cpu")
    state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(leaf), torch.zeros_like(leaf)


def _update(
    leaf: Tensor, gradient: Tensor, mean: Tensor, square: Tensor, group: ParamGroup, numbers: Sequence[Tensor]
) -> None:
    size, correction, rate = numbers
    beta1, beta2 = group["betas"]
    weight = leaf
    if group["weight_decay"] and _decoupled(group):
        weight = weight - rate * group["weight_decay"] * weight
    elif group["weight_decay"]:
        gradient = gradient + group["weight_decay"] * weight
    new_mean = mean + (1 - beta1) * (gradient - mean)
    new_square = beta2 * square + (1 - beta2) * gradient * gradient
    leaf.copy_(weight - size * new_mean / (new_square.sqrt() * correction + group["eps"]))
    mean.copy_(new_mean)
    square.copy_(new_square)


def _unread_below_normal(dtype: torch.dtype, eps: float) -> bool:
    """Tell whether the root of a subnormal second moment is lost in ``sqrt(v) + eps``."""
    numbers = torch.finfo(dtype)
    return math.sqrt(numbers.tiny) < numbers.eps * eps


def _decoupled(group: ParamGroup) -> bool:
    return bool(group.get("decoupled_weight_decay", False))
