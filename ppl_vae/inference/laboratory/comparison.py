"""The estimator laboratory: what each estimator of the ELBO and of its gradient costs and hides, on one model.

Same weights, same data, the same noise for all estimators with as many draws. Values are nats per datum; gradients
are of the batch mean of the bound with respect to the parameters, R independent repeats each.
"""

from __future__ import annotations

import contextlib
import copy
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pyro
import torch
import xarray as xr
from torch import Tensor

from ppl_vae.containers import Data
from ppl_vae.errors import ModelError
from ppl_vae.exclusive import exclusive
from ppl_vae.inference.estimators.base import Estimator
from ppl_vae.inference.estimators.table import get_elbo, list_estimators
from ppl_vae.inference.laboratory.reference import Reference, reference
from ppl_vae.inference.laboratory.repeats import GradientMoments, Repeated, repeat
from ppl_vae.inference.laboratory.rounding import rounding
from ppl_vae.inference.pair.admission import admitted
from ppl_vae.inference.pair.conditioned import Conditioned
from ppl_vae.inference.pair.evaluation_mode import evaluation_mode
from ppl_vae.inference.pair.own_parameters import own_parameters
from ppl_vae.inference.pair.pair import Pair, PairLike
from ppl_vae.inference.pair.protocols import HasParameterGroups, Program
from ppl_vae.inference.pair.runs import run_terms
from ppl_vae.inference.pair.scales import require_unscaled
from ppl_vae.inference.pair.stopped import leaves_of
from ppl_vae.inference.pair.terms import Gradient
from ppl_vae.inference.training.weights import Weights, collect_weights
from ppl_vae.progress import watched
from ppl_vae.randomness import seeded
from ppl_vae.registration import unregistered
from ppl_vae.renamed import also_called, by_keyword

TIMED_STEPS = 15
GLOBAL_GUIDE = "global guide"
BY_GROUP = ("gradient_variance", "gradient_norm", "snr", "cosine", "cost")
EXTRA = {"draw": ["repeat"], "gradient_distance": ["group", "repeat"]}


@dataclass(frozen=True)
class _Laboratory:
    """The setting that all estimators of a comparison share."""

    model: Program
    guide: Program
    x: Tensor
    groups: dict[str, list[str]]
    repeats: int
    seed: int
    memory_limit: int
    value_rounding: float
    gradient_rounding: dict[str, float]


@also_called(repeats="num_repeats")
@by_keyword("seed", "memory_limit", "progress")
@exclusive()
@torch.inference_mode(False)
def compare_estimators(
    pair: PairLike,
    x: Data,
    estimators: Sequence[str | Estimator] | None = None,
    num_repeats: int = 1000,
    num_particles: int | None = None,
    parameters: Mapping[str, Sequence[Tensor]] | None = None,
    *,
    memory_limit: int = 1 << 25,
    progress: bool | None = None,
    seed: int = 0,
) -> xr.Dataset:
    """Measure estimators side by side on a pair and fixed data.

    Args:
        pair: a VAE, an object with ``.model`` and ``.guide``, or a tuple of the two programs.
        x: [N, *event_shape], all of it in every repeat; with covariates a tuple (x, c1, ..., cm) or a dict of named
            arrays (``inference.pair.covariates``).
        estimators: names or estimators; by default every named one that this pair allows.
        num_repeats: R independent estimates each, at least 2.
        num_particles: K for the estimators given by name; None leaves each its default.
        parameters: the groups that gradients are reported for; by default the model's own ``parameter_groups``
            (encoder heads, encoder body, decoder), else "guide" and "model", with "global guide" for the
            parameters of the guide's global sites.
        memory_limit: bytes that a chunk of repeats may take, reckoned from the size of the data and the number
            of parameters; wide networks on narrow data take more. Larger chunks were not faster.
        progress: show a progress bar; by default where a terminal or a notebook shows it to somebody.
        seed: of the noise, which is the same for estimators with the same number of draws.

    Returns:
        A Dataset over "estimator" with, per estimator: value, value_stderr, value_variance (per datum and draw of
        the estimate, averaged over data), bias_elbo and bias_evidence with their standard errors, milliseconds
        (the median of one value and gradient, eagerly; of the processor where one thread computes) with its
        standard error, num_draws, target and side (what the estimator says that it estimates), of_elbo (whether
        that is the ELBO, value and gradient unbiased), vectorised; and over "group" too: gradient_variance (trace),
        gradient_norm (of the mean, its noise subtracted), snr, cosine (to the reference gradient of the ELBO; both
        NaN where there is nothing but rounding) and cost (variance times milliseconds). "draw" holds the R batch
        means, "gradient_distance" the squared distance of every repeat's gradient from the reference, "of_guide"
        whether a group is the guide's, "gradient_rounding" what rounding makes of a group's gradient; the attribute
        "rounding" what it makes of a value. The attributes say what the references are.

    Raises:
        ModelError: the pair, or an estimator asked for by name on this pair, is refused; or it needs covariates.
        DataError: the model's likelihood has no density for some value of x.

    >>> import torch
    >>> import ppl_vae as pv
    >>> vae = pv.VAE((4,), latent_dim=1, likelihood="gaussian")
    >>> names = ["analytic-kl", "monte-carlo-kl"]
    >>> table = compare_estimators(vae, torch.ones(8, 4), names, num_repeats=20, progress=False)
    >>> table.gradient_variance.to_pandas().columns.tolist()
    ['encoder mean head', 'encoder scale head', 'encoder body', 'decoder']
    """
    if not isinstance(num_repeats, int) or num_repeats < 2:
        raise ModelError(f"num_repeats must be an integer of at least 2, got {num_repeats!r}")
    pair, batch = admitted(pair, x)
    given = Conditioned((pair.model, pair.guide), batch)
    # All data stand in every repeat, so that what they are given is constant.
    pair, data = replace(pair, model=given.model, guide=given.guide), given.x
    model, guide = pair.model, pair.guide
    with (
        unregistered(),
        pyro.validation_enabled(False),
        own_parameters(model, guide),
        evaluation_mode(model, guide),
    ):
        by_label, skipped = _choose(model, guide, data, estimators, num_particles, seed)
        first = next(iter(by_label.values()))
        with seeded(seed, data.device):
            weights = collect_weights(model, guide, first, data)
            require_unscaled(first.run(model, guide, data))
        groups = _group_names(pair, weights, parameters, global_leaves(model, guide, data, seed))
        value_rounding, by_name = rounding(model, guide, weights, data)
        by_group = {group: math.sqrt(sum(by_name[name] ** 2 for name in names)) for group, names in groups.items()}
        laboratory = _Laboratory(
            model, guide, data, groups, num_repeats, seed, memory_limit, value_rounding, by_group
        )
        with watched(num_repeats * (len(by_label) + 1), "repeat", progress, by_hand=True) as bar:
            judge = reference(pair, weights, data, num_repeats, seed, memory_limit, bar.update)
            times, rows = _milliseconds(laboratory, by_label, weights), {}
            for name, estimator in by_label.items():
                bar.set_postfix_str(name, refresh=False)
                rows[name] = _measure(laboratory, estimator, judge, times[name], bar.update)
    return _dataset(laboratory, by_label, rows, judge, skipped)


def _choose(
    model: Program, guide: Program, x: Tensor, estimators: Any, num_particles: int | None, seed: int
) -> tuple[dict[str, Estimator], dict[str, str]]:
    """Choose the estimators by label, and say why others are left out where the user named none."""
    chosen: dict[str, Estimator] = {}
    skipped: dict[str, str] = {}
    if isinstance(estimators, str | Estimator):
        estimators = [estimators]
    if estimators is not None and not estimators:
        raise ModelError("estimators is empty: name at least one")
    for entry in estimators if estimators is not None else list_estimators():
        try:
            label, estimator = _labelled(entry, num_particles)
            with seeded(seed, x.device):
                estimator.forward(estimator.run(model, guide, x))
        except ModelError as error:
            if estimators is not None:
                raise
            skipped[str(entry)] = str(error)
            continue
        if label in chosen:
            raise ModelError(f"estimator {label!r} is asked for twice")
        chosen[label] = estimator
    if not chosen:
        raise ModelError(f"this pair allows none of the estimators: {skipped}")
    return chosen, skipped


def _labelled(entry: str | Estimator, num_particles: int | None) -> tuple[str, Estimator]:
    if isinstance(entry, str):
        return entry, get_elbo(entry, **({} if num_particles is None else {"num_particles": num_particles}))
    if not isinstance(entry, Estimator):
        raise ModelError(f"estimators must be names or estimators, got {type(entry).__name__}")
    # A running baseline moves; the user's own stays as it was.
    return repr(entry), copy.deepcopy(entry)


def global_leaves(model: Program, guide: Program, x: Tensor, seed: int) -> set[int]:
    """The identities of the parameters of which the global sites' guide is made; none without such sites."""
    gradients: tuple[Gradient, ...] = ("total", "score")
    # Discrete sites have no reparameterised draws, and flows no density at draws that are constants.
    for gradient in gradients:
        with seeded(seed, x.device), torch.enable_grad(), contextlib.suppress(ModelError):
            whole = run_terms(model, guide, (x,), {}, 1, gradient, as_loss=True).whole
            return set() if whole is None else {id(leaf) for leaf in leaves_of([whole.log_guide])}
    return set()


def _group_names(
    pair: Pair, weights: Weights, parameters: Mapping[str, Sequence[Tensor]] | None, of_global: set[int]
) -> dict[str, list[str]]:
    """The names of the parameters of every group; those of the global guide are one of their own."""
    named = weights.named_parameters()
    if parameters is None and isinstance(pair.source, HasParameterGroups):
        parameters = pair.source.parameter_groups()
    if parameters is None:
        parts = {name: name.split(".", 1)[0] for name in named}
        parts |= {name: GLOBAL_GUIDE for name, leaf in named.items() if id(leaf) in of_global}
        return {part: [name for name in named if parts[name] == part] for part in sorted(set(parts.values()))}
    if not isinstance(parameters, Mapping):
        raise ModelError(f"parameters must map names of groups to parameters, got {type(parameters).__name__}")
    by_leaf = {id(leaf): name for name, leaf in named.items()}
    groups: dict[str, list[str]] = {}
    for group, leaves in parameters.items():
        # A constrained pyro.param is a function of its leaf.
        trainable = [leaf.unconstrained() if isinstance(leaf, Constrained) else leaf for leaf in leaves]
        if not trainable or any(id(leaf) not in by_leaf for leaf in trainable):
            raise ModelError(f"parameter group {group!r} must hold trainable parameters of this pair alone")
        groups[group] = [by_leaf[id(leaf)] for leaf in trainable]
    return groups


@runtime_checkable
class Constrained(Protocol):
    """A pyro.param with a constraint: a function of the leaf that is trained."""

    def unconstrained(self) -> Tensor:
        """The leaf."""


def _measure(
    laboratory: _Laboratory,
    estimator: Estimator,
    judge: Reference,
    times: list[float],
    advance: Callable[[int], None],
) -> dict[str, object]:
    model, guide, x = laboratory.model, laboratory.guide, laboratory.x
    weights = Weights(judge.weights.modules, judge.weights.store)
    with seeded(laboratory.seed, x.device):
        repeated = repeat(
            model,
            guide,
            estimator,
            weights,
            x,
            laboratory.repeats,
            laboratory.memory_limit,
            advance,
            judge.gradient,
        )
    return _value_row(repeated, judge) | _gradient_row(laboratory, repeated, judge, times)


def _value_row(found: Repeated, judge: Reference) -> dict[str, object]:
    draws = found.values.mean(1)
    value, stderr = draws.mean().item(), draws.std().item() / len(draws) ** 0.5
    row = {"value": value, "value_stderr": stderr, "value_variance": found.values.var(0).mean().item()}
    for target, (exact, error) in {"elbo": judge.elbo, "evidence": judge.evidence}.items():
        row |= {f"bias_{target}": value - exact, f"bias_{target}_stderr": (stderr**2 + error**2) ** 0.5}
    return row | {"draw": draws.numpy(force=True), "vectorised": found.vectorised}


def _gradient_row(
    laboratory: _Laboratory, found: Repeated, judge: Reference, times: list[float]
) -> dict[str, object]:
    milliseconds = statistics.median(times)
    columns: dict[str, list[Any]] = {name: [] for name in (*BY_GROUP, "gradient_distance")}
    for group, names in laboratory.groups.items():
        mean, variance = _gathered(found.moments, names)
        # The squared norm of an average of R noisy gradients is too large by the noise that is left.
        squared_norm = (mean.square().sum() - variance.sum() / found.moments.count).clamp_min(0)
        exact = torch.cat([judge.gradient[name].flatten() for name in names])
        columns["gradient_variance"].append(variance.sum().item())
        columns["gradient_norm"].append(squared_norm.sqrt().item())
        floor = laboratory.gradient_rounding[group] ** 2
        something = max(squared_norm.item(), variance.sum().item()) > floor
        columns["snr"].append((squared_norm / variance.sum()).sqrt().item() if something else math.nan)
        directed = min(mean.square().sum().item(), exact.square().sum().item()) > floor
        cosine = torch.nn.functional.cosine_similarity(mean, exact, dim=0).item()
        columns["cosine"].append(cosine if directed else math.nan)
        columns["gradient_distance"].append(
            torch.stack([found.distance[name] for name in names]).sum(0).numpy(force=True)
        )
        columns["cost"].append(variance.sum().item() * milliseconds)
    return {**columns, "milliseconds": milliseconds, "milliseconds_stderr": _median_stderr(times)}


def _gathered(moments: GradientMoments, names: list[str]) -> tuple[Tensor, Tensor]:
    """The mean and the variance of a group's coordinates, each one long vector."""
    mean = torch.cat([moments.mean[name].flatten() for name in names])
    return mean, torch.cat([moments.variance(name).flatten() for name in names])


def _milliseconds(
    laboratory: _Laboratory, estimators: Mapping[str, Estimator], weights: Weights
) -> dict[str, list[float]]:
    """Time one value and gradient, run as a training step would run it.

    Every round has a step of each estimator, so that a machine that slows down slows all of them.
    """
    leaves, device = weights.parameters(), laboratory.x.device
    # Where one thread computes, its own time is the step's, whatever else the machine does meanwhile.
    alone = device.type == "cpu" and torch.get_num_threads() == 1
    clock = time.process_time if alone else time.perf_counter
    times: dict[str, list[float]] = {name: [] for name in estimators}
    with seeded(laboratory.seed, device):
        for _ in range(TIMED_STEPS):
            for name, estimator in estimators.items():
                started = clock()
                terms = estimator.run(laboratory.model, laboratory.guide, laboratory.x)
                torch.autograd.grad(estimator.forward(terms), leaves, allow_unused=True)
                if laboratory.x.is_cuda:
                    torch.cuda.synchronize(device)
                times[name].append(1e3 * (clock() - started))
    return times


def _median_stderr(values: list[float]) -> float:
    """The standard error of the median from the quartiles: sqrt(pi/2) sigma / sqrt(n) of a normal distribution."""
    low, _, high = statistics.quantiles(values)
    return math.sqrt(math.pi / 2) * (high - low) / 1.349 / math.sqrt(len(values))


def _dataset(
    laboratory: _Laboratory,
    chosen: dict[str, Estimator],
    rows: dict[str, dict[str, object]],
    judge: Reference,
    skipped: dict[str, str],
) -> xr.Dataset:
    variables: dict[str, object] = {}
    for key in next(iter(rows.values())):
        extra = ["group"] if key in BY_GROUP else EXTRA.get(key, [])
        variables[key] = (["estimator", *extra], np.array([row[key] for row in rows.values()]))
    variables["num_draws"] = ("estimator", [e.num_draws for e in chosen.values()])
    variables["of_elbo"] = ("estimator", [e.target == "elbo" for e in chosen.values()])
    variables["target"] = ("estimator", [e.target or "" for e in chosen.values()])
    variables["side"] = ("estimator", [e.side or "" for e in chosen.values()])
    variables["gradient_rounding"] = ("group", list(laboratory.gradient_rounding.values()))
    variables["of_guide"] = (
        "group",
        [
            group == GLOBAL_GUIDE or all(name.startswith("guide.") for name in names)
            for group, names in laboratory.groups.items()
        ],
    )
    attributes = {
        "elbo": judge.elbo[0],
        "elbo_stderr": judge.elbo[1],
        "elbo_reference": judge.elbo_source,
        "evidence": judge.evidence[0],
        "evidence_stderr": judge.evidence[1],
        "evidence_reference": judge.evidence_source,
        "gradient_reference": judge.elbo_source,
        "rounding": laboratory.value_rounding,
        "num_data": len(laboratory.x),
        "repeats": laboratory.repeats,
        "seed": laboratory.seed,
        "num_threads": torch.get_num_threads(),
        "skipped": "; ".join(f"{name}: {reason}" for name, reason in skipped.items()),
    }
    return xr.Dataset(variables, {"estimator": list(rows), "group": list(laboratory.groups)}, attributes)
