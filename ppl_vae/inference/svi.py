"""``fit``: stochastic variational inference on any (model, guide) pair, seeded, resumable, honestly recorded."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyro
import torch
from torch import Tensor, nn

from ppl_vae.checks import whole
from ppl_vae.errors import ConvergenceError, ModelError
from ppl_vae.inference import compute
from ppl_vae.inference.batches import TrainingData, training_data
from ppl_vae.inference.evaluation import evaluate, evaluation_mode
from ppl_vae.inference.manifest import describe_data, describe_device, describe_pair, require_same_run, versions
from ppl_vae.inference.objective import Objective
from ppl_vae.inference.pair import Program, owner, split_pair
from ppl_vae.inference.placement import own_dtype
from ppl_vae.inference.progress import Progress
from ppl_vae.inference.run_folder import RunFolder
from ppl_vae.inference.schedules import Schedule
from ppl_vae.inference.selection import Selection
from ppl_vae.inference.settings import Optimizer, Settings, resolve
from ppl_vae.inference.state import TrainingState
from ppl_vae.inference.terms import check_data
from ppl_vae.inference.training import Stepper, run_epoch
from ppl_vae.inference.weights import collect_weights, require_own_parameters
from ppl_vae.randomness import reseed, seeded
from ppl_vae.registration import unregistered

DEFAULT_VALIDATION_FRACTION = 0.1
DEFAULT_BATCH_SIZE = 128
SECONDS_BETWEEN_CHECKPOINTS = 1.0


@dataclass(frozen=True)
class FitResult:
    """What a run leaves in memory.

    Attributes:
        model: the pair, trained in place, in evaluation mode, on its device.
        history: a row an epoch: epoch (from 1), step, loss, seconds, and elbo, log_likelihood, kl with the
            prefixes train_ (running mean of the training draws), validation_ and test_ (evaluations), nats
            per datum. The ELBO is the plain one, whatever the objective was.
        best_epoch: the epoch whose weights the model has: the best on validation, else the last.
        epochs_run: how many epochs were run.
        manifest: versions, seed, device, threads, settings and data checksums.
        out_dir: the run's folder, or None.
    """

    model: Any
    history: pd.DataFrame
    best_epoch: int
    epochs_run: int
    manifest: dict[str, Any]
    out_dir: Path | None


def fit(
    vae: Any,
    data: Any,
    elbo: str | Objective | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    optimizer: Optimizer | None = None,
    schedule: Schedule | None = None,
    max_grad_norm: float | None = None,
    validation: float | Tensor | str | None = None,
    patience: int | None = None,
    device: str | torch.device = "auto",
    compile: bool | str = "auto",
    num_threads: int | None = None,
    seed: int = 0,
    out_dir: str | Path | None = None,
    resume: bool = False,
    progress: bool = True,
) -> FitResult:
    """Train a pair in place by stochastic gradient steps on the batch mean of an objective.

    Args:
        vae: a VAE, a Recipe, any object with ``.model`` and ``.guide``, or a tuple of two Pyro programs.
        data: a Dataset, a tensor or array [N, *event_shape], or a re-iterable of batches.
        elbo: an estimator's name or an objective. Here and below, an argument that is not given is taken
            from the recipe, and without one it is "analytic-kl".
        epochs: passes over the data (50).
        batch_size: data a step (128, or all data where there are fewer); the last batch of an epoch may be
            smaller.
        lr: the learning rate (1e-3).
        optimizer: a callable on the list of parameters (Adam); a class, or a partial of one, gets ``lr=`` too.
        schedule: a function of the optimiser step that multiplies the learning rate.
        max_grad_norm: the gradient's global norm is clipped to it.
        validation: a fraction of the training data, a tensor, or "test" to choose by the test split, which
            the manifest then says. It alone chooses the best weights and stops early; without it the last
            weights stay. A seeded 10% where ``patience`` is set.
        patience: stop after this many epochs without a better validation ELBO.
        device: "auto" takes CUDA where there is one; the model stays there.
        compile: "auto" and False run steps eagerly; True is refused as long as there is no compiled step.
        num_threads: of the CPU; by default one for small steps and torch's own number for large ones.
        seed: of batches, draws and the split. Torch's global generators are left as they were.
        out_dir: a folder for checkpoints and results.
        resume: continue the run in ``out_dir``; afresh if there is none.
        progress: show a progress bar.

    Raises:
        DataError: data that are empty, not finite, outside the likelihood's support, or fewer than a batch.
        ModelError: the pair or a setting cannot be used; the site or setting is named.
        ConvergenceError: a number stopped being finite; the weights go back to the last good epoch.
        CheckpointError: ``out_dir`` holds another run, or could not be written.
    """
    if compile not in ("auto", False):
        raise ModelError(f"compile={compile!r}: there is no compiled step yet; 'auto' and False run eagerly")
    given = {
        "elbo": elbo, "epochs": epochs, "batch_size": batch_size, "lr": lr, "optimizer": optimizer,
        "schedule": schedule, "max_grad_norm": max_grad_norm, "validation": validation, "patience": patience,
    }  # fmt: skip
    seed, num_threads = whole("seed", seed, least=None), whole("num_threads", num_threads)
    run = _prepare(getattr(vae, "vae", vae), data, resolve(vae, given), compute.resolve_device(device), seed)
    folder = RunFolder(None if out_dir is None else Path(out_dir))
    stored = folder.open(resume)
    if stored is not None:
        require_same_run(stored["manifest"], run.manifest, folder.path)
        num_threads = num_threads or stored["manifest"]["num_threads"]
    run.manifest["num_threads"] = num_threads or compute.threads_for(run.forward_once)
    with _isolated(seed, run.device), compute.threads(run.manifest["num_threads"]):
        state, stepper = _start(run)
        if stored is not None:
            state.restore(stored["state"])
        with Progress(run.total(state.epoch), progress) as bar:
            _train(run, state, stepper, folder, bar)
        return _finish(run, state, folder)


@dataclass(frozen=True)
class _Run:
    """What does not change while a run goes on."""

    pair: Any
    model: Program
    guide: Program
    data: TrainingData
    settings: Settings
    batch_size: int
    objective: Objective
    device: torch.device
    seed: int
    manifest: dict[str, Any]

    def forward_once(self) -> None:
        """One step's forward pass, without a trace in any generator."""
        with _isolated(self.seed, self.device), evaluation_mode(self.model, self.guide):
            batch = next(self.data.epoch(1, self.batch_size, self.seed))
            self.objective.run(self.model, self.guide, batch)

    def total(self, epochs_done: int) -> int | None:
        """How many data are still to be stepped over."""
        return None if self.data.x is None else len(self.data.x) * (self.settings.epochs - epochs_done)


def _prepare(pair: Any, data: Any, settings: Settings, device: torch.device, seed: int) -> _Run:
    """Sort out and judge everything the user gave, before anything is written or trained."""
    model, guide = split_pair(pair)
    if settings.patience is not None and settings.validation is None:
        settings = replace(settings, validation=DEFAULT_VALIDATION_FRACTION)
    allows_missing = getattr(model, "allows_missing", False)
    found = training_data(data, settings.validation, settings.batch_size, seed, allows_missing)
    limit = DEFAULT_BATCH_SIZE if found.x is None else len(found.x)
    batch_size = settings.batch_size or min(DEFAULT_BATCH_SIZE, limit)
    settings = replace(settings, batch_size=batch_size)
    _require_batches(found, batch_size, settings.objective)
    objective = settings.objective
    modules = [m for m in (owner(model), owner(guide), objective) if m is not None]
    for module in modules:
        module.to(device)
    require_own_parameters(modules)
    found = found.to(device, own_dtype(model, guide, data))
    # A loader of the user's may draw its order from the global stream even to give one example.
    with seeded(seed, device):
        x = found.x if found.x is not None and not found.dynamic else found.example()
    for part in (x, found.validation, found.test):
        check_data(model, part)
    manifest = {
        "model": describe_pair(pair),
        "data": describe_data(data, found),
        "settings": settings.describe(),
        "seed": seed,
        "compile": "eager",
        "device": describe_device(device),
        "versions": versions(),
    }
    return _Run(pair, model, guide, found, settings, batch_size, objective, device, seed, manifest)


@contextlib.contextmanager
def _isolated(seed: int, device: torch.device) -> Iterator[None]:
    """A fork of torch's generators, no trace of our own models in the parameter store, no checks in the steps."""
    with seeded(seed, device), unregistered(), pyro.validation_enabled(False):
        yield


def _start(run: _Run) -> tuple[TrainingState, Stepper]:
    run.objective.reset()
    weights = collect_weights(run.model, run.guide, run.objective, run.data.example(run.batch_size))
    parameters = weights.parameters()
    optimizer = run.settings.make_optimizer(parameters)
    reseed(run.seed, run.device)
    state = TrainingState(weights, optimizer, Selection(run.settings.patience), run.device)
    stepper = Stepper(
        run.model,
        run.guide,
        run.objective,
        parameters,
        optimizer,
        [group["lr"] for group in optimizer.param_groups],
        run.settings.schedule,
        run.settings.max_grad_norm,
    )
    return state, stepper


def _train(run: _Run, state: TrainingState, stepper: Stepper, folder: RunFolder, bar: Progress) -> None:
    written_at = time.monotonic()
    while state.epoch < run.settings.epochs and not state.selection.exhausted(state.epoch):
        # Where nothing is written, the weights alone will do.
        before = state.tree() if folder.path is not None else {"weights": state.weights.state()}
        try:
            row = _epoch(run, state, stepper, bar)
        except ConvergenceError as error:
            state.weights.restore(before["weights"])
            _rest(run, state)
            if state.epoch:
                folder.checkpoint({"state": before, "manifest": run.manifest})
            raise ConvergenceError(f"{error}; the weights are back at the end of epoch {state.epoch}") from None
        state.rows.append(row)
        bar.summarise(row)
        if run.data.validation is not None:
            state.selection.offer(row["validation_elbo"], state.epoch, state.weights.state)
        if time.monotonic() - written_at > SECONDS_BETWEEN_CHECKPOINTS:
            folder.checkpoint({"state": state.tree(), "manifest": run.manifest})
            written_at = time.monotonic()
    folder.checkpoint({"state": state.tree(), "manifest": run.manifest})


def _epoch(run: _Run, state: TrainingState, stepper: Stepper, bar: Progress) -> dict[str, float]:
    """Train one epoch and evaluate."""
    started, epoch = time.perf_counter(), state.epoch + 1
    state.weights.train()
    batches = run.data.epoch(epoch, run.batch_size, run.seed)
    if run.data.x is None and not state.rows:
        batches = _judged(run.model, batches)
    next_step, means = run_epoch(stepper, batches, epoch, state.step, bar.advance)
    row = {"epoch": epoch, "step": next_step, **means}
    for split in ("validation", "test"):
        x = getattr(run.data, split)
        if x is not None:
            summary = evaluate(run.pair, x, seed=run.seed).summary()
            row |= {f"{split}_{term}": summary[term] for term in ("elbo", "log_likelihood", "kl")}
            if not math.isfinite(summary["elbo"]):
                raise ConvergenceError(f"the {split} ELBO is not finite after epoch {epoch}: {summary['elbo']:g}")
    state.epoch, state.step = epoch, next_step
    return row | {"seconds": time.perf_counter() - started}


def _judged(model: Program, batches: Iterator[Tensor]) -> Iterator[Tensor]:
    """A user's own batches, each judged by its values the first time it passes."""
    for batch in batches:
        check_data(model, batch)
        yield batch


def _require_batches(data: TrainingData, batch_size: int, objective: Objective) -> None:
    """Refuse an objective on batches that would be too small for it, before the first of them is met."""
    smallest = batch_size if data.x is None else min(len(data.x) % batch_size or batch_size, batch_size)
    if smallest < objective.least_batch:
        raise ModelError(
            f"{type(objective).__name__} needs batches of at least {objective.least_batch} data, but with "
            f"batch_size {batch_size} one batch has {smallest}; choose another batch_size"
        )


def _rest(run: _Run, state: TrainingState) -> None:
    """Leave the pair in evaluation mode."""
    state.weights.train(False)
    if isinstance(run.pair, nn.Module):
        # The module that holds the two programs has a mode of its own.
        run.pair.eval()


def _finish(run: _Run, state: TrainingState, folder: RunFolder) -> FitResult:
    """Put the chosen weights in place and write what the run leaves behind."""
    best_epoch = state.epoch
    if state.selection.epoch:
        best_epoch = state.selection.epoch
        state.weights.restore(state.selection.weights)
    _rest(run, state)
    history = pd.DataFrame(state.rows)
    manifest = run.manifest | {"epochs_run": state.epoch, "best_epoch": best_epoch}
    folder.finish(run.pair, state.weights, history, manifest)
    return FitResult(run.pair, history, best_epoch, state.epoch, manifest, folder.path)
