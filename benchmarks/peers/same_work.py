"""Whether all contenders do the same work: their losses are compared before anything is timed.

Two questions, asked of each through the very loop that is timed.

* Same optimisation? All data are one image, and the guide starts so narrow that its noise is below a float's
  resolution. Then the loss of every step is a number without randomness, whatever order the images come in, and
  training must walk the same path: architecture, loss, gradient, optimiser and learning rate are judged together.
* Same randomness? The learning rate is all but zero and the guide as wide as it starts. Then epochs are
  independent estimates of one number, whose means must agree within four standard errors.

The judge is the same training in float64, written out by hand. Where the loss is random even under a narrow
guide (a KL by Monte Carlo, an importance-weighted bound), only the second question is asked.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from .contender import Contender, Run, Task, Training
from .hand_pytorch import Eager

# Log variance of the narrow guide: its standard deviation of 1.5e-8 is below a float's precision. Adam moves a head
# by at most its learning rate times the sum of its features in a step; ours keeps log scales of float32 above -20.
NARROW = -36.0
# Adam magnifies the rounding of gradients that are all but zero: after fifty full steps paths part. An epoch of the
# comparison goes as far as this many steps do.
PATH_STEPS, PATH_EPOCHS = 4, 2
# Of the way from the first epoch's loss to the last one's, and of the loss itself for what float32 rounds off.
PATH_TOLERANCE, PATH_ROUNDING = 0.02, 3e-6
STILL = 1e-12
DRAW_EPOCHS = 12
STANDARD_ERRORS = 4.0
ROUNDING = 2e-5

Start = Callable[[Task], Training]


@dataclass(frozen=True)
class Verdict:
    """Whether a loss agreed, and how closely.

    Attributes:
        same: it did.
        words: what was found, for the results.
    """

    same: bool
    words: str


def one_image(task: Task) -> Task:
    """The same task on copies of its first image."""
    return replace(task, x=task.x[:1].repeat(len(task.x), *(1,) * (task.x.dim() - 1)))


def narrow(task: Task) -> Task:
    """The same task with a guide of almost no width."""
    head = {"scale_head.weight": torch.zeros_like, "scale_head.bias": lambda w: torch.full_like(w, NARROW)}
    return replace(task, weights={name: head.get(name, torch.clone)(w) for name, w in task.weights.items()})


def at_rate(task: Task, lr: float) -> Task:
    """The same task with another learning rate."""
    return replace(task, workload=replace(task.workload, lr=lr))


class Judge:
    """The training in float64 and what it says of contenders.

    Args:
        task: what is trained.
    """

    def __init__(self, task: Task) -> None:
        rate = task.workload.lr * min(1.0, PATH_STEPS / task.workload.steps)
        self.path = at_rate(narrow(one_image(task)), rate)
        self.draws = at_rate(one_image(task), STILL)
        self.random_anyway = task.workload.particles > 1

    def __call__(self, contender: Contender, start: Start, draws: bool) -> list[Verdict]:
        """The verdicts on a contender; ``draws`` asks the second question where the first would do."""
        random = self.random_anyway or not contender.exact_kl
        return [
            *([] if random else [self.same_path(start)]),
            *([self.same_draws(start)] if draws or random else []),
        ]

    def same_path(self, start: Start) -> Verdict:
        """The losses of the first epochs against the judge's."""
        found, expected = start(self.path).run(PATH_EPOCHS).losses, self._expected_path
        apart = max(abs(a - b) for a, b in zip(found, expected, strict=True))
        allowed = PATH_TOLERANCE * abs(expected[-1] - expected[0]) + PATH_ROUNDING * abs(expected[0])
        words = f"losses {found[0]:.4f}, {found[-1]:.4f}; judge {expected[0]:.4f}, {expected[-1]:.4f}"
        return Verdict(apart < allowed, f"{words}; {apart:.1e} apart")

    def same_draws(self, start: Start) -> Verdict:
        """The mean loss at fixed weights against the judge's."""
        (a, error_a), (b, error_b) = mean(start(self.draws).run(DRAW_EPOCHS)), self._expected_mean
        error = math.hypot(error_a, error_b)
        words = f"mean loss {a:.4f}; judge {b:.4f}; standard error of the difference {error:.4f}"
        return Verdict(abs(a - b) < STANDARD_ERRORS * error + ROUNDING * abs(b), words)

    @functools.cached_property
    def _expected_path(self) -> list[float]:
        return in_double(self.path).run(PATH_EPOCHS).losses

    @functools.cached_property
    def _expected_mean(self) -> tuple[float, float]:
        return mean(in_double(self.draws).run(DRAW_EPOCHS))


def in_double(task: Task) -> Training:
    """The judge's own training."""
    precise = {name: weight.double() for name, weight in task.weights.items()}
    training = Eager(replace(task, x=task.x.double()))
    training.net.double().load_state_dict(precise)
    return training


def mean(run: Run) -> tuple[float, float]:
    """Mean of the epochs and its standard error."""
    losses = torch.tensor(run.losses, dtype=torch.float64)
    return losses.mean().item(), losses.std().item() / math.sqrt(len(losses))
