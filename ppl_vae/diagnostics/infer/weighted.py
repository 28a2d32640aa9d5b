r"""Draws with importance weights, judged datum by datum: may they stand for the posterior?

k-hat and smoothed weights by Vehtari, Simpson, Gelman, Yao & Gabry 2024 (https://arxiv.org/abs/1507.02646). With
weights of chi-squared c^2, the mean of any function under the proposal is off by at most c of its standard
deviation (Cauchy-Schwarz), and ess / S = 1 / (1 + c^2) says what c is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ppl_vae.diagnostics.gaps.local_fit import LocalGuide
from ppl_vae.diagnostics.importance.importance import ROUNDING
from ppl_vae.diagnostics.infer.part import Part
from ppl_vae.inference.evidence.importance import weight_blocks
from ppl_vae.inference.evidence.pareto import smooth
from ppl_vae.inference.evidence.weight_chunks import pass_size


@dataclass(frozen=True)
class Weighted:
    """S draws of n data with their weights.

    Attributes:
        values: by latent site [S, n, *event].
        weight: smoothed, adding up to 1 over S [S, n], float64.
        khat: of every datum [n]; -inf where all weights are equal.
        ess: effective sample size of the weights [n].
        log_weight: the logs of the weights before they were smoothed [S, n], nats.
        moved: whether the draws are no longer those of the guide (``matched``) [n].
    """

    values: Mapping[str, Tensor]
    weight: Tensor
    khat: Tensor
    ess: Tensor
    log_weight: Tensor
    moved: Tensor

    def of(self, which: Tensor) -> Weighted:
        """Take some of the data."""
        values = {name: value[:, which] for name, value in self.values.items()}
        return Weighted(
            values,
            self.weight[:, which],
            self.khat[which],
            self.ess[which],
            self.log_weight[:, which],
            self.moved[which],
        )

    def with_data(self, which: Tensor, other: Weighted) -> Weighted:
        """Replace the draws of some of the data, whose indices are given, by those of ``other``."""

        def put(mine: Tensor, theirs: Tensor, dim: int) -> Tensor:
            return mine.index_copy(dim, which.to(mine.device), theirs.to(mine.dtype))

        return Weighted(
            {name: put(value, other.values[name], 1) for name, value in self.values.items()},
            put(self.weight, other.weight, 1),
            put(self.khat, other.khat, 0),
            put(self.ess, other.ess, 0),
            put(self.log_weight, other.log_weight, 1),
            put(self.moved, other.moved, 0),
        )

    def better_of(self, other: Weighted, allowed: Tensor | None = None) -> Weighted:
        """Take for every datum the proposal of the larger effective sample size; both have as many draws.

        Args:
            other: the second proposal.
            allowed: whether a datum may have it [n]; None allows all.
        """
        better = other.ess > self.ess
        if allowed is not None:
            better = better & allowed

        def choose(mine: Tensor, theirs: Tensor, lead: int) -> Tensor:
            return torch.where(better.reshape(*[1] * lead, -1, *[1] * (mine.dim() - lead - 1)), theirs, mine)

        values = {name: choose(value, other.values[name], 1) for name, value in self.values.items()}
        return Weighted(
            values,
            choose(self.weight, other.weight, 1),
            choose(self.khat, other.khat, 0),
            choose(self.ess, other.ess, 0),
            choose(self.log_weight, other.log_weight, 1),
            choose(self.moved, other.moved, 0),
        )

    def plain(self, num_draws: int) -> dict[str, Tensor]:
        """The first draws as they are [num_draws, n, *event] by site."""
        return {name: value[:num_draws] for name, value in self.values.items()}

    def resampled(self, num_draws: int) -> dict[str, Tensor]:
        """Draws chosen by their weights [num_draws, n, *event] by site, systematically and in random order."""
        index = systematic(self.weight, num_draws)
        return {
            name: value.take_along_dim(index.reshape(*index.shape, *[1] * (value.dim() - 2)), 0)
            for name, value in self.values.items()
        }


def systematic(weight: Tensor, num_draws: int) -> Tensor:
    """Choose indices by systematic resampling (Kitagawa 1996) from normalised weights [S, n]: [num_draws, n]."""
    count, num_data = weight.shape
    offset = torch.rand(num_data, 1, dtype=weight.dtype, device=weight.device)
    ladder = (torch.arange(num_draws, dtype=weight.dtype, device=weight.device) + offset) / num_draws
    index = torch.searchsorted(weight.mT.cumsum(1), ladder).clamp_max(count - 1)
    return index.take_along_dim(torch.rand(index.shape, device=weight.device).argsort(1), 1).mT


def weighed(values: Mapping[str, Tensor], log_weight: Tensor, spread: Tensor | None = None) -> Weighted:
    """Smooth weights and judge them.

    Args:
        values: by latent site [S, n, *event].
        log_weight: [S, n], nats.
        spread: the standard deviation of log w that rounding alone makes [n].
    """
    smoothed = smooth(log_weight)
    weight, khat = smoothed.log_weight.exp(), smoothed.khat
    ess = 1 / weight.square().sum(0)
    if spread is not None:
        exact = log_weight.double().std(0) <= spread
        khat = torch.where(exact, -torch.inf, khat)
        weight = torch.where(exact, 1 / len(weight), weight)
        ess = torch.where(exact, float(len(weight)), ess)
    return Weighted(values, weight, khat, ess, log_weight.double(), torch.zeros_like(khat, dtype=torch.bool))


def from_guide(part: Part, num_samples: int, seed: int, memory_limit: int) -> Weighted:
    """Weigh draws of the guide.

    Raises:
        ModelError: the pair is refused, or a datum has no weight above zero.
    """
    x, labels = part.x, part.data[1:]
    parts = []
    for block in weight_blocks(
        part.model, part.guide, x, num_samples, seed, memory_limit, keep_values=True, labels=labels
    ):
        parts.append(weighed(block.values, block.log_weight, ROUNDING * block.eps * block.magnitude))
    return _joined(parts)


def from_local(local: LocalGuide, num_samples: int, memory_limit: int) -> Weighted:
    """Weigh draws of guides that were fitted for every datum."""
    data, draws = pass_size(local.x, num_samples, memory_limit)
    draws = max(1, draws * data // len(local.x))
    values: list[dict[str, Tensor]] = []
    log_weight: list[Tensor] = []
    for first in range(0, num_samples, draws):
        drawn, weights = local.weighted_draws(min(draws, num_samples - first))
        values.append({name: value.detach() for name, value in drawn.items()})
        log_weight.append(weights.detach().double())
    joined = {name: torch.cat([each[name] for each in values]) for name in values[0]}
    weights = torch.cat(log_weight)
    # A weight that overflowed stands for a draw at the edge of what numbers can hold.
    return weighed(joined, weights.nan_to_num(nan=-torch.inf, posinf=-torch.inf))


def _joined(parts: list[Weighted]) -> Weighted:
    values = {name: torch.cat([part.values[name] for part in parts], 1) for name in parts[0].values}
    return Weighted(
        values,
        torch.cat([part.weight for part in parts], 1),
        torch.cat([part.khat for part in parts]),
        torch.cat([part.ess for part in parts]),
        torch.cat([part.log_weight for part in parts], 1),
        torch.cat([part.moved for part in parts]),
    )
