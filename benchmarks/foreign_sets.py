"""Which score tells foreign images from held-out ones? MNIST and garments, against simpler and richer foreign sets.

    PPL_VAE_DATA=FOLDER OMP_NUM_THREADS=1 python benchmarks/foreign_sets.py [--steps 600] [--images 3000]
        [--seed 0] [--results FILE]

The stand-ins are drawn, since neither Fashion-MNIST nor EMNIST comes with the package, and are called by what they
are: "garments" are filled outlines of shirts, trousers, bags and boots with stripes, "woven" are garments with
holes at random in the cloth, "letters" are A to Z in the fonts of matplotlib, turned and shifted. Simpler than all
of them are "strokes" (one straight line), "small digits" (MNIST at half its size) and "dots" (at most three
pixels). All are 28 x 28 and cut at one half.

A likelihood prefers simple data to those that it was trained on (Nalisnick et al. 2019,
https://arxiv.org/abs/1810.09136): so a VAE is trained on MNIST, and one on the woven garments, the richest set, and
a second one beside each, the background, on the same images with a fifth of the pixels mutated (Ren et al. 2019).
Every score of ``run_foreign`` is told for every foreign set: areas under the ROC curve with standard errors, the
mean log p(x), and whether it is higher than that of the held-out data by two errors, which is the failure. Numbers
go to benchmarks/results/foreign_sets.json and, as a table, into the .md beside it.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
from pathlib import Path
from typing import Any

import numpy as np
import torch
from drawn_images import SIZE, dots, garments, halved, letters, strokes, woven

import ppl_vae as pv
from ppl_vae.diagnostics import check_foreign, perturbed, run_foreign
from ppl_vae.files import write_json

RESULTS = Path(__file__).parent / "results" / "foreign_sets.json"
HELD_OUT, SAMPLES = 400, 30
TRAINED_ON = ("MNIST", "woven")
NETWORK = {"name": "mlp", "hidden": (256,), "activation": "relu"}
LATENT_DIM, BATCH, LEARNING_RATE = 16, 100, 2e-3


def trained(x: torch.Tensor, steps: int, seed: int) -> Any:
    """A VAE after so many steps."""
    vae = pv.VAE((1, SIZE, SIZE), LATENT_DIM, network=NETWORK, seed=seed)
    epochs = max(1, round(steps / math.ceil(len(x) / BATCH)))
    pv.fit(
        vae,
        x,
        epochs=epochs,
        batch_size=BATCH,
        lr=LEARNING_RATE,
        seed=seed,
        num_threads=1,
        device="cpu",
        progress=False,
    )
    return vae


def told(numbers: Any) -> dict[str, Any]:
    """The figures of one model as a record holds them."""
    verdicts = {verdict.diagnostic: str(verdict) for verdict in check_foreign(numbers)}
    found: dict[str, Any] = {}
    for name in numbers["foreign"].values:
        areas = {}
        for score in numbers["score"].values:
            at = numbers.sel(foreign=name, score=score)
            areas[str(score)] = {
                "auroc": round(float(at["auroc"]), 4),
                "stderr": round(float(at["auroc_stderr"]), 4),
                "taken_in_at_95": round(float(at["taken_in"]), 4),
                "verdict": verdicts[f"{name} by {score}"],
            }
        one = numbers.sel(foreign=name)
        areas["typicality of sets"] = {
            "auroc": round(float(one["batch_auroc"]), 4), "stderr": round(float(one["batch_auroc_stderr"]), 4)
        }  # fmt: skip
        found[str(name)] = areas
    means, errors = numbers["mean_log_evidence"], numbers["mean_log_evidence_stderr"]
    ours = means.sel(set="held out"), errors.sel(set="held out")
    log_p = {}
    for name in numbers["set"].values:
        mean, error = float(means.sel(set=name)), float(errors.sel(set=name))
        above, joint = mean - float(ours[0]), math.hypot(error, float(ours[1]))
        log_p[str(name)] = {
            "mean": round(mean, 2), "stderr": round(error, 2), "higher_than_held_out": above > 2 * joint
        }  # fmt: skip
    return {"log_p": log_p, "foreign": found}


def as_table(models: dict[str, Any]) -> str:
    """Per model and set: the mean log p(x), and the area under the ROC curve of every score."""
    lines = []
    for trained_on, found in models.items():
        scores = list(next(iter(found["foreign"].values())))
        lines += [
            f"Trained on {trained_on}: mean log p(x), nats, and areas under the ROC curve, each ± standard error.",
            "",
            "| set | log p(x) | " + " | ".join(scores) + " |",
            "|---|---|" + "---|" * len(scores),
        ]
        for name, log_p in found["log_p"].items():
            areas = [
                f"{each['auroc']:.3f} ± {each['stderr']:.3f}" for each in found["foreign"].get(name, {}).values()
            ]
            more = " (higher than held out)" if log_p["higher_than_held_out"] else ""
            cells = [f"{log_p['mean']:.1f} ± {log_p['stderr']:.1f}{more}", *(areas or [""] * len(scores))]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)


def all_sets(images: int, rng: np.random.Generator) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Every set by name: what a model is trained on (nothing, of a set that none is), and what is scored."""
    mnist = pv.load_dataset("mnist", binarize="threshold")
    held_out = mnist.test.x[:HELD_OUT]
    cloth = woven(images + HELD_OUT, rng)
    drawn = {
        "garments": garments(HELD_OUT, rng),
        "letters": letters(HELD_OUT, rng),
        "strokes": strokes(HELD_OUT, rng),
        "small digits": halved(mnist.test.x[HELD_OUT : 2 * HELD_OUT]),
        "dots": dots(HELD_OUT, rng),
    }
    both = {"MNIST": (mnist.train.x[:images], held_out), "woven": (cloth[:images], cloth[images:])}
    return both | {name: (x[:0], x) for name, x in drawn.items()}


def main() -> None:
    """Draw, train, score, record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=600, help="of every model")
    parser.add_argument("--images", type=int, default=3000, help="of every training set")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, default=RESULTS, help="a file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    sets = all_sets(options.images, np.random.default_rng(options.seed))
    models: dict[str, Any] = {}
    for name in TRAINED_ON:
        train, held_out = sets[name]
        vae = trained(train, options.steps, options.seed)
        background = trained(perturbed(train, 0.2, seed=options.seed), options.steps, options.seed)
        foreign = {other: sets[other][1][: HELD_OUT // 2] for other in sets if other != name}
        numbers = run_foreign(vae, held_out, foreign, background, SAMPLES, seed=options.seed)
        models[name] = told(numbers)
        print(name, json.dumps(models[name]["log_p"]), flush=True)
    command = f"python benchmarks/foreign_sets.py --steps {options.steps} --images {options.images}"
    on = {"machine": f"{platform.machine()}, one thread, torch {torch.__version__}", "seed": options.seed}
    write_json(options.results, {"command": command, **on, "trained_on": models})
    options.results.with_suffix(".md").write_text(as_table(models), encoding="utf-8")


if __name__ == "__main__":
    main()
