"""``fit``: stochastic variational inference on any (model, guide) pair, seeded, resumable, honestly recorded."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from ppl_vae.checks import whole
from ppl_vae.display import card
from ppl_vae.errors import ConvergenceError, ModelError
from ppl_vae.inference.captured.step_choice import captured, choose
from ppl_vae.inference.evaluation import evaluate
from ppl_vae.inference.labels import Batch
from ppl_vae.inference.objective import Objective
from ppl_vae.inference.pair import Program
from ppl_vae.inference.schedules import Schedule
from ppl_vae.inference.terms import check_data
from ppl_vae.inference.training import compute
from ppl_vae.inference.training.batches import IndexedBatches
from ppl_vae.inference.training.facts import fit_facts
from ppl_vae.inference.training.manifest import require_same_run
from ppl_vae.inference.training.preparation import Run, isolated, prepare
from ppl_vae.inference.training.progress import Progress
from ppl_vae.inference.training.run_folder import RunFolder
from ppl_vae.inference.training.selection import Selection
from ppl_vae.inference.training.settings import Optimizer, resolve
from ppl_vae.inference.training.state import TrainingState
from ppl_vae.inference.training.steps import Stepper, Steps, run_epoch
from ppl_vae.inference.training.weights import collect_weights
from ppl_vae.randomness import derived_seed, reseed

SECONDS_BETWEEN_CHECKPOINTS = 1.0
# The initial weights were drawn from the seed itself.
TRAINING_STREAM = 13


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

    def _repr_html_(self) -> str:
        return card("fit", *fit_facts(self.history, self.manifest, self.model, self.out_dir))


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
    precision: str = "float32",
    num_threads: int | None = None,
    seed: int = 0,
    out_dir: str | Path | None = None,
    resume: bool = False,
    progress: bool = True,
) -> FitResult:
    """Train a pair in place by stochastic gradient steps on the batch mean of an objective.

    Args:
        vae: a VAE, a Recipe, any object with ``.model`` and ``.guide``, or a tuple of two Pyro programs.
        data: a Dataset, a tensor or array [N, *event_shape], or a re-iterable of batches. A pair that takes labels
            (``inference.labels``) needs them too: in the Dataset, in a Split, as a tuple (x, y), or in every batch.
        elbo: an estimator's name or an objective. Here and below, an argument that is not given is taken
            from the recipe, and without one it is "analytic-kl".
        epochs: passes over the data (50).
        batch_size: data a step (128, or all data where there are fewer); the last batch of an epoch may be
            smaller.
        lr: the learning rate (1e-3).
        optimizer: a callable on the list of parameters (Adam); a class, or a partial of one, gets ``lr=`` too.
        schedule: a function of the optimiser step that multiplies the learning rate.
        max_grad_norm: the gradient's global norm is clipped to it.
        validation: a fraction of the training data, a tensor (with labels as above), or "test" to choose by the
            test split, which the manifest then says. It alone chooses the best weights and stops early; without it
            the last weights stay. A seeded 10% where ``patience`` is set.
        patience: stop after this many epochs without a better validation ELBO; 0 never does, whatever the recipe
            says.
        device: "auto" takes CUDA where there is one; the model stays there.
        compile: True takes the steps in machine code (``inference.capture``), eagerly and with a warning where
            that cannot be; False runs the programs at every step; "auto" does what pays by a stated rule
            (``inference.captured.step_choice``). The manifest says which it was and why; a resumed run keeps to it.
        precision: "bf16" runs the two programs under torch.autocast, on CUDA only; weights, losses and Adam stay in
            float32. Where float32 products may be rounded to TF32, ``torch.set_float32_matmul_precision("high")``
            before the call allows it; nothing here changes that switch.
        num_threads: of the CPU; by default one for small steps and torch's own number for large ones.
        seed: of batches, draws and the split. Torch's global generators are left as they were.
        out_dir: a folder for checkpoints and results.
        resume: continue the run in ``out_dir``; afresh if there is none.
        progress: show a progress bar.

    Returns:
        The model, the history (a row an epoch: the objective as "loss", and the plain ELBO with its two terms, nats
        per datum), which epoch the weights are of, and the manifest.

    Raises:
        DataError: data that are empty, not finite, outside the likelihood's support, or fewer than a batch; or
            labels that do not fit.
        ModelError: the pair or a setting cannot be used, the site or setting is named; or labels are missing.
        ConvergenceError: a number stopped being finite; the weights go back to the last good epoch.
        CheckpointError: ``out_dir`` holds another run, or could not be written.

    >>> import ppl_vae as pv
    >>> vae = pv.VAE((4,), latent_dim=1, likelihood="gaussian")
    >>> result = fit(vae, torch.randn(64, 4), "monte-carlo-kl", epochs=2, lr=1e-2, progress=False)
    >>> result.history.columns.tolist()
    ['epoch', 'step', 'loss', 'train_elbo', 'train_log_likelihood', 'train_kl', 'seconds']
    """
    if compile not in ("auto", True, False):
        raise ModelError(f"compile must be True, False or 'auto', got {compile!r}")
    given = {
        "elbo": elbo, "epochs": epochs, "batch_size": batch_size, "lr": lr, "optimizer": optimizer,
        "schedule": schedule, "max_grad_norm": max_grad_norm, "validation": validation, "patience": patience,
    }  # fmt: skip
    seed, num_threads = whole("seed", seed, least=None), whole("num_threads", num_threads)
    on = compute.resolve_device(device)
    run = prepare(getattr(vae, "vae", vae), data, resolve(vae, given), on, seed, precision)
    folder = RunFolder(None if out_dir is None else Path(out_dir))
    stored = folder.open(resume)
    if stored is not None:
        require_same_run(stored["manifest"], run.manifest, folder.path)
        num_threads = num_threads or stored["manifest"]["num_threads"]
    flops = compute.step_flops(run.forward_once)
    run.manifest["num_threads"] = num_threads or compute.threads_for(flops)
    with isolated(seed, run.device), compute.threads(run.manifest["num_threads"]):
        state, stepper = _start(run)
        if stored is not None:
            state.restore(stored["state"])
            compile = stored["manifest"]["compile"] if compile == "auto" else compile
        steps = _captured(run, state, stepper, compile, flops)
        if stored is not None and run.manifest["compile"] == stored["manifest"]["compile"]:
            run.manifest["compile_reason"] = stored["manifest"].get("compile_reason", "")
        with Progress(run.total(state.epoch), progress) as bar:
            if run.manifest["compile"] != "eager":
                bar.say(f"steps are {run.manifest['compile']}: {run.manifest['compile_reason']}")
            _train(run, state, steps, folder, bar)
        return _finish(run, state, folder)


def _start(run: Run) -> tuple[TrainingState, Stepper]:
    run.objective.reset()
    weights = collect_weights(run.model, run.guide, run.objective, *run.data.example(run.batch_size))
    parameters = weights.parameters()
    optimizer = run.settings.make_optimizer(parameters)
    reseed(derived_seed(run.seed, TRAINING_STREAM), run.device)
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
        torch.bfloat16 if run.precision == "bf16" else None,
    )
    return state, stepper


def _captured(run: Run, state: TrainingState, eager: Stepper, compile: bool | str, flops: int) -> Steps:
    """The steps as they are to be taken; the manifest says how, and why."""
    batches = run.data.epoch(1, run.batch_size, run.seed)
    total = None
    if isinstance(batches, IndexedBatches):
        total = len(batches.indices) * (run.settings.epochs - state.epoch)
    choice = choose(compile, total, flops)
    state.weights.train()
    steps, choice = captured(choice, eager, state.weights.buffers(), batches, compile is True)
    run.manifest.update(compile=choice.mode, compile_reason=choice.reason, steps_per_call=choice.times)
    return steps


def _train(run: Run, state: TrainingState, steps: Steps, folder: RunFolder, bar: Progress) -> None:
    written_at = time.monotonic()
    while state.epoch < run.settings.epochs and not state.selection.exhausted(state.epoch):
        # Where nothing is written, the weights alone will do.
        before = state.tree() if folder.path is not None else {"weights": state.weights.state()}
        try:
            row = _epoch(run, state, steps, bar)
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


def _epoch(run: Run, state: TrainingState, steps: Steps, bar: Progress) -> dict[str, float]:
    """Train one epoch and evaluate."""
    started, epoch = time.perf_counter(), state.epoch + 1
    state.weights.train()
    batches = run.data.epoch(epoch, run.batch_size, run.seed)
    if run.data.x is None and not state.rows:
        batches = _judged(run.model, batches)
    next_step, means = run_epoch(steps, batches, epoch, state.step, bar.advance)
    row = {"epoch": epoch, "step": next_step, **means}
    for split in ("validation", "test"):
        held_out = getattr(run.data, split)
        if held_out is not None:
            x, *labels = held_out
            try:
                summary = evaluate(run.pair, x, seed=run.seed, y=labels[0] if labels else None).summary()
            except ConvergenceError as error:
                raise ConvergenceError(f"the {split} ELBO is not finite after epoch {epoch}: {error}") from None
            row |= {f"{split}_{term}": summary[term] for term in ("elbo", "log_likelihood", "kl")}
    state.epoch, state.step = epoch, next_step
    return row | {"seconds": time.perf_counter() - started}


def _judged(model: Program, batches: Iterable[Batch]) -> Iterator[Batch]:
    """A user's own batches, each judged by its values the first time it passes."""
    for batch in batches:
        check_data(model, *batch)
        yield batch


def _rest(run: Run, state: TrainingState) -> None:
    """Leave the pair in evaluation mode."""
    state.weights.train(False)
    if isinstance(run.pair, nn.Module):
        # The module that holds the two programs has a mode of its own.
        run.pair.eval()


def _finish(run: Run, state: TrainingState, folder: RunFolder) -> FitResult:
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
