"""Two-view digits, the upper and the lower half: five multimodal VAEs by coherence and by conditional log p.

    OMP_NUM_THREADS=1 python benchmarks/multimodal_digits.py [--epochs 15] [--seeds 3] [--workers 2]

The embedded 8x8 digits as 0/1 images; the same network, epochs, batches and learning rate for all recipes. On the
180 held-out digits, by recipe:

    joint log p            log p(upper, lower), 200 importance draws
    conditional log p      log p(lower | upper) and log p(upper | lower), from the same
    conditional coherence  share of draws of one half, given the other, that a classifier takes for the true digit;
                           it is a logistic regression on the training halves
    joint coherence        share of draws from the prior whose halves two classifiers take for the same digit

Means over seeds with the standard error over seeds. Two recipes are told apart where the paired differences of the
seeds are further from 0 than 4.3 of their standard errors: 5%, two-sided, with 2 degrees of freedom, each pair for
itself. All other pairs are listed as not told apart. The numbers go to benchmarks/results/multimodal_digits.json.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import itertools
import json
import math
import multiprocessing
import statistics
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from sklearn.linear_model import LogisticRegression

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.models import MultimodalVAE

RESULTS = Path(__file__).parent / "results"
RECIPES = ("mvae", "mmvae", "mopoe-vae", "mmvae-plus", "jnf")
HALVES = {"upper": 4, "lower": 4}
LEARNING_RATE, DRAWS = 5e-3, 200
# Of Student's t with two degrees of freedom, 97.5%.
T_LIMIT = {2: 12.71, 3: 4.303, 4: 3.182, 5: 2.776}


def one_run(name: str, ds: Any, classifiers: dict[str, Any], epochs: int, seed: int) -> dict[str, float]:
    """Train a recipe from one seed, and measure it."""
    recipe = pv.make(name, ds.event_shape, modalities=HALVES, seed=seed)
    result = pv.fit(
        recipe, ds.train.x, epochs=epochs, lr=LEARNING_RATE, batch_size=128, device="cpu", compile=False, seed=seed,
        progress=False,
    )  # fmt: skip
    vae: MultimodalVAE = recipe.vae.eval()
    x, y = ds.test.x, ds.test.y
    found = {
        "ELBO": pv.evaluate(vae, x, num_particles=16).elbo.mean().item(),
        "joint log p": pv.log_evidence(vae, x, num_samples=DRAWS, progress=False).mean,
        "seconds": result.history["seconds"].sum(),
    }
    for asked, given in (("lower", "upper"), ("upper", "lower")):
        hidden = vae.blocks.hidden((asked,))
        evidence = inf.conditional_evidence(vae, x, hidden, DRAWS, progress=False, seed=seed)
        found[f"log p({asked} | {given})"] = evidence.mean
    coherence = pv.diagnostics.run_coherence(vae, classifiers, x, y, num_samples=2000, seed=seed)
    for asked, given in (("lower", "upper"), ("upper", "lower")):
        found[f"coherence of {asked} given {given}"] = coherence["conditional"].sel(modality=asked).item()
    found["joint coherence"] = coherence["joint"].item()
    return {key: float(value) for key, value in found.items()}


def table(runs: dict[str, list[dict[str, float]]]) -> dict[str, dict[str, list[float]]]:
    """Mean and standard error over seeds, by recipe and measure."""
    return {
        name: {
            key: [round(statistics.mean(v), 4), round(statistics.stdev(v) / math.sqrt(len(v)), 4)]
            for key in found[0]
            if (v := [run[key] for run in found])
        }
        for name, found in runs.items()
    }


def not_significant(runs: dict[str, list[dict[str, float]]]) -> dict[str, list[str]]:
    """The pairs of recipes that these seeds do not tell apart, by measure."""
    found: dict[str, list[str]] = {}
    for key in next(iter(runs.values()))[0]:
        if key == "seconds":
            continue
        for a, b in itertools.combinations(runs, 2):
            gaps = [left[key] - right[key] for left, right in zip(runs[a], runs[b], strict=True)]
            error = statistics.stdev(gaps) / math.sqrt(len(gaps))
            if abs(statistics.mean(gaps)) <= T_LIMIT[len(gaps)] * error:
                found.setdefault(key, []).append(f"{a} and {b}")
    return found


def main() -> None:
    """Train all, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--seeds", type=int, default=3, choices=sorted(T_LIMIT))
    parser.add_argument("--workers", type=int, default=2, help="processes, of one thread each")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    started = time.perf_counter()
    ds = pv.load_dataset("digits", binarize="threshold")
    cut = MultimodalVAE(ds.event_shape, 1, HALVES).blocks
    train, test = cut.split(ds.train.x), cut.split(ds.test.x)
    classifiers, accuracy = {}, {}
    for half in HALVES:
        classifiers[half] = LogisticRegression(max_iter=2000).fit(
            train[half].flatten(1).numpy(), ds.train.y.numpy()
        )
        accuracy[half] = round(classifiers[half].score(test[half].flatten(1).numpy(), ds.test.y.numpy()), 4)
    torch.set_num_threads(1)
    # The slowest first; each run is of its own seed, whatever runs beside it.
    asked = [(name, seed) for name in reversed(RECIPES) for seed in range(options.seeds)]
    context = multiprocessing.get_context("fork")
    with concurrent.futures.ProcessPoolExecutor(options.workers, mp_context=context) as pool:
        made = [pool.submit(one_run, name, ds, classifiers, options.epochs, seed) for name, seed in asked]
        found = dict(zip(asked, [each.result() for each in made], strict=True))
    runs = {name: [found[name, seed] for seed in range(options.seeds)] for name in RECIPES}
    record = {
        "on": {
            "data": ds.name, "binarization": ds.binarization, "num_data": len(ds.test.x), "epochs": options.epochs,
            "seeds": options.seeds, "lr": LEARNING_RATE, "importance draws": DRAWS, "torch": torch.__version__,
            "threads": torch.get_num_threads(), "seconds": round(time.perf_counter() - started, 1),
        },
        "accuracy of the classifiers on held-out halves": accuracy,
        "mean and standard error over seeds": table(runs),
        "not told apart by these seeds": not_significant(runs),
    }  # fmt: skip
    options.results.mkdir(parents=True, exist_ok=True)
    (options.results / "multimodal_digits.json").write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
