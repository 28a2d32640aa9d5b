"""Covariates of several kinds as one vector: what the networks of a conditional VAE read beside x.

A category of C classes is its one-hot vector, a number or a vector of numbers stands standardised by the training
data's own mean and standard deviation, which ``start`` takes and the model keeps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ppl_vae.errors import DataError, ModelError
from ppl_vae.models.labelled.category import indicator

# How a covariate is told: so many classes, one number, or a vector of so many numbers.
Kind = int | Literal["continuous"] | Mapping[str, int]


class CovariateCode(nn.Module):
    """Covariates (c1, ..., cm) -> [N, size].

    Args:
        kinds: by name, in the order of the programs' arguments: C for a category 0, ..., C - 1 [N]; "continuous"
            for a number [N]; {"continuous": D} for a vector [N, D].

    Raises:
        ModelError: there is none, or a kind is none of these; it is named.
    """

    centre: Tensor
    spread: Tensor
    is_started: Tensor

    def __init__(self, kinds: Mapping[str, Kind]) -> None:
        super().__init__()
        if not isinstance(kinds, Mapping) or not kinds:
            raise ModelError(f"covariates: expected kinds by name, such as {{'age': 'continuous'}}, got {kinds!r}")
        self.kinds = {name: _checked(name, kind) for name, kind in kinds.items()}
        self.names = tuple(self.kinds)
        numbers = sum(size for categorical, size in self.kinds.values() if not categorical)
        self.size = sum(size for _, size in self.kinds.values())
        self.register_buffer("centre", torch.zeros(numbers))
        self.register_buffer("spread", torch.ones(numbers))
        self.register_buffer("is_started", torch.zeros((), dtype=torch.bool))

    @property
    def config(self) -> dict[str, Any]:
        """The kinds as plain values, for a configuration."""
        return {
            name: size if categorical else "continuous" if size == 1 else {"continuous": size}
            for name, (categorical, size) in self.kinds.items()
        }

    def forward(self, *covariates: Tensor) -> Tensor:
        """Join covariates, each [N, ...], in one vector: [N, size].

        Raises:
            ModelError: there are more or fewer than named, or one has another shape or type; it is named.
        """
        self.require_shapes(covariates)
        parts, first = [], 0
        for c, (categorical, size) in zip(covariates, self.kinds.values(), strict=True):
            if categorical:
                parts.append(indicator(c, size, self.centre))
            else:
                own = slice(first, first + size)
                parts.append((c.reshape(len(c), size).to(self.centre) - self.centre[own]) / self.spread[own])
                first += size
        return torch.cat(parts, -1)

    def require_shapes(self, covariates: tuple[Tensor, ...]) -> None:
        """Refuse covariates that do not fit by number, shape or type; no value is looked at.

        Raises:
            ModelError: it is named.
        """
        if len(covariates) != len(self.kinds):
            raise ModelError(
                f"site 'x': p(x|c) needs the covariates {', '.join(map(repr, self.names))} beside x, found "
                f"{len(covariates)} of them"
            )
        for c, (name, (categorical, size)) in zip(covariates, self.kinds.items(), strict=True):
            if categorical and (c.dim() != 1 or c.is_floating_point() or c.dtype == torch.bool):
                raise ModelError(
                    f"covariate {name!r}: expected classes, integers [N], got {c.dtype} {list(c.shape)}"
                )
            fits = tuple(c.shape[1:]) == (size,) or (size == 1 and c.dim() == 1)
            if not categorical and not fits:
                shape = "[N]" if size == 1 else f"[N, {size}]"
                raise ModelError(f"covariate {name!r}: expected numbers {shape}, got {list(c.shape)}")

    def check(self, *covariates: Tensor) -> None:
        """Judge the values once, before work begins.

        Raises:
            ModelError: a covariate has another shape or type.
            DataError: a class is none of 0, ..., C - 1; it is named.
        """
        self.require_shapes(covariates)
        for c, (name, (categorical, size)) in zip(covariates, self.kinds.items(), strict=True):
            if categorical and len(c) and not 0 <= int(c.min()) <= int(c.max()) < size:
                raise DataError(
                    f"covariate {name!r}: expected classes 0, ..., {size - 1}, found values from {int(c.min())} to "
                    f"{int(c.max())}"
                )

    @torch.no_grad()
    def start(self, *covariates: Tensor) -> None:
        """Take mean and standard deviation of the numbers among training covariates, the first time only."""
        if bool(self.is_started):
            return
        numbers = [
            c.reshape(len(c), size).double()
            for c, (categorical, size) in zip(covariates, self.kinds.values(), strict=True)
            if not categorical
        ]
        if numbers:
            joined = torch.cat(numbers, -1)
            spread = joined.std(0, correction=0)
            self.centre.copy_(joined.mean(0))
            self.spread.copy_(torch.where(spread > 0, spread, 1.0))
        self.is_started.fill_(True)


def _checked(name: str, kind: object) -> tuple[bool, int]:
    """Tell whether a covariate is a category, and how many numbers it takes."""
    if kind == "continuous":
        return False, 1
    if isinstance(kind, int) and not isinstance(kind, bool) and kind > 1:
        return True, kind
    if isinstance(kind, Mapping) and set(kind) == {"continuous"}:
        size = kind["continuous"]
        if isinstance(size, int) and not isinstance(size, bool) and size > 0:
            return False, size
    raise ModelError(
        f"covariate {name!r}: expected 'continuous', {{'continuous': D}} for a vector, or the classes' number of a "
        f"category, 2 or more; got {kind!r}"
    )
