r"""The base class of likelihoods p(x|z), modules that turn a decoder's features into a distribution over data.

The features have the shape [*batch, P, *event_shape], where P = ``num_parameters`` is how many numbers the
likelihood needs for each coordinate of x; the distribution has that batch shape and event shape. A
likelihood also knows which data have a density under it (``check``): grey-scale pixels under a Bernoulli do
not, and are refused unless the relaxed one is asked for by name.

More methods have a default. ``adapt(features, x, event_dim)`` is the distribution where it is conditioned on x,
for a parameter whose best value given x is known in closed form. ``start(x)`` are the features [P, *event_shape] of
a constant decoder of data x [N, *event_shape], from which a decoder of ours can start. Those that ``Columns`` asks
of its parts are below them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from pyro import distributions as dist
from torch import Tensor

from ppl_vae.arrays import MISSING_VALUES, all_finite
from ppl_vae.containers import Table
from ppl_vae.errors import DataError
from ppl_vae.models.configuration import Configured


class Likelihood(Configured, ABC):
    """A likelihood p(x|z), computed from decoder features.

    Attributes:
        name: its name in configurations and manifests.
        num_parameters: how many features each coordinate of x takes.
        is_density: False where ``log_prob`` is no log likelihood of the data (the relaxed Bernoulli).
        allows_missing: True where NaN in x stands for a missing coordinate.
        encoder_sees: "x"; or "log1p", "log" or "codes" where an encoder of ours sees log(1 + x), log x, or an
            indicator for each code.
        encoder_sees_mask: whether an encoder of ours is told which coordinates are missing.
        inside: a value of the support, which stands in for a missing one.
        is_scaled: whether it has a location and a scale in units of what an encoder of ours sees.
    """

    name: str
    num_parameters: int = 1
    is_density: bool = True
    allows_missing: bool = False
    encoder_sees: str = "x"
    encoder_sees_mask: bool = False
    inside: float = 0.0
    is_scaled: bool = False

    @abstractmethod
    def forward(self, features: Tensor, event_dim: int) -> dist.TorchDistribution:
        """The distribution p(x|z) of features [*batch, P, *event_shape]: batch [*batch], event of ``event_dim``."""

    @abstractmethod
    def check(self, x: Tensor) -> None:
        """Raise DataError if some value of x is outside the support."""

    def adapt(self, features: Tensor, x: Tensor, event_dim: int) -> dist.TorchDistribution:
        """p(x|z) where the program is conditioned on x [N, *event_shape]: by default what it is anyway."""
        return self(features, event_dim)

    def start(self, x: Tensor) -> Tensor | None:
        """The features of a constant decoder of data x [N, *event_shape]; None where there is no rule for them."""
        return None

    @property
    def table(self) -> Table | None:
        """The reader that turns a frame of named columns into data; None where nothing does."""
        return None

    def require_event_shape(self, event_shape: tuple[int, ...]) -> None:
        """Raise ModelError where no data of this shape have a density: by default all have."""

    def look_at(self, x: Tensor) -> None:
        """Take from the training data [N, *event_shape] what must be known of them before the first step."""

    def location_and_scale(self, x: Tensor) -> tuple[Tensor, Tensor] | None:
        """Location and scale [M] of columns x [N, M]; moments are taken for None and for a scale that is none."""
        return None

    def for_columns(self, count: int) -> None:
        """Let what is learned beside the decoder be learned for each of ``count`` columns."""

    def begin_at(self, x: Tensor) -> None:
        """Let what is learned beside the decoder begin at what columns x [N, M] are like."""


def check_finite(name: str, x: Tensor) -> None:
    """Raise ``DataError`` unless every value is a number."""
    if all_finite(x):
        return
    if bad := (~torch.isfinite(x)).sum().item():
        missing = "" if x.isinf().any() else f"; {MISSING_VALUES}"
        raise DataError(f"likelihood {name!r}: {bad} of {x.numel()} values are NaN or infinite{missing}")


def check_unit_interval(name: str, x: Tensor) -> None:
    """Raise ``DataError`` unless every value is in [0, 1]."""
    check_finite(name, x)
    low, high = x.min().item(), x.max().item()
    if low < 0 or high > 1:
        raise DataError(f"likelihood {name!r} needs data in [0, 1], found values from {low:g} to {high:g}")
