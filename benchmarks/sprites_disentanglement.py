"""Methods for disentanglement on sprites with all factors: scores, errors, chance, and which orderings are told.

    OMP_NUM_THREADS=1 python benchmarks/sprites_disentanglement.py [--steps 1200] [--seeds 5]
        [--runs FOLDER] [--results FILE]

Every method trains for as many steps of as many images on the same 3,840 sprites of 24 x 24 pixels (3 shapes, 4
scales, 5 orientations, 8 x 8 places), with one network and one learning rate, at the settings of its recipe;
"ada-gvae" sees as many images a step as the others, in pairs that share some factors. No setting was chosen by a
score. The papers train for 300,000 steps on 737,280 images: this is what a stated, small budget gives, and no
reproduction.

Scores are of the posterior's mean for 1,000 sprites drawn from all, each beside the level of the same estimator on
shuffled factors. The mean over seeds has the standard error over seeds. Two methods are said to differ where
Welch's t-test does, at 5% for the whole table of a metric (Holm). A run that was stopped goes on: finished seeds
are read from ``--runs``. Numbers go to benchmarks/results/sprites_disentanglement.json and, as a table, into the
.md beside it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import ttest_ind

import ppl_vae as pv
from ppl_vae.data import factor_groups
from ppl_vae.diagnostics import run_disentanglement
from ppl_vae.files import write_json

RESULTS = Path(__file__).parent / "results" / "sprites_disentanglement.json"
GRID = {"shape": 3, "scale": 4, "orientation": 5, "x": 8, "y": 8}
METHODS = ("vae", "beta-vae", "beta-tc-vae", "factor-vae", "dip-vae-i", "dip-vae-ii", "ada-gvae")
METRICS = ("mig", "modularity", "irs", "gaussian-tc", "factor-vae", "beta-vae", "dci")
NETWORK = {"name": "mlp", "hidden": (200,), "activation": "relu"}
SIZE, BATCH, LEARNING_RATE, LATENT_DIM = 24, 64, 1e-3, 10
NUM_SCORED, VOTES, SHUFFLES = 1000, 1500, 2
LEVEL = 0.05


def sprites() -> pv.data.Split:
    """All sprites of the grid: no image is held out, as in the papers."""
    ds = pv.load_dataset("sprites", grid=GRID, size=SIZE)
    both = ds.train, ds.test
    return pv.data.Split(torch.cat([part.x for part in both]), factors=torch.cat([part.factors for part in both]))


def trained(method: str, data: pv.data.Split, seed: int, steps: int) -> tuple[Any, dict[str, Any]]:
    """The pair of one image after so many steps, its ELBO, and what it cost."""
    x, batch = data.x, BATCH
    if method == "ada-gvae":
        batch = BATCH // 2
        x = factor_groups(data, steps * batch, seed=seed).x
    options: dict[str, Any] = {"num_data": len(x)} if method == "beta-tc-vae" else {}
    recipe = pv.make(
        method, tuple(x.shape[1:]), latent_dim=LATENT_DIM, network=NETWORK, seed=seed,
        batch_size=batch, lr=LEARNING_RATE, epochs=1, **options,
    )  # fmt: skip
    per_epoch = math.ceil(len(x) / batch)
    started = time.process_time()
    result = pv.fit(
        recipe, x, epochs=max(1, round(steps / per_epoch)), seed=seed, num_threads=1, device="cpu", progress=False
    )
    cost = {"steps": int(result.history["step"].iloc[-1]), "cpu_seconds": round(time.process_time() - started, 1)}
    return recipe.vae.member if method == "ada-gvae" else recipe.vae, cost


def scored(method: str, data: pv.data.Split, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Train and score one seed; what is done already is read."""
    path = options.runs / f"{options.steps}-steps" / method / f"seed-{seed}.json"
    if not path.exists():
        pair, cost = trained(method, data, seed, options.steps)
        rows = np.random.default_rng(0).permutation(len(data))[:NUM_SCORED]
        x, factors = data.x[rows], data.factors[rows]
        table = run_disentanglement(
            pair, x, factors, tuple(GRID), METRICS, ("mean",), votes=VOTES, num_shuffles=SHUFFLES, seed=seed
        ).isel(run=0, representation=0)
        figures = {
            str(name): {
                "score": float(table["score"].sel(metric=name)),
                "stderr": float(table["stderr"].sel(metric=name)),
                "chance": float(table["chance"].sel(metric=name)),
            }
            for name in table["metric"].values
        }
        elbo = float(pv.evaluate(pair, x).elbo.mean())
        active = int(table["active"].sum())
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"scores": figures, "elbo": elbo, "active": active, **cost})
        print(f"{method}, seed {seed}: {cost['cpu_seconds']:.0f} CPU s of training, ELBO {elbo:.1f}", flush=True)
    return json.loads(path.read_text())


def summary(runs: list[dict[str, Any]], names: list[str]) -> dict[str, Any]:
    """Means over seeds with their errors."""
    found: dict[str, Any] = {
        name: mean_and_error([run["scores"][name]["score"] for run in runs])
        | {
            "stderr_over_samples": float(np.mean([run["scores"][name]["stderr"] for run in runs])),
            "chance": float(np.mean([run["scores"][name]["chance"] for run in runs])),
            "seeds": [run["scores"][name]["score"] for run in runs],
        }
        for name in names
    }
    return {
        "metrics": found,
        "elbo": mean_and_error([run["elbo"] for run in runs]),
        "active": [run["active"] for run in runs],
        "steps": sorted({run["steps"] for run in runs}),
        "cpu_seconds": sum(run["cpu_seconds"] for run in runs),
    }


def mean_and_error(values: list[float]) -> dict[str, float]:
    """The mean and its standard error over seeds; the latter is NaN for one."""
    error = float(np.std(values, ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.nan
    return {"mean": float(np.mean(values)), "stderr": error}


def differences(methods: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """Every pair of methods by Welch's t-test, with Holm's correction over the pairs of a metric."""
    pairs = []
    for one, other in itertools.combinations(methods, 2):
        left, right = (methods[which]["metrics"][name]["seeds"] for which in (one, other))
        p_value = float(ttest_ind(left, right, equal_var=False).pvalue)
        better = one if np.mean(left) > np.mean(right) else other
        pairs.append({"pair": [one, other], "higher": better, "p_value": p_value})
    holds = True
    for place, each in enumerate(sorted(pairs, key=lambda each: each["p_value"])):
        holds = holds and each["p_value"] <= LEVEL / (len(pairs) - place)
        each["significant"] = bool(holds)
    return pairs


def as_table(record: dict[str, Any]) -> str:
    """The table of all scores, and below it which orderings the seeds can tell."""
    methods, names = record["methods"], record["metrics"]
    lines = [
        f"{record['seeds']} seeds, {record['steps']} steps of {BATCH} images; mean ± standard error over seeds, in",
        "brackets the level by chance. Higher is better, but for the total correlation.",
        "",
        "| method | ELBO, nats | " + " | ".join(names) + " |",
        "|---|---|" + "---|" * len(names),
    ]
    for method, found in methods.items():
        cells = [f"{found['elbo']['mean']:.1f} ± {found['elbo']['stderr']:.1f}"]
        for name in names:
            each = found["metrics"][name]
            cells.append(f"{each['mean']:.3f} ± {each['stderr']:.3f} ({each['chance']:.3f})")
        lines.append(f"| `{method}` | " + " | ".join(cells) + " |")
    lines.append("")
    for name in names:
        told = [each for each in record["differences"][name] if each["significant"]]
        said = ", ".join("{} over {}".format(*in_order(each)) for each in told)
        number = len(record["differences"][name])
        lines.append(
            f"- {name}: {len(told)} of {number} pairs differ at 5% ({said or 'none'}); no other ordering is told."
        )
    return "\n".join(lines) + "\n"


def in_order(each: dict[str, Any]) -> tuple[str, str]:
    """The method with the higher mean, and the other."""
    one, other = each["pair"]
    return (one, other) if each["higher"] == one else (other, one)


def main() -> None:
    """Train, score, compare, record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1200, help="of every method")
    parser.add_argument("--seeds", type=int, default=5, help="how many")
    parser.add_argument("--runs", type=Path, default=Path("runs/sprites"), help="finished seeds")
    parser.add_argument("--results", type=Path, default=RESULTS, help="a file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = sprites()
    # Seed by seed, so that a run that is cut short has all methods alike.
    runs: dict[str, list[dict[str, Any]]] = {method: [] for method in METHODS}
    for seed, method in itertools.product(range(options.seeds), METHODS):
        runs[method].append(scored(method, data, seed, options))
    names = list(runs[METHODS[0]][0]["scores"])
    methods = {method: summary(found, names) for method, found in runs.items()}
    record = {
        "command": f"python benchmarks/sprites_disentanglement.py --steps {options.steps} --seeds {options.seeds}",
        "machine": f"{platform.machine()}, one thread, torch {torch.__version__}",
        "steps": options.steps,
        "seeds": options.seeds,
        "images": len(data),
        "scored": NUM_SCORED,
        "metrics": names,
        "methods": methods,
        "differences": {name: differences(methods, name) for name in names} if options.seeds > 1 else {},
    }
    write_json(options.results, record)
    if options.seeds > 1:
        options.results.with_suffix(".md").write_text(as_table(record), encoding="utf-8")


if __name__ == "__main__":
    main()
