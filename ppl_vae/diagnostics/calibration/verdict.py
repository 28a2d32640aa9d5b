"""The verdict on the ranks of a calibration: the quantities that are not uniform, and the way they fail."""

from __future__ import annotations

import math

import xarray as xr

from ppl_vae.diagnostics.calibration.uniformity import lean
from ppl_vae.diagnostics.verdict import Level, Verdict, require_numbers, require_table
from ppl_vae.renamed import renamed

DOUBTFUL, BAD = 0.05, 0.01
# A standard score below this points in no direction.
CLEAR_SCORE = 3.0
# The ECDF difference of a guide half as wide as the posterior, max_t Phi(t / 2) - Phi(t): a band that is wider, or
# ranks of fewer draws than this, would let even that pass.
HALF_AS_WIDE, LEAST_DRAWS = 0.16, 9
# A dimension whose draws follow the truth less than this, and less than chance explains, carries nothing of x.
UNINFORMED = 0.1
MOST_NAMES = 4
DIMENSION_WORDS = {
    "narrow": "too narrow (U shape: the truth is too often at the ends of its draws)",
    "wide": "too wide (the truth is too often in the middle of its draws)",
    "low": "shifted low (the truth lies above its draws too often)",
    "high": "shifted high (the truth lies below its draws too often)",
    "other": "not uniform, with no clear direction",
}
QUANTITY_WORDS = {
    "narrow": "spread too little over the draws",
    "wide": "spread too much over the draws",
    "low": "lower at the draws than at the truth",
    "high": "higher at the draws than at the truth",
    "other": "not uniform, with no clear direction",
}
ADVICE = {
    "narrow": "Correct the draws by importance weights, or train with a bound of several draws (iwae, wake-sleep) "
    "or a richer posterior.",
    "wide": "Train the guide longer, or give the encoder more capacity.",
    "low": "Train the encoder longer, or give it more capacity; look at its output's offset.",
    "high": "Train the encoder longer, or give it more capacity; look at its output's offset.",
    "other": "Look at plot_calibration.",
    "collapsed": "Anneal the KL, use free bits, or weaken the decoder.",
    "joint": "Use a full-covariance or flow posterior.",
}
SOURCE = "uniform ranks (Talts et al. 2018; Modrák et al. 2023) by simultaneous ECDF bands (Säilynoja et al. 2022)"


@renamed(calibration="numbers")
def check_calibration(numbers: xr.Dataset) -> Verdict:
    """Judge the ranks of ``run_calibration`` in one verdict.

    The figure is the smallest p-value times the number of quantities (Bonferroni). Where nothing strays, but so few
    data were simulated that a guide half as wide as the posterior could pass as well, the level is "unknown".

    Raises:
        DataError: the numbers are none of ``run_calibration``, or some are NaN or infinite.
    """
    columns = ("pit", "p_value", "correlation", "ecdf_difference", "band_lower", "band_upper", "kind")
    require_table("calibration", numbers, "run_calibration", columns, ("quantity", "simulation"))
    require_numbers("calibration", numbers, but=("correlation",))
    p_values = numbers["p_value"].to_numpy()
    combined = min(1.0, float(p_values.min()) * len(p_values))
    level: Level = "good" if combined > DOUBTFUL else "doubtful" if combined > BAD else "bad"
    words, advice = _good(numbers), ""
    if level != "good":
        words, advice = _faults(numbers.isel(quantity=p_values * len(p_values) <= DOUBTFUL), numbers)
    elif _blind(numbers):
        level, advice = "unknown", "Simulate more data, with more draws."
        words = f"{words} A guide half as wide as the posterior could pass as well."
    corrected = bool(numbers.attrs["importance_weighted"])
    if corrected and advice:
        advice = "Take more draws, or mend the guide: its weights do not repair it with so few."
    return Verdict(
        diagnostic="Calibration of importance-weighted draws" if corrected else "Calibration",
        level=level,
        value=combined,
        unit="(smallest p)",
        threshold=f"p > {DOUBTFUL:g} good, p <= {BAD:g} bad, Bonferroni over {len(p_values)} quantities: {SOURCE}",
        words=words,
        advice=advice,
    )


def _blind(calibration: xr.Dataset) -> bool:
    """Tell whether even a guide half as wide as the posterior could stay inside the band."""
    wide = float((calibration["band_upper"] - calibration["band_lower"]).max()) / 2
    return wide > HALF_AS_WIDE or calibration.attrs["num_draws"] < LEAST_DRAWS


def _good(calibration: xr.Dataset) -> str:
    return (
        f"Ranks of all {calibration.sizes['quantity']} quantities are uniform as far as "
        f"{calibration.sizes['simulation']} simulated data can tell."
    )


def _faults(failing: xr.Dataset, calibration: xr.Dataset) -> tuple[str, str]:
    dimensions = failing.isel(quantity=(failing["kind"] == "latent dimension").to_numpy())
    quantities = failing.isel(quantity=(failing["kind"] == "test quantity").to_numpy())
    worst = failing.isel(quantity=int(failing["p_value"].to_numpy().argmin()))
    size = (
        f"Largest ECDF difference {float(abs(worst['ecdf_difference']).max()):.2f}, at {worst['quantity'].item()}."
    )
    sentences, faults = [], list(_by_fault(dimensions))
    if dimensions.sizes["quantity"]:
        sentences.append(f"{_listed(dimensions, DIMENSION_WORDS)}.")
    if quantities.sizes["quantity"]:
        sentences.append(f"{_listed(quantities, QUANTITY_WORDS)}.")
    if not faults:
        sentence, fault = _joint_fault(quantities, calibration)
        sentences.append(sentence)
        faults = [fault]
    return " ".join([*sentences, size]), ADVICE[faults[0]]


def _joint_fault(quantities: xr.Dataset, calibration: xr.Dataset) -> tuple[str, str]:
    """Name the fault where every latent dimension passes by itself."""
    passed = "Every latent dimension passes by itself"
    if "log p(x|z)" not in quantities["quantity"].to_numpy():
        return f"{passed}: the fault is in their joint distribution or in how it follows x.", "other"
    latent = calibration.isel(quantity=(calibration["kind"] == "latent dimension").to_numpy())
    chance = 4 / math.sqrt(calibration.sizes["simulation"])
    uninformed = (abs(latent["correlation"]) < max(UNINFORMED, chance)).to_numpy()
    if uninformed.any():
        names = _several([str(name) for name in latent["quantity"].to_numpy()[uninformed]])
        return (
            f"{passed}, but the draws of {names} do not follow the truth: the guide draws them from the prior, "
            "whatever x is. It is collapsed there.",
            "collapsed",
        )
    return f"{passed}: the guide misses how they depend on each other given x.", "joint"


def _listed(part: xr.Dataset, words: dict[str, str]) -> str:
    return "; ".join(f"{_several(names)}: {words[fault]}" for fault, names in _by_fault(part).items())


def _by_fault(part: xr.Dataset) -> dict[str, list[str]]:
    """Group names by fault, the most frequent fault first."""
    found: dict[str, list[str]] = {}
    for name, pit in zip(part["quantity"].to_numpy(), part["pit"].to_numpy().T, strict=True):
        found.setdefault(_fault(*lean(pit)), []).append(str(name))
    return dict(sorted(found.items(), key=lambda item: -len(item[1])))


def _fault(shift: float, spread: float) -> str:
    if max(abs(shift), abs(spread)) < CLEAR_SCORE:
        return "other"
    if abs(shift) > abs(spread):
        return "low" if shift > 0 else "high"
    return "narrow" if spread > 0 else "wide"


def _several(names: list[str]) -> str:
    shown = names[:MOST_NAMES]
    left = len(names) - len(shown)
    if left:
        return f"{', '.join(shown)} and {left} more"
    return f"{', '.join(shown[:-1])} and {shown[-1]}" if len(shown) > 1 else shown[0]
