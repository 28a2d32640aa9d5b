"""The step of torch's fused Adam by its one kernel, without the Python that surrounds it.

On a small network that Python (hooks, a profiler's record, the grouping of leaves by device) costs as much as the
kernel. The kernel, its arguments and the state are torch's own, so the weights are the same to the last bit.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.optim import optimizer as torch_optimizer

from ppl_vae.inference.pair.reseeding import noise_kept
from ppl_vae.inference.training.optimizer import ParamGroup
from ppl_vae.unloaded import adam_step

Lists = tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor]]


@dataclass
class FusedAdam:
    """Takes the steps of an optimiser; whatever is no plain fused Adam with its state made takes its own.

    Attributes:
        optimizer: of any kind.
    """

    optimizer: torch.optim.Optimizer
    _lists: dict[int, Lists] = field(default_factory=dict)

    @torch.no_grad()
    def step(self) -> None:
        """Take one step with the gradients that the leaves hold."""
        groups = self.optimizer.param_groups
        if _watched(self.optimizer) or not all(map(_plain, groups)):
            # A user's optimiser, or hook of its steps, may seed torch, which would give every step the same draws.
            with noise_kept():
                self.optimizer.step()
            return
        of_groups = [self._of(index, group) for index, group in enumerate(groups)]
        if None in of_groups:
            # The first step of a leaf makes its state.
            adam_step(self.optimizer)
            return
        for group, lists in zip(groups, of_groups, strict=True):
            if lists is not None and lists[0]:
                _descend(group, lists)

    def _of(self, index: int, group: ParamGroup) -> Lists | None:
        """Leaves with a gradient, their moments and steps; None where there are none yet, or they are elsewhere."""
        leaves = [leaf for leaf in group["params"] if leaf.grad is not None]
        state, known = self.optimizer.state, self._lists.get(index)
        # Another state is loaded for all leaves at once.
        if (
            known
            and _same(known[0], leaves)
            and _same(known[1][:1], [state[leaf]["exp_avg"] for leaf in leaves[:1]])
        ):
            return known
        if any("exp_avg" not in state[leaf] or not _dense(leaf) for leaf in leaves):
            return None
        if len({leaf.device for leaf in leaves}) > 1 or len({leaf.dtype for leaf in leaves}) > 1:
            return None
        means, squares, steps = ([state[leaf][key] for leaf in leaves] for key in ("exp_avg", "exp_avg_sq", "step"))
        self._lists[index] = leaves, means, squares, steps
        return self._lists[index]


def _same(ours: list[Tensor], theirs: list[Tensor]) -> bool:
    return len(ours) == len(theirs) and all(map(operator.is_, ours, theirs))


def _descend(group: ParamGroup, lists: Lists) -> None:
    leaves, means, squares, steps = lists
    beta1, beta2 = group["betas"]
    torch._foreach_add_(steps, 1)
    torch._fused_adam_(
        leaves, [leaf.grad for leaf in leaves if leaf.grad is not None], means, squares, [], steps,
        lr=group["lr"], beta1=beta1, beta2=beta2, weight_decay=group["weight_decay"], eps=group["eps"],
        amsgrad=False, maximize=False, grad_scale=None, found_inf=None,
    )  # fmt: skip


def _watched(optimizer: torch.optim.Optimizer) -> bool:
    """Tell whether it is another optimiser than Adam, or somebody listens to its steps."""
    return bool(
        type(optimizer) is not torch.optim.Adam
        or "step" in optimizer.__dict__
        or optimizer._optimizer_step_pre_hooks
        or optimizer._optimizer_step_post_hooks
        or torch_optimizer._global_optimizer_pre_hooks
        or torch_optimizer._global_optimizer_post_hooks
    )


def _plain(group: ParamGroup) -> bool:
    unusual = ("amsgrad", "maximize", "differentiable", "capturable", "decoupled_weight_decay")
    return (
        group.get("fused") is True and not any(group.get(name) for name in unusual) and type(group["lr"]) is float
    )


def _dense(leaf: Tensor) -> bool:
    return (
        leaf.layout == torch.strided and not leaf.is_complex() and leaf.grad is not None and not leaf.grad.is_sparse
    )
