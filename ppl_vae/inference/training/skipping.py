"""Adam that leaves out steps whose gradient is far too large, as very deep VAEs need (Child 2021, section 3.2).

A clipped gradient still moves the weights, in a direction that one rare batch has chosen; a step that is left out
does not. Adam's moments do not see it either. The paper sets a norm by hand for every data set; here it is so many
times the norm that is usual in the run, since one of small images would leave out every step on larger ones.

Child (2021): https://arxiv.org/abs/2011.10650
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch

from ppl_vae.checks import real

# How much of the usual norm each step renews.
RENEWED = 0.05


class SkippingAdam(torch.optim.Adam):
    """Adam, but for steps with a gradient whose global norm is far above the usual one, or not a number.

    The usual norm is a moving average; a step that is left out adds to it the most that would have been followed,
    so that gradients which have grown for good are followed again. It is kept with the optimiser's state.
    ``fit(optimizer=functools.partial(inf.SkippingAdam, times=5.0))`` takes such steps uncompiled.

    Args:
        params: as of torch's Adam.
        lr: the learning rate.
        times: how many times the usual norm is the largest that is followed, more than 1. Where ``max_grad_norm``
            clips to less, nothing is ever skipped.
        **options: of torch's Adam.

    Attributes:
        num_skipped: how many steps have been left out.
    """

    def __init__(self, params: Iterable[Any], lr: float = 1e-3, times: float = 5.0, **options: Any) -> None:
        self.times = real("times", times, least=1.0)
        self.num_skipped = 0
        super().__init__(params, lr=lr, **options)
        self.param_groups[0]["usual_norm"] = 0.0

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take the step, or leave it out."""
        gradients = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
        norm, usual = float(torch.nn.utils.get_total_norm(gradients)), self.param_groups[0].get("usual_norm", 0.0)
        most = self.times * usual if usual else norm
        if math.isfinite(norm):
            seen = min(norm, most)
            self.param_groups[0]["usual_norm"] = usual + RENEWED * (seen - usual) if usual else seen
        if not math.isfinite(norm) or norm > most:
            self.num_skipped += 1
            return None
        return super().step(closure)
