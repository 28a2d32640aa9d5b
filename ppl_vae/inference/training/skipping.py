"""Adam that leaves out steps whose gradient is far too large, as very deep VAEs need (Child 2021, section 3.2).

A clipped gradient still moves the weights, in a direction that one rare batch has chosen; a step that is left out
does not. Adam's moments do not see it either.

Child (2021): https://arxiv.org/abs/2011.10650
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

from ppl_vae.checks import positive


class SkippingAdam(torch.optim.Adam):
    """Adam, but for steps with a gradient whose global norm is above ``skip_above`` or not a number.

    For ``fit`` as ``optimizer=functools.partial(inf.SkippingAdam, skip_above=200.0)``; such steps run uncompiled.

    Args:
        params: as of torch's Adam.
        lr: the learning rate.
        skip_above: the largest norm of a gradient that is followed. Where ``max_grad_norm`` clips to less, nothing
            is ever skipped.
        **options: of torch's Adam.

    Attributes:
        num_skipped: how many steps have been left out.
    """

    def __init__(self, params: Iterable[Any], lr: float = 1e-3, skip_above: float = 400.0, **options: Any) -> None:
        self.skip_above = positive("skip_above", skip_above)
        self.num_skipped = 0
        super().__init__(params, lr=lr, **options)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take the step, or leave it out."""
        gradients = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if not norm <= self.skip_above:
            self.num_skipped += 1
            return None
        return super().step(closure)
