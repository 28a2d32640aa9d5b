r"""Step sizes by dual averaging (Nesterov 2009; Hoffman & Gelman 2014, sec. 3.2.1), one for every datum.

    log e_{t+1} = m - sqrt(t) / g * 1/(t + t0) * sum_i (d - a_i),   a_i the mean acceptance over a datum's chains

Hoffman & Gelman 2014, https://arxiv.org/abs/1111.4246.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

TARGET_ACCEPTANCE = 0.8
SHRINKAGE, DELAY, DECAY = 0.05, 10, 0.75
SMALLEST, LARGEST = 1e-6, 4.0


class StepSizes:
    """Step sizes while they adapt.

    Args:
        first: of every datum [N], where the search begins.
        target: the acceptance that is aimed at.
    """

    def __init__(self, first: Tensor, target: float = TARGET_ACCEPTANCE) -> None:
        self.target, self.count = target, 0
        self.centre = (first * 2).log()
        self.lack = torch.zeros_like(first)
        self.log_step, self.log_average = first.log(), torch.zeros_like(first)

    @property
    def now(self) -> Tensor:
        """The step sizes to be tried next [N]."""
        return self.log_step.exp()

    @property
    def averaged(self) -> Tensor:
        """The step sizes to be kept [N]."""
        return (self.log_average if self.count else self.log_step).exp()

    def add(self, acceptance: Tensor) -> None:
        """Take the acceptance of a transition [C, N] into account."""
        self.count += 1
        rate = 1 / (self.count + DELAY)
        self.lack = (1 - rate) * self.lack + rate * (self.target - acceptance.mean(0))
        log_step = self.centre - math.sqrt(self.count) / SHRINKAGE * self.lack
        self.log_step = log_step.clamp(math.log(SMALLEST), math.log(LARGEST))
        share = self.count**-DECAY
        self.log_average = share * self.log_step + (1 - share) * self.log_average
