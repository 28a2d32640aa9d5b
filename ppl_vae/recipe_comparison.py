r"""Recipes side by side: the same data, the same seeds, the same plain ELBO, whatever each was trained with.

    ELBO = - rate - distortion,   rate = E_x KL(q(z|x) || p(z)),   distortion = - E_x E_q log p(x|z)

(Alemi et al. 2018, https://arxiv.org/abs/1711.00464). All are means over the test split, in nats per datum.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import xarray as xr
from torch import Tensor

from ppl_vae.checks import real, whole
from ppl_vae.data import Dataset, Split
from ppl_vae.data.split import take_rows
from ppl_vae.errors import DataError, ModelError, PplVaeError
from ppl_vae.inference import evaluate, fit, log_evidence
from ppl_vae.inference.pair.active_units import ACTIVE_THRESHOLD, code_variance
from ppl_vae.inference.pair.admission import admitted
from ppl_vae.inference.pair.covariates import Arguments
from ppl_vae.inference.pair.evaluation import evaluating
from ppl_vae.inference.pair.labels import needs_labels
from ppl_vae.inference.pair.pair import PairLike, as_pair
from ppl_vae.inference.training.pieces import Given, named
from ppl_vae.inference.training.run_folder import as_folder
from ppl_vae.models import VAE
from ppl_vae.progress import watched
from ppl_vae.randomness import derived_seed
from ppl_vae.recipes import RECIPES, Recipe, make, option_names
from ppl_vae.renamed import renamed

# Codes are drawn from a stream of their own, none of training's or the ELBO's under the same seed.
CODE_STREAM = 6
DESCRIPTIONS = {
    "elbo": "plain ELBO, whatever the objective was",
    "elbo_stderr": "standard error of elbo, over data and draws",
    "rate": "KL(q(z|x) || p(z))",
    "distortion": "minus the expected log likelihood",
    "log_evidence": "importance bound, a stochastic lower bound on log p(x), given labels or covariates if needed",
    "log_evidence_stderr": "standard error of log_evidence, over data and draws",
    "log_evidence_draw_stderr": "Monte-Carlo error of log_evidence on these data, by the delta method",
    "active_units": "latent dimensions with Var_x E_q[z_u] above active_threshold Var p(z_u)",
    "epochs": "passes over the training data that were run",
    "seconds": "training, the evaluations of its history included",
}
NOT_NATS = {"active_units": "1", "epochs": "1", "seconds": "s"}

Entry = str | Recipe | tuple[str, str, Mapping[str, Any]] | tuple[str, Recipe]


WANTED = "name, recipe, (label, recipe) or (label, name, options)"


@dataclass(frozen=True)
class _Contestant:
    """A point of the comparison: its name, and the recipe that is made for it, or that a user put together."""

    label: str
    name: str
    options: Mapping[str, object] = field(default_factory=dict)
    by_hand: Recipe | None = None

    def make(self, data: Dataset, seed: int) -> Recipe:
        """Make the recipe afresh for every seed, so that no weight or running average is handed on."""
        if self.by_hand is not None:
            return copy.deepcopy(self.by_hand)
        options = copy.deepcopy(dict(self.options))
        if self.name in RECIPES and "elbo" not in options and "num_data" in option_names(self.name)["objective"]:
            options.setdefault("num_data", len(data.train))
        return make(self.name, data.event_shape, data=data.train.x, seed=seed, **options)


@renamed(evidence_draws="num_samples")
def compare_recipes(
    recipes: Sequence[Entry] | Mapping[str, str | Recipe | tuple[str, Mapping[str, object]]],
    data: Dataset,
    seeds: Sequence[int] = (0, 1, 2),
    *,
    epochs: int | None = None,
    num_particles: int = 16,
    num_samples: int = 100,
    active_threshold: float = ACTIVE_THRESHOLD,
    out_dir: str | Path | None = None,
    progress: bool | None = None,
    **fit_options: Any,
) -> xr.Dataset:
    """Train every recipe with every seed and judge each on the test split.

    Args:
        recipes: names, recipes of ``make``, (label, recipe), or (label, name, options) with options of ``make``; or
            a mapping from a label to a name, a recipe, or (name, options). A recipe is made anew for every seed, as
            ``make`` was asked for it; one put together by hand, or changed by ``dataclasses.replace``, starts from
            the weights that it has, so that seeds are of batches and draws alone. One that needs num_data is given
            the size of the training split.
        data: has the two splits; the test split is used for judging only.
        seeds: each is that of the weights, the batches and the draws of a run.
        epochs: of every recipe; None leaves each its own.
        num_particles: draws per datum for the ELBO.
        num_samples: importance draws per datum for log p(x), in memory-bounded chunks.
        active_threshold: the variance of a dimension's posterior means, in units of its prior's, above which it
            counts as active.
        out_dir: a folder for the runs, each in LABEL/seed-SEED.
        progress: show a bar, one step a run; by default where a terminal or a notebook shows it to somebody.
        **fit_options: of ``fit``, for every recipe: batch_size, lr, validation, patience, device, ...

    Returns:
        A Dataset over "recipe" and "seed" of the numbers that each variable's ``description`` explains:
        elbo, rate, distortion, log_evidence, active_units, epochs, seconds and standard errors. Means and
        spreads over seeds are ``table.mean("seed")`` and ``table.std("seed", ddof=1)``. The coordinates "name"
        and "likelihood" belong to the recipes; the attributes say on which data the numbers stand.

    Raises:
        ModelError: a recipe, an option or a setting is refused; the label is named.
        DataError: data that are no Dataset, or that a recipe's likelihood has no density for.
        ConvergenceError: a run met a number that is not finite.
    """
    contestants = _contestants(recipes)
    _check(data, seeds, num_particles, num_samples)
    real("active_threshold", active_threshold)
    for label in (contestant.label for contestant in contestants if out_dir is not None):
        if Path(label).name != label:
            raise ModelError(f"recipe {label!r}: the label names the folder of its runs, so no path will do")
    likelihoods = [_rehearse(contestant, data) for contestant in contestants]
    above = as_folder(out_dir)
    judge = _Judge(num_particles, num_samples, active_threshold)
    rows: list[list[dict[str, float]]] = []
    with watched(len(contestants) * len(seeds), "run", progress, by_hand=True) as bar:
        for contestant in contestants:
            rows.append([])
            for seed in seeds:
                bar.set_postfix_str(f"{contestant.label}, seed {seed}")
                folder = None if above is None else above / contestant.label / f"seed-{seed}"
                settings = {**fit_options, "epochs": epochs, "seed": seed, "out_dir": folder}
                rows[-1].append(_run(contestant, data, settings, judge))
                bar.update()
    attributes = {
        "data": data.name,
        "binarization": data.binarization,
        "num_data": len(data.test),
        "num_particles": num_particles,
        "evidence_draws": num_samples,
        "active_threshold": active_threshold,
    }
    return _table(contestants, likelihoods, seeds, rows, attributes)


def _contestants(recipes: object) -> list[_Contestant]:
    entries = recipes
    if isinstance(recipes, Mapping):
        entries = [(label, *(entry if isinstance(entry, tuple) else (entry,))) for label, entry in recipes.items()]
    if isinstance(entries, str) or not isinstance(entries, Sequence) or not entries:
        raise ModelError(f"recipes: expected at least one {WANTED}, got {_shown(recipes)}")
    found: dict[str, _Contestant] = {}
    for entry in entries:
        contestant = _contestant(entry)
        if contestant.label in found:
            raise ModelError(f"recipe {contestant.label!r} is asked for twice: give each a label of its own")
        found[contestant.label] = contestant
    return list(found.values())


def _contestant(entry: object) -> _Contestant:
    if isinstance(entry, str):
        return _Contestant(entry, entry)
    if isinstance(entry, Recipe):
        return _of_recipe(entry.name, entry)
    if isinstance(entry, tuple) and len(entry) == 2 and isinstance(entry[0], str):
        if isinstance(entry[1], Recipe):
            return _of_recipe(*entry)
        if isinstance(entry[1], str):
            return _Contestant(*entry)
    if not (
        isinstance(entry, tuple) and len(entry) == 3 and isinstance(entry[1], str) and isinstance(entry[2], Mapping)
    ):
        raise ModelError(f"recipes: expected a {WANTED}, got {_shown(entry)}")
    if "seed" in entry[2]:
        raise ModelError(f"recipe {entry[0]!r}: seed is not an option here; seeds= gives every recipe the same")
    return _Contestant(*entry)


def _of_recipe(label: str, recipe: Recipe) -> _Contestant:
    if recipe.options is None:
        return _Contestant(label, recipe.name, by_hand=recipe)
    # Settings may have been changed where they stand.
    options = {**recipe.options, **recipe.settings}
    return _Contestant(label, recipe.name, {k: v for k, v in options.items() if k != "seed"})


def _shown(entry: object) -> str:
    """Show what was given on one line, without the networks of a model."""
    if isinstance(entry, str | int | float | bool | None):
        return repr(entry)
    if isinstance(entry, list | tuple):
        return f"{type(entry).__name__} of {', '.join(_shown(each) for each in entry) or 'nothing'}"
    return type(entry).__name__


def _check(data: object, seeds: Sequence[int], num_particles: int, evidence_draws: int) -> None:
    if not isinstance(data, Dataset):
        raise DataError(f"data: expected a Dataset with a train and a test split, got {type(data).__name__}")
    if len(data.test) < 2:
        raise DataError(f"data {data.name!r}: expected at least 2 test data, found {len(data.test)}")
    if not isinstance(seeds, Sequence) or not seeds or len(set(seeds)) != len(seeds):
        raise ModelError(f"seeds: expected distinct integers, at least one, got {seeds!r}")
    whole("num_particles", num_particles)
    whole("num_samples", evidence_draws, least=2)


def _rehearse(contestant: _Contestant, data: Dataset) -> str:
    """Refuse now what would be refused after hours of training, and return the name of the likelihood."""
    try:
        vae = contestant.make(data, 0).vae
        admitted(vae, *_judged_on(vae, data.test))
        # Two data show whether there is an evidence to judge by: an autoencoder has none.
        few = take_rows(data.test, torch.arange(2))
        x, y = _judged_on(vae, few)
        log_evidence(vae, x, num_samples=2, y=y, progress=False)
        _Judge(1, 2, ACTIVE_THRESHOLD)(vae, few, 0)
    except PplVaeError as error:
        raise type(error)(f"recipe {contestant.label!r}: {error}") from error
    return vae.model.likelihood.name


def _judged_on(vae: PairLike, test: Split) -> tuple[Given, Tensor | None]:
    """The data with what their programs take beside them, and labels where these are needed.

    Where labels may be missing they are left out: others' numbers are of log p(x), not of log p(x, y).
    """
    pair = as_pair(vae)
    if pair.takes_labels:
        return test.x, test.y if needs_labels(pair.model) else None
    return named(test, Arguments.of(pair)), None


def _run(contestant: _Contestant, data: Dataset, settings: dict[str, Any], judge: _Judge) -> dict[str, float]:
    """Train one recipe with one seed and judge the model."""
    seed = settings["seed"]
    try:
        result = fit(contestant.make(data, seed), data, progress=False, **settings)
        cost = {"epochs": float(result.epochs_run), "seconds": float(result.history["seconds"].sum())}
        return judge(result.model, data.test, seed) | cost
    except PplVaeError as error:
        raise type(error)(f"recipe {contestant.label!r}, seed {seed}: {error}") from error


@dataclass(frozen=True)
class _Judge:
    """The evaluation of a trained model, the same for all."""

    num_particles: int
    evidence_draws: int
    active_threshold: float

    @torch.no_grad()
    def __call__(self, vae: VAE, test: Split, seed: int) -> dict[str, float]:
        """Compute all numbers but the cost, as means over the data."""
        x, y = _judged_on(vae, test)
        found = evaluate(vae, x, num_particles=self.num_particles, seed=seed, y=y).summary()
        pair, (data, *given) = admitted(vae, x, y)
        with evaluating(vae, seed=derived_seed(seed, CODE_STREAM), device=data.device):
            spread = code_variance(pair.model, pair.guide, data, self.evidence_draws, tuple(given))
        evidence = log_evidence(vae, x, num_samples=self.evidence_draws, seed=seed, y=y)
        return {
            "elbo": found["elbo"],
            "elbo_stderr": found["elbo_stderr"],
            "rate": found["kl"],
            "distortion": -found["log_likelihood"],
            "log_evidence": evidence.mean,
            "log_evidence_stderr": evidence.data_stderr,
            "log_evidence_draw_stderr": evidence.stderr,
            "active_units": float(spread.active(self.active_threshold).sum()),
        }


def _table(
    contestants: list[_Contestant],
    likelihoods: list[str],
    seeds: Sequence[int],
    rows: list[list[dict[str, float]]],
    attributes: Mapping[str, object],
) -> xr.Dataset:
    variables = {
        name: (
            ("recipe", "seed"),
            [[row[name] for row in per_seed] for per_seed in rows],
            {"description": description, "units": NOT_NATS.get(name, "nats per datum")},
        )
        for name, description in DESCRIPTIONS.items()
    }
    coordinates = {
        "recipe": [contestant.label for contestant in contestants],
        "seed": list(seeds),
        "name": ("recipe", [contestant.name for contestant in contestants]),
        "likelihood": ("recipe", likelihoods),
    }
    return xr.Dataset(variables, coordinates, attributes)
