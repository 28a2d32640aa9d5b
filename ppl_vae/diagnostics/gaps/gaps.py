r"""The gap between log p(x) and the ELBO, split into its causes (Cremer, Li & Duvenaud 2018, sec. 3).

    log p(x) - L[q_phi] = ( log p(x) - L[q*] )  +  ( L[q*] - L[q_phi] )
                             approximation             amortisation

q_phi(z|x) is what the encoder gives, q* the best member of the family for this one datum. What remains under q* is
the family's fault; what q* gains is the encoder's. The encoder's generalisation gap is how much larger the
amortisation gap is on held-out than on training data (Shu et al. 2018; Zhang et al. 2022).

Cremer, Li & Duvenaud 2018, https://arxiv.org/abs/1801.03558; Shu et al. 2018, https://arxiv.org/abs/1805.08913.
"""

from __future__ import annotations

import math
from typing import Protocol, runtime_checkable

import torch
import xarray as xr
from torch import Tensor

from ppl_vae.arrays import Array
from ppl_vae.checks import integer
from ppl_vae.containers import Data
from ppl_vae.diagnostics.gaps.gap_estimates import GAPS_STREAM, GapEstimates, GapPlan
from ppl_vae.diagnostics.given import admitted, named
from ppl_vae.diagnostics.importance.given_global import mean_over_draws
from ppl_vae.diagnostics.verdict import Verdict, Verdicts, level_of, require_numbers, require_table
from ppl_vae.errors import DataError, ModelError
from ppl_vae.inference.evidence.evidence import Evidence
from ppl_vae.inference.pair.at_global import at_global_draws, held_sites
from ppl_vae.inference.pair.conditioned import Conditioned
from ppl_vae.inference.pair.pair import PairLike
from ppl_vae.inference.pair.protocols import traits
from ppl_vae.progress import watched
from ppl_vae.randomness import derived_seed
from ppl_vae.renamed import by_keyword, renamed

SPLITS = ("test", "train")
INSTEAD = "run_global_importance tells how far the guide of all of them is from the posterior"
DESCRIPTIONS = {
    "log_evidence": "log p(x)",
    "elbo_best": "ELBO of the best member of the family for the datum, from fresh draws",
    "elbo": "ELBO of the encoder's q(z|x), on the same noise",
    "approximation_gap": "log_evidence - elbo_best: what the family costs",
    "amortisation_gap": "elbo_best - elbo: what the encoder costs",
}
# For a Gaussian posterior a gap of g nats moves no mean by more than sqrt(2 g) posterior standard deviations, and a
# shift of that much costs just g (Talagrand's inequality, 1996): half of one, and one.
GOOD, BAD = 0.125, 0.5
UNSETTLED = "over data and draws, without what the search for the best q might still have gained"
THRESHOLD = "0.125 and 0.5 nats: the KL of a mean that is 0.5 and 1 posterior sd off (Talagrand 1996)"


@renamed(steps="num_steps")
@by_keyword("seed", "log_evidence", "num_particles", "progress")
def run_gaps(
    pair: PairLike,
    x: Data,
    x_train: Data | None = None,
    num_samples: int = 4000,
    num_steps: int = 1000,
    *,
    log_evidence: Array | Evidence | None = None,
    num_particles: int = 16,
    num_global: int = 4,
    progress: bool | None = None,
    seed: int = 0,
) -> xr.Dataset:
    """Split every datum's gap into what the family and what the encoder costs.

    A site's parameters are freed in ``diagnostics.gaps.local_posterior``: Gaussians of any covariance, mixtures,
    and other distributions with parameters. Of a flow only the base and affine steps are free, so that for flows
    the approximation gap is an upper and the amortisation gap a lower bound; the attribute ``held_fixed`` says so.

    Args:
        pair: an object with ``.model`` and ``.guide``, or a tuple of the two programs. Several sites are taken
            where none of the guide's distributions depends on another site's draw.
        x: [N, *event_shape], held-out data. A few hundred are enough for means; the cost is ``num_steps`` times
            ``num_particles`` decoder passes per datum, forward and back.
        x_train: training data, as many as you like, for the generalisation gap.
        num_samples: draws per datum that the bounds are evaluated with.
        num_steps: of the optimisation, at most.
        log_evidence: log p(x) of every datum [N]; or an object with ``per_datum`` and ``per_datum_stderr``, as
            ``log_evidence`` gives it; or a function of (pair, x) that gives either, which is asked for x_train too.
            With global sites g it would have to be log p(x | g) at the draws, and is refused. None takes the
            importance bound with q* as its proposal and ``num_samples`` draws, a stochastic lower
            bound.
        num_particles: draws per datum and optimisation step.
        num_global: draws of the global sites of a pair that has any; the numbers are given each draw, and averaged.
        progress: show a progress bar; by default where a terminal or a notebook shows it to somebody.
        seed: of the draws; torch's global generators are left as they were.

    Returns:
        Over "datum": log_evidence, elbo_best, elbo, approximation_gap, amortisation_gap, and the Monte-Carlo
        standard error of each. Over "split" ("test", and "train" where x_train is given): the mean of each, as
        ``mean_...``, with its standard error over data and draws. What a search for q* that ran out of
        steps might still have gained is in none of the errors: the attribute ``converged`` is 0 then, and
        ``errors`` says so. With x_train: ``generalisation_gap``, the mean
        amortisation gap on test minus that on train, and ``elbo_generalisation_gap``, the mean ELBO on train minus
        that on test. All in nats per datum.

    Raises:
        ModelError: the pair or a setting is refused; the site is named.
        DataError: data that the pair has no density for, or evidence of another length.
    """
    num_samples, num_steps = integer("num_samples", num_samples, least=2), integer("num_steps", num_steps)
    num_particles, seed = integer("num_particles", num_particles), integer("seed", seed, least=None)
    splits = [x] if x_train is None else [x, x_train]
    given = [admitted(pair, data) for data in splits]
    plan = GapPlan(num_samples, num_steps, num_particles, seed)
    source, count = derived_seed(seed, GAPS_STREAM, 0, 1), integer("num_global", num_global)
    # The guide's global sites are those of the data that it was fitted to.
    held = at_global_draws(given[-1], count, source, INSTEAD)
    of_model = held_sites(held[0]) if held else ()
    if of_model and log_evidence is not None:
        raise ModelError(
            f"site {of_model[0]!r} is global: log_evidence would have to be log p(x | g) at "
            "the draws of it that run_gaps takes; leave it out"
        )
    steps = max(1, len(held)) * sum(plan.num_steps(part.x) for part in given)
    with watched(steps, "step", progress):
        if not held:
            return _table(pair, splits, given, plan, log_evidence)
        tables = []
        for each in held:
            at_draw = [part.under(each) for part in given]
            tables.append(_table(pair, splits, at_draw, plan, log_evidence))
    table = mean_over_draws(tables)
    worst = min((each.attrs for each in tables), key=lambda attributes: attributes["converged"])
    return table.assign_attrs({name: worst[name] for name in ("converged", "errors")})


def _table(
    pair: PairLike, splits: list[Data], given: list[Conditioned], plan: GapPlan, log_evidence: object
) -> xr.Dataset:
    """The gaps of a pair of one level, on each split."""
    found, given_missing = [], 0.0
    for index, part in enumerate(given):
        guide = part.programs[1]
        given_missing = given_missing or part.x.isnan().double().mean().item()
        rows = plan.split(part)
        data = splits[index]
        known = log_evidence(pair, data) if callable(log_evidence) else log_evidence if index == 0 else None
        found.append(rows if known is None else rows.with_evidence(*_known_evidence(known, len(part))))
    table = xr.Dataset(_per_datum(found[0]) | _means(found), {"split": list(SPLITS[: len(found)])})
    table.attrs = {
        "num_samples": plan.num_samples,
        "num_particles": plan.num_particles,
        "seed": plan.seed,
        "converged": int(all(rows.converged for rows in found)),
        "errors": "over data and draws" if all(rows.converged for rows in found) else UNSETTLED,
        "held_fixed": "; ".join(f"{name}: {', '.join(kept)}" for name, kept in found[0].fixed.items()),
        "evidence": "importance bound from q*, a stochastic lower bound" if log_evidence is None else "given",
        "missing": given_missing,
        "encoder_sees_mask": int(traits(guide).sees_missing),
    }
    return named(table, given[0].labels)


@runtime_checkable
class _PerDatum(Protocol):
    """A result with one number per datum, as of ``log_evidence``."""

    per_datum: object


@runtime_checkable
class _PerDatumError(Protocol):
    """A result with the standard error of each of them."""

    per_datum_stderr: object


def _known_evidence(known: object, num_data: int) -> tuple[Tensor, Tensor]:
    try:
        values = torch.as_tensor(known.per_datum if isinstance(known, _PerDatum) else known).detach().double()
    except (TypeError, ValueError, RuntimeError):
        raise DataError(f"log_evidence: expected one number per datum, found {type(known).__name__}") from None
    if values.shape != (num_data,):
        raise DataError(f"log_evidence: expected one number per datum, [{num_data}], found {list(values.shape)}")
    if not isinstance(known, _PerDatumError) or known.per_datum_stderr is None:
        return values, torch.zeros_like(values)
    return values, torch.as_tensor(known.per_datum_stderr).double()


def _per_datum(rows: GapEstimates) -> dict[str, object]:
    variables: dict[str, object] = {}
    for name, description in DESCRIPTIONS.items():
        attributes = {"description": description, "units": "nats per datum"}
        variables[name] = ("datum", rows.value[name].cpu().numpy(), attributes)
        error = rows.error[name].cpu().numpy()
        variables[f"{name}_stderr"] = ("datum", error, {"description": f"Monte-Carlo error of {name}"})
    return variables


def _means(found: list[GapEstimates]) -> dict[str, object]:
    variables: dict[str, object] = {}
    for name in DESCRIPTIONS:
        means = [rows.value[name].mean().item() for rows in found]
        errors = [_mean_error(rows.value[name], rows.error[name]) for rows in found]
        variables[f"mean_{name}"] = ("split", means)
        variables[f"mean_{name}_stderr"] = ("split", errors, {"description": "over data and draws"})
        if len(found) > 1 and name in ("amortisation_gap", "elbo"):
            key = "generalisation_gap" if name == "amortisation_gap" else "elbo_generalisation_gap"
            sign = 1 if name == "amortisation_gap" else -1
            variables[key] = ((), sign * (means[0] - means[1]), {"units": "nats per datum"})
            variables[f"{key}_stderr"] = ((), math.hypot(*errors), {"description": "over data and draws"})
    return variables


def _mean_error(values: Tensor, errors: Tensor) -> float:
    """The standard error of the mean over data, each datum's Monte-Carlo noise included; or the noise alone."""
    if len(values) > 1:
        return values.std().item() / math.sqrt(len(values))
    return errors.item()


@renamed(table="numbers")
def check_gaps(numbers: xr.Dataset) -> Verdicts:
    """Judge the parts of the gap, one verdict per cause: the family, the encoder, and its step to unseen data.

    Args:
        numbers: of ``run_gaps``.

    Raises:
        DataError: the numbers are none of ``run_gaps``, or some are NaN or infinite.
    """
    means = ("mean_approximation_gap", "mean_amortisation_gap")
    require_table("table", numbers, "run_gaps", means, ("split",))
    require_numbers("table", numbers, but=[f"{name}_stderr" for name in (*means, "generalisation_gap")])
    approximation, amortisation = (_mean(numbers, f"mean_{name}_gap") for name in ("approximation", "amortisation"))
    words = _dominance(approximation, amortisation)
    held = numbers.attrs["held_fixed"]
    family = words + (f" The encoder's values were kept for {held}, so this is an upper bound." if held else "")
    encoder = words
    if not numbers.attrs["converged"]:
        left_out = "and its error leaves out what more steps would have gained"
        encoder += f" The optimisation had not settled, so this is a lower bound, {left_out}."
        family += f" The optimisation had not settled, so this is an upper bound, {left_out}."
    verdicts = [
        _judge(
            "Approximation gap", approximation, family, "Try a richer family: full covariance, a flow, a mixture."
        ),
        _judge("Amortisation gap", amortisation, encoder, _encoder_advice(numbers)),
    ]
    if "generalisation_gap" in numbers:
        gap = float(numbers["generalisation_gap"]), float(numbers["generalisation_gap_stderr"])
        lost, error = (float(numbers[f"elbo_generalisation_gap{suffix}"]) for suffix in ("", "_stderr"))
        words = (
            f"On unseen data the encoder costs {gap[0]:z.2f} nats more; "
            f"the ELBO is {lost:z.2f} ± {error:.2g} lower."
        )
        advice = "More data, early stopping by a validation split, or a smaller encoder."
        verdicts.append(_judge("Generalisation gap", gap, words, advice))
    return Verdicts(verdicts)


def _encoder_advice(table: xr.Dataset) -> str:
    share = table.attrs.get("missing", 0)
    if share > 0 and not table.attrs.get("encoder_sees_mask", 1):
        return (
            f"{100 * share:.2g}% of the values are missing, and the encoder takes them for observed zeros: show it "
            "which they are (encoder_sees_mask of the likelihood, or models.MissingnessEncoder)."
        )
    return "Train the encoder longer, or make it wider."


def _mean(table: xr.Dataset, name: str) -> tuple[float, float]:
    row = table.sel(split="test")
    return float(row[name]), float(row[f"{name}_stderr"])


def _dominance(approximation: tuple[float, float], amortisation: tuple[float, float]) -> str:
    (family, family_error), (encoder, encoder_error) = approximation, amortisation
    total = f"The family costs {family:z.2f} of a gap of {family + encoder:z.2f} nats, the encoder {encoder:z.2f}"
    if family + encoder <= GOOD:
        return f"{total}; the posterior is close."
    if abs(family - encoder) <= 2 * math.hypot(family_error, encoder_error):
        return f"{total}; the error is too wide to say which dominates."
    return f"{total}; the {'family' if family > encoder else 'encoder'} dominates."


def _judge(name: str, gap: tuple[float, float], words: str, advice: str) -> Verdict:
    """Choose the level: a limit is passed, or kept, only where two standard errors lie on that side of it."""
    level = level_of(*gap, GOOD, BAD)
    if level == "unknown":
        advice = "Take more data or draws: the error is too wide for a verdict."
    return Verdict(name, level, *gap, "nats per datum", THRESHOLD, words, "" if level == "good" else advice)
