"""One trial: a recipe with its options and a seed, trained in a folder of its own and judged."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, cast

from torch import Tensor

from ppl_vae.data import Dataset, Split
from ppl_vae.errors import CheckpointError, PplVaeError, first_line
from ppl_vae.files import JsonObject, read_json, read_tensors, write_json, write_tensors
from ppl_vae.inference import fit
from ppl_vae.inference.pair.pair import PairLike
from ppl_vae.inference.training.callbacks import Row
from ppl_vae.recipes import RECIPES, Recipe, make, option_names
from ppl_vae.sweep.judging import Judge
from ppl_vae.sweep.pruning import SCORES, Pruning

RESULT, PER_DATUM = "trial.json", "scores.safetensors"
DONE, PRUNED, FAILED = "done", "pruned", "failed"
PLAIN = (str, int, float, bool, type(None), list, dict)
Maker: TypeAlias = str | Callable[..., object]


@dataclass(frozen=True)
class Trial:
    """The task of a worker; it is sent to it by the engine.

    Attributes:
        recipe: the name of one, or a function of the options and of ``seed`` that makes what ``fit`` takes.
        options: of this point.
        seed: of weights, batches and draws.
        judge: the rule for all trials.
        folder: of the sweep.
        name: of the trial, under which its folder stands.
        rungs: epochs after which it may be pruned.
        beyond: how many standard errors behind the best it may then be; None never prunes.
    """

    recipe: Maker
    options: Mapping[str, object]
    seed: int
    judge: Judge
    folder: str
    name: str
    rungs: tuple[int, ...] = ()
    beyond: float | None = None

    @property
    def place(self) -> Path:
        """The folder of the trial's run."""
        return Path(self.folder) / "trials" / self.name


def run_trial(trial: Trial, data: object) -> JsonObject:
    """Train and judge; what an earlier worker has done of it is continued, and what is done is read.

    Returns:
        status ("done", "pruned" or "failed"), epochs, seconds, and the words of a failure.
    """
    if (trial.place / RESULT).exists():
        found: JsonObject = read_json(trial.place / RESULT)
        return found
    try:
        result = _trained(trial, data)
    except PplVaeError as error:
        if isinstance(error, CheckpointError):
            raise
        result = {"status": FAILED, "error": f"{type(error).__name__}: {first_line(error)}"}
        trial.place.mkdir(parents=True, exist_ok=True)
    write_json(trial.place / RESULT, {"options": plain(trial.options), "seed": trial.seed, **result})
    return result


def scores(trial: Trial) -> Tensor:
    """The judged quantity of every datum, of a trial that is done: [N], nats."""
    return read_tensors(trial.place / PER_DATUM)[SCORES]


def _trained(trial: Trial, data: object) -> JsonObject:
    training, held = trial.judge.parts(data)
    made = _made(trial, training)
    # A recipe is judged by its pair; what a function of the user's own makes is one.
    pair = cast(PairLike, made.vae if isinstance(made, Recipe) else made)
    num_trained = len(training.train if isinstance(training, Dataset) else training)
    score = functools.partial(trial.judge, pair, held, num_trained)
    pruning: Callable[[Row], str | None] | None = None
    if trial.beyond is not None and trial.rungs:
        pruning = Pruning(Path(trial.folder), trial.name, trial.rungs, trial.beyond, score)
    result = fit(
        cast(PairLike, made),
        training,
        out_dir=trial.place,
        resume=True,
        progress=False,
        callbacks=pruning,
        seed=trial.seed,
    )
    cost = {"epochs": result.epochs_run, "seconds": float(result.history["seconds"].sum())}
    if "stopped_by" in result.manifest:
        return {"status": PRUNED, **cost}
    write_tensors(trial.place / PER_DATUM, {SCORES: score()})
    return {"status": DONE, **cost}


def _made(trial: Trial, training: Dataset | Split) -> object:
    if not isinstance(trial.recipe, str):
        return trial.recipe(**trial.options, seed=trial.seed)
    split, options = training.train if isinstance(training, Dataset) else training, dict(trial.options)
    if trial.recipe in RECIPES and "elbo" not in options and "num_data" in option_names(trial.recipe)["objective"]:
        options.setdefault("num_data", len(split))
    return make(trial.recipe, tuple(split.x.shape[1:]), data=split.x, **{"seed": trial.seed, **options})


def plain(options: Mapping[str, object]) -> JsonObject:
    """Options as a file keeps them; what JSON has no word for by its name."""
    return {name: value if isinstance(value, PLAIN) else repr(value) for name, value in options.items()}
