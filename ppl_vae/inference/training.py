"""One epoch of stochastic gradient steps. The loss is read from the device once an epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from ppl_vae.errors import ConvergenceError
from ppl_vae.inference.objective import Objective
from ppl_vae.inference.pair import Program
from ppl_vae.inference.schedules import Schedule

# What every step leaves behind, in this order: means over its batch, nats per datum.
STEP_TERMS = ("loss", "log_likelihood", "kl")


@dataclass(frozen=True)
class Stepper:
    """Takes one optimiser step on a batch.

    Attributes:
        model: the generative program.
        guide: its guide.
        objective: Terms -> loss.
        parameters: every trainable leaf.
        optimizer: over ``parameters``.
        lr: the learning rates of its groups before the schedule.
        schedule: multiplies them; None leaves them.
        max_grad_norm: the gradient's global norm is clipped to it; None does not.
    """

    model: Program
    guide: Program
    objective: Objective
    parameters: list[Tensor]
    optimizer: torch.optim.Optimizer
    lr: list[float]
    schedule: Schedule | None = None
    max_grad_norm: float | None = None

    def __call__(self, batch: Tensor, step: int) -> Tensor:
        """Take step number ``step`` (from 0) on [B, *event_shape]; its STEP_TERMS [3]."""
        # Filled on the device: a copy from the host would wait for it.
        now = torch.full((), step, device=batch.device)
        terms = self.objective.run(self.model, self.guide, batch)
        loss = self.objective.forward(terms, now)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self.max_grad_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.parameters, self.max_grad_norm)
        if self.schedule is not None:
            self._set_learning_rate(float(self.schedule(torch.tensor(step))))
        self.optimizer.step()
        with torch.no_grad():
            return torch.stack([loss, terms.log_likelihood.mean(), self.objective.estimator.kl(terms).mean()])

    def _set_learning_rate(self, factor: float) -> None:
        for group, lr in zip(self.optimizer.param_groups, self.lr, strict=True):
            group["lr"] = factor * lr


def run_epoch(
    stepper: Stepper,
    batches: Iterable[Tensor],
    epoch: int,
    first_step: int,
    report: Callable[[int, Tensor], None],
) -> tuple[int, dict[str, float]]:
    """Train on every batch once.

    Args:
        stepper: takes the steps.
        batches: of this epoch.
        epoch: its number, for an error.
        first_step: the number of its first step.
        report: called after each step with the batch's size and its loss.

    Returns:
        The number of the next step, and the epoch's means over data of STEP_TERMS and the ELBO.

    Raises:
        ConvergenceError: a term of some step, or a weight after the last, is not finite.
    """
    sizes: list[int] = []
    rows: list[Tensor] = []
    for batch in batches:
        row = stepper(batch, first_step + len(rows))
        sizes.append(len(batch))
        rows.append(row)
        report(len(batch), row[0])
    table = torch.stack(rows).double().cpu()
    _require_finite(table, stepper, epoch, first_step)
    weight = torch.tensor(sizes, dtype=torch.float64)
    loss, log_likelihood, kl = (weight @ table / weight.sum()).tolist()
    elbo = log_likelihood - kl
    means = {"loss": loss, "train_elbo": elbo, "train_log_likelihood": log_likelihood, "train_kl": kl}
    return first_step + len(rows), means


def _require_finite(table: Tensor, stepper: Stepper, epoch: int, first_step: int) -> None:
    broken = (~torch.isfinite(table)).any(1).nonzero().flatten()
    if len(broken):
        index = int(broken[0])
        terms = ", ".join(
            f"{name} = {value:g}" for name, value in zip(STEP_TERMS, table[index].tolist(), strict=True)
        )
        raise ConvergenceError(f"the loss is not finite at epoch {epoch}, step {first_step + index}: {terms}")
    if not all(math.isfinite(p.sum().item()) for p in stepper.parameters):
        step = first_step + len(table) - 1
        raise ConvergenceError(f"a weight is not finite after epoch {epoch}, step {step}, though the loss was")
