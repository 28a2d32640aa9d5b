r"""Latent arithmetic before a classifier: the change of the attribute, and of the others.

    x(alpha) = E[x | z + alpha v],       v the direction of one attribute in latent space (Larsen et al. 2016)

A classifier of real images, which the model has never met, says of every x(alpha) which attributes it shows. What
has changed is held against its own verdict on x(0), the plain reconstruction, so that neither the decoder's blur
nor an attribute that a reconstruction has lost counts as a move. A direction is as good as the moved attribute's
share is large and the others' are small. Larsen et al. 2016, https://arxiv.org/abs/1512.09300.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from ppl_vae.diagnostics.verdict import ERRORS, Level, Verdict, level_of, require_finite, require_table
from ppl_vae.errors import DataError
from ppl_vae.renamed import renamed

ENOUGH, SPARED = 0.9, 0.1
# How well a share must be known, by two standard errors, for the word "good".
KNOWN = 0.15

Judge = Callable[[Tensor], Tensor]


@torch.no_grad()
def run_arithmetic(
    images: Tensor,
    alphas: Tensor | Sequence[float],
    classifier: Judge,
    attributes: Sequence[str],
    moved: str,
) -> xr.Dataset:
    """Measure what a classifier sees of decoded codes along a direction.

    Args:
        images: decoded z + alpha v of data without the attribute, [N, steps, *event_shape].
        alphas: the weights [steps]; one of them is 0.
        classifier: images [n, *event_shape] -> the probability of every attribute [n, A].
        attributes: their names, [A].
        moved: the one whose direction v is.

    Returns:
        A Dataset over "alpha" and "attribute": ``probability``, its mean over data; ``changed``, the share of data
        that are judged otherwise than at alpha = 0; both with their standard errors over data (of a share
        after one datum of either kind is added: Laplace's rule, so that a share of 1 has an error too). ``others``
        over "alpha" is the mean of ``changed`` over the attributes that were to stay.

    Raises:
        DataError: shapes or names that do not fit, no alpha of 0, or a classifier that gives no probabilities.
    """
    weights = np.asarray(alphas, dtype=np.float64)
    _check(images, weights, attributes, moved)
    judged = torch.stack([_judged(classifier, step, len(attributes)) for step in images.unbind(1)])  # [steps, N, A]
    shows = judged > 0.5
    changed = (shows != shows[int(np.flatnonzero(weights == 0)[0])]).double()
    # Where all data agree their spread is 0, but the error of the share is not: one datum of either kind is added.
    share = (changed.sum(1) + 1) / (len(images) + 2)
    spread = (share * (1 - share)).sqrt()
    variables = {
        **_with_error("probability", judged, judged.std(1), "mean probability under the classifier"),
        **_with_error("changed", changed, spread, "share of data judged otherwise than at alpha = 0"),
    }
    table = xr.Dataset(
        variables,
        {"alpha": weights, "attribute": list(attributes)},
        {"moved": moved, "num_data": len(images)},
    )
    table["others"] = table["changed"].drop_sel(attribute=moved).mean("attribute")
    return table


def _with_error(name: str, values: Tensor, spread: Tensor, description: str) -> dict[str, object]:
    """Average values [steps, N, A] with standard deviation ``spread`` [steps, A] over data, with an error."""
    dims = ("alpha", "attribute")
    error = spread / values.shape[1] ** 0.5
    return {
        name: (dims, values.mean(1).numpy(), {"description": description}),
        f"{name}_stderr": (dims, error.numpy(), {"description": "over data"}),
    }


def _judged(classifier: Judge, images: Tensor, count: int) -> Tensor:
    probabilities = torch.as_tensor(classifier(images)).double()
    fits = tuple(probabilities.shape) == (len(images), count)
    if not fits or not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise DataError(
            f"classifier: expected probabilities [{len(images)}, {count}], got shape {list(probabilities.shape)}"
        )
    return probabilities


def _check(images: Tensor, weights: NDArray[np.float64], attributes: Sequence[str], moved: str) -> None:
    if images.dim() < 3 or len(images) < 2 or weights.shape != (images.shape[1],):
        raise DataError(
            "images: expected [N, steps, *event_shape] with N of at least 2 and one alpha per step, "
            f"found {list(images.shape)} and {list(weights.shape)}"
        )
    if not (weights == 0).any():
        raise DataError(f"alphas: expected one that is 0, the plain reconstruction, found {weights.tolist()}")
    if moved not in attributes or len(attributes) < 2:
        raise DataError(f"moved: expected one of at least two attributes {list(attributes)}, found {moved!r}")


@renamed(table="numbers")
def check_arithmetic(numbers: xr.Dataset, alpha: float = 1.0) -> Verdict:
    """Judge whether the attribute moved and the others stayed.

    Args:
        numbers: of ``run_arithmetic``.
        alpha: the step that is judged: 1 is the whole vector between the two means.

    Returns:
        "good" where the attribute moved in 90 of 100 data and no other in more than 10, known to 15 points by two
        standard errors; "bad" where it is known by as many to have moved in fewer than half, or less often than
        another; "doubtful" where it is known not to be good; "unknown" where the errors leave that open.

    Raises:
        DataError: the numbers are none of ``run_arithmetic``, or NaN or infinite, or there is no such alpha.
    """
    require_table("table", numbers, "run_arithmetic", ("changed", "changed_stderr"), ("alpha", "attribute"))
    if "moved" not in numbers.attrs:
        raise DataError("table: expected what run_arithmetic returns, found no attribute 'moved'")
    if alpha not in numbers["alpha"].to_numpy():
        raise DataError(f"alpha: expected one of {numbers['alpha'].to_numpy().tolist()}, found {alpha}")
    row, moved = numbers.sel(alpha=alpha), numbers.attrs["moved"]
    require_finite("table", "changed", row["changed"])
    share = float(row["changed"].sel(attribute=moved))
    others = row["changed"].drop_sel(attribute=moved)
    worst = str(others["attribute"].item(int(others.to_numpy().argmax())))
    highest = float(others.max())
    level = _level(row, moved, worst)
    advice = {
        "good": "",
        "unknown": "Move the codes of more data.",
        "doubtful": "Try another alpha, a code with more dimensions, or the mean over more data.",
        "bad": "The code may not hold the attribute, or hold it tangled with others: look at the classifier's "
        "accuracy on plain reconstructions, and at the attributes' correlation in the data.",
    }[level]
    return Verdict(
        diagnostic=f"Latent arithmetic on {moved!r}",
        level=level,
        value=share,
        stderr=float(row["changed_stderr"].sel(attribute=moved)),
        threshold=f"at least {ENOUGH:.0%} of the data moved, at most {SPARED:.0%} in any other attribute",
        words=f"At alpha = {alpha:g} a held-out classifier sees {moved!r} changed in {share:.0%} of the data; the "
        f"other attributes in {float(others.mean()):.0%} on average, most often {worst!r} in {highest:.0%}.",
        advice=advice,
    )


def _level(row: xr.Dataset, moved: str, worst: str) -> Level:
    """Judge the shares of one alpha: of the attribute that is to move, and of the other that moved most."""
    share, highest = (float(row["changed"].sel(attribute=name)) for name in (moved, worst))
    error, other_error = (float(row["changed_stderr"].sel(attribute=name)) for name in (moved, worst))
    if share >= ENOUGH and highest <= SPARED:
        return "good" if bool((2 * row["changed_stderr"] <= KNOWN).all()) else "unknown"
    stayed, others = level_of(1 - share, error, 1 - ENOUGH, 0.5), level_of(highest, other_error, SPARED, 1.0)
    if stayed == "bad" or highest - share > ERRORS * math.hypot(error, other_error):
        return "bad"
    return "doubtful" if "doubtful" in (stayed, others) else "unknown"
