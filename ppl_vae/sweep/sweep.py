"""Sweeps over the options of a recipe: every trial a run in a folder of its own, on any executor, and resumable."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import xarray as xr

from ppl_vae.checks import positive, whole
from ppl_vae.data import Dataset, fingerprint
from ppl_vae.errors import CheckpointError, ModelError, unknown_name
from ppl_vae.executors import Executors, open_executor
from ppl_vae.files import JsonObject, as_path, read_json, write_json
from ppl_vae.inference.training.folder_lock import locked
from ppl_vae.progress import watched
from ppl_vae.recipes import RECIPES, option_names
from ppl_vae.sweep.judging import By, Judge, SweepData, opened
from ppl_vae.sweep.same_data import require_same_data
from ppl_vae.sweep.search import Asked, Grid, Options, Search, Space, search_over
from ppl_vae.sweep.table import Point, as_table, done
from ppl_vae.sweep.trial import Maker, Trial, plain, run_trial, scores

PLAN, TABLE, POINTS = "sweep.json", "sweep.nc", "points"
# Points that Optuna is asked for before the first of them is scored.
NUM_PARALLEL = 4


def sweep(
    recipe: Maker,
    space: Space,
    data: SweepData,
    seeds: Sequence[int] = (0,),
    *,
    out_dir: str | Path,
    executor: Executors = None,
    options: Options | None = None,
    num_points: int | None = None,
    num_parallel: int = NUM_PARALLEL,
    sampler: object = None,
    judge: By = "elbo",
    num_draws: int = 32,
    held_out: float = 0.1,
    rungs: Sequence[int] = (),
    prune_beyond: float | None = None,
    resume: bool = False,
    progress: bool | None = None,
    seed: int = 0,
) -> xr.Dataset:
    """Train a recipe at the points of a grid or of an Optuna space, with several seeds, and judge the trials.

    A trial is judged by the plain ELBO, or the evidence, of a part of the training data that no trial is trained
    on; the test split takes no part. A trial whose worker was killed is run again, from its checkpoint, where the
    engine does so (dask.distributed); a sweep that was killed itself goes on with ``resume=True``.

    Args:
        recipe: a recipe's name; or a function of the options and ``seed`` that makes what ``fit`` takes, which
            other processes must be able to import.
        space: name -> list of values is a grid. Name -> Optuna distribution, or a function of an Optuna trial that
            returns options, is searched by Optuna. Options are those of ``make``: of program, objective and fit.
        data: a Dataset, a Split, data in one piece such as an array [N, *event_shape] or a frame, (x, y), a dict of
            arrays of which one is "x", or the name or path of a data set. Data travel with every trial, dense, so
            that large ones are best told by name.
        seeds: of weights, batches and draws; each point is trained with each.
        out_dir: a new or empty folder, which the workers must see too.
        executor: where trials run (``ppl_vae.executors``): None here, one after the other; a number of local
            processes of dask.distributed; the address of its scheduler; a Client; or any executor of
            concurrent.futures.
        options: the same in all trials.
        num_points: how many points Optuna tries.
        num_parallel: points that Optuna is asked for before it is told the first score.
        sampler: an Optuna sampler in place of its default.
        judge: "elbo" or "log_evidence".
        num_draws: per judged datum.
        held_out: the fraction of the training data that judges.
        rungs: epochs after which a trial may be pruned.
        prune_beyond: prune a trial that is this many standard errors behind the best at a rung
            (``sweep.pruning``); None prunes none.
        resume: go on with the sweep in ``out_dir``.
        progress: show a bar of trials.
        seed: of the judged part, its draws, and of Optuna.

    Returns:
        Over "point" and "seed": the score with its standard error, epochs, seconds, status; over "point": every
        option as a coordinate ("elbo_option" for elbo, since "elbo" is a score), and ``behind``, how far the point
        is behind the best, with the error of the difference. It is stored as sweep.nc too.

    Raises:
        ModelError: a setting cannot be used; it is named.
        DataError: the data cannot.
        CheckpointError: ``out_dir`` holds another sweep, or workers were killed and the executor cannot go on.
    """
    folder, chosen = as_path("out_dir", out_dir), Judge(judge, held_out, num_draws, seed)
    beyond = None if prune_beyond is None else positive("prune_beyond", prune_beyond)
    if (beyond is None) != (not rungs):
        raise ModelError("rungs and prune_beyond belong together: give both, or neither")
    if not seeds or len(set(seeds)) != len(seeds):
        raise ModelError(f"seeds: expected distinct integers, at least one, got {seeds!r}")
    whole("num_parallel", num_parallel)
    # Before any worker is started.
    training, _ = chosen.parts(data)
    _require_known(recipe, [*(options or {}), *(space if isinstance(space, Mapping) else ())])
    plan = _plan(recipe, space, data, seeds, options or {}, chosen, rungs, beyond)
    with ExitStack() as open_:
        open_.enter_context(_held(folder, plan, resume))
        require_same_data(folder, training)
        search = search_over(space, num_points, _tried(folder), seed, sampler)

        def trials(asked: Asked) -> list[Trial]:
            write_json(folder / POINTS / f"{asked.number:04d}.json", plain(asked.parameters))
            return [
                Trial(
                    recipe,
                    {**(options or {}), **asked.options},
                    each,
                    chosen,
                    str(folder),
                    f"{asked.number:04d}-seed-{each}",
                    tuple(rungs),
                    beyond,
                )
                for each in seeds
            ]

        running = open_.enter_context(open_executor(executor))
        # Here there is one trial at a time; a grid learns nothing, so that all its trials may wait for workers.
        parallel = 1 if executor is None else sys.maxsize if isinstance(search, Grid) else num_parallel
        bar = open_.enter_context(watched(None, "trial", progress))
        points = list(_Points(search, trials, running, data, parallel).run(bar.update))
    points.sort(key=lambda point: point.number)
    table = as_table(points, list(seeds), judge, {"held_out": held_out, "num_draws": num_draws})
    table.to_netcdf(folder / TABLE, engine="h5netcdf")
    return table


@dataclass
class _Points:
    """The points that are under way."""

    search: Search
    trials: Callable[[Asked], list[Trial]]
    executor: Executor
    data: SweepData
    parallel: int
    running: dict[Future[JsonObject], tuple[int, int]] = field(default_factory=dict)
    open: dict[int, tuple[Options, list[Trial], dict[int, JsonObject]]] = field(default_factory=dict)

    def run(self, count: Callable[[int], object]) -> Iterator[Point]:
        """Run all points; each is given when its last trial is done."""
        self._fill()
        while self.running:
            finished, _ = wait(self.running, return_when=FIRST_COMPLETED)
            for future in finished:
                number, place = self.running.pop(future)
                options, trials, results = self.open[number]
                results[place] = _result(future, trials[place])
                count(1)
                if len(results) == len(trials):
                    point = _point(number, options, trials, results)
                    self.search.tell(number, point.score())
                    del self.open[number]
                    yield point
            self._fill()

    def _fill(self) -> None:
        while len(self.open) < self.parallel:
            found = self.search.next()
            if found is None:
                return
            number, trials = found.number, self.trials(found)
            self.open[number] = found.options, trials, {}
            for place, trial in enumerate(trials):
                self.running[self.executor.submit(run_trial, trial, self.data)] = number, place


def _result(future: Future[JsonObject], trial: Trial) -> JsonObject:
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise CheckpointError(
            f"trial {trial.name}: a worker process was killed, and a pool of concurrent.futures does not replace "
            "it (dask.distributed does); the same call with resume=True goes on"
        ) from error


def _point(number: int, options: Options, trials: list[Trial], results: Mapping[int, JsonObject]) -> Point:
    ordered = [results[place] for place in range(len(trials))]
    found = [scores(trial) if done(result) else None for trial, result in zip(trials, ordered, strict=True)]
    return Point(number, options, ordered, found)


def _require_known(recipe: Maker, names: Sequence[str]) -> None:
    """Refuse a recipe, or an option of one, that nobody knows, and not trial by trial."""
    if not isinstance(recipe, str):
        if "seed" in names:
            raise ModelError("'seed' is no option of a recipe that is a function: seeds= gives it to every point")
        return
    if recipe not in RECIPES:
        raise ModelError(unknown_name("recipe", recipe, RECIPES))
    known = [name for group in option_names(recipe).values() for name in group]
    for name in names:
        if name not in known:
            raise ModelError(f"recipe {recipe!r}: {unknown_name('option', name, known)}")


def _plan(
    recipe: Maker,
    space: Space,
    data: SweepData,
    seeds: Sequence[int],
    options: Options,
    judge: Judge,
    rungs: Sequence[int],
    beyond: float | None,
) -> JsonObject:
    """The facts by which a sweep is told from another."""
    whole_data = opened(data)
    train = whole_data.train if isinstance(whole_data, Dataset) else whole_data
    told = {
        "recipe": recipe if isinstance(recipe, str) else _name(recipe),
        "space": _name(space) if callable(space) else {name: str(values) for name, values in space.items()},
        "data": {"size": len(train), "sha256": fingerprint(train.x)},
        "seeds": list(seeds),
        "options": plain(options),
        "judge": [judge.by, judge.held_out, judge.num_draws, judge.seed],
        "rungs": list(rungs),
        "prune_beyond": beyond,
    }
    found: JsonObject = json.loads(json.dumps(told))
    return found


def _name(function: object) -> str:
    return str(function).partition(" at 0x")[0]


def _held(folder: Path, plan: JsonObject, resume: bool) -> AbstractContextManager[None]:
    """Keep others out of the folder, once it is seen to be new or of this very sweep."""
    if (folder / PLAN).exists():
        stored = read_json(folder / PLAN)
        if not resume:
            raise CheckpointError(
                f"{folder}: holds another sweep; go on with resume=True, or choose another folder"
            )
        for name, value in plan.items():
            if stored.get(name) != value:
                raise CheckpointError(
                    f"{folder}: holds another sweep: {name} was {stored.get(name)!r}, is now {value!r}"
                )
    elif folder.exists() and any(not entry.name.startswith(".") for entry in folder.iterdir()):
        raise CheckpointError(f"{folder}: holds files that no sweep wrote; choose an empty or a new folder")
    (folder / POINTS).mkdir(parents=True, exist_ok=True)
    write_json(folder / PLAN, plan)
    return locked(folder)


def _tried(folder: Path) -> list[Options]:
    """The points that an earlier call has asked for, in their order."""
    return [read_json(path) for path in sorted((folder / POINTS).glob("*.json"))]
