"""MNIST by recipes: a beta sweep in the rate-distortion plane; IWAE against VAE against DReG at equal wall-clock.

    python benchmarks/mnist_recipes.py [--root FOLDER] [--part sweep|equal-time] [--seconds 120] [--threads 2]

Dynamic binarisation under a Bernoulli; the test split was binarised once, its seed stands with the results.
For equal wall-clock the rivals are trained in turns of some seconds, each going on from its checkpoint, so that
whatever else the machine does hits all alike; a rival's seconds are those of its epochs, its evaluations among
them. The results go to benchmarks/results/mnist_recipes.json with the machine's description, the plane to
benchmarks/results/mnist_rate_distortion.png. --results writes them elsewhere.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
import xarray as xr

import ppl_vae as pv
from ppl_vae.data.dataset import Split

RESULTS = Path(__file__).parent / "results"
BETAS = (0.25, 1.0, 4.0, 16.0)
SECONDS_A_TURN = 15.0
# One network and one latent dimension for all three, so that only the objective differs.
SHARED = {"latent_dim": 20, "network": {"name": "mlp", "hidden": (200, 200), "activation": "tanh"}}
RIVALS = {
    "vae": ("vae", SHARED),
    "iwae, K=5": ("iwae", {**SHARED, "num_particles": 5}),
    "dreg-iwae, K=5": ("dreg-iwae", {**SHARED, "num_particles": 5}),
}


def sweep(ds: pv.data.Dataset, options: argparse.Namespace) -> dict:
    """Rate and distortion on the test split for four betas: 784-400-10, a few epochs."""
    recipes = [(f"beta = {beta:g}", "beta-vae", {"beta": beta, "latent_dim": 10}) for beta in BETAS]
    table = compare(recipes, ds, options, epochs=options.epochs, num_samples=100)
    title = f"MNIST, dynamic binarisation, 10 latent dimensions, {options.epochs} epochs"
    figure = pv.plots.plot_rate_distortion(table, title=title)
    figure.savefig(options.results / "mnist_rate_distortion.png", dpi=160)
    return {"epochs": options.epochs, "recipes": rows(table), "on": about(table)}


def equal_time(ds: pv.data.Dataset, options: argparse.Namespace) -> dict:
    """Test log evidence bound after equally many seconds of training, the rivals in turns."""
    held_out = replace(ds, test=Split(ds.test.x[: options.evidence_data]))
    measured = {}
    with tempfile.TemporaryDirectory() as folder:
        epochs = in_turns(held_out, Path(folder), options)
        for label, (name, parts) in RIVALS.items():
            settings = {"epochs": epochs[label], "out_dir": folder, "resume": True, "compile": True}
            table = compare([(label, name, parts)], held_out, options, num_samples=500, **settings)
            measured |= {label: {**rows(table)[label], "epochs": epochs[label]}}
    return {"seconds_asked_for": options.seconds, "recipes": measured, "on": about(table)}


def in_turns(ds: pv.data.Dataset, folder: Path, options: argparse.Namespace) -> dict[str, int]:
    """Train every rival and seed for the seconds asked for, in turns; how many epochs each was given."""
    epochs, unfinished = dict.fromkeys(RIVALS, 2), set(RIVALS)
    while unfinished:
        for label in [label for label in RIVALS if label in unfinished]:
            seconds = max(
                train_on(label, ds, folder / label / f"seed-{seed}", epochs[label], seed, options.threads)
                for seed in range(options.seeds)
            )
            left, an_epoch = options.seconds - seconds, seconds / epochs[label]
            more = round(min(left, SECONDS_A_TURN) / an_epoch)
            epochs[label] += max(more, 0)
            unfinished -= {label} if more < 1 else set()
    return epochs


def train_on(label: str, ds: pv.data.Dataset, folder: Path, epochs: int, seed: int, threads: int) -> float:
    """Continue a rival's run until it has had so many epochs; the seconds it took since its beginning."""
    name, parts = RIVALS[label]
    recipe = pv.make(name, ds.event_shape, seed=seed, **parts)
    settings = {"device": "cpu", "num_threads": threads, "compile": True, "progress": False}
    result = pv.fit(recipe, ds, epochs=epochs, seed=seed, out_dir=folder, resume=True, **settings)
    return float(result.history["seconds"].sum())


def compare(recipes: list, ds: pv.data.Dataset, options: argparse.Namespace, **settings) -> xr.Dataset:
    shared = {"seeds": range(options.seeds), "device": "cpu", "num_threads": options.threads}
    return pv.compare_recipes(recipes, ds, **shared, **settings)


def rows(table: xr.Dataset) -> dict:
    """Mean, and where there are several seeds the spread, of every number by recipe."""
    mean, spread = table.mean("seed"), table.std("seed", ddof=1) if table.sizes["seed"] > 1 else None
    return {
        str(label): {
            str(name): round(mean[name].sel(recipe=label).item(), 3)
            if spread is None
            else [round(part[name].sel(recipe=label).item(), 3) for part in (mean, spread)]
            for name in table.data_vars
        }
        for label in table["recipe"].values
    }


def about(table: xr.Dataset) -> dict:
    """On which data, with which likelihood and how many draws."""
    likelihoods = ", ".join(sorted({str(name) for name in table["likelihood"].values}))
    return {**table.attrs, "seeds": table.sizes["seed"], "likelihood": likelihoods}


def main() -> None:
    """Run the parts that were asked for and merge their results into the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = {"sweep": sweep, "equal-time": equal_time}
    parser.add_argument("--root", help="folder with MNIST's IDX files; else PPL_VAE_DATA, the cache, a download")
    parser.add_argument("--part", choices=parts, action="append", help="may be given several times; default all")
    parser.add_argument("--epochs", type=int, default=10, help="of the sweep")
    parser.add_argument("--seconds", type=float, default=120.0, help="of training, each rival and seed")
    parser.add_argument("--seeds", type=int, default=1, help="how many")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--evidence-data", type=int, default=1000, help="test data that the rivals are judged on")
    parser.add_argument("--limit", type=int, help="training and test data at most: for trying the script out")
    parser.add_argument("--results", type=Path, default=RESULTS, help="a folder")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    ds = pv.load_dataset("mnist", root=options.root, binarize="dynamic")
    if options.limit:
        ds = replace(ds, train=Split(ds.train.x[: options.limit]), test=Split(ds.test.x[: options.limit]))
    options.results.mkdir(parents=True, exist_ok=True)
    path = options.results / "mnist_recipes.json"
    for name in options.part or parts:
        started = time.perf_counter()
        measured = parts[name](ds, options) | {
            "total_seconds": round(time.perf_counter() - started, 1),
            "command": f"python benchmarks/mnist_recipes.py --part {name} --epochs {options.epochs} "
            f"--seconds {options.seconds:g} --seeds {options.seeds} --threads {options.threads}",
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
            "versions": f"torch {torch.__version__}, Python {platform.python_version()}",
            "data_notes": list(ds.notes),
            "train_size": len(ds.train),
        }
        stored = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps(stored | {name: measured}, indent=1) + "\n")
        print(name, json.dumps(measured["recipes"], indent=1))


if __name__ == "__main__":
    main()
