"""A guide over code words that has some mass everywhere, so that its importance weights estimate log p(x)."""

from __future__ import annotations

from typing import Protocol

import pyro
from pyro import distributions as dist
from torch import Tensor, nn

from ppl_vae.checks import positive
from ppl_vae.models.vector_quantised.code_words import CodeWords, NearestCode


class Quantiser(Protocol):
    """A guide that quantises."""

    def begin(self, x: Tensor) -> int:
        """Show the parameters to Pyro, and return the size of the data plate."""

    def encode(self, x: Tensor) -> NearestCode:
        """The point mass at the nearest codes of x [N, *event_shape]."""


class SoftenedGuide(nn.Module):
    """The guide q(k_m|x) proportional to exp(-|encoder(x)_m - e_k|^2 / temperature): every code has some mass.

    Args:
        guide: the guide that it softens, whose ``encode`` gives a NearestCode: the limit at a temperature of 0.
        temperature: in units of a squared distance.
    """

    def __init__(self, guide: Quantiser, temperature: float) -> None:
        super().__init__()
        self.guide, self.temperature = guide, positive("temperature", temperature)

    def forward(self, x: Tensor) -> Tensor:
        """Run the program: it draws z [N, M, D]."""
        with pyro.plate("data", self.guide.begin(x)):
            return pyro.sample("z", self.encode(x))

    def encode(self, x: Tensor) -> CodeWords:
        """The posterior q(z|x) of x [N, *event_shape]: batch shape [N], event shape [M, D]."""
        hard: NearestCode = self.guide.encode(x)
        codes = hard.codebook.code.detach().clone()
        squared = (hard.encoded.unsqueeze(-2) - codes).square().sum(-1)
        return CodeWords(dist.Categorical(logits=-squared / self.temperature).to_event(1), codes)
