r"""Judge q(z|x) as a proposal for p(z|x): Pareto k-hat, effective sample size and weights of every datum.

    w_s = p(x, z_s) / q(z_s | x),    ESS = (sum_s w_s)^2 / sum_s w_s^2        (Kong 1992)

k-hat (``inference.evidence.pareto``; for variational inference Yao, Vehtari, Simpson & Gelman 2018,
https://arxiv.org/abs/1802.02538) is the tail index of the weights of the joint latent, per datum: over a batch it
would change with the batch's size. It is blind to what the guide never visits, such as a second mode.

Where the guide is the exact posterior all weights of a datum are equal and there is no tail to fit. Such data are
told by the spread of log w, below 32 eps times the mean of |log p(x|z)| + |log p(z)| + |log q|, where eps is the
precision that the pair computes in. They are reported as ``exact``, and their k-hat is NaN.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from ppl_vae.checks import integer
from ppl_vae.containers import Data
from ppl_vae.diagnostics.given import admitted, has_global_sites, named
from ppl_vae.diagnostics.importance.given_global import given_global
from ppl_vae.diagnostics.verdict import (
    Level,
    Verdict,
    level_of,
    require_finite,
    require_numbers,
    require_table,
    share_stderr,
)
from ppl_vae.errors import DataError
from ppl_vae.inference.evidence.importance import WeightBlock, weight_blocks
from ppl_vae.inference.evidence.pareto import LEAST_TAIL, khat, smooth, threshold
from ppl_vae.inference.evidence.weight_chunks import MEMORY_LIMIT
from ppl_vae.inference.pair.pair import PairLike
from ppl_vae.randomness import derived_seed
from ppl_vae.renamed import by_keyword, renamed

STREAM = 11
LEAST_SAMPLES = 25
ROUNDING = 32
# Shares of data above the threshold that still count as good, and as doubtful: this package's own.
GOOD_SHARE, DOUBTFUL_SHARE = 0.05, 0.25
DESCRIPTIONS = {
    "khat": "Pareto shape of the importance weights; NaN where they are constant, inf where no tail can be fitted",
    "exact": "the weights are constant to rounding: the guide is the posterior",
    "ess": "effective sample size (sum w)^2 / sum w^2 of the raw weights",
    "max_weight_share": "the largest weight over the sum of all",
    "log_evidence": "importance bound on log p(x), nats",
    "log_evidence_stderr": "its error by the delta method, nats; too small where few draws have the weight",
    "khat_given": "khat at each draw of the global sites",
    "elbo": "mean of log w, nats",
    "elbo_stderr": "its Monte-Carlo error, nats",
    "log_weight": "log p(x, z) - log q(z|x), nats",
    "smoothed_log_weight": "Pareto-smoothed and normalised",
}


@by_keyword("seed")
def run_importance(
    pair: PairLike,
    x: Data,
    num_samples: int = 1000,
    *,
    keep_weights: bool = False,
    memory_limit: int = MEMORY_LIMIT,
    num_global: int = 10,
    seed: int = 0,
) -> xr.Dataset:
    """Weigh the guide's draws against the posterior of each datum, in passes that keep to a memory limit.

    Args:
        pair: an object with ``.model`` and ``.guide``, or a tuple of the two programs.
        x: [N, *event_shape].
        num_samples: S draws per datum, at least 25.
        seed: of the draws; torch's global generators are left as they were.
        keep_weights: whether "log_weight" and "smoothed_log_weight" [S, N] are in the result.
        memory_limit: bytes that the activations of a pass may take, roughly. Under Gaussian guides no number
            depends on it but for rounding.
        num_global: draws of the global sites of a pair that has any, at each of which a datum's local latents are
            weighed with S draws of their own.

    Returns:
        A Dataset over "datum" of "khat" (NaN where "exact", +inf where fewer than five weights make the tail),
        "exact", "ess", "max_weight_share", "log_evidence", "log_evidence_stderr", "elbo" and "elbo_stderr"; with
        ``keep_weights`` over "sample" too. Attributes: num_samples, seed, dtype of the pair, threshold.
        Of a pair with global sites g the numbers are those of q(z_n | x_n, g) given g: medians over draws of g
        ("elbo", "log_evidence" and their errors: means), with "khat_given" over "global_draw" too and the
        attribute num_global; the weights themselves are not kept. ``run_global_importance`` judges q(g).

    Raises:
        ModelError: the pair or an argument is refused; or the guide has one value only, the site is named; or a
            weight is not finite, the datum is named.
        DataError: x is empty, or the model's likelihood has no density for some value of it.

    >>> import torch
    >>> import ppl_vae as pv
    >>> lg = pv.LinearGaussianVAE(torch.ones(3, 1), torch.zeros(3), 1.0, guide="exact")
    >>> numbers = run_importance(lg, torch.zeros(2, 3), num_samples=100)
    >>> numbers.exact.values, numbers.ess.values
    (array([ True,  True]), array([100., 100.]))
    >>> print(check_importance(numbers).words)
    The weights are constant to rounding on every datum: the guide is the exact posterior.
    """
    integer("num_samples", num_samples, least=LEAST_SAMPLES)
    given = admitted(pair, x, keep_rows=True)
    model, guide, data = *given.programs, given.x
    source = derived_seed(seed, STREAM)
    if has_global_sites(given, seed):
        table = given_global(given, num_samples, num_global, source, memory_limit, _judged)
        described = {name: each.assign_attrs(description=DESCRIPTIONS[str(name)]) for name, each in table.items()}
        settings = _settings(data, num_samples, seed) | {"num_global": num_global}
        return named(xr.Dataset(described, {"datum": np.arange(len(data))}, settings), given.labels)
    blocks = weight_blocks(
        model, guide, data, num_samples, source, memory_limit, labels=given.covariates, both_levels=True
    )
    columns = [_judged(block, keep_weights) for block in blocks]
    variables = {}
    for name in columns[0]:
        values = torch.cat([column[name] for column in columns], -1).cpu().numpy()
        dims = ("sample", "datum") if values.ndim == 2 else ("datum",)
        variables[name] = (dims, values, {"description": DESCRIPTIONS[name]})
    settings = _settings(data, num_samples, seed)
    return named(xr.Dataset(variables, {"datum": np.arange(len(data))}, settings), given.labels)


def _settings(data: Tensor, num_samples: int, seed: int) -> dict[str, Any]:
    return {
        "num_samples": num_samples,
        "seed": seed,
        "dtype": str(data.dtype).removeprefix("torch."),
        "threshold": threshold(num_samples),
    }


def _judged(block: WeightBlock, keep_weights: bool) -> dict[str, Tensor]:
    log_weight, count = block.log_weight, len(block.log_weight)
    smoothed = smooth(log_weight) if keep_weights else None
    tail_shape = khat(log_weight) if smoothed is None else smoothed.khat
    largest = log_weight.amax(0)
    # Once exponentiated, everything else is sums: over many data the exponentials are most of the work.
    relative = (log_weight - largest).exp_()
    elbo, mean = log_weight.mean(0), relative.mean(0)
    error, spread = (
        (values - centre).norm(dim=0) / math.sqrt(count - 1)
        for values, centre in ((log_weight, elbo), (relative, mean))
    )
    exact = is_exact(block, error)
    found = {
        "khat": torch.where(exact, torch.nan, tail_shape),
        "exact": exact,
        "ess": count / (1 + (count - 1) / count * (spread / mean).square()),
        "max_weight_share": 1 / (count * mean),
        "log_evidence": largest + mean.log(),
        "log_evidence_stderr": spread / mean / math.sqrt(count),
        "elbo": elbo,
        "elbo_stderr": error / math.sqrt(count),
    }
    if smoothed is None:
        return found
    return found | {"log_weight": log_weight, "smoothed_log_weight": smoothed.log_weight}


def is_exact(block: WeightBlock, spread: Tensor) -> Tensor:
    """Mark the data whose weights are constant to rounding, from the standard deviation of log w: [n]."""
    return spread <= ROUNDING * block.eps * block.magnitude


@renamed(ds="numbers")
def check_importance(numbers: xr.Dataset) -> Verdict:
    """Judge the share of data whose k-hat is above the threshold for this number of draws.

    Good up to 5% of the data, doubtful up to 25%; these two shares are this package's own. "unknown" where two
    standard errors of the share of so many data reach across 5%; the noise of each k-hat is in them. Weights too
    few for a fit are above the threshold where they are worth fewer than five draws, and are else left out; where
    that leaves fewer than half of the data, nothing is said.

    Raises:
        DataError: ds is none of ``run_importance``, or of no data, or NaN or infinite where it must not be.
    """
    khat, exact, limit = khat_of(numbers)
    require_table("table", numbers, "run_importance", ("khat", "exact"), ("datum",))
    names = numbers["datum"].to_numpy()
    require_numbers("table", numbers, but=("khat", "khat_given"))
    require_finite("table", "khat", khat[~exact & ~np.isposinf(khat)])
    alone = np.isinf(khat) & ~exact & (numbers["ess"].to_numpy() < LEAST_TAIL)
    judged, above = ~np.isinf(khat) | exact | alone, ((khat > limit) & np.isfinite(khat)) | alone
    count = int(judged.sum())
    share = float(above.sum() / count) if count >= len(khat) / 2 else math.nan
    error = share_stderr(share, count) if count else math.nan
    # A guide that is the posterior on all of these data leaves nothing to sample.
    level: Level = "good" if exact.all() else level_of(share, error, GOOD_SHARE, DOUBTFUL_SHARE)
    return Verdict(
        "Pareto k-hat",
        level,
        share,
        error,
        "of the data above its threshold",
        f"k-hat at most min(1 - 1/log10 S, 0.7) = {limit:.2f} (Vehtari et al. 2024); good where at most "
        f"{GOOD_SHARE:.0%} of the data are above it, bad above {DOUBTFUL_SHARE:.0%} (this package's own)",
        _words(khat, exact, above, alone, limit, numbers.attrs["num_samples"], names)
        + _undecided(level, share, count),
        _advice(level),
    )


def khat_of(ds: xr.Dataset) -> tuple[np.ndarray, np.ndarray, float]:
    """Read k-hat [N], exact [N] and the threshold from the numbers of ``run_importance``."""
    missing = [name for name in ("khat", "exact", "ess", "elbo") if name not in ds]
    if missing or "threshold" not in ds.attrs:
        raise DataError(f"table: expected what run_importance returns; missing {', '.join(missing) or 'threshold'}")
    return ds["khat"].to_numpy(), ds["exact"].to_numpy().astype(bool), float(ds.attrs["threshold"])


def _undecided(level: Level, share: float, count: int) -> str:
    if level != "unknown" or math.isnan(share):
        return ""
    return f" Of {count} data this does not decide whether more than {GOOD_SHARE:.0%} are above: give more data."


def _words(
    khat: np.ndarray,
    exact: np.ndarray,
    above: np.ndarray,
    alone: np.ndarray,
    limit: float,
    num_samples: int,
    names: np.ndarray,
) -> str:
    if exact.all():
        return "The weights are constant to rounding on every datum: the guide is the exact posterior."
    finite = np.isfinite(khat)
    said = [f"{int(exact.sum())} of {len(khat)} data have constant weights (exact)."] if exact.any() else []
    if alone.any():
        said.append(f"On {int(alone.sum())} data a few draws have all the weight: above any threshold.")
    if (np.isinf(khat) & ~alone).any():
        left_out = int((np.isinf(khat) & ~alone).sum())
        said.append(f"{left_out} data have too few distinct weights for a fit and are left out.")
    if finite.any():
        worst = int(np.where(finite, khat, -np.inf).argmax())
        said.append(
            f"{int(above.sum())} of {len(khat)} data are above {limit:.2f} with {num_samples} draws each; median "
            f"{np.median(khat[finite]):.2f}, worst {khat[worst]:.2f} at datum {names[worst]}."
        )
    return " ".join([*said, "Mass that the guide never visits is not seen."])


def _advice(level: Level) -> str:
    if level not in ("doubtful", "bad"):
        return ""
    return (
        "Try a wider posterior family (full covariance, flow), more encoder training, or DReG; "
        "estimate log p(x) by annealing where k-hat is high."
    )
