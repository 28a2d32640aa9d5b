"""What an encoder is told of the cells that are missing: their values are 0, and an indicator says which they are.

With 0 alone a missing cell looks like an observed 0, which is the mean of standardised data; the guide then has one
answer for both, and the bound pays for it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ppl_vae.declared import declared
from ppl_vae.models.likelihoods.base import Likelihood
from ppl_vae.models.likelihoods.count_networks import seen_by
from ppl_vae.models.protocols import Encoder
from ppl_vae.networks import Architecture


class MissingnessEncoder(nn.Module):
    """An encoder of x with holes: another encoder of the values, 0 in the holes, and of the indicator beside them.

    The indicator is 1 where a cell is missing. It follows the values in the first dimension of a datum: columns
    after columns, or channels after channels. An encoder of a user's own sees it inside this one; or, by an
    attribute ``takes_missing = True``, it is given x itself, with NaN where a cell is missing. The noise of a
    denoising encoder falls on the indicator too.

    Args:
        encoder: [N, 2 * event_shape[0], *event_shape[1:]] -> features [N, H].
    """

    takes_missing = True

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor) -> Tensor:
        """x [N, *event_shape] with NaN where a cell is missing -> features [N, H]."""
        features: Tensor = self.encoder(torch.cat([filled(x), x.isnan().to(x.dtype)], dim=1))
        return features


def encoder_of(chosen: Architecture, event_shape: tuple[int, ...], likelihood: Likelihood) -> nn.Module:
    """The encoder of an architecture, which sees of data what the likelihood says it is to see."""
    if not likelihood.encoder_sees_mask:
        return seen_by(likelihood, chosen.encoder(event_shape))
    return MissingnessEncoder(seen_by(likelihood, chosen.encoder((2 * event_shape[0], *event_shape[1:]))))


def filled(x: Tensor) -> Tensor:
    """x with 0 in the place of a missing value."""
    return torch.where(x.isnan(), 0.0, x)


def takes_missing(encoder: nn.Module) -> bool:
    """Whether an encoder is given x itself, with NaN where a cell is missing."""
    return bool(declared(Encoder, encoder).takes_missing)
