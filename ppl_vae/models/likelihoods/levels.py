"""Likelihoods of codes 0, 1, ..., K - 1: ordered levels, and names without an order."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from pyro import distributions as dist
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from ppl_vae.distributions.levels import Levels, cumulative_logit
from ppl_vae.errors import DataError, ModelError
from ppl_vae.models.configuration import Config, remembers
from ppl_vae.models.likelihoods.base import Likelihood, check_finite
from ppl_vae.precision import widened

LevelNames = int | Sequence[str]


class OrdinalLikelihood(Likelihood):
    """The cumulative logit: a logistic variable around the feature, cut into ordered levels 0, ..., K - 1.

    The K - 1 cutpoints do not depend on z; they are learned. Without data they cut a standard logistic variable
    into parts of equal probability.

    McCullagh (1980): https://doi.org/10.1111/j.2517-6161.1980.tb01109.x

    Args:
        levels: K, at least 2; or their names from the lowest to the highest, which a frame may hold.
    """

    name = "ordinal"
    encoder_sees = "x"

    @remembers
    def __init__(self, levels: LevelNames = 2) -> None:
        super().__init__()
        self.level_names, self.num_levels = checked_levels(levels)
        shares = torch.full((self.num_levels,), 1 / self.num_levels)
        self.first_cut, self.log_gaps = (nn.Parameter(each) for each in _cuts(shares))

    def forward(self, features: Tensor, event_dim: int) -> dist.TorchDistribution:
        """The distribution p(x|z) of codes."""
        eta = features.squeeze(-1 - event_dim)
        return cumulative_logit(eta, widened(self.first_cut), widened(self.log_gaps)).to_event(event_dim)

    def check(self, x: Tensor) -> None:
        """Refuse values that are no codes."""
        check_codes(self.name, x, self.num_levels)

    def for_columns(self, count: int) -> None:
        """Learn cutpoints for each column."""
        self.first_cut = nn.Parameter(self.first_cut.detach().repeat(count))
        self.log_gaps = nn.Parameter(self.log_gaps.detach().repeat(count, 1))

    @torch.no_grad()
    def begin_at(self, x: Tensor) -> None:
        """Begin with the cutpoints that give each level its share of a column."""
        first, log_gaps = _cuts(shares_of(x, self.num_levels))
        self.first_cut.copy_(first)
        self.log_gaps.copy_(log_gaps)


class NominalLikelihood(Likelihood):
    """Names without an order, as codes 0, ..., K - 1 with P(x = k) = softmax(features)_k.

    Args:
        levels: K, at least 2; or the names, in the order of their codes, which a frame may hold.
    """

    name = "nominal"
    encoder_sees = "codes"

    @remembers
    def __init__(self, levels: LevelNames = 2) -> None:
        super().__init__()
        self.level_names, self.num_levels = checked_levels(levels)
        self.num_parameters = self.num_levels

    def forward(self, features: Tensor, event_dim: int) -> dist.TorchDistribution:
        """The distribution p(x|z) of codes."""
        return Levels(log_softmax(features.movedim(-1 - event_dim, -1), -1)).to_event(event_dim)

    def check(self, x: Tensor) -> None:
        """Refuse values that are no codes."""
        check_codes(self.name, x, self.num_levels)

    def start(self, x: Tensor) -> Tensor:
        """The log shares of the codes of data [N, *event_shape]: [K, *event_shape]."""
        return shares_of(x, self.num_levels).log().movedim(-1, 0).to(x.dtype)


def ordinal(levels: LevelNames) -> Config:
    """The configuration of a likelihood of ordered levels: how many, or their names from low to high.

    >>> ordinal(4)
    {'name': 'ordinal', 'levels': 4}
    """
    return _config(OrdinalLikelihood.name, levels)


def nominal(levels: LevelNames) -> Config:
    """The configuration of a likelihood of names without an order: how many, or which.

    >>> nominal(["north", "south"])
    {'name': 'nominal', 'levels': ['north', 'south']}
    """
    return _config(NominalLikelihood.name, levels)


def _config(name: str, levels: LevelNames) -> Config:
    names, count = checked_levels(levels)
    return {"name": name, "levels": list(names) if names else count}


def checked_levels(levels: LevelNames) -> tuple[tuple[str, ...], int]:
    """The names of levels, empty where there are none, and how many they are.

    Raises:
        ModelError: fewer than two, no integer, or a name that is there twice.
    """
    if isinstance(levels, int) and not isinstance(levels, bool):
        names: tuple[str, ...] = ()
        count = levels
    elif isinstance(levels, Sequence) and not isinstance(levels, str) and all(isinstance(n, str) for n in levels):
        names, count = tuple(levels), len(levels)
    else:
        raise ModelError(f"levels must be an integer of at least 2 or a list of names, got {levels!r}")
    if count < 2 or len(set(names)) < len(names):
        raise ModelError(f"levels must be at least 2, each named once, got {levels!r}")
    return names, count


def check_codes(name: str, x: Tensor, count: int) -> None:
    """Raise ``DataError`` unless every value is a code."""
    check_finite(name, x)
    bad = ((x < 0) | (x > count - 1) | (x != x.round())).sum().item()
    if bad:
        raise DataError(
            f"likelihood {name!r} needs codes 0 to {count - 1}, but {bad} of {x.numel()} values are not"
        )


def shares_of(x: Tensor, count: int) -> Tensor:
    """The share of each code among the observed ones of data [N, *event_shape]: [*event_shape, K], none 0."""
    counted = torch.stack([(x == code).double().sum(0) for code in range(count)], -1) + 0.5
    return counted / counted.sum(-1, keepdim=True)


def _cuts(shares: Tensor) -> tuple[Tensor, Tensor]:
    """The first cutpoint [*] and the log distances of one to the next [*, K - 2] that give levels their shares."""
    cuts = shares.double().cumsum(-1)[..., :-1].clamp(1e-9, 1 - 1e-9).logit()
    gaps = cuts.diff(dim=-1).clamp(min=math.exp(-20))
    dtype = torch.get_default_dtype()
    return cuts[..., 0].to(dtype), gaps.log().to(dtype)
