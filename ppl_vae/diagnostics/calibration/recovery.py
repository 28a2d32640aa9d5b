r"""Recovery of the simulated truth: how well each latent is found again, and how honestly.

    recovery       the correlation of the truth with the guide's mean, over simulated data
    z-score        (mean - truth) / sd of the guide; of an exact posterior its mean is 0 and its mean square 1
                   sd of a discrete latent, whose draws may all be equal, is the root mean square over simulations
    contraction    1 - sd^2 / Var p(z): 0 where the data teach nothing, 1 where they settle all
    calibration error   the mean over levels of |coverage - level| of central intervals
    log gamma      log( gamma / gamma_95 ): the least tail probability of the ranks' ECDF over its 5% quantile under
                   uniform ranks; below 0 the band is left

z-score against contraction tells bias, overconfidence and weak data apart (Schad, Betancourt & Vasishth 2021,
https://arxiv.org/abs/1904.12765); gamma is that of Säilynoja, Bürkner & Vehtari 2022
(https://arxiv.org/abs/2103.10522), and the same test as the ECDF band of ``run_calibration``.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from ppl_vae.containers import Data
from ppl_vae.diagnostics.calibration.ranks import rank_of_first
from ppl_vae.diagnostics.calibration.simulated_posteriors import SimulatedPosteriors, as_simulated
from ppl_vae.diagnostics.calibration.uniformity import least_tail, tail_quantile
from ppl_vae.diagnostics.verdict import Level, Verdict, require_finite, require_table
from ppl_vae.errors import DataError, ModelError
from ppl_vae.inference.pair.pair import PairLike
from ppl_vae.randomness import derived_seed
from ppl_vae.renamed import by_keyword, renamed

TIES_STREAM = 64
NUM_LEVELS, BAND_LEVEL = 100, 0.95
# This package's own: how far a root mean square z-score may be from 1, as a factor.
GOOD, BAD = 1.1, 1.5
# So few draws leave the spread of a posterior that is no Gaussian unknown.
LEAST_DRAWS = 20
DESCRIPTIONS = {
    "recovery": "correlation of the truth with the guide's mean over simulations; NaN where the mean never moves",
    "mean_z": "mean z-score, with its error mean_z_stderr",
    "rms_z": "root mean square of the z-score, with its error rms_z_stderr, less what L draws leave unknown of "
    "their spread; 1 of an exact posterior",
    "mean_contraction": "mean over simulations of 1 - posterior variance / prior variance",
    "calibration_error": "mean over levels of |coverage of central intervals - level|",
    "log_gamma": "log of the ECDF statistic over its 5% quantile; below 0 the 95% band is left",
}


@renamed(num_draws="num_samples")
@by_keyword("seed")
def run_recovery(
    pair: PairLike | SimulatedPosteriors,
    x: Data | tuple[int, ...] | None = None,
    num_simulations: int = 1000,
    num_samples: int = 99,
    *,
    seed: int = 0,
) -> xr.Dataset:
    """Compare the simulated latents with the guide's draws.

    Args:
        pair: a VAE or another pair with a generative model, or ``simulate_posteriors`` of one, whose arguments then
            stand in for those below.
        x: data, or their event shape, for shape, dtype and holes of the simulated ones.
        num_simulations: S simulated data.
        num_samples: L draws of the guide for each.
        seed: of simulations and draws.

    Returns:
        Over "quantity", the latent dimensions by name but for those that never move: recovery, mean_z, rms_z,
        mean_contraction, calibration_error, log_gamma. Over ("simulation", "quantity"): truth, mean, z_score,
        contraction. From fewer than 4 draws rms_z is NaN: z-scores then have no mean square.

    Raises:
        ModelError: the pair is refused, or its model cannot be drawn from; the site is named.
    """
    simulated = as_simulated(pair, x, num_simulations, num_samples, seed)
    values = simulated.dimensions.double()
    # What is one number in every simulation, as the zeros of a triangular matrix are, is no latent dimension.
    moves = (values != values[0, 0]).flatten(0, 1).any(0)
    if not moves.any():
        raise ModelError("no latent dimension moves: all draws of the model and of the guide are the same numbers")
    values = values[..., moves]
    names = [name for name, kept in zip(simulated.dimension_names, moves.tolist(), strict=True) if kept]
    truth, draws = values[0], values[1:]
    mean, variance = draws.mean(0), draws.var(0)
    discrete = _is_discrete(values)
    # Of continuous values those that are all equal, as of a point, leave nothing to recover.
    told = simulated.dimensions_kept[:, moves].to(values.device) & (discrete | ~(values == values[0]).all(0))
    truth, mean, variance = (torch.where(told, each, torch.nan) for each in (truth, mean, variance))
    # A mean over L draws is off by sd / sqrt(L), which widens z by the root of 1 + 1 / L.
    spread = variance * (1 + 1 / len(draws))
    z = (mean - truth) / torch.where(discrete, spread.nanmean(0), spread).sqrt()
    contraction = 1 - variance / _variance(truth)
    columns = {"truth": truth, "mean": mean, "z_score": z, "contraction": contraction}
    table: dict[str, object] = {
        name: (("simulation", "quantity"), value.cpu().numpy()) for name, value in columns.items()
    }
    squares = _squares(z, spread, discrete, len(draws))
    rows = _of_each(truth, mean, z, contraction, squares) | _of_ranks(values, simulated.seed)
    for name, numbers in rows.items():
        table[name] = ("quantity", numbers, {"description": DESCRIPTIONS.get(name, f"error of {name}")})
    attributes = {"num_simulations": simulated.num_simulations, "num_draws": simulated.num_draws, "seed": seed}
    return xr.Dataset(table, {"quantity": names}, attributes)


def _is_discrete(values: Tensor) -> Tensor:
    """Tell of each latent dimension of values [1 + L, S, d] whether all of them are whole numbers."""
    return (values == values.round()).flatten(0, 1).all(0)


def _squares(z: Tensor, spread: Tensor, discrete: Tensor, num_draws: int) -> tuple[Tensor, Tensor]:
    """Mean squares [d] of z-scores [S, d], 1 of an exact posterior whatever the number of draws; their errors."""
    # Divided by the spread of L draws, z is Student's t with L - 1 degrees of freedom.
    student = (num_draws - 3) / (num_draws - 1) if num_draws > 3 else math.nan
    squares = z.square() * torch.where(discrete, 1.0 if num_draws > 3 else math.nan, student)
    mean = squares.nanmean(0)
    # Divided by a mean over simulations, it is a ratio of two means, and the error that of a ratio.
    centred = torch.where(discrete, squares - mean * spread / spread.nanmean(0), squares)
    return mean, _stderr(centred)


def _of_each(
    truth: Tensor, mean: Tensor, z: Tensor, contraction: Tensor, squares: tuple[Tensor, Tensor]
) -> dict[str, NDArray[np.float64]]:
    centred = truth - truth.nanmean(0), mean - mean.nanmean(0)
    product = (centred[0] * centred[1]).nanmean(0)
    correlation = product / (centred[0].square().nanmean(0) * centred[1].square().nanmean(0)).sqrt()
    rms = squares[0].sqrt()
    rows = {
        "recovery": correlation,
        "mean_z": z.nanmean(0),
        "mean_z_stderr": _stderr(z),
        "rms_z": rms,
        "rms_z_stderr": squares[1] / (2 * rms),
        "mean_contraction": contraction.nanmean(0),
    }
    return {name: row.cpu().numpy() for name, row in rows.items()}


def _variance(values: Tensor) -> Tensor:
    """The unbiased variance over the first dimension, of what is not NaN."""
    return (values - values.nanmean(0)).square().nansum(0) / ((~values.isnan()).sum(0) - 1)


def _stderr(values: Tensor) -> Tensor:
    """The standard error of the mean over the first dimension, of what is not NaN."""
    return (_variance(values) / (~values.isnan()).sum(0)).sqrt()


def _of_ranks(values: Tensor, seed: int) -> dict[str, NDArray[np.float64]]:
    """The calibration error and log gamma of every latent dimension, from values [1 + L, S, d]."""
    generator = torch.Generator().manual_seed(derived_seed(seed, TIES_STREAM))
    num_ranks, count = len(values), values.shape[1]
    levels = np.arange(1, NUM_LEVELS) / NUM_LEVELS
    errors, gammas = [], []
    limit = tail_quantile(count, num_ranks, 1 - BAND_LEVEL)
    for column in values.cpu().unbind(-1):
        rank, pit = rank_of_first(column, generator)
        credibility = np.abs(2 * pit.double().numpy() - 1)
        coverage = (credibility[:, None] <= levels).mean(0)
        errors.append(np.abs(coverage - levels).mean())
        uniform = (rank.double().numpy() + 0.5) / num_ranks
        gammas.append(math.log(max(least_tail(uniform, num_ranks), 1e-300) / limit))
    return {"calibration_error": np.array(errors), "log_gamma": np.array(gammas)}


def check_recovery(numbers: xr.Dataset) -> Verdict:
    """Judge by the z-scores whether the guide is as sure as it may be.

    Args:
        numbers: of ``run_recovery``.

    Returns:
        Of the latent dimension whose root mean square z-score is farthest from 1, as a factor: "good" up to 1.1,
        "bad" above 1.5 (this package's own); "unknown" where two standard errors reach across 1.1, or where it is
        not good and there were fewer than 20 draws: what they leave unknown is then known of Gaussians alone.

    Raises:
        DataError: the table is another, or a number is NaN or infinite.
    """
    require_table("table", numbers, "run_recovery", ("rms_z", "rms_z_stderr", "mean_z"), ("quantity",))
    num_draws = numbers.attrs.get("num_draws", LEAST_DRAWS)
    if num_draws < 4:
        raise DataError(f"table: expected z-scores of at least 4 draws, found {num_draws}")
    for name in ("rms_z", "rms_z_stderr"):
        require_finite("table", name, numbers[name])
    rms, error = numbers["rms_z"].to_numpy(), numbers["rms_z_stderr"].to_numpy()
    factor = np.maximum(rms, 1 / np.maximum(rms, 1e-12))
    worst = int(factor.argmax())
    relative = 2 * error[worst] / rms[worst]
    low, high = factor[worst] / (1 + relative), factor[worst] * (1 + relative)
    level: Level = "bad" if low > BAD else "good" if high <= GOOD else "unknown" if low <= GOOD else "doubtful"
    few = num_draws < LEAST_DRAWS and level != "good"
    level = "unknown" if few else level
    sure = "too sure" if rms[worst] > 1 else "less sure than it might be"
    name = str(numbers["quantity"].to_numpy()[worst])
    words = (
        f"Worst of {len(rms)} latents is {name}: z-scores have a root mean square of {rms[worst]:.2f}, "
        f"{'as of an exact posterior' if level == 'good' else sure}; its mean is recovered with a correlation of "
        f"{float(numbers['recovery'][worst]):.2f} and contracts by {float(numbers['mean_contraction'][worst]):.0%}."
    )
    advice = {
        "good": "",
        "unknown": "Take more draws for each simulation."
        if few
        else "Take more simulations: the error is too wide for a verdict.",
    }.get(level, "A wider family, a longer training of the encoder, or pv.infer, which repairs datum by datum.")
    limits = f"a factor of {GOOD} and {BAD} from 1 (this package's own)"
    return Verdict("Recovery", level, float(rms[worst]), float(error[worst]), "", limits, words, advice)
