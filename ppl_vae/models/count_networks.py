"""What networks take and give where data are counts: an encoder sees log(1 + x), a decoder starts at the rates.

Counts of genes or words spread over four orders of magnitude. An encoder that sees them as they are gives codes in
the hundreds at its first step, and the exponential of what a decoder makes of those is no number.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from ppl_vae.models.likelihood import Likelihood


class LogCounts(nn.Module):
    """log(1 + x) of counts; what is below 0, as a learned pseudo-input may be, stays as it is."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, *event_shape], the same shape."""
        return torch.where(x > 0, x.clamp(min=0).log1p(), x)


def seen_by(likelihood: Likelihood, encoder: nn.Module) -> nn.Module:
    """An encoder of ours, behind log(1 + x) if the likelihood asks for it."""
    return nn.Sequential(LogCounts(), encoder) if likelihood.encoder_sees == "log1p" else encoder


@torch.no_grad()
def start_from(x: Tensor, decoder: nn.Module, likelihood: Likelihood) -> None:
    """Let a decoder's last bias give what a constant decoder of x [N, *event_shape] would: the rates of counts.

    A convolution's bias is one for a channel. A likelihood that has no ``start``, and a decoder whose last layer is
    another, are left as they are.
    """
    begin: Callable[[Tensor], Tensor] | None = getattr(getattr(likelihood, "likelihood", likelihood), "start", None)
    if begin is None:
        return
    start = begin(x)
    biased = [layer for layer in decoder.modules() if getattr(layer, "bias", None) is not None]
    if not biased:
        return
    bias = cast(Tensor, biased[-1].bias)
    if bias.numel() == start.numel():
        bias.copy_(start.reshape(bias.shape))
    elif start.dim() == 4 and bias.numel() == math.prod(start.shape[:2]):
        bias.copy_(start.mean((2, 3)).reshape(bias.shape))
