"""MNIST with few labels: the test accuracy of the semi-supervised VAE (M2) and of a classifier on the same labels.

    python benchmarks/mnist_semi_supervised.py [--root FOLDER] [--labels 100] [--labels 3000] [--epochs 30]

Dynamic binarisation under a Bernoulli; the test split was binarised once, its seed is in the results. The data
are the first --train images of the training split, the labels equally many of every class among them; labelled
images are repeated until they are a tenth of all, and M2 sees them alone in its first 200 steps. The classifier is
the encoder with the same layer on it, trained by Adam on the labelled images alone, binarised anew in every step.
The results, with the seconds of training by the clock and by the processor and the machine, go to
benchmarks/results/mnist_semi_supervised.json. --results writes them elsewhere.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

import ppl_vae as pv
from ppl_vae.data.dataset import Split

RESULTS = Path(__file__).parent / "results"
# Test accuracies of Pyro's semi-supervised tutorial, its best variant, and of its plain classifier.
PUBLISHED = {100: (0.932, 0.771), 600: (0.944, 0.872), 1000: (0.949, 0.886), 3000: (0.958, 0.911)}
LABELLED_SHARE = 0.1
FIRST_STEPS = 200
CLASSIFIER_STEPS = 2000


def recipe(ds: pv.data.Dataset, options: argparse.Namespace, seed: int) -> pv.Recipe:
    """M2 with one hidden layer: x-300, q(y|x) on it too, q(z|x, y) by 64 more."""
    network = {"name": "mlp", "hidden": (300,), "activation": "relu"}
    parts = {"latent_dim": options.latent_dim, "network": network, "hidden": (64,), "classifier": "shared"}
    return pv.make("semi-supervised-vae", ds.event_shape, alpha=options.alpha, seed=seed, **parts)


def trained(ds: pv.data.Dataset, options: argparse.Namespace, seed: int, folder: Path | None = None) -> Any:
    """Train M2 on the labelled data first, then on all; the learning rate falls to 0 along half a cosine."""
    few = replace(ds, test=Split(ds.test.x[:100], ds.test.y[:100]))
    known = ds.train.y != -1
    first = replace(few, train=Split(ds.train.x[known], ds.train.y[known]))
    schedule = pv.inference.schedules.cosine(options.epochs * math.ceil(len(ds.train) / options.batch_size))
    settings = {"batch_size": options.batch_size, "lr": options.lr, "seed": seed, "progress": False}
    settings |= {"device": options.device, "num_threads": options.threads}
    made = recipe(ds, options, seed)
    pv.fit(made, first, epochs=max(1, round(FIRST_STEPS * options.batch_size / len(first.train))), **settings)
    kept = {} if folder is None else {"out_dir": folder, "resume": True}
    pv.fit(made, few, epochs=options.epochs, schedule=schedule, **settings, **kept)
    return made.vae


def semi_supervised(ds: pv.data.Dataset, options: argparse.Namespace, seed: int) -> dict:
    """Train M2 and judge it."""
    started, cpu = time.perf_counter(), time.process_time()
    vae = trained(ds, options, seed)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu
    test = pv.evaluate(vae, ds.test.x, seed=seed)
    return {
        "accuracy": accuracy(vae.classify, ds.test),
        "epochs": options.epochs,
        "train_seconds": round(seconds, 1),
        "train_cpu_seconds": round(cpu_seconds, 1),
        "test_elbo": round(test.elbo.mean().item(), 2),
    }


def trained_classifier(ds: pv.data.Dataset, options: argparse.Namespace, seed: int) -> Any:
    """The encoder of M2 on the labelled data alone, from the same initial weights."""
    vae, known = recipe(ds, options, seed).vae, ds.train.y != -1
    x, y = ds.train.x[known], ds.train.y[known]
    optimizer = torch.optim.Adam(vae.guide.parameters(), lr=1e-3)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(CLASSIFIER_STEPS):
        chosen = torch.randint(len(x), (min(len(x), 200),), generator=generator)
        seen = torch.bernoulli(x[chosen], generator=generator)
        optimizer.zero_grad()
        nn.functional.cross_entropy(vae.classify(seen).logits, y[chosen]).backward()
        optimizer.step()
    return vae


def classifier(ds: pv.data.Dataset, options: argparse.Namespace, seed: int) -> dict:
    """Train the classifier and judge it."""
    found = accuracy(trained_classifier(ds, options, seed).classify, ds.test)
    return {"accuracy": found, "steps": CLASSIFIER_STEPS}


@torch.no_grad()
def accuracy(classify: object, split: Split) -> list[float]:
    """The share of the split whose likeliest class is right, and its standard error."""
    found = torch.cat([classify(x).logits.argmax(-1) for x in split.x.split(1000)])
    share = (found == split.y).float().mean().item()
    return [round(share, 4), round(math.sqrt(share * (1 - share) / len(split.y)), 4)]


def measure(number: int, whole: pv.data.Dataset, options: argparse.Namespace) -> dict:
    """Both, with ``number`` labels."""
    ds = pv.data.hide_labels(whole, number, seed=options.seed)
    times = max(1, round(LABELLED_SHARE * len(ds.train) / number))
    vae, plain = PUBLISHED.get(number, (None, None))
    return {
        "semi_supervised_vae": semi_supervised(pv.data.repeat_labelled(ds, times), options, options.seed),
        "classifier_on_the_labels": classifier(ds, options, options.seed),
        "published": {"semi_supervised_vae": vae, "classifier": plain, "by": "Pyro's tutorial, 50000 images"},
        "labelled_repeated": times,
        "train_size": len(ds.train),
        "data_notes": list(ds.notes),
    }


def main() -> None:
    """Measure with the numbers of labels that were asked for and merge the results into the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", help="folder with MNIST's IDX files; else PPL_VAE_DATA, the cache, a download")
    parser.add_argument("--labels", type=int, action="append", help="may be given several times; default 100, 3000")
    parser.add_argument("--train", type=int, default=10_000, help="images of the training split")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--latent-dim", type=int, default=30, help="of the code beside the class")
    parser.add_argument("--alpha", type=float, default=30.0, help="weight of the classifier's term")
    parser.add_argument("--batch-size", type=int, default=50)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu", help="of M2; the classifier is trained on the CPU")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, default=RESULTS, help="a folder")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    ds = pv.load_dataset("mnist", root=options.root, binarize="dynamic")
    ds = replace(ds, train=Split(ds.train.x[: options.train], ds.train.y[: options.train]))
    options.results.mkdir(parents=True, exist_ok=True)
    path = options.results / "mnist_semi_supervised.json"
    for number in options.labels or (100, 3000):
        measured = measure(number, ds, options) | {
            "alpha": options.alpha,
            "command": f"python benchmarks/mnist_semi_supervised.py --labels {number} --train {options.train} "
            f"--epochs {options.epochs} --latent-dim {options.latent_dim} --alpha {options.alpha:g} "
            f"--batch-size {options.batch_size} --lr {options.lr:g} --threads {options.threads} "
            f"--seed {options.seed}",
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
            "versions": f"torch {torch.__version__}, Python {platform.python_version()}",
        }
        stored = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps(stored | {f"{number} labels": measured}, indent=1) + "\n")
        print(number, json.dumps(measured, indent=1))


if __name__ == "__main__":
    main()
