"""A part of the data with the programs that take it: x, and whatever is bound to its rows."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ppl_vae.inference.evidence.unconstrained import LatentVector
from ppl_vae.inference.pair.covariates import at_covariates
from ppl_vae.inference.pair.labels import Batch
from ppl_vae.inference.pair.protocols import Program


@dataclass(frozen=True)
class Part:
    """Some data, and the pair.

    Attributes:
        model: the generative program, called with all of ``data``.
        guide: likewise.
        data: x [n, *event_shape], and covariates or indices of the same rows, if the programs take any.
    """

    model: Program
    guide: Program
    data: Batch

    def __len__(self) -> int:
        return len(self.data[0])

    @property
    def x(self) -> Tensor:
        """The data alone."""
        return self.data[0]

    def of(self, which: Tensor | slice) -> Part:
        """Take some of the data."""
        return Part(self.model, self.guide, tuple(each[which] for each in self.data))

    def model_of_x(self) -> Program:
        """The generative program as a function of x alone."""
        return at_covariates(self.model, self.data[1:])

    def guide_of_x(self) -> Program:
        """The guide as a function of x alone."""
        return at_covariates(self.guide, self.data[1:])

    def latents(self, which: Tensor | None = None) -> LatentVector:
        """The latent vector of some of the data, or of all.

        Raises:
            ModelError: a site is discrete, or has no transform to the real numbers; it is named.
        """
        part = self if which is None else self.of(which)
        return LatentVector(part.model_of_x(), part.x)
