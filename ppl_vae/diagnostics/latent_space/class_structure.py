r"""Classes in codes that were learned without them: silhouettes, and what a datum's neighbours say of its class.

    silhouette of datum n:   (b_n - a_n) / max(a_n, b_n)

a_n is the mean distance to its own class and b_n to the nearest other one (Rousseeuw 1987,
https://doi.org/10.1016/0377-0427(87)90125-7): 1 where classes are tight and far apart, 0 where they overlap. The
neighbours' accuracy is that of the commonest class among a datum's k nearest others, every datum held out in turn.
Codes are taken as they are: a dimension of a larger scale counts for more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ppl_vae.arrays import Array, to_tensor
from ppl_vae.checks import integer
from ppl_vae.diagnostics.verdict import Verdict, level_of, require_finite, require_table, share_stderr
from ppl_vae.errors import DataError
from ppl_vae.renamed import by_keyword

#: The share of the way from chance to an accuracy of 1 that may be missing.
GOOD, POOR = 0.5, 0.9
#: Data of which all distances are taken; of more as many are drawn.
MOST_DATA = 2000
LEAST_DATA = 20
BLOCKS = 10
SCORES = ("silhouette", "neighbours' accuracy")


@by_keyword("seed")
def run_class_structure(
    codes: Mapping[str, Array],
    y: Array | Sequence[object],
    num_neighbours: int = 10,
    num_shuffles: int = 5,
    *,
    seed: int = 0,
) -> xr.Dataset:
    """Measure how far classes stand apart in each kind of codes.

    Args:
        codes: by name, codes of the same data [N, *], such as the guide's means and the pixels.
        y: classes [N], at least 20 data and two of each; of more than 2,000 data so many are drawn.
        num_neighbours: k.
        num_shuffles: how often classes are shuffled for the level by chance.
        seed: of the choice of data, of ties, blocks and shuffles.

    Returns:
        Over "codes" and "score" (silhouette, neighbours' accuracy): ``value``; ``stderr`` over data, of the
        silhouette by a jackknife over ten groups; ``chance``, the mean of the same on shuffled classes, and
        ``chance_spread``, the standard deviation of one such number (NaN for one shuffle).

    Raises:
        DataError: codes and classes do not fit, codes are not finite, or a class has one datum alone.
        ModelError: a number is out of range.
    """
    num_neighbours, num_shuffles = integer("num_neighbours", num_neighbours), integer("num_shuffles", num_shuffles)
    rng = np.random.default_rng(integer("seed", seed, least=0))
    flat, classes = _checked(codes, y, num_neighbours)
    if len(classes) > MOST_DATA:
        chosen = rng.permutation(len(classes))[:MOST_DATA]
        flat, classes = {name: values[chosen] for name, values in flat.items()}, classes[chosen]
    require_pairs(classes)
    shuffled = [rng.permutation(classes) for _ in range(num_shuffles)]
    # Dealt out class by class, so that no class is left out as a whole.
    order = rng.permutation(len(classes))
    dealt = order[np.argsort(classes[order], kind="stable")]
    blocks = [dealt[first::BLOCKS] for first in range(BLOCKS)]
    figures = np.stack(
        [_figures(_distances(values), classes, num_neighbours, shuffled, blocks, rng) for values in flat.values()]
    )
    names = ("value", "stderr", "chance", "chance_spread")
    variables = {name: (("codes", "score"), figures[..., index]) for index, name in enumerate(names)}
    attributes = {
        "num_data": len(classes),
        "num_neighbours": num_neighbours,
        "num_shuffles": num_shuffles,
        "seed": seed,
    }
    return xr.Dataset(variables, {"codes": list(flat), "score": list(SCORES)}, attributes)


def _checked(
    codes: Mapping[str, Array], y: Array | Sequence[object], num_neighbours: int
) -> tuple[dict[str, NDArray[np.float64]], NDArray[np.int64]]:
    classes = np.unique(np.asarray(y), return_inverse=True)[1].reshape(-1)
    flat = {name: to_tensor(values).double().cpu().flatten(1).numpy() for name, values in codes.items()}
    if not flat:
        raise DataError("codes: expected a dict of codes by name, found none")
    for name, values in flat.items():
        if len(values) != len(classes):
            raise DataError(
                f"codes {name!r}: expected one row for each of {len(classes)} classes, got {len(values)}"
            )
        if not np.isfinite(values).all():
            raise DataError(f"codes {name!r}: {int((~np.isfinite(values)).sum())} values are NaN or infinite")
    if len(classes) <= max(num_neighbours, LEAST_DATA - 1):
        raise DataError(
            f"y: {num_neighbours} neighbours need more data than {len(classes)}, and at least {LEAST_DATA}"
        )
    return flat, classes


def require_pairs(classes: NDArray[np.int64]) -> None:
    """Refuse a single class, and one of a single datum.

    Raises:
        DataError: there is one.
    """
    counts = np.unique(classes, return_counts=True)[1]
    if len(counts) < 2 or counts.min() < 2:
        raise DataError(
            f"y: expected at least two classes and two data of each, found classes of {counts.tolist()}"
        )


def _distances(codes: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.spatial.distance import cdist

    distances: NDArray[np.float64] = cdist(codes, codes)
    return distances


def _figures(
    distances: NDArray[np.float64],
    classes: NDArray[np.int64],
    num_neighbours: int,
    shuffled: Sequence[NDArray[np.int64]],
    blocks: Sequence[NDArray[np.int64]],
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Both scores with their errors and levels by chance [2, 4]."""
    nearest = _nearest(distances, num_neighbours, rng)
    by_chance = np.array([[_silhouette(distances, each), _accuracy(nearest, each)] for each in shuffled])
    spread = by_chance.std(0, ddof=1) if len(shuffled) > 1 else np.full(2, math.nan)
    accuracy = _accuracy(nearest, classes)
    rest = [np.setdiff1d(np.arange(len(classes)), block) for block in blocks]
    without = [_silhouette(distances[np.ix_(rows, rows)], classes[rows]) for rows in rest]
    jackknife = (len(blocks) - 1) / math.sqrt(len(blocks)) * np.std(without, ddof=1)
    values = [_silhouette(distances, classes), accuracy]
    errors = [float(jackknife), share_stderr(accuracy, len(classes))]
    return np.stack([np.array(values), np.array(errors), by_chance.mean(0), spread], 1)


def _nearest(distances: NDArray[np.float64], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """The nearest others of every datum [N, count]; which of equally near ones is drawn for each datum."""
    others = distances.copy()
    np.fill_diagonal(others, np.inf)
    nearest = np.argsort(others, axis=1, kind="stable")[:, : count + 1]
    # In their order those of discrete codes would be the same few for all, of one class where data are sorted.
    tied = (np.diff(np.take_along_axis(others, nearest, 1), axis=1) == 0).any(1)
    if tied.any():
        equal = others[tied]
        nearest[tied] = np.lexsort((rng.random(equal.shape), equal), axis=1)[:, : count + 1]
    return nearest[:, :count]


def _accuracy(nearest: NDArray[np.int64], classes: NDArray[np.int64]) -> float:
    """How often the commonest class of the neighbours is the datum's own; of a tie the nearer ones' wins."""
    votes = np.zeros((len(classes), classes.max() + 1))
    # Less for those farther away, by less than one vote together.
    weights = 1 + np.linspace(0.5, 0, nearest.shape[1], endpoint=False) / nearest.shape[1]
    for place, weight in enumerate(weights):
        votes[np.arange(len(classes)), classes[nearest[:, place]]] += weight
    return float((votes.argmax(1) == classes).mean())


def _silhouette(distances: NDArray[np.float64], classes: NDArray[np.int64]) -> float:
    """The mean silhouette; of a datum that is its class's only one it is 0, as in Rousseeuw's definition."""
    from sklearn.metrics import silhouette_samples

    return float(silhouette_samples(distances, classes, metric="precomputed").mean())


def check_class_structure(numbers: xr.Dataset) -> list[Verdict]:
    """Judge the neighbours' accuracy in every kind of codes by how much of the way from chance to 1 is missing.

    Up to a half of it is "good", over nine tenths is "bad". The silhouette has no level that is right: classes may
    be well apart and not round.

    Raises:
        DataError: numbers are not what ``run_class_structure`` gave, or one is NaN or infinite.
    """
    names = ("value", "stderr", "chance")
    require_table("numbers", numbers, "run_class_structure", names, ("codes", "score"))
    for name in names:
        require_finite("numbers", name, numbers[name])
    return [_verdict(numbers.sel(codes=name)) for name in numbers["codes"].values]


def _verdict(numbers: xr.Dataset) -> Verdict:
    name = str(numbers["codes"].item())
    accuracy, error, chance = (
        numbers[which].sel(score=SCORES[1]).item() for which in ("value", "stderr", "chance")
    )
    room = 1 - chance
    missing = (1 - accuracy) / room if room > 0 else math.nan
    level = level_of(missing, error / room if room > 0 else math.nan, GOOD, POOR)
    words = (
        f"Neighbours in {name} have a datum's class in {accuracy:.1%} of cases, and {chance:.1%} by chance; the "
        f"silhouette of classes is {numbers['value'].sel(score=SCORES[0]).item():.3f}."
    )
    threshold = f"missing share of the way from chance to 1: {GOOD:g} and {POOR:g}"
    return Verdict(
        f"classes in {name}", level, missing, error / room if room > 0 else math.nan, "", threshold, words
    )
