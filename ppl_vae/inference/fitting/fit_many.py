"""The function ``fit_many``: several pairs of one architecture trained together, each as if it were alone."""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import pyro
import torch
from pyro.params.param_store import StateDict
from torch import Tensor

from ppl_vae.checks import whole
from ppl_vae.containers import Data
from ppl_vae.data import Dataset, Split
from ppl_vae.errors import ModelError
from ppl_vae.exclusive import exclusive
from ppl_vae.inference.compilation.members import Home, Member, frozen_of_each
from ppl_vae.inference.compilation.step_choice import choose
from ppl_vae.inference.estimators.base import Objective
from ppl_vae.inference.fitting.fit import TRAINING_STREAM, FitResult, finish_run, start_run
from ppl_vae.inference.objectives.schedules import Schedule
from ppl_vae.inference.pair.own_parameters import own_parameters
from ppl_vae.inference.pair.pair import Pair, PairLike, as_pair
from ppl_vae.inference.pair.trace import owner
from ppl_vae.inference.training import compute
from ppl_vae.inference.training.member_epochs import MemberEpochs, blocks
from ppl_vae.inference.training.neighbours import Neighbours
from ppl_vae.inference.training.preparation import Run, isolated, prepare, require_used
from ppl_vae.inference.training.progress import Progress
from ppl_vae.inference.training.run_folder import RunFolder
from ppl_vae.inference.training.settings import resolve
from ppl_vae.inference.training.state import TrainingState
from ppl_vae.inference.training.steps import Stepper
from ppl_vae.inference.training.weights import require_own_parameters
from ppl_vae.randomness import derived_seed

T = TypeVar("T")


@exclusive()
@torch.inference_mode(False)
def fit_many(
    vaes: Sequence[PairLike],
    data: Data | Dataset | Split | None = None,
    elbo: str | Objective | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | Sequence[float] | None = None,
    optimizer: str | None = None,
    schedule: Schedule | str | None = None,
    max_grad_norm: float | None = None,
    validation: float | Tensor | str | None = None,
    patience: int | None = None,
    device: str | torch.device = "auto",
    compile: bool | str = "auto",
    num_threads: compute.Threads = None,
    *,
    progress: bool | None = None,
    seeds: Sequence[int] | None = None,
    data_of_each: Sequence[Data | Dataset | Split] | None = None,
) -> list[FitResult]:
    """Train several pairs of one architecture in place, their steps taken as one over stacked weights.

    Member k ends where ``fit(vaes[k], ..., seed=seeds[k])`` does, up to rounding: it has the same batches, draws
    and split. Before the first step its loss and gradient are compared with its own programs.

    Args:
        vaes: pairs that differ in their weights alone.
        data: in one piece, as ``fit`` takes them, of all pairs.
        elbo: an estimator's name or an objective, which is copied for each; recipes have their own.
        epochs: passes over the data.
        batch_size: data a step, of each member.
        lr: the learning rate, one for all or one for each.
        optimizer: the name of one.
        schedule: multiplies the learning rate.
        max_grad_norm: the norm of each member's gradient is clipped to it.
        validation: a fraction that each member splits off by its own seed, other data, or "test".
        patience: a member whose validation ELBO gets no better keeps its best weights; all stop when none does.
        device: "auto" takes CUDA where there is one.
        compile: True takes whole batches in machine code, False replays the operations one by one, "auto" does what
            pays.
        num_threads: of the CPU.
        progress: show a progress bar.
        seeds: of each member's batches, draws and split; by default 0, 1, 2, ...
        data_of_each: data for each pair in place of ``data``, of one shape.

    Returns:
        A result for each, as ``fit`` gives it; its seconds are its share.

    Raises:
        ModelError: members differ in more than weights, share some, or draw in a way that depends on them; it is
            numbered. Or they have ``pyro.param`` sites, which share one store by name.
        DataError: as of ``fit``.
        ConvergenceError: a number of a member stopped being finite; all go back to the last good epoch.

    >>> import ppl_vae as pv
    >>> vaes = [pv.VAE((4,), latent_dim=1, likelihood="gaussian", seed=seed) for seed in range(3)]
    >>> results = fit_many(vaes, torch.randn(64, 4), epochs=2, progress=False)
    >>> [result.epochs_run for result in results]
    [2, 2, 2]
    """
    if not vaes:
        raise ModelError("fit_many needs at least one pair")
    seeds = [whole("seed", seed, least=None) or 0 for seed in (range(len(vaes)) if seeds is None else seeds)]
    if len(seeds) != len(vaes) or len({id(as_pair(vae).source) for vae in vaes}) < len(vaes):
        raise ModelError(f"fit_many needs a seed for each of {len(vaes)} different pairs, got {len(seeds)}")
    rates = _for_each("lr", lr if isinstance(lr, Sequence) else [lr] * len(vaes), len(vaes))
    given = {
        "epochs": epochs, "batch_size": batch_size, "optimizer": optimizer, "schedule": schedule,
        "max_grad_norm": max_grad_norm, "validation": validation, "patience": patience,
    }  # fmt: skip
    settings = [{**given, "elbo": copy.deepcopy(elbo), "lr": rate} for rate in rates]
    for vae in vaes:
        _require_of_nobody(as_pair(vae))
    stores = [empty_store() for _ in vaes]
    if (data is None) == (data_of_each is None):
        raise ModelError("fit_many needs data for all pairs, or data_of_each, one of the two")
    sets = [data] * len(vaes) if data is not None else _for_each("data_of_each", data_of_each or (), len(vaes))
    return fit_in_stores(vaes, sets, settings, seeds, stores, device, compile, num_threads, progress)


def empty_store() -> StateDict:
    """The state of a parameter store that holds nothing."""
    return {"params": {}, "constraints": {}}


def fit_in_stores(
    vaes: Sequence[PairLike],
    data: Sequence[Data | Dataset | Split],
    settings: Sequence[Mapping[str, object]],
    seeds: Sequence[int],
    stores: Sequence[StateDict],
    device: str | torch.device = "auto",
    compile: bool | str = "auto",
    num_threads: compute.Threads = None,
    progress: bool | None = None,
    *,
    keep_sites: bool = False,
) -> list[FitResult]:
    """Train pairs together, each on data and in a parameter store of its own.

    Args:
        vaes: as of ``fit_many``.
        data: of each.
        settings: of each, as ``fit`` takes them.
        seeds: of each.
        stores: the state of Pyro's parameter store of each; it is that of the fitted pair afterwards.
        device: as of ``fit_many``.
        compile: as there.
        num_threads: as there.
        progress: as there.
        keep_sites: allow ``pyro.param`` sites, whose values are in the stores alone.
    """
    on, scope = compute.resolve_device(device), pyro.get_param_store().scope
    homes = [functools.partial(scope, store) for store in stores]
    runs = []
    for vae, own, given, seed, home in zip(vaes, data, settings, seeds, homes, strict=True):
        with home():
            run = prepare(as_pair(vae), own, resolve(vae, given), on, seed)
            require_used(given, run)
        runs.append(run)
    _require_alike(runs)
    with contextlib.ExitStack() as stack_of_sets:
        for run in runs:
            stack_of_sets.enter_context(run.objective.of_a_set(run.data.num_total))
        one_rate = len({given.get("lr") for given in settings}) == 1
        return _fit_all(runs, homes, compile, num_threads, progress, one_rate, keep_sites)


def _for_each(name: str, values: Sequence[T], count: int) -> Sequence[T]:
    if len(values) != count:
        raise ModelError(f"{name}: expected one for all or one for each of {count} pairs, got {len(values)}")
    return values


def _require_of_nobody(pair: Pair) -> None:
    """Refuse what Pyro's store has for a pair under its names and no other module holds: it would be left out."""
    modules = [module for module in (owner(pair.model), owner(pair.guide)) if module is not None]
    with own_parameters(pair.model, pair.guide):
        require_own_parameters(modules)


def _require_alike(runs: Sequence[Run]) -> None:
    """Refuse members whose settings differ, and data in batches of the user's own."""
    first = {name: value for name, value in runs[0].settings.describe().items() if name != "lr"}
    shape = None
    for k, run in enumerate(runs):
        if run.data.x is None:
            raise ModelError("fit_many needs data in one piece, not batches of the user's own")
        shape = shape or run.data.x.shape
        if run.data.x.shape != shape:
            raise ModelError(f"member {k}: its data are {list(run.data.x.shape)}, those of member 0 {list(shape)}")
        own = {name: value for name, value in run.settings.describe().items() if name != "lr"}
        if own != first:
            differing = [name for name in first if own[name] != first[name]]
            raise ModelError(
                f"member {k}: {differing[0]} is {own[differing[0]]}, that of member 0 {first[differing[0]]}"
            )


def _fit_all(
    runs: Sequence[Run],
    homes: Sequence[Home],
    compile: bool | str,
    num_threads: compute.Threads,
    progress: bool | None,
    one_rate: bool,
    keep_sites: bool,
) -> list[FitResult]:
    with homes[0]():
        flops = compute.step_flops(runs[0].forward_once) * len(runs)
    for run, home in zip(runs[1:], homes[1:], strict=True):
        with home():
            run.forward_once()
    number, reason = compute.choose_threads(num_threads, flops, Neighbours())
    choice = choose(compile, runs[0].steps(), flops)
    in_blocks = choice.mode == "compiled" and runs[0].device.type == "cpu"
    # Threads have a member or more each, or else share the products of one step.
    apart = in_blocks and number <= len(runs) and all(_is_ours(run.settings.schedule) for run in runs)
    workers = number if apart else 1
    block = blocks(len(runs), flops // len(runs), workers) if in_blocks else len(runs)
    for run in runs:
        run.manifest.update(
            num_threads=number,
            num_threads_reason=reason,
            compile="batched, compiled" if choice.mode == "compiled" else "batched",
            compile_reason=f"{len(runs)} members take their steps together, {_in_words(block, workers)}; "
            f"{choice.reason}",
            steps_per_call=1,
        )
    with isolated(runs[0].seed, runs[0].device), compute.threads(number):
        states: list[TrainingState] = []
        members: list[Member] = []
        for run, home in zip(runs, homes, strict=True):
            with home():
                state, stepper = _started(run)
            states.append(state)
            members.append(_member(run, state, stepper, len(members), home, keep_sites))
        each = frozen_of_each([state.weights for state in states])
        members = [replace(member, frozen=own) for member, own in zip(members, each, strict=True)]
        training = MemberEpochs(runs, states, members, choice.mode == "compiled", one_rate, block, workers)
        total = runs[0].total(0)
        with Progress(None if total is None else total * len(runs), progress) as bar:
            training.train(bar)
        return [_finished(run, state, home) for run, state, home in zip(runs, states, homes, strict=True)]


def _is_ours(schedule: Schedule | str | None) -> bool:
    """Tell whether a schedule may be called in a thread: a user's own might wait for what this process holds."""
    if schedule is None or isinstance(schedule, str):
        return True
    module = inspect.getmodule(schedule)
    return module is not None and module.__name__.startswith("ppl_vae.")


def _in_words(block: int, workers: int) -> str:
    as_one = "each its own" if block == 1 else f"{block} as one"
    return as_one if workers == 1 else f"{as_one}, in {workers} threads"


def _started(run: Run) -> tuple[TrainingState, Stepper]:
    """The beginning of a run, drawn from its own stream: an objective may make its networks there."""
    with isolated(run.seed, run.device):
        return start_run(run)


def _finished(run: Run, state: TrainingState, home: Home) -> FitResult:
    with home():
        return finish_run(run, state, RunFolder(None))


def _member(run: Run, state: TrainingState, stepper: Stepper, number: int, home: Home, keep_sites: bool) -> Member:
    if state.weights.store and not keep_sites:
        raise ModelError("programs with pyro.param sites share them by name, so that several cannot train together")
    generator = torch.Generator(run.device).manual_seed(derived_seed(run.seed, TRAINING_STREAM))
    return Member(stepper, state.weights.buffers(), generator, number, home)
