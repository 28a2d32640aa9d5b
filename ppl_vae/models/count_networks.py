"""What networks take and give where data are counts: an encoder sees log(1 + x), a decoder starts at the rates.

Counts of genes or words spread over four orders of magnitude. An encoder that sees them as they are gives codes in
the hundreds at its first step, and the exponential of what a decoder makes of those is no number.
"""

from __future__ import annotations

import math

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
def start_at(decoder: nn.Module, start: Tensor) -> None:
    """Let a decoder's last bias give features [P, *event_shape], by channel where it is a convolution's.

    A decoder whose last layer is another is left as it is.
    """
    biased = [layer for layer in decoder.modules() if getattr(layer, "bias", None) is not None]
    if not biased:
        return
    bias = biased[-1].bias
    if bias.numel() == start.numel():
        bias.copy_(start.reshape(bias.shape))
    elif start.dim() == 4 and bias.numel() == math.prod(start.shape[:2]):
        bias.copy_(start.mean((2, 3)).reshape(bias.shape))
