"""Every recipe on the digits: trained, judged by the plain ELBO on held-out data, with reconstructions and samples.

    OMP_NUM_THREADS=1 python benchmarks/digits_recipes.py [NAME ...] [--epochs 50] [--seed 0] [--results FOLDER]

The embedded 8x8 digits: 0/1 pixels drawn anew in every batch under a Bernoulli, grey ones under every other
likelihood. Two recipes are made for other data and get them. Each runs with the settings of its row, as many epochs
as all others where it does not say its own, and schedules as long as the run; what is meant for larger images
(ON_DIGITS) is set to what 64 pixels can bear, and stands in the recorded call. The numbers go to
benchmarks/results/digits_recipes.json recipe by recipe, those not named here are kept; the figures go to the folder
digits_recipes beside it. The documentation's page of every recipe is made from these.
"""

from __future__ import annotations

import argparse
import inspect
import json
import math
import platform
import time
from pathlib import Path
from typing import Any

import torch

import ppl_vae as pv
from ppl_vae.display import in_words
from ppl_vae.errors import PplVaeError
from ppl_vae.inference.pair.labels import takes_labels
from ppl_vae.inference.training.settings import Settings
from ppl_vae.randomness import seeded
from ppl_vae.recipes import RECIPES, Recipe, option_names

RESULTS = Path(__file__).parent / "results"
OTHER_DATA = {"tiny-conv-vae": "four-small-images", "deep-markov-model": "piano-rolls"}
# A weight and a capacity for images of 64x64 pixels leave the latents nothing to say, or ask too much of them; two
# epochs without a better one are 102 steps here, 3,750 on the data that this patience is for.
ON_DIGITS: dict[str, dict[str, Any]] = {
    "beta-vae": {"beta": 2.0},
    "annealed-beta-vae": {"capacity": 5.0, "gamma": 10.0},
    "conv-vae": {"patience": 0},
}
NUM_SHOWN, NUM_SAMPLES, NUM_LABELS, DPI = 12, 24, 100, 110
PARTICLES, EVIDENCE_DRAWS = 16, 100
FAILURES = (PplVaeError, NotImplementedError, RuntimeError, ValueError, TypeError, AttributeError)


def recipe_and_data(name: str, epochs: int, seed: int) -> tuple[Recipe, pv.data.Dataset, dict[str, Any]]:
    """The recipe, the data as its likelihood wants them, and the options beside the row's own."""
    ds, known = pv.load_dataset(OTHER_DATA.get(name, "digits")), option_names(name)
    own = dict(RECIPES[name].settings)
    steps = epochs * math.ceil(len(ds.train) / (own.get("batch_size") or 128))
    about_data = {"num_data": len(ds.train)}
    if ds.train.y is not None:
        about_data["num_classes"] = len(ds.train.y.unique())
    options = {
        option: value for option, value in about_data.items() if option in known["objective"] + known["parts"]
    }
    options |= {"num_steps": steps} if "num_steps" in known["objective"] else {}
    options |= {} if "epochs" in own or epochs == Settings.epochs else {"epochs": epochs}
    options |= ON_DIGITS.get(name, {})
    recipe = pv.make(name, ds.event_shape, data=ds.train.x, seed=seed, **options)
    if recipe.vae.model.likelihood.name == "bernoulli" and ds.name == "digits":
        ds = pv.load_dataset("digits", binarize="dynamic")
    if getattr(recipe.vae.model, "allows_missing_labels", False):
        ds = pv.data.hide_labels(ds, NUM_LABELS, seed=seed)
    return recipe, ds, options


def measured(recipe: Recipe, ds: pv.data.Dataset, seed: int) -> dict[str, Any]:
    """Train and judge on the test split; the time is the processor's, whatever else the machine does."""
    started = time.process_time()
    result = pv.fit(recipe, ds, seed=seed, device="cpu", progress=False)
    cpu_seconds = time.process_time() - started
    held_out, y = ds.test.x, ds.test.y
    evaluation = pv.evaluate(recipe.vae, held_out, num_particles=PARTICLES, seed=seed, y=y)
    found = {name: round(value, 4) for name, value in evaluation.summary().items() if math.isfinite(value)}
    found |= {"score": evaluation.score, "closed_form": evaluation.closed_form}
    try:
        evidence = pv.log_evidence(recipe.vae, held_out, num_samples=EVIDENCE_DRAWS, seed=seed, y=y)
        found |= {"log_evidence": round(evidence.mean, 4), "log_evidence_stderr": round(evidence.data_stderr, 4)}
    except FAILURES as error:
        found["no_log_evidence"] = " ".join(str(error).split())
    return found | {
        "epochs_run": result.epochs_run,
        "best_epoch": result.best_epoch,
        "steps": int(result.history["step"].iloc[-1]),
        "cpu_seconds": round(cpu_seconds, 1),
        "compile": result.manifest["compile"],
        "settings": result.manifest["settings"],
    }


def drawn(recipe: Recipe, ds: pv.data.Dataset, seed: int, folder: Path) -> dict[str, str]:
    """Figures by kind; in the place of one that the model cannot give, why."""
    chosen = torch.linspace(0, len(ds.test) - 1, min(NUM_SHOWN, len(ds.test))).long()
    x, y = ds.test.x[chosen], None if ds.test.y is None else ds.test.y[chosen]
    labels = [y] if takes_labels(recipe.vae.model) else []
    figures = {
        "reconstructions": lambda: pv.plots.plot_reconstructions(
            images(x, ds), images(recipe.vae.reconstruct(x, *labels), ds)
        ),
        "samples": lambda: pv.plots.plot_samples(images(samples(recipe.vae, ds, seed), ds), columns=NUM_SHOWN),
    }
    said = {"samples_given": sorted({"x", "y"} & inspect.signature(recipe.vae.sample).parameters.keys())}
    for kind, draw in figures.items():
        try:
            figure = draw()
        except FAILURES as error:
            said[f"no_{kind}"] = " ".join(str(error).split())
        else:
            figure.savefig(folder / f"{recipe.name}-{kind}.png", dpi=DPI)
            said[kind] = f"{folder.name}/{recipe.name}-{kind}.png"
    return said


def samples(vae: Any, ds: pv.data.Dataset, seed: int) -> torch.Tensor:
    """Means of p(x|z) at draws of the prior; at classes in turn, or at part of an image, where there is either."""
    if has_flat_prior(vae):
        raise ValueError("the prior is flat: there is nothing to draw from")
    given = {}
    wanted = inspect.signature(vae.sample).parameters
    if "y" in wanted:
        given["y"] = torch.arange(NUM_SAMPLES) % vae.num_classes
    if "x" in wanted:
        given["x"] = ds.test.x[:NUM_SAMPLES]
    with seeded(seed):
        return vae.sample(NUM_SAMPLES, **given)


def has_flat_prior(vae: Any) -> bool:
    """Whether it is an autoencoder, whose samples would have no meaning."""
    return vae.config.get("prior") == {"name": "flat"}


def images(x: torch.Tensor, ds: pv.data.Dataset) -> torch.Tensor:
    """As they are; of piano rolls [N, 1, T, D] pictures with the time across and the low pitches below."""
    return x.mT.flip(-2) if ds.name == "piano-rolls" else x


def record(name: str, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All that a page of this recipe says."""
    row = RECIPES[name]
    recipe, ds, given = recipe_and_data(name, options.epochs, options.seed)
    said = {
        "summary": row.summary,
        "paper": row.paper,
        "call": ", ".join(
            [f'"{name}"', "ds.event_shape", "data=ds.train.x", *(f"{key}={value}" for key, value in given.items())]
        ),
        "data": ds.name,
        "binarization": ds.binarization,
        "num_data": len(ds.test),
        "labelled": NUM_LABELS if getattr(recipe.vae.model, "allows_missing_labels", False) else None,
        "likelihood": recipe.vae.model.likelihood.name,
        "objective": repr(recipe.elbo),
        "objective_class": qualified(recipe.elbo),
        "model_class": qualified(recipe.vae),
        "facts": {label: in_words(value) for label, value in recipe.vae.facts().items()},
        "seed": options.seed,
    }
    return said | measured(recipe, ds, options.seed) | drawn(recipe, ds, options.seed, folder)


def qualified(thing: Any) -> str:
    """Where the reference finds its class."""
    return f"{type(thing).__module__}.{type(thing).__qualname__}"


def machine() -> dict[str, Any]:
    """On what these numbers were computed."""
    versions = {"torch": torch.__version__, "python": platform.python_version(), "machine": platform.machine()}
    return {**versions, "threads": torch.get_num_threads(), "particles": PARTICLES, "draws": EVIDENCE_DRAWS}


def main() -> None:
    """Run what was asked for and merge it into the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="default all")
    parser.add_argument(
        "--epochs", type=int, default=Settings.epochs, help="of every recipe that does not say its own"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    path, folder = options.results / "digits_recipes.json", options.results / "digits_recipes"
    folder.mkdir(parents=True, exist_ok=True)
    for name in options.names or pv.list_recipes():
        started = time.perf_counter()
        try:
            found = record(name, options, folder)
        except FAILURES as error:
            row = RECIPES[name]
            found = {"summary": row.summary, "paper": row.paper, "no_run": " ".join(str(error).split())}
        # Read anew: another process may have run other recipes meanwhile.
        stored = json.loads(path.read_text())["recipes"] if path.exists() else {}
        stored[name] = found
        kept = {known: stored[known] for known in pv.list_recipes() if known in stored}
        path.write_text(json.dumps({"on": machine(), "recipes": kept}, indent=1) + "\n")
        score = f"{found['elbo']:.2f}" if "elbo" in found else found["no_run"]
        print(f"{name}: {score} ({time.perf_counter() - started:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
