"""Networks for counts: an encoder sees log(1 + x), and a decoder starts at the rates of the data.

Counts of genes or words spread over four orders of magnitude. An encoder that sees them as they are gives codes in
the hundreds at its first step, and the exponential of what a decoder makes of those is no number.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

from ppl_vae.declared import declared
from ppl_vae.models.likelihoods.base import Likelihood
from ppl_vae.models.protocols import Layer


class LogCounts(nn.Module):
    """The map log(1 + x) of counts; a value below 0, as in a learned pseudo-input, is left unchanged."""

    def forward(self, x: Tensor) -> Tensor:
        """Map x [B, *event_shape], whose shape stays."""
        return torch.where(x > 0, x.clamp(min=0).log1p(), x)


class Logarithms(nn.Module):
    """The map log x of positive data; a value that is not, as 0 for a missing one, becomes 0."""

    def forward(self, x: Tensor) -> Tensor:
        """Map x [B, *event_shape], whose shape stays."""
        return torch.where(x > 0, x, 1.0).log()


def seen_by(likelihood: Likelihood, encoder: nn.Module) -> nn.Module:
    """Put log(1 + x) or log x in front of an encoder of ours if the likelihood asks for it."""
    views = {"log1p": LogCounts, "log": Logarithms}
    view = views.get(likelihood.encoder_sees)
    return encoder if view is None else nn.Sequential(view(), encoder)


@torch.no_grad()
def start_from(x: Tensor, decoder: nn.Module, likelihood: Likelihood) -> None:
    """Let a decoder's last bias give what a constant decoder of x [N, *event_shape] would: the rates of counts.

    A convolution's bias is one for a channel. A likelihood that has no ``start``, and a decoder whose last layer is
    another, are left as they are.
    """
    start, layer = likelihood.start(x), _last_biased(decoder)
    if start is None or layer is None:
        return
    bias = cast(Tensor, layer.bias)
    if bias.numel() == start.numel():
        bias.copy_(start.reshape(bias.shape))
    elif start.dim() == 4 and bias.numel() == math.prod(start.shape[:2]):
        bias.copy_(start.mean((2, 3)).reshape(bias.shape))


def remember_start(decoder: nn.Module) -> nn.Module:
    """Mark a decoder of ours, so that it is known later whether it was trained, loaded or started since."""
    layer = _last_biased(decoder)
    if layer is not None:
        layer.bias_as_made = cast(Tensor, layer.bias).detach().clone()
    return decoder


def start_untrained(x: Tensor, decoder: nn.Module, likelihood: Likelihood) -> None:
    """``start_from`` for a decoder whose last bias is still the one that it was made with."""
    layer = _last_biased(decoder)
    made = None if layer is None else declared(Layer, layer).bias_as_made
    if layer is not None and made is not None:
        bias = cast(Tensor, layer.bias).detach()
        if torch.equal(bias, made.to(bias.device, bias.dtype)):
            start_from(x, decoder, likelihood)


def _last_biased(decoder: nn.Module) -> nn.Module | None:
    biased = [layer for layer in decoder.modules() if declared(Layer, layer).bias is not None]
    return biased[-1] if biased else None
