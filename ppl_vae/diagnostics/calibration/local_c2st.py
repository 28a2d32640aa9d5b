r"""Calibration here, at a given datum: does a classifier tell the guide from the posterior at this x?

Of simulated (z_0, x) and a draw z_1 ~ q(z|x), f(z, x) is a classifier of which is which, between -1 and 1. Where
q(z|x) is the posterior nothing tells them apart and f = 0, so that at a datum x

    t(x) = E_{q(z|x)} f(z, x)^2

is 0 if, and with a classifier without error only if, q(z|x) is the posterior at this x (local classifier two-sample
test, L-C2ST-0: Linhart, Gramfort & Rodrigues 2023, https://arxiv.org/abs/2306.03580, in whose terms f = 2 d - 1).
Simulations of the model are all that is needed. Under the hypothesis the two of a pair may change places: as many
classifiers are fitted to pairs that did at random, and the share of their t(x) that reach this one is a p-value.

The classifier is a ridge regression of the label, which has one solution, so that those of all pairs that changed
places cost one factorisation; a network finds less, since its own noise is in t. It sees z less the mean of other
draws of the guide at this x, in units of their standard deviation, the products of these, and each of them times
what is known of x: the first principal components of x, of that mean and of that standard deviation. Data near in x
are judged together: a fault far away is found here with less power, but it may be.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
import xarray as xr
from torch import Tensor

from ppl_vae.checks import integer
from ppl_vae.containers import Data
from ppl_vae.diagnostics.calibration.simulated_posteriors import (
    SimulatedPosteriors,
    side_by_side,
    simulate_posteriors,
)
from ppl_vae.diagnostics.given import admitted, named, require_own_posterior
from ppl_vae.diagnostics.predictive.typicality import discoveries
from ppl_vae.diagnostics.verdict import Level, Verdict, require_numbers, require_table
from ppl_vae.inference.pair.conditioned import Conditioned
from ppl_vae.inference.pair.evaluation import data_per_chunk, evaluating
from ppl_vae.inference.pair.pair import PairLike
from ppl_vae.inference.pair.runs import run_terms
from ppl_vae.randomness import derived_seed, seeded

STREAM = 65
# Draws of the guide: at a simulated datum, for their mean and standard deviation, and at a datum asked about.
OWN_DRAWS, ASKED_DRAWS = 50, 150
COMPONENTS = 8
# Ridge penalties in units of a feature's variance: of the residuals alone, and of those times what is known of x.
SHRINK_ALONE, SHRINK_WITH_X = 0.05, 1.0
FALSE_DISCOVERIES = 0.1
# The planted faults by which the power is known, in standard deviations of the posterior.
NARROW, SHIFTED = 0.8, 0.5
PLANTED, PLANTED_NULLS, LEVEL = 40, 59, 0.05
LEAST_POWER = 0.5
SOURCE = "L-C2ST (Linhart et al. 2023) under false-discovery control (Benjamini & Hochberg 1995)"


@dataclass(frozen=True)
class _Features:
    """The facts on draws and on their data.

    Attributes:
        residual: of each draw, in standard deviations of other draws of the same datum [K, N, d].
        context: of each datum, components of mean 0 and variance 1 [N, COMPONENTS].
    """

    residual: Tensor
    context: Tensor


def run_local_c2st(
    pair: PairLike, x: Data, num_simulations: int = 1000, num_nulls: int = 199, *, seed: int = 0
) -> xr.Dataset:
    """Test at every datum whether its guide is the posterior, by a classifier that simulations alone have taught.

    Args:
        pair: an object with ``.model`` and ``.guide``, or a tuple of the two programs. The model must be one that
            can be drawn from.
        x: the data that are asked about [N, *event_shape], best a few; with covariates a tuple or a dict.
        num_simulations: S, of which the classifiers learn.
        num_nulls: classifiers of pairs that changed places; the smallest p-value is 1 / (1 + num_nulls).
        seed: of simulations, draws and classifiers; torch's global generators are left as they were.

    Returns:
        A Dataset with ``statistic`` and ``p_value`` by datum, ``null_statistic`` [null, datum], and ``found``: the
        data where the guide is not the posterior, with the share of false ones among them held at 0.1. The
        attributes ``power_narrow`` and ``power_shifted`` say how often such a classifier, at this S and dimension,
        finds a guide with 0.8 of the posterior's standard deviation, or half of one beside it, in a linear-Gaussian
        model.

    Raises:
        ModelError: the pair is refused, its model cannot be drawn from, or it has global sites.
        DataError: x is empty, or holds values that the model could never draw.

    >>> import ppl_vae as pv
    >>> lg = pv.LinearGaussianVAE(torch.ones(3, 1), torch.zeros(3), 1.0, guide="exact")
    >>> numbers = run_local_c2st(lg, torch.zeros(2, 3), num_simulations=100, num_nulls=19)
    >>> numbers["found"].values.tolist()
    [False, False]
    """
    size = integer("num_simulations", num_simulations, least=20)
    num_nulls = integer("num_nulls", num_nulls, least=19)
    given = admitted(pair, x)
    require_own_posterior(given, derived_seed(seed, STREAM, 0), "run_local_c2st")
    simulated = simulate_posteriors(pair, x, size, OWN_DRAWS, seed=derived_seed(seed, STREAM, 1))
    asked = _drawn(given, derived_seed(seed, STREAM, 2))
    learned, queried = _features(simulated, given.x.flatten(1).float().cpu(), asked)
    with seeded(derived_seed(seed, STREAM, 3)):
        statistic = _statistics(learned, queried, num_nulls)
    power = _power(size, learned.residual.shape[-1])
    p_value = _p_values(statistic).numpy()
    table = xr.Dataset(
        {
            "statistic": ("datum", statistic[0].numpy()),
            "p_value": ("datum", p_value),
            "null_statistic": (("null", "datum"), statistic[1:].numpy()),
            "found": ("datum", discoveries(p_value, FALSE_DISCOVERIES)),
        },
        attrs={"num_simulations": size, "num_nulls": num_nulls, "seed": seed, **power},
    )
    return named(table, given.labels)


def check_local_c2st(numbers: xr.Dataset) -> Verdict:
    """Judge at how many data the guide was found not to be the posterior.

    Where none was found, but a guide with 0.8 of the posterior's standard deviation would not be found more often
    than every second time either, the level is "unknown".

    Raises:
        DataError: the numbers are none of ``run_local_c2st``, or some are NaN or infinite.
    """
    require_table("local C2ST", numbers, "run_local_c2st", ("statistic", "p_value", "found"), ("datum", "null"))
    require_numbers("local C2ST", numbers)
    found, count = int(numbers["found"].sum()), numbers.sizes["datum"]
    power = {name: float(numbers.attrs[f"power_{name}"]) for name in ("narrow", "shifted")}
    sized = f"{numbers.attrs['num_simulations']} simulations"
    strength = (
        f"With {sized} a guide of {NARROW:g} of the posterior's standard deviation is found in "
        f"{power['narrow']:.0%} of linear-Gaussian models, one half a standard deviation beside it in "
        f"{power['shifted']:.0%}."
    )
    level: Level = "bad" if found else "good" if power["narrow"] >= LEAST_POWER else "unknown"
    advice = ""
    if found:
        advice = "Correct these data by importance weights, or draw them by pv.infer."
    elif level == "unknown":
        advice = "Simulate more data."
    return Verdict(
        diagnostic="Local C2ST",
        level=level,
        value=found,
        unit=f"of {count} data",
        threshold=f"none found, at {FALSE_DISCOVERIES:g} false discoveries: {SOURCE}",
        words=f"At {found} of {count} data draws of the guide are told from the posterior's. {strength}",
        advice=advice,
    )


def _drawn(given: Conditioned, seed: int) -> Tensor:
    """Draws of the guide at the data, all latents side by side: [K, N, d]."""
    parts = []
    for number, rows in enumerate(given.split(data_per_chunk(given.x, ASKED_DRAWS))):
        own = derived_seed(seed, number)
        with torch.no_grad(), evaluating(*rows.programs, seed=own, device=rows.x.device):
            terms = run_terms(*rows.programs, rows.batch, {}, ASKED_DRAWS)
        parts.append(side_by_side(terms.sites[name].value.cpu() for name in terms.model_order))
    return torch.cat(parts, 1).float()


def _features(simulated: SimulatedPosteriors, x: Tensor, asked: Tensor) -> tuple[_Features, _Features]:
    """Make the features of two draws of each simulated datum, and of the data asked about."""
    values, third = simulated.dimensions.float(), len(asked) // 3
    learned, of_learned = _of_draws(values[:2], values[2:])
    queried, of_queried = _of_draws(asked[third:], asked[:third])
    known = [(simulated.x.flatten(1).float(), x), *zip(of_learned, of_queried, strict=True)]
    ours, theirs = zip(*(_components(*each) for each in known), strict=True)
    context, at = _components(torch.cat(ours, 1), torch.cat(theirs, 1))
    return _Features(learned, context), _Features(queried, at)


def _of_draws(values: Tensor, others: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Draws by mean and standard deviation of others of the same datum, and these two."""
    mean, scale = others.mean(0), others.std(0)
    scale = torch.where(scale > 0, scale, 1.0)
    return (values - mean) / scale, (mean, scale.log())


def _components(learned: Tensor, asked: Tensor) -> tuple[Tensor, Tensor]:
    """The first principal components of [S, D], of mean 0 and variance 1, and the same of others [N, D].

    Missing values are means. Components that there are not are 0.
    """
    mean = learned.nanmean(0)
    centred, others = ((values - mean).nan_to_num(0.0) for values in (learned, asked))
    *_, size, directions = torch.linalg.svd(centred, full_matrices=False)
    size, directions = size[:COMPONENTS] / len(learned) ** 0.5, directions[:COMPONENTS].mT
    size = torch.where(size > 1e-6 * size.amax(), size, torch.inf)
    missing = COMPONENTS - len(size)
    scores = (torch.nn.functional.pad(values @ directions / size, (0, missing)) for values in (centred, others))
    first, second = scores
    return first, second


def _statistics(learned: _Features, queried: _Features, num_nulls: int) -> Tensor:
    """t(x) of the classifier, and of those of pairs that changed places at random: [1 + R, N]."""
    truth, drawn = (_seen(residual, learned.context) for residual in learned.residual)
    asked = _seen(queried.residual, queried.context)
    return _mean_squares(truth - drawn, asked, num_nulls)


def _seen(residual: Tensor, context: Tensor) -> Tensor:
    """Make the classifier's view of draws [..., d] with what is known of x [..., c]: [..., F]."""
    rows, columns = torch.triu_indices(residual.shape[-1], residual.shape[-1])
    products = residual[..., rows] * residual[..., columns] - (rows == columns).to(residual)
    alone = _bounded(torch.cat([residual, products], -1))
    context = context.expand(*alone.shape[:-1], context.shape[-1])
    return torch.cat([alone, *(alone * part for part in context.split(1, -1))], -1)


def _bounded(values: Tensor) -> Tensor:
    """Large numbers by their logarithm, so that one draw far outside does not rule a regression."""
    return values.sign() * values.abs().log1p()


def _mean_squares(differences: Tensor, asked: Tensor, num_nulls: int) -> Tensor:
    """The mean square, at draws [K, N, F], of the fits to pairs [S, F] and to changed ones: [1 + R, N]."""
    size, dim = differences.shape
    scale = differences.square().mean(0).sqrt()
    scale = torch.where(scale > 0, scale, 1.0)
    num_alone = dim // (1 + COMPONENTS)
    shrunk = torch.full((dim,), SHRINK_WITH_X**-0.5)
    shrunk[:num_alone] = SHRINK_ALONE**-0.5
    design, asked = differences / scale * shrunk / size**0.5, asked / scale * shrunk
    label = (torch.rand(size, 1 + num_nulls) < 0.5).to(design) * 2 - 1
    label[:, 0] = 1
    # In the space of pairs or of features, whichever is smaller.
    if size < dim:
        weights = design.mT @ torch.linalg.solve(design @ design.mT + torch.eye(size), label)
    else:
        weights = torch.linalg.solve(design.mT @ design + torch.eye(dim), design.mT @ label)
    return (asked @ (weights / size**0.5)).square().mean(0).mT


@functools.cache
def _power(size: int, dim: int) -> dict[str, float]:
    """How often planted faults are found at one datum, among residuals of a linear-Gaussian posterior.

    Its residuals are N(0, I) at every x, whatever its weights are, so that no model is needed to draw them. In the
    guide's own units its draws have mean 0 and standard deviation 1, and the truth strays.
    """
    with seeded(derived_seed(0, STREAM, 4)):
        narrow = [_is_found(size, dim, scale=1 / NARROW, shift=0.0) for _ in range(PLANTED)]
        shifted = [_is_found(size, dim, scale=1.0, shift=SHIFTED) for _ in range(PLANTED)]
    return {"power_narrow": sum(narrow) / PLANTED, "power_shifted": sum(shifted) / PLANTED}


def _is_found(size: int, dim: int, scale: float, shift: float) -> bool:
    """Tell whether a truth that is so much wider, and beside the guide in one latent, is found at one datum."""
    truth, drawn, asked = torch.randn(size, dim), torch.randn(size, dim), torch.randn(ASKED_DRAWS, 1, dim)
    truth *= scale
    truth[:, 0] += shift
    of_x, at = torch.randn(size, COMPONENTS), torch.randn(1, COMPONENTS)
    statistic = _mean_squares(_seen(truth, of_x) - _seen(drawn, of_x), _seen(asked, at), PLANTED_NULLS)
    return bool(_p_values(statistic)[0] <= LEVEL)


def _p_values(statistic: Tensor) -> Tensor:
    """The share of [1 + R, N] that reach the first row, itself among them: [N]."""
    return (statistic >= statistic[0]).double().mean(0)
