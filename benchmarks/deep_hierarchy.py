"""Bits per dimension of binarised MNIST: a very deep VAE beside the plain one, at equal CPU seconds of one core.

    OMP_NUM_THREADS=1 python benchmarks/deep_hierarchy.py [--seconds 150] [--root FOLDER] [--results FOLDER]

Both are recipes as they are, "very-deep-vae" (levels of latent images of 1, 7, 14 and 28 pixels a side, two each)
and "vae" (784-400-20). Training images are binarised anew in every batch of 64, by draws from one stream; test
images were binarised once. Each trains for as many CPU seconds as asked for, which for images of this size is a
small part of what a deep hierarchy wants: the record tells how many images each has seen. On test images:

    ELBO          of the first 1000 from 4 draws, in nats and in bits per dimension: nats / (784 log 2)
    log p(x) >=   of the first 100, the importance bound of 50 draws
    KL by level   of the first 1000, the closed form and its standard error; below 0.01 nat a level is collapsed

The numbers go to benchmarks/results/deep_hierarchy.json.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import ppl_vae as pv
from ppl_vae import inference as inf

RESULTS = Path(__file__).parent / "results"
RECIPES = ("vae", "very-deep-vae")
BATCH, BATCHES_AN_EPOCH = 64, 16
TEST_DATA, EVIDENCE_DATA, DRAWS, EVIDENCE_DRAWS = 1000, 100, 4, 50
COLLAPSED = 0.01


class Draws:
    """Batches of grey images, binarised anew; every epoch is the next few of them.

    Args:
        grey: [N, 1, 28, 28] in [0, 1].
        seed: of the order and of the draws.
    """

    def __init__(self, grey: Tensor, seed: int) -> None:
        self.grey, self.generator = grey, torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return BATCHES_AN_EPOCH

    def __iter__(self) -> Iterator[Tensor]:
        for _ in range(BATCHES_AN_EPOCH):
            rows = torch.randint(len(self.grey), (BATCH,), generator=self.generator)
            yield torch.bernoulli(self.grey[rows], generator=self.generator)


def trained(name: str, ds: Any, seconds: float, seed: int) -> tuple[Any, dict[str, Any]]:
    """The pair of a recipe after so many CPU seconds, and what it has seen."""
    recipe = pv.make(name, ds.event_shape, seed=seed)
    started = time.process_time()

    def until(row: Mapping[str, Any]) -> str | None:
        return "stop" if time.process_time() - started > seconds else None

    result = pv.fit(
        recipe, Draws(ds.train.x, seed), epochs=100_000, device="cpu", compile=False, progress=False, seed=seed,
        callbacks=[until],
    )  # fmt: skip
    images = result.epochs_run * BATCHES_AN_EPOCH * BATCH
    seen = {"CPU seconds": round(time.process_time() - started, 1), "images seen": images, "steps": images // BATCH}
    return recipe.vae.eval(), {**seen, "parameters": sum(p.numel() for p in recipe.vae.parameters())}


def told(values: Tensor, dims: int) -> dict[str, list[float]]:
    """Mean and standard error of numbers of data, in nats and, with the sign changed, in bits per dimension."""
    mean, error = values.mean().item(), (values.std() / math.sqrt(len(values))).item()
    bits = math.log(2) * dims
    return {
        "nats": [round(mean, 3), round(error, 3)],
        "bits per dim": [round(-mean / bits, 5), round(error / bits, 5)],
    }


def levels(vae: Any, x: Tensor, seed: int) -> dict[str, list[float]]:
    """The KL of every level on data, and its standard error, from the top downwards."""
    torch.manual_seed(seed)
    with torch.no_grad():
        parts = [inf.trace_terms(vae, part, num_particles=2) for part in x.split(250)]
    found = {}
    for name in parts[0].sites:
        kl = torch.cat([part.kl(name).mean(0) for part in parts])
        found[name] = [round(kl.mean().item(), 4), round((kl.std() / math.sqrt(len(kl))).item(), 4)]
    return found


def measure(name: str, ds: Any, seconds: float, seed: int) -> dict[str, Any]:
    """Train a recipe and judge it."""
    vae, seen = trained(name, ds, seconds, seed)
    x = ds.test.x[:TEST_DATA]
    started = time.process_time()
    elbo = pv.evaluate(vae, x, num_particles=DRAWS, seed=seed).elbo
    evidence = pv.log_evidence(vae, x[:EVIDENCE_DATA], num_samples=EVIDENCE_DRAWS, progress=False, seed=seed)
    kls = levels(vae, x, seed)
    dims = x[0].numel()
    return {
        **seen,
        "CPU seconds of the evaluation": round(time.process_time() - started, 1),
        "ELBO": told(elbo, dims),
        f"log p(x) >=, {EVIDENCE_DRAWS} draws, {EVIDENCE_DATA} data": told(evidence.per_datum, dims),
        "KL by level": kls,
        "collapsed levels": [level for level, (kl, _) in kls.items() if kl < COLLAPSED],
    }


def main() -> None:
    """Measure both, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=150.0, help="CPU seconds of training for each")
    parser.add_argument("--root", help="folder with MNIST's IDX files; else PPL_VAE_DATA, the cache, a download")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    ds = pv.load_dataset("mnist", root=options.root, binarize="dynamic")
    record = {
        "on": {
            "data": "mnist", "binarization": "dynamic; test images once, seed 0", "test data": TEST_DATA,
            "batch size": BATCH, "CPU seconds asked for": options.seconds, "seed": options.seed,
            "threads": 1, "torch": torch.__version__,
        },
        "recipes": {name: measure(name, ds, options.seconds, options.seed) for name in RECIPES},
    }  # fmt: skip
    options.results.mkdir(parents=True, exist_ok=True)
    (options.results / "deep_hierarchy.json").write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
