"""The function ``fit``: stochastic variational inference on any (model, guide) pair, seeded and resumable."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ppl_vae.allocator import keep_freed_memory
from ppl_vae.checks import whole
from ppl_vae.containers import Data, Rows
from ppl_vae.data import Dataset, Split
from ppl_vae.display import card
from ppl_vae.errors import ModelError
from ppl_vae.exclusive import exclusive
from ppl_vae.files import JsonObject
from ppl_vae.inference.compilation.changeover import put_away
from ppl_vae.inference.estimators.base import Objective
from ppl_vae.inference.objectives.schedules import Schedule
from ppl_vae.inference.pair.coordinate_names import remember_coordinates
from ppl_vae.inference.pair.own_parameters import own_parameters
from ppl_vae.inference.pair.pair import PairLike, as_pair
from ppl_vae.inference.pair.protocols import Startable, StartsFromCovariates
from ppl_vae.inference.training import compute
from ppl_vae.inference.training.callbacks import Callback, Callbacks
from ppl_vae.inference.training.facts import as_history, fit_facts
from ppl_vae.inference.training.late_parameters import LateParameters
from ppl_vae.inference.training.loader_state import loader_generators
from ppl_vae.inference.training.loop import rest, train
from ppl_vae.inference.training.neighbours import Neighbours
from ppl_vae.inference.training.optimizer import Optimizer
from ppl_vae.inference.training.preparation import Run, isolated, prepare, require_used
from ppl_vae.inference.training.progress import Progress, told_of
from ppl_vae.inference.training.rank_start import (
    require_alike,
    start_alike,
    stored_everywhere,
    threads_beside,
    together,
)
from ppl_vae.inference.training.ranks import Distributed, device_of_rank, find_ranks
from ppl_vae.inference.training.resume import keep_mode, mode_to_use, require_continuable, threads_to_use
from ppl_vae.inference.training.run_folder import RunFolder, as_folder
from ppl_vae.inference.training.run_steps import captured_steps, on_spare_threads, warn_of_python_state
from ppl_vae.inference.training.selection import Selection
from ppl_vae.inference.training.settings import resolve
from ppl_vae.inference.training.shared_names import note_trained, warn_of_shared_names
from ppl_vae.inference.training.state import TrainingState
from ppl_vae.inference.training.steps import Stepper
from ppl_vae.inference.training.warm_up import describe_schedules, end_of_warm_up, warn_of_unfinished
from ppl_vae.inference.training.weights import collect_weights
from ppl_vae.randomness import derived_seed, reseed
from ppl_vae.renamed import by_keyword
from ppl_vae.unloaded import compiler_unloaded

if TYPE_CHECKING:
    import pandas as pd

# Numbers of data that become dense at once for a look at them.
LARGEST_START = 1 << 24
# The initial weights were drawn from the seed itself.
TRAINING_STREAM, START_STREAM = 13, 18


@dataclass(frozen=True)
class FitResult:
    """The result of a run in memory.

    Attributes:
        model: the pair, trained in place, in evaluation mode, on its device.
        history: a row per epoch: epoch (from 1), step, loss, seconds, and elbo, log_likelihood, kl with the
            prefixes train_ (running mean of the training draws), validation_ and test_ (evaluations), nats
            per datum. The ELBO is the plain one, whatever the objective was. Of a pair with global sites also
            global_kl, in nats of all training data; every ELBO includes its share global_kl / N.
        best_epoch: the epoch whose weights the model has: the best on validation, else the last.
        epochs_run: the number of epochs that were run.
        manifest: versions, seed, device, threads, settings and data checksums.
        out_dir: the run's folder, or None.
    """

    model: Any
    history: pd.DataFrame
    best_epoch: int
    epochs_run: int
    manifest: JsonObject
    out_dir: Path | None

    def _repr_html_(self) -> str:
        return card("fit", *fit_facts(self.history, self.manifest, self.model, self.out_dir))


@by_keyword("seed", "out_dir", "resume", "progress")
@exclusive()
@torch.inference_mode(False)
def fit(
    vae: PairLike,
    data: Data | Dataset | Split | Iterable[object],
    elbo: str | Objective | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    optimizer: Optimizer | str | None = None,
    schedule: Schedule | str | None = None,
    max_grad_norm: float | None = None,
    validation: float | Tensor | str | None = None,
    patience: int | None = None,
    device: str | torch.device = "auto",
    compile: bool | str = "auto",
    precision: str = "float32",
    num_threads: compute.Threads = None,
    *,
    out_dir: str | Path | None = None,
    resume: bool = False,
    progress: bool | str | None = None,
    callbacks: Callback | Sequence[Callback] | None = None,
    distributed: Distributed = False,
    seed: int = 0,
) -> FitResult:
    """Train a pair in place by stochastic gradient steps on the batch mean of an objective.

    Args:
        vae: a VAE, a Recipe, any object with ``.model`` and ``.guide``, a Pair, or a tuple of two Pyro programs.
        data: a Dataset, a tensor or array [N, *event_shape], any container of ``ppl_vae.containers``, for programs
            that take covariates a tuple (x, c1, ..., cm) or a dict of named arrays
            (``inference.pair.covariates``), or a re-iterable of batches of these. Data in one piece are
            shuffled into batches anew in every epoch; one batch of all data keeps their order. Programs that keep
            something for each datum take its rows by an argument ``indices`` (``inference.pair.indices``). A pair
            that takes labels (``inference.pair.labels``) needs them too: in the Dataset, in a Split, as a tuple
            (x, y), or in every batch.
        elbo: an estimator's name or an objective. Here and below, an argument that is not given is taken
            from the recipe, and without one it is "analytic-kl".
        epochs: passes over the data (50).
        batch_size: data a step (128, or all data where there are fewer); the last batch of an epoch may be
            smaller.
        lr: the learning rate (1e-3).
        optimizer: a name ("adam", "adamw", "adamax", "adagrad", "nadam", "radam", "rmsprop", "sgd"), or a callable
            on the list of parameters; a class, or a partial of one, gets ``lr=`` too.
        schedule: a function of the optimiser step that multiplies the learning rate; or a name, of one that is as
            long as the run: "cosine" and "linear" (from 1 to 0), "warmup-cosine" (a tenth of the run up, then
            down), "exponential" (from 1 to 0.01), "constant".
        max_grad_norm: the gradient's global norm is clipped to it.
        validation: a fraction of the training data, other data in any form as above, or "test" to choose by the
            test split, which the manifest then says. It alone chooses the best weights and stops early; without it
            the last weights stay. A seeded 10% where ``patience`` is set.
        patience: stop after this many epochs without a better validation ELBO; 0 never does, whatever the recipe
            says.
        device: "auto" takes CUDA where there is one; the model stays there.
        compile: True takes the steps in machine code (``inference.compilation.steppers``), eagerly and with a
            warning where that cannot be, as where the programs hold state that moves from call to call; False runs
            the programs at every step; "auto" does what pays by a stated rule
            (``inference.compilation.step_choice``), and without ``out_dir`` trains while another process compiles.
            The manifest says which it was and why; a resumed run keeps to it.
        precision: "bf16" runs the two programs under torch.autocast, on CUDA only; weights, losses and Adam stay in
            float32. Where float32 products may be rounded to TF32, ``torch.set_float32_matmul_precision("high")``
            before the call allows it; nothing here changes that switch.
        num_threads: of the CPU; by default one for small steps; for large ones torch's own number, but no more
            than other processes leave cores, which is looked at again between epochs. The number is in the last
            bit of a sum, so a run with ``out_dir`` keeps torch's own, or with "spare" what is left when it begins;
            a given number is kept. The manifest says how many and why.
        out_dir: a new or empty folder for checkpoints and results; one run at a time works in it.
        resume: continue the run in ``out_dir``; afresh if there is none.
        progress: show a progress bar; by default where a terminal or a notebook shows it to somebody. "live" shows
            ELBO, terms and throughput of every epoch as they come instead: a table in a terminal, learning curves
            in a notebook.
        callbacks: functions that are called with every row of the history and may return "stop"
            (``inference.training.callbacks``); ready ones are CSVLogger, TensorBoardLogger, WandbLogger and
            MLflowLogger. What one changes in the programs, the objective or the optimiser holds from the next
            epoch on, and a parameter that it freezes stands still; one that it makes trainable is refused.
        distributed: "auto" trains with all ranks of the process group that torch.distributed has, if it has one:
            every rank calls ``fit`` with the same data and takes its part of each batch, so that the steps are
            those of one process with the same batches (``inference.training.rank_steps``). Rank 0 writes, evaluates
            and calls the callbacks. True does the same and refuses to run without a group; False trains alone.
        seed: of batches, draws and the split. Torch's global generators are left as they were.

    Returns:
        The model, the history (a row per epoch: the objective as "loss", the plain ELBO with its two terms, nats
        per datum), which epoch the weights are of, and the manifest.

    Raises:
        DataError: data that are empty, not finite, outside the likelihood's support, or fewer than a batch; or
            labels that do not fit.
        ModelError: the pair or a setting cannot be used, the site or setting is named; or labels are missing.
        ConvergenceError: a number stopped being finite; the weights go back to the last good epoch.
        CheckpointError: ``out_dir`` holds another run, or could not be written.
        RankError: another rank failed, or its process has gone; a checkpoint of the last whole epoch is there.
        FitInterrupted: Ctrl-C, a KeyboardInterrupt with the history; the weights are those of the last whole epoch.
            In a notebook the first Ctrl-C lets the epoch end and gives the result so far, with a warning.

    >>> import ppl_vae as pv
    >>> vae = pv.VAE((4,), latent_dim=1, likelihood="gaussian")
    >>> result = fit(vae, torch.randn(64, 4), "monte-carlo-kl", epochs=2, lr=1e-2, progress=False)
    >>> result.history.columns.tolist()
    ['epoch', 'step', 'loss', 'train_elbo', 'train_log_likelihood', 'train_kl', 'seconds']
    """
    if compile not in ("auto", True, False):
        raise ModelError(f"compile must be True, False or 'auto', got {compile!r}")
    compile = compile if isinstance(compile, str) else bool(compile)
    given = {
        "elbo": elbo, "epochs": epochs, "batch_size": batch_size, "lr": lr, "optimizer": optimizer,
        "schedule": schedule, "max_grad_norm": max_grad_norm, "validation": validation, "patience": patience,
    }  # fmt: skip
    told = told_of(callbacks, progress)
    pair, seed, num_threads = as_pair(vae), whole("seed", seed, least=None), compute.require_threads(num_threads)
    on, place = compute.resolve_device(device), as_folder(out_dir)
    ranks = find_ranks(distributed, on)
    if ranks is not None:
        on = device_of_rank(on)
        told, place, progress = (told, place, progress) if ranks.is_first else (Callbacks(None), None, False)

    def prepared() -> Run:
        run = prepare(pair, data, resolve(vae, given), on, seed, precision)
        require_used(given, run)
        return replace(run, ranks=ranks)

    with own_parameters(pair.model, pair.guide, keep=True), compiler_unloaded():
        run, folder = together(ranks, prepared), RunFolder(place)
        with told, contextlib.ExitStack() as held, run.objective.of_a_set(run.data.num_total):
            together(ranks, lambda: held.enter_context(folder.held()))
            if ranks is not None:
                require_alike(ranks, run)
                run.manifest["ranks"] = ranks.number
            return _fit(run, folder, resume, compile, num_threads, progress, told)


def _fit(
    run: Run,
    folder: RunFolder,
    resume: bool,
    compile: bool | str,
    num_threads: compute.Threads,
    progress: bool | str | None,
    told: Callbacks,
) -> FitResult:
    stored = stored_everywhere(run.ranks, folder, resume)
    if stored is not None:
        require_continuable(stored, run, folder.path)
    num_threads = threads_to_use(stored, num_threads, folder.path)
    neighbours = Neighbours()
    flops = compute.step_flops(run.forward_once)
    leaves_bytes = folder.path is not None
    follows = not leaves_bytes and run.ranks is None and not isinstance(num_threads, int)
    number, reason = compute.choose_threads("spare" if follows else num_threads, flops, neighbours)
    most = compute.threads_for(flops)
    if run.ranks is not None and not isinstance(num_threads, int):
        number, reason = threads_beside(run.ranks, number, reason)
    run.manifest.update(num_threads=number, num_threads_reason=reason)
    warn_of_unfinished(run.settings, run.steps(), run.data.validation is not None)
    keep_freed_memory()
    with isolated(run.seed, run.device), compute.threads(run.manifest["num_threads"]):
        state, stepper = start_run(run)
        if stored is not None:
            state.restore(stored["state"])
            if state.epoch < run.settings.epochs and not state.selection.exhausted(state.epoch):
                warn_of_python_state(run, state, stepper, folder.path)
        else:
            warn_of_shared_names(state.weights.store, run.model, run.guide)
        if run.ranks is not None:
            start_alike(run.ranks, run, state)
        steps = captured_steps(run, state, stepper, mode_to_use(stored, compile), flops, leaves_bytes)
        keep_mode(stored, run.manifest, folder.path)
        if follows and most > 1 and run.device.type == "cpu":
            steps = on_spare_threads(
                run, state, steps, most, lambda: captured_steps(run, state, stepper, compile, flops, False, True)
            )
        with put_away(steps), Progress(run.total(state.epoch), progress) as bar:
            if run.manifest["compile"] != "eager":
                bar.say(f"steps are {run.manifest['compile']}: {run.manifest['compile_reason']}")
            train(run, state, steps, folder, bar, told)
            return finish_run(run, state, folder)


def start_run(run: Run) -> tuple[TrainingState, Stepper]:
    """The state before the first step, and the eager step; the training stream begins."""
    run.objective.reset()
    remember_coordinates(run.model, run.data.labels)
    _look_at_the_data(run)
    num_data = None if run.data.x is None else len(run.data.x)
    example = run.data.example(run.part_size())
    weights = collect_weights(run.model, run.guide, run.objective, *example, num_data=num_data)
    parameters = weights.parameters()
    optimizer = run.settings.make_optimizer(parameters)
    reseed(derived_seed(run.seed, TRAINING_STREAM), run.device)
    selection = Selection(run.settings.patience, since=end_of_warm_up(run.objective))
    run.manifest["learning_rates"] = [float(group["lr"]) for group in optimizer.param_groups if "lr" in group]
    generators = loader_generators(run.data.batches)
    state = TrainingState(weights, optimizer, selection, run.device, generators=generators)
    rates = [group.get("lr", 0.0) for group in optimizer.param_groups]
    stepper = Stepper(
        run.model,
        run.guide,
        run.objective,
        parameters,
        optimizer,
        rates,
        run.settings.factor,
        run.settings.max_grad_norm,
        torch.bfloat16 if run.precision == "bf16" else None,
        LateParameters(weights, parameters, optimizer, rates),
    )
    return state, stepper


def _look_at_the_data(run: Run) -> None:
    """Let a pair that was never trained take from its data what it needs to begin."""
    source = run.pair.source
    if not isinstance(source, Startable | StartsFromCovariates):
        return
    first = run.data.example(run.batch_size) if run.data.train is None else run.data.train
    if isinstance(source, Startable):
        source.start_untrained(_beginning(first[0], derived_seed(run.seed, START_STREAM)))
    if isinstance(source, StartsFromCovariates):
        source.start_covariates(*first[1:])


def _beginning(x: Tensor | Rows, seed: int) -> Tensor:
    """Data to begin from: all, or a fair sample of those that are dense in parts alone and too many for one.

    Stored rows are often sorted, as cells are by type, so that the first would stand for one kind.
    """
    if not isinstance(x, Rows):
        return x
    number = max(1, LARGEST_START // max(1, x.shape[1:].numel()))
    return x[torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:number].sort().values]


def finish_run(run: Run, state: TrainingState, folder: RunFolder) -> FitResult:
    """Put the chosen weights in place and write what the run leaves behind."""
    best_epoch = state.epoch
    if state.selection.epoch:
        best_epoch = state.selection.epoch
        state.weights.restore(state.selection.weights)
    rest(run, state)
    note_trained(state.weights.store, run.model, run.guide)
    history = as_history(state.rows)
    manifest = run.manifest | {"epochs_run": state.epoch, "best_epoch": best_epoch}
    manifest["schedules"] = describe_schedules(run.settings, run.steps() or state.step)
    together(run.ranks, lambda: folder.finish(run.pair.source, state.weights, history, manifest))
    if run.steps() is None:
        # Only now is it known how many there were.
        warn_of_unfinished(run.settings, state.step, run.data.validation is not None)
    return FitResult(run.pair.source, history, best_epoch, state.epoch, manifest, folder.path)
