"""Which score tells foreign images from held-out ones? MNIST against stand-ins for garments and letters, both ways.

    PPL_VAE_DATA=FOLDER OMP_NUM_THREADS=1 python benchmarks/foreign_sets.py [--steps 1000] [--images 4000]
        [--seed 0] [--results FILE]

The stand-ins are drawn here, since neither Fashion-MNIST nor EMNIST comes with the package, and are called by what
they are: "garments" are filled outlines of shirts, trousers, bags and boots with stripes, "letters" are A to Z in
the fonts of matplotlib, turned and shifted. All are 28 x 28 and cut at one half. A VAE is trained on each of the
three, and a second one, the background, on the same images with a fifth of the pixels mutated (Ren et al. 2019).
Every score of ``run_foreign`` is then told for every pair of a model and a foreign set: areas under the ROC curve
with standard errors, the mean log p(x) of both. Numbers go to benchmarks/results/foreign_sets.json, the figure of
MNIST beside them.
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
from PIL import Image, ImageDraw, ImageFont

import ppl_vae as pv
from ppl_vae.diagnostics import check_foreign, perturbed, run_foreign
from ppl_vae.files import write_json

RESULTS = Path(__file__).parent / "results" / "foreign_sets.json"
SIZE, HELD_OUT, SAMPLES = 28, 600, 50
NETWORK = {"name": "mlp", "hidden": (256,), "activation": "relu"}
LATENT_DIM, BATCH, LEARNING_RATE = 16, 100, 2e-3
FONTS = ("DejaVuSans.ttf", "DejaVuSerif.ttf", "DejaVuSansMono.ttf", "DejaVuSans-Bold.ttf", "STIXGeneral.ttf")


def letters(count: int, rng: np.random.Generator) -> torch.Tensor:
    """A to Z in several fonts, turned by up to 15 degrees and shifted: [count, 1, 28, 28]."""
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    fonts = [ImageFont.truetype(str(folder / name), size) for name in FONTS for size in (18, 20, 22)]
    pictures = []
    for _ in range(count):
        picture = Image.new("L", (SIZE, SIZE))
        place = tuple(SIZE / 2 + rng.uniform(-1.5, 1.5, size=2))
        letter = chr(ord("A") + int(rng.integers(26)))
        ImageDraw.Draw(picture).text(place, letter, 255, fonts[int(rng.integers(len(fonts)))], anchor="mm")
        pictures.append(picture.rotate(rng.uniform(-15, 15), Image.Resampling.BILINEAR))
    return cut(pictures)


def garments(count: int, rng: np.random.Generator) -> torch.Tensor:
    """Filled outlines with stripes: [count, 1, 28, 28]."""
    outlines = (shirt, trousers, bag, boot)
    pictures = []
    for _ in range(count):
        picture = Image.new("L", (SIZE, SIZE))
        draw = ImageDraw.Draw(picture)
        for polygon in outlines[int(rng.integers(len(outlines)))](rng):
            draw.polygon(polygon, fill=255)
        period, width = int(rng.integers(4, 9)), int(rng.integers(0, 3))
        for row in range(int(rng.integers(period)), SIZE, period):
            if width:
                draw.rectangle((0, row, SIZE, row + width - 1), fill=0)
        pictures.append(picture)
    return cut(pictures)


def shirt(rng: np.random.Generator) -> list[list[tuple[float, float]]]:
    """A body and two sleeves."""
    half, sleeve, top, hem = rng.uniform(5, 7), rng.uniform(3, 6), rng.uniform(3, 5), rng.uniform(21, 26)
    left, right = 14 - half, 14 + half
    body = [(left, top), (right, top), (right, hem), (left, hem)]
    end = top + rng.uniform(6, 14)
    return [
        body,
        [(left, top), (left - sleeve, end), (left - sleeve + 4, end + 1), (left + 1, top + 5)],
        [(right, top), (right + sleeve, end), (right + sleeve - 4, end + 1), (right - 1, top + 5)],
    ]


def trousers(rng: np.random.Generator) -> list[list[tuple[float, float]]]:
    """Two legs below a belt."""
    half, leg, gap, hem = rng.uniform(4.5, 6.5), rng.uniform(3, 4.5), rng.uniform(0.5, 2), rng.uniform(23, 27)
    return [
        [(14 - half, 2), (14 + half, 2), (14 + half, 8), (14 - half, 8)],
        [(14 - half, 7), (14, 7), (14 - gap, hem), (14 - gap - leg, hem)],
        [(14, 7), (14 + half, 7), (14 + gap + leg, hem), (14 + gap, hem)],
    ]


def bag(rng: np.random.Generator) -> list[list[tuple[float, float]]]:
    """A box and a handle."""
    half, top, hem, handle = rng.uniform(7, 12), rng.uniform(9, 13), rng.uniform(22, 26), rng.uniform(3, 6)
    return [
        [(14 - half, top), (14 + half, top), (14 + half, hem), (14 - half, hem)],
        [(14 - handle, top), (14 - handle, top - 5), (14 - handle + 2, top - 5), (14 - handle + 2, top)],
        [(14 + handle - 2, top), (14 + handle - 2, top - 5), (14 + handle, top - 5), (14 + handle, top)],
        [(14 - handle, top - 6), (14 + handle, top - 6), (14 + handle, top - 4), (14 - handle, top - 4)],
    ]


def boot(rng: np.random.Generator) -> list[list[tuple[float, float]]]:
    """A shaft and a foot."""
    shaft, top, toe, sole = rng.uniform(6, 9), rng.uniform(3, 10), rng.uniform(21, 26), rng.uniform(21, 25)
    return [
        [(5, top), (5 + shaft, top), (5 + shaft, sole), (5, sole)],
        [(5, sole - 6), (5 + shaft, sole - 7), (toe, sole - 3), (toe, sole), (5, sole)],
    ]


def cut(pictures: list[Image.Image]) -> torch.Tensor:
    """Zeros and ones [N, 1, 28, 28]."""
    return torch.from_numpy(np.stack([np.asarray(each) for each in pictures])[:, None] > 127).float()


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
    log_p = {
        str(name): {
            "mean": round(float(numbers["mean_log_evidence"].sel(set=name)), 2),
            "stderr": round(float(numbers["mean_log_evidence_stderr"].sel(set=name)), 2),
        }
        for name in numbers["set"].values
    }
    return {"log_p": log_p, "foreign": found}


def main() -> None:
    """Draw, train, score, record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1000, help="of every model")
    parser.add_argument("--images", type=int, default=4000, help="of every training set")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, default=RESULTS, help="a file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(options.seed)
    mnist = pv.load_dataset("mnist", binarize="threshold")
    total = options.images + HELD_OUT
    drawn = {"garments": garments(total, rng), "letters": letters(total, rng)}
    sets = {"MNIST": (mnist.train.x[: options.images], mnist.test.x[:HELD_OUT])} | {
        name: (x[: options.images], x[options.images :]) for name, x in drawn.items()
    }
    models: dict[str, Any] = {}
    for name, (train, held_out) in sets.items():
        vae = trained(train, options.steps, options.seed)
        background = trained(perturbed(train, 0.2, seed=options.seed), options.steps, options.seed)
        foreign = {other: sets[other][1][: HELD_OUT // 2] for other in sets if other != name}
        numbers = run_foreign(vae, held_out, foreign, background, SAMPLES, seed=options.seed)
        models[name] = told(numbers)
        print(name, json.dumps(models[name]["log_p"]), flush=True)
        if name == "MNIST":
            figure = pv.plots.plot_foreign(numbers, "trained on MNIST")
            figure.savefig(options.results.with_suffix(".png"), dpi=130)
    command = f"python benchmarks/foreign_sets.py --steps {options.steps} --images {options.images}"
    on = {"machine": f"{platform.machine()}, one thread, torch {torch.__version__}", "seed": options.seed}
    write_json(options.results, {"command": command, **on, "trained_on": models})


if __name__ == "__main__":
    main()
