"""Missing cells as an encoder sees them: their values are 0, and an indicator says which they are.

With 0 alone a missing cell looks like an observed 0, which is the mean of standardised data; the guide then has one
answer for both, and the bound pays for it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ppl_vae.declared import declared
from ppl_vae.models.likelihoods.base import Likelihood
from ppl_vae.models.likelihoods.column_scales import ColumnsEncoder
from ppl_vae.models.likelihoods.columns import Columns
from ppl_vae.models.likelihoods.count_networks import seen_by
from ppl_vae.models.protocols import Encoder
from ppl_vae.networks import Architecture


class MissingnessEncoder(nn.Module):
    """An encoder of x with missing cells: another encoder reads the values, 0 in those cells, and the indicator.

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
        """The features [N, H] of x [N, *event_shape], in which NaN marks a missing cell."""
        features: Tensor = self.encoder(torch.cat([filled(x), x.isnan().to(x.dtype)], dim=1))
        return features


def encoder_of(chosen: Architecture, event_shape: tuple[int, ...], likelihood: Likelihood) -> nn.Module:
    """The encoder of an architecture, behind whatever view of the data the likelihood asks for."""
    if isinstance(likelihood, Columns):
        return ColumnsEncoder(likelihood.scales, chosen.encoder((likelihood.scales.width,)))
    if not likelihood.encoder_sees_mask:
        return seen_by(likelihood, chosen.encoder(event_shape))
    return MissingnessEncoder(seen_by(likelihood, chosen.encoder((2 * event_shape[0], *event_shape[1:]))))


def filled(x: Tensor) -> Tensor:
    """Put 0 in the place of missing values of x."""
    return torch.where(x.isnan(), 0.0, x)


def takes_missing(encoder: nn.Module) -> bool:
    """Tell whether an encoder is given x itself, with NaN where a cell is missing."""
    return bool(declared(Encoder, encoder).takes_missing)
