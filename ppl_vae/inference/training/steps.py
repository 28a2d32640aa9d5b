"""One epoch of stochastic gradient steps. The loss is read from the device once an epoch."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from ppl_vae.errors import ConvergenceError, ModelError
from ppl_vae.inference.estimators.base import Objective
from ppl_vae.inference.objectives.schedules import Described, Schedule
from ppl_vae.inference.pair.labels import Batch
from ppl_vae.inference.pair.protocols import Program
from ppl_vae.inference.pair.reseeding import noise_kept, seeding_refused
from ppl_vae.inference.training.fused_adam import FusedAdam

# What every step leaves behind, in this order: means over its batch, nats per datum.
STEP_TERMS = ("loss", "log_likelihood", "kl")
# Of a pair with global sites besides: their KL in nats of all data, and what a datum's ELBO has of them.
GLOBAL_TERMS = ("global_kl", "global_share")
NOBODY: contextlib.AbstractContextManager[object] = contextlib.nullcontext()


class Steps(Protocol):
    """The protocol of steppers, which take the steps of an epoch, eager or captured (``inference.compilation``)."""

    @property
    def parameters(self) -> Sequence[Tensor]:
        """The trainable leaves."""

    def epoch(self, batches: Iterable[Batch], first_step: int) -> Iterator[tuple[list[int], Tensor]]:
        """Take a step on every batch: the sizes of one or more, and their STEP_TERMS [S, 3]."""


@dataclass(frozen=True)
class Stepper:
    """Takes one optimiser step on a batch, eagerly.

    Attributes:
        model: the generative program.
        guide: its guide.
        objective: Terms -> loss.
        parameters: every trainable leaf.
        optimizer: over ``parameters``.
        lr: the learning rates of its groups before the schedule.
        schedule: multiplies them; None leaves them.
        max_grad_norm: the gradient's global norm is clipped to it; None does not.
        half: the dtype that products are taken in under torch.autocast; None takes them as the weights are.
        late: takes in pyro.param sites that first appear in a step (``training.late_parameters``).
    """

    model: Program
    guide: Program
    objective: Objective
    parameters: list[Tensor]
    optimizer: torch.optim.Optimizer
    lr: list[float]
    schedule: Schedule | None = None
    max_grad_norm: float | None = None
    half: torch.dtype | None = None
    late: contextlib.AbstractContextManager[object] = NOBODY

    def __call__(self, batch: Batch, step: int) -> Tensor:
        """Take step number ``step`` (from 0) on x [B, *event_shape], and its labels if any; its STEP_TERMS [3]."""
        # Filled on the device: a copy from the host would wait for it.
        number = torch.full((), step, device=batch[0].device)
        row, *gradients = self.gradients(batch, number, self.late)
        self.descend(gradients, step)
        return row

    def epoch(self, batches: Iterable[Batch], first_step: int) -> Iterator[tuple[list[int], Tensor]]:
        """Take a step on every batch, one by one."""
        for step, batch in enumerate(batches, start=first_step):
            yield [len(batch[0])], self(batch, step).unsqueeze(0)

    def gradients(
        self, batch: Batch, step: Tensor, watch: contextlib.AbstractContextManager[object] = NOBODY
    ) -> tuple[Tensor, ...]:
        """Compute STEP_TERMS [3] and the gradient by every parameter; None where the loss does not depend on it.

        GLOBAL_TERMS follow the STEP_TERMS of a pair that has global sites.
        ``watch`` is there while the programs run, and may add to the parameters.
        """
        # Without its cache, which would outlive the step that is captured.
        with (
            NOBODY if self.half is None else torch.autocast(batch[0].device.type, self.half, cache_enabled=False),
            watch,
        ):
            terms = self.objective.run(self.model, self.guide, *batch)
        with seeding_refused("objective"):
            loss = self.objective.forward(terms, step)
        if not loss.requires_grad:
            raise ModelError(
                "the loss depends on no parameter: a tensor made of a parameter's value, as torch.tensor([p]) is, "
                "has no gradient (torch.stack([p]) has one), nor has what is detached or under no_grad"
            )
        # A callback may have frozen some.
        moving = [leaf for leaf in self.parameters if leaf.requires_grad]
        with seeding_refused("backward pass"):
            found = iter(torch.autograd.grad(loss, moving, allow_unused=True))
        gradients: list[Any] = [next(found) if leaf.requires_grad else None for leaf in self.parameters]
        with torch.no_grad(), seeding_refused("objective"):
            return torch.stack([loss, *self.objective.estimator.record(terms.unscaled())]), *gradients

    def descend(self, gradients: Sequence[Tensor | None], step: int) -> None:
        """Clip the gradient and let the optimiser take step number ``step`` with it."""
        for leaf, gradient in zip(self.parameters, gradients, strict=True):
            leaf.grad = gradient if gradient is None else laid_out_as(leaf, gradient)
        if self.max_grad_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.parameters, self.max_grad_norm)
        if self.schedule is not None:
            factor = self.rate_factor(step)
            for group, lr in zip(self.optimizer.param_groups, self.lr, strict=True):
                group["lr"] = factor * lr
        self._fused.step()

    @functools.cached_property
    def _fused(self) -> FusedAdam:
        return FusedAdam(self.optimizer)

    def base_rates(self) -> list[float]:
        """The learning rates of the groups before the schedule; without one, as they stand in the optimiser now."""
        return self.lr if self.schedule is not None else [group["lr"] for group in self.optimizer.param_groups]

    def rate_factor(self, step: int) -> float:
        """The factor of the learning rates at a step, by the schedule."""
        if self.schedule is None:
            return 1.0
        # A user's function may seed torch, which would give every step the same draws; ours draw nothing.
        with NOBODY if isinstance(self.schedule, Described) else noise_kept():
            return float(self.schedule(torch.tensor(step)))


def laid_out_as(leaf: Tensor, value: Tensor) -> Tensor:
    """Lay out a tensor in memory as its leaf is, on which fused optimisers rely without a check."""
    return value if value.stride() == leaf.stride() else torch.empty_like(leaf).copy_(value)


def run_epoch(
    steps: Steps,
    batches: Iterable[Batch],
    epoch: int,
    first_step: int,
    report: Callable[[int, Tensor], None],
) -> tuple[int, dict[str, float]]:
    """Train on every batch once.

    Args:
        steps: takes the steps.
        batches: of this epoch.
        epoch: its number, for an error.
        first_step: the number of its first step.
        report: called after every step, or every few, with how many data it took and its loss.

    Returns:
        The number of the next step, and the epoch's means over data of STEP_TERMS and the ELBO.

    Raises:
        ConvergenceError: a term of some step, or a weight after the last, is not finite.
    """
    sizes: list[int] = []
    rows: list[Tensor] = []
    for taken, terms in steps.epoch(batches, first_step):
        sizes += taken
        rows.append(terms)
        report(sum(taken), terms[-1, 0])
    table = torch.cat(rows).double().cpu()
    _require_finite(table, steps, epoch, first_step)
    weight = torch.tensor(sizes, dtype=torch.float64)
    loss, log_likelihood, kl, *of_set = (weight @ table / weight.sum()).tolist()
    elbo = log_likelihood - kl
    means = {"loss": loss, "train_elbo": elbo, "train_log_likelihood": log_likelihood, "train_kl": kl}
    if of_set:
        global_kl, share = of_set
        means |= {"train_elbo": elbo + share, "train_global_kl": global_kl}
    return first_step + len(sizes), means


def _require_finite(table: Tensor, steps: Steps, epoch: int, first_step: int) -> None:
    broken = (~torch.isfinite(table)).any(1).nonzero().flatten()
    if len(broken):
        index = int(broken[0])
        terms = ", ".join(
            f"{name} = {value:g}"
            for name, value in zip(STEP_TERMS + GLOBAL_TERMS, table[index].tolist(), strict=False)
        )
        raise ConvergenceError(f"the loss is not finite at epoch {epoch}, step {first_step + index}: {terms}")
    total = torch.stack([leaf.detach().sum(dtype=torch.float64) for leaf in steps.parameters]).sum()
    if not math.isfinite(total.item()):
        step = first_step + len(table) - 1
        raise ConvergenceError(f"a weight is not finite after epoch {epoch}, step {step}, though the loss was")
