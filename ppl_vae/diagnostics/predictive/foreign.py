r"""Whole sets of foreign data against held-out ones: by which score are they told apart, and by which not?

Every score is the higher the more a datum is like the data that the model was trained on:

    log_evidence       log p(x). Simpler foreign data often have MORE of it (Nalisnick et al. 2019a)
    typicality         -|log p(x) - m|, m the mean over a half of the held-out data (Nalisnick et al. 2019b)
    likelihood_ratio   log p(x) - log p_b(x) of a background model b of ``perturbed`` data (Ren et al. 2019)
    complexity         log p(x) + L(x), L(x) the nats that PNG takes for x (Serra et al. 2020)

The area under the ROC curve is the chance that a held-out datum has the higher score than a foreign one, ties by
halves: 1/2 tells nothing, and below it the score takes foreign data for the better ones.

Nalisnick et al. (2019a): https://arxiv.org/abs/1810.09136; (2019b): https://arxiv.org/abs/1906.02994
Ren et al. (2019): https://arxiv.org/abs/1906.02845; Serra et al. (2020): https://arxiv.org/abs/1909.11480
DeLong et al. (1988): https://doi.org/10.2307/2531595
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from ppl_vae.checks import integer
from ppl_vae.containers import Data
from ppl_vae.diagnostics.given import admitted
from ppl_vae.diagnostics.verdict import Verdict, level_of, require_finite, require_table, share_stderr
from ppl_vae.errors import DataError, ModelError
from ppl_vae.inference.evidence.evidence import log_evidence
from ppl_vae.inference.pair.pair import PairLike
from ppl_vae.randomness import derived_seed
from ppl_vae.renamed import by_keyword

STREAM = 64
HELD_OUT = "held out"
# The share of held-out data that is to be kept where a threshold is set.
KEPT = 0.95
# Of 1 - AUROC; this package's own. At a half a score tells nothing.
GOOD, POOR = 0.05, 0.2


@by_keyword("seed")
def run_foreign(
    pair: PairLike,
    x: Data,
    foreign: Mapping[str, Data],
    background: PairLike | None = None,
    num_samples: int = 100,
    batch_size: int = 25,
    *,
    seed: int = 0,
) -> xr.Dataset:
    """Compute the scores of held-out and of foreign data, and how well each tells them apart.

    Args:
        pair: an object with ``.model`` and ``.guide``, or a tuple of the two programs.
        x: held-out data [N, *event_shape] of the kind that the pair was trained on. A random half of them sets the
            mean of typicality; the other half is scored.
        foreign: other data by name.
        background: a pair trained on ``perturbed`` data, for the likelihood ratio.
        num_samples: importance draws of every datum.
        batch_size: of the random sets whose mean log p(x) is held against m as a whole: typicality of sets.
        seed: of draws and of the half.

    Returns:
        Over "set" ("held out" first), "datum" and "score": ``scores`` (NaN where a set is shorter). Over "foreign"
        and "score": ``auroc``, ``auroc_stderr`` (DeLong et al. 1988, over data), and ``taken_in``, the share of
        foreign data above the threshold that keeps 95% of the held-out ones. Over "foreign": ``batch_auroc`` and
        its error, of disjoint sets of ``batch_size``; NaN for fewer than two. Over "set": ``mean_log_evidence`` and
        its error over data, nats per datum. Complexity is there for images with values in [0, 1] alone.

    Raises:
        ModelError: a pair or setting is refused, or no foreign set is given.
        DataError: fewer than 4 held-out data, or the likelihood has no density for some value.
    """
    if not foreign:
        raise ModelError("foreign: expected data by name, got none")
    if HELD_OUT in foreign:
        raise ModelError(f"foreign: {HELD_OUT!r} is the name of the data x; give another")
    integer("batch_size", batch_size, least=2)
    given = {HELD_OUT: x, **foreign}
    pixels = {name: admitted(pair, data, 4 if name == HELD_OUT else 1).x for name, data in given.items()}
    with_complexity = all(map(_is_image, pixels.values()))
    columns: dict[str, NDArray[np.float64]] = {}
    for index, (name, data) in enumerate(given.items()):
        log_p = _log_p(pair, data, background, num_samples, derived_seed(seed, STREAM, index))
        columns[name] = np.stack([*log_p, *([_coded_nats(pixels[name])] if with_complexity else [])], 1)
    rng = np.random.default_rng(derived_seed(seed, STREAM))
    order = rng.permutation(len(columns[HELD_OUT]))
    half = len(order) // 2
    mean = float(columns[HELD_OUT][order[:half], 0].mean())
    columns[HELD_OUT] = columns[HELD_OUT][order[half:]]
    names = ["log_evidence", "typicality"]
    names += ["likelihood_ratio"] * (background is not None) + ["complexity"] * with_complexity
    scores = {name: _scores(values, mean, background is not None) for name, values in columns.items()}
    # Data in an order, as by class, would make sets that are no random ones.
    mixed = {name: rng.permutation(values[:, 0]) for name, values in scores.items()}
    table = _judged(scores, names, mean, batch_size, mixed)
    settings = {"num_samples": num_samples, "batch_size": batch_size, "seed": seed, "reference_mean": mean}
    return table.assign_attrs(settings, units="nats per datum; areas are pure numbers")


def check_foreign(numbers: xr.Dataset) -> list[Verdict]:
    """Judge every score on every foreign set by 1 - AUROC, the chance that a foreign datum looks the better one.

    Up to 0.05 is "good", over 0.2 "bad". Below an area of a half log p(x) prefers the foreign data: that is said.

    Raises:
        DataError: numbers are not what ``run_foreign`` gave, or one is NaN or infinite.
    """
    require_table("numbers", numbers, "run_foreign", ("auroc", "auroc_stderr", "scores"), ("foreign", "score"))
    for name in ("auroc", "auroc_stderr"):
        require_finite("numbers", name, numbers[name].values)
    threshold = f"1 - area under the ROC curve: {GOOD:g} and {POOR:g}, this package's own"
    found = []
    for name in numbers["foreign"].values:
        for score in numbers["score"].values:
            at = numbers.sel(foreign=name, score=score)
            wrong, error = 1 - at["auroc"].item(), at["auroc_stderr"].item()
            words = f"A held-out datum has the higher {score} than one of {name} in {1 - wrong:.1%} of pairs."
            advice = ""
            if wrong - 2 * error > 0.5:
                words += " The score takes these foreign data for the better ones."
                advice = "Do not judge by it; see typicality, a likelihood ratio or the complexity."
            level = level_of(wrong, error, GOOD, POOR)
            found.append(Verdict(f"{name} by {score}", level, wrong, error, "", threshold, words, advice))
    return found


@by_keyword("seed")
def perturbed(x: Tensor, rate: float = 0.2, *, seed: int = 0) -> Tensor:
    """Data for a background model: every value of x is exchanged with probability ``rate`` (Ren et al. 2019).

    The new value is drawn from those that occur in x, each distinct one as likely as the others; what a mutation
    destroys is the semantic part, and the background that it leaves has the data's own values.

    Args:
        x: [N, *event_shape]; at most 256 distinct values, as pixels have.
        rate: between 0 and 1.
        seed: of the mutations.

    Raises:
        ModelError: the rate is not between 0 and 1.
        DataError: there are more values.
    """
    if not 0 <= rate <= 1:
        raise ModelError(f"rate must lie between 0 and 1, got {rate}")
    values = x.unique()
    if len(values) > 256 or not torch.isfinite(values).all():
        raise DataError(f"x: expected at most 256 distinct finite values, as of pixels, found {len(values)}")
    generator = torch.Generator().manual_seed(derived_seed(seed, STREAM))
    chosen = torch.rand(x.shape, generator=generator) < rate
    drawn = torch.randint(len(values), x.shape, generator=generator)
    return torch.where(chosen.to(x.device), values[drawn.to(x.device)], x)


def area_under_curve(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> tuple[float, float]:
    """P(ours > theirs) + P(equal) / 2 of scores [m] and [n], and its standard error (DeLong et al. 1988).

    Where all pairs agree, the error is that of a share of as many as the smaller set has.
    """
    above_theirs, above_ours = _shares_below(ours, theirs), _shares_below(theirs, ours)
    area = float(above_theirs.mean())
    variance = 0.0
    if _both(ours, theirs):
        variance = above_theirs.var(ddof=1) / len(ours) + above_ours.var(ddof=1) / len(theirs)
    return area, math.sqrt(variance) if variance > 0 else share_stderr(area, min(len(ours), len(theirs)))


def _both(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> bool:
    return min(len(ours), len(theirs)) > 1


def _shares_below(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> NDArray[np.float64]:
    """For each of ours the share of theirs below it, ties by halves."""
    ordered = np.sort(theirs)
    sides = np.searchsorted(ordered, ours, "left") + np.searchsorted(ordered, ours, "right")
    return np.asarray(sides / (2 * len(theirs)))


def _log_p(
    pair: PairLike, x: Data, background: PairLike | None, num_samples: int, seed: int
) -> list[NDArray[np.float64]]:
    """The log p(x) of every datum under the pair, and under the background [N]."""
    pairs = [pair] if background is None else [pair, background]
    found = [
        log_evidence(each, x, num_samples=num_samples, seed=derived_seed(seed, index), progress=False)
        for index, each in enumerate(pairs)
    ]
    return [evidence.per_datum.double().cpu().numpy() for evidence in found]


def _scores(columns: NDArray[np.float64], mean: float, background: bool) -> NDArray[np.float64]:
    """The scores [n, S] of columns: log p, log p_b if there is one, coded nats if there are some."""
    log_p, rest = columns[:, 0], columns[:, 1:].T
    parts = [log_p, -np.abs(log_p - mean)]
    if background:
        parts.append(log_p - rest[0])
        rest = rest[1:]
    return np.stack([*parts, *(log_p + nats for nats in rest)], 1)


def _judged(
    scores: dict[str, NDArray[np.float64]],
    names: list[str],
    mean: float,
    batch_size: int,
    mixed: dict[str, NDArray[np.float64]],
) -> xr.Dataset:
    """The table of scores [n, S] by set, and the areas; those of batches by log p(x) in a random order [n]."""
    ours, others = scores[HELD_OUT], [name for name in scores if name != HELD_OUT]
    padded = np.full((len(scores), max(map(len, scores.values())), len(names)), np.nan)
    for row, values in zip(padded, scores.values(), strict=True):
        row[: len(values)] = values
    areas = np.array(
        [[area_under_curve(a, b) for a, b in zip(ours.T, scores[name].T, strict=True)] for name in others]
    )
    limits = np.quantile(ours, 1 - KEPT, axis=0)
    batches = {name: -np.abs(_batch_means(values, batch_size) - mean) for name, values in mixed.items()}
    of_sets = np.array([_area_of_sets(batches[HELD_OUT], batches[name]) for name in others])
    log_p = [values[:, 0] for values in scores.values()]
    over = ("foreign", "score")
    return xr.Dataset(
        {
            "scores": (("set", "datum", "score"), padded),
            "auroc": (over, areas[..., 0]),
            "auroc_stderr": (over, areas[..., 1]),
            "taken_in": (over, np.stack([(scores[name] > limits).mean(0) for name in others])),
            "batch_auroc": ("foreign", of_sets[:, 0]),
            "batch_auroc_stderr": ("foreign", of_sets[:, 1]),
            "mean_log_evidence": ("set", [values.mean() for values in log_p]),
            "mean_log_evidence_stderr": ("set", [_error(values) for values in log_p]),
            "num_data": ("set", [len(values) for values in log_p]),
        },
        {"set": list(scores), "foreign": others, "score": names},
    )


def _error(values: NDArray[np.float64]) -> float:
    return float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.nan


def _batch_means(values: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    whole = len(values) // size * size
    return np.asarray(values[:whole].reshape(-1, size).mean(1))


def _area_of_sets(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> tuple[float, float]:
    return area_under_curve(ours, theirs) if _both(ours, theirs) else (math.nan, math.nan)


def _is_image(x: Tensor) -> bool:
    """Tell whether data [N, *event_shape] are pictures: (C, H, W) with one or three channels, values in [0, 1]."""
    shaped = x.dim() == 4 and x.shape[1] in (1, 3) and min(x.shape[2:]) > 1
    return shaped and bool((x >= 0).all() and (x <= 1).all())


def _coded_nats(x: Tensor) -> NDArray[np.float64]:
    """The nats of every picture [N, C, H, W] as a PNG, of one bit a pixel where all are black or white: [N]."""
    from PIL import Image

    binary = bool(((x == 0) | (x == 1)).all()) and x.shape[1] == 1
    pixels = (255 * x.detach().cpu()).round().to(torch.uint8).movedim(1, -1).numpy()
    sizes = []
    for each in pixels:
        buffer = io.BytesIO()
        image = Image.fromarray(each[..., 0] if each.shape[-1] == 1 else each)
        (image.convert("1") if binary else image).save(buffer, "PNG", optimize=True)
        sizes.append(buffer.tell())
    return 8 * math.log(2) * np.array(sizes, dtype=np.float64)
