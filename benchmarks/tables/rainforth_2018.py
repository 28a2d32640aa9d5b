"""Rainforth et al. 2018: Table 1, bounds from M x K = 64 weights; and the signal-to-noise ratio over K.

https://arxiv.org/abs/1802.04537. Theorem 1: over K, with one outer sample, the ratio of the model's gradient grows
as K^(1/2) and that of the guide's falls as K^(-1/2). The toy of their section 3: p(z) = N(mu, I), p(x|z) = N(z, I),
q(z|x) = N(A x + b, 2/3 I) in 20 dimensions; mu and b are moved from their optimum by Gaussian noise of scale 0.01.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyro
import torch
from pyro import distributions as dist
from torch import Tensor, nn

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.data.dataset import Dataset, Split
from tables.scores import NLL, active_units, bound, negative_log_likelihood
from tables.table import Comparison, Row, Scores, Table, one_layer, train_by_stages

BOUND, GAP, START = "IWAE-64 bound", "bound minus log p(x)", "VAE, one draw"
OBJECTIVES = {
    "IWAE": functools.partial(inf.ImportanceWeighted, num_particles=64),
    "PIWAE(8, 8)": functools.partial(inf.PIWAE, num_outer=8, num_particles=8),
    "MIWAE(8, 8)": functools.partial(inf.MIWAE, num_outer=8, num_particles=8),
    "CIWAE(0.5)": functools.partial(inf.CIWAE, mix=0.5, num_particles=64),
    "VAE": functools.partial(inf.MonteCarloKL, num_particles=64),
}
# The bound, minus log p(x), and their difference.
PUBLISHED = {
    "IWAE": (-86.11, 84.52, -1.59), "PIWAE(8, 8)": (-85.74, 84.46, -1.28), "MIWAE(8, 8)": (-85.69, 84.97, -0.72),
    "CIWAE(0.5)": (-86.08, 85.24, -0.84), "VAE": (-86.69, 86.21, -0.47),
}  # fmt: skip
DIMENSIONS, MOVED, NUM_DATA, REPEATS, NUMBERS = 20, 0.01, 256, 1500, (1, 4, 16, 64)


class Prior(nn.Module):
    """The toy's model; its parameter is mu [D]."""

    def __init__(self, mean: Tensor) -> None:
        super().__init__()
        self.mean = nn.Parameter(mean)

    def forward(self, x: Tensor) -> None:
        """Run the program on x [N, D]."""
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(self.mean, 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)


class Affine(nn.Module):
    """The toy's guide, with A = I/2; its parameter is b [D]."""

    def __init__(self, shift: Tensor) -> None:
        super().__init__()
        self.shift = nn.Parameter(shift)

    def forward(self, x: Tensor) -> None:
        """Run the program on x [N, D]."""
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x / 2 + self.shift, (2 / 3) ** 0.5).to_event(1))


def signal_to_noise(pairs: Mapping[str, Any], ds: Dataset, seed: int) -> Mapping[str, Any]:
    """The ratio of both gradients over K, and the slopes of their logarithms."""
    generator = torch.Generator().manual_seed(seed)
    centre, noise, first, second = (
        torch.randn(size, DIMENSIONS, generator=generator) for size in (1, NUM_DATA, 1, 1)
    )
    x = centre + 2**0.5 * noise
    optimum = x.mean(0)
    model, guide = Prior(optimum + MOVED * first[0]), Affine(optimum / 2 + MOVED * second[0])
    groups = {"model": [model.mean], "guide": [guide.shift]}
    estimators = [inf.ImportanceWeighted(num_particles=k) for k in NUMBERS]
    found = {
        group: np.array([
            pv.compare_estimators(
                (model, guide), x, [estimator], num_repeats=REPEATS, parameters=groups, seed=seed, progress=False
            )["snr"].sel(group=group).item()
            for estimator in estimators
        ])
        for group in groups
    }  # fmt: skip
    slopes = {group: float(np.polyfit(np.log(NUMBERS), np.log(ratio), 1)[0]) for group, ratio in found.items()}
    errors = {group: slope_error(ratio) for group, ratio in found.items()}
    return {
        "signal-to-noise ratio over K": {
            group: {
                **{f"K={k}": round(float(r), 4) for k, r in zip(NUMBERS, found[group], strict=True)},
                "slope": round(slopes[group], 3),
                "slope_stderr": round(errors[group], 3),
                "theorem": {"model": 0.5, "guide": -0.5}[group],
            }
            for group in groups
        },
        "of": f"{DIMENSIONS} dimensions, {NUM_DATA} data, {REPEATS} repeats, moved by noise of scale {MOVED:g}",
    }


def slope_error(ratio: np.ndarray) -> float:
    """The standard error of the slope: of every ratio it is the root of (1 + ratio^2 / 2) / R."""
    error = np.sqrt((1 + ratio**2 / 2) / REPEATS) / ratio
    centred = np.log(NUMBERS) - np.log(NUMBERS).mean()
    return float(np.sqrt(np.square(centred * error).sum()) / np.square(centred).sum())


def score(pair: Any, test: Split, seed: int) -> Scores:
    """The three columns of the table, and active units."""
    nll, of_64 = negative_log_likelihood(pair, test, seed), bound(pair, test, seed, 64)
    return Scores({BOUND: of_64, NLL: nll, GAP: of_64 + nll}, {"active units": active_units(pair, test, seed)})


def row(label: str) -> Row:
    """One objective with Burda's network and schedule."""
    train = functools.partial(train_by_stages, one_layer, OBJECTIVES[label])
    return Row(label, train, {"dynamic": dict(zip((BOUND, NLL, GAP), PUBLISHED[label], strict=True))}, START)


RAINFORTH_2018 = Table(
    name="rainforth-2018",
    paper="Rainforth et al. 2018, Table 1 and Theorem 1",
    passes=3280,
    rows=tuple(row(label) for label in OBJECTIVES),
    score=score,
    comparisons=(
        Comparison("IWAE over VAE in log p(x)", NLL, "VAE", "IWAE"),
        Comparison("PIWAE over IWAE in the bound", BOUND, "PIWAE(8, 8)", "IWAE"),
        Comparison("MIWAE over IWAE in the bound", BOUND, "MIWAE(8, 8)", "IWAE"),
        Comparison("VAE's guide fits its model better than IWAE's", GAP, "VAE", "IWAE"),
        Comparison("MIWAE's guide fits its model better than IWAE's", GAP, "MIWAE(8, 8)", "IWAE"),
    ),
    differs=("Burda's network, batches and stages are taken for theirs", "the ratio is over K alone, M = 1"),
    beside=signal_to_noise,
    starts={START: functools.partial(train_by_stages, one_layer, inf.MonteCarloKL)},
)
