"""k-hat of 1000 data: batched against one datum at a time.

    python benchmarks/khat.py [--data 1000] [--samples 1000 4000] [--rounds 5] [--threads 1] [--device cpu]

On given weights ``diagnostics.pareto.smooth`` runs against a loop of ArviZ 0.23's ``psislw``. End to end
``run_importance`` runs against a loop that runs the pair and ``psislw`` datum by datum. The rivals take turns, and
the medians over the rounds are written, with the machine's description, to benchmarks/results/khat.json: of the
wall clock, and of the CPU time, which a busy machine disturbs less.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch

import ppl_vae as pv
from ppl_vae.diagnostics.pareto import khat, smooth
from ppl_vae.inference import trace_terms

RESULTS = Path(__file__).parent / "results"
Times = tuple[list[float], list[float]]  # wall clock, and the CPU time of this process alone


def load_psislw() -> Callable:
    """ArviZ 0.23's own; it warns at import, and its plots use what matplotlib has set aside."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import matplotlib.style.core  # noqa: F401
        from arviz.stats.stats import psislw
    return psislw


def in_turns(rivals: dict[str, Callable[[], np.ndarray]], rounds: int) -> tuple[dict[str, Times], float]:
    """Seconds of every rival in every round, and the largest difference of their k-hats in the last."""
    times: dict[str, Times] = {name: ([], []) for name in rivals}
    found = {}
    for turn in range(rounds + 1):
        for name, run in rivals.items():
            wall, cpu = time.perf_counter(), time.process_time()
            found[name] = run()
            if turn:  # the first round warms up
                times[name][0].append(time.perf_counter() - wall)
                times[name][1].append(time.process_time() - cpu)
    first, second = found.values()
    return times, float(np.abs(first - second).max())


def summary(times: dict[str, Times], difference: float | None) -> dict:
    row: dict[str, Any] = {}
    for index, kind in enumerate(("wall", "cpu")):
        medians = {name: statistics.median(both[index]) for name, both in times.items()}
        batched, loop = medians.values()
        row[f"{kind}_seconds"] = {name: round(value, 4) for name, value in medians.items()}
        row[f"{kind}_ratio"] = round(loop / batched, 2)
    return row | ({} if difference is None else {"largest_difference_of_khat": difference})


def given_weights(options: argparse.Namespace, psislw: Callable, num_samples: int) -> dict:
    generator = torch.Generator().manual_seed(0)
    draws = torch.randn(num_samples, options.data, generator=generator, dtype=torch.float64)
    log_weight = draws * torch.linspace(0.1, 4, options.data, dtype=torch.float64)
    rows = np.ascontiguousarray(log_weight.numpy().T)

    def loop() -> np.ndarray:
        return np.array([float(psislw(row)[1]) for row in rows])

    batched = {
        "k-hat and smoothed weights": lambda: smooth(log_weight).khat.numpy(),
        "k-hat alone": lambda: khat(log_weight).numpy(),
    }
    return {
        what: summary(*in_turns({"batched": run, "psislw datum by datum": loop}, options.rounds))
        for what, run in batched.items()
    }


def end_to_end(options: argparse.Namespace, psislw: Callable, pair: Any, x: torch.Tensor, samples: int) -> dict:
    x = x.to(options.device)
    model, guide = pair if isinstance(pair, tuple) else (pair.to(options.device).model, pair.guide)

    def loop() -> np.ndarray:
        khat = []
        with torch.no_grad():
            for datum in x.split(1):
                terms = trace_terms(model, guide, datum, num_particles=samples)
                khat.append(float(psislw(terms.log_weight[:, 0].double().cpu().numpy())[1]))
        return np.array(khat)

    rivals = {
        "batched": lambda: pv.diagnostics.run_importance((model, guide), x, samples)["khat"].to_numpy(),
        "pair and psislw datum by datum": loop,
    }
    times, _ = in_turns(rivals, options.rounds)
    return summary(times, None)  # the two draw different noise, so their k-hats differ


def model(x: torch.Tensor) -> None:
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 2.0).expand([len(x)]))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def guide(x: torch.Tensor) -> None:
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(0.8 * x, 0.8))


def pairs(options: argparse.Namespace) -> dict[str, tuple[Any, torch.Tensor]]:
    """From one whose networks cost nothing to one whose networks cost nearly everything."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(5, 2, generator=generator)
    linear = pv.LinearGaussianVAE(weight, torch.zeros(5), 0.8)
    small = {"name": "mlp", "hidden": (16,)}
    digits = pv.load_dataset("digits", binarize="threshold").train.x[: options.data]
    return {
        "conjugate normal, 1 coordinate, 1 latent": (
            (model, guide),
            torch.randn(options.data, generator=generator),
        ),
        "linear-Gaussian, 5 coordinates, 2 latent": (linear, torch.randn(options.data, 5, generator=generator)),
        "digits 8x8, one hidden layer of 16, 2 latent": (pv.VAE((1, 8, 8), 2, network=small), digits),
        "digits 8x8, default networks, 8 latent": (pv.VAE((1, 8, 8), 8), digits),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=int, default=1000)
    parser.add_argument("--samples", type=int, nargs="+", default=[1000, 4000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    psislw = load_psislw()
    found = {
        "data": options.data,
        "rounds": options.rounds,
        "threads": options.threads,
        "device": torch.cuda.get_device_name() if options.device == "cuda" else platform.processor() or "cpu",
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "load_average_at_start": round(os.getloadavg()[0], 2),
        "given_weights": {str(s): given_weights(options, psislw, s) for s in options.samples},
        "end_to_end": {
            name: {str(options.samples[0]): end_to_end(options, psislw, pair, x, options.samples[0])}
            for name, (pair, x) in pairs(options).items()
        },
    }
    text = json.dumps(found, indent=2)
    print(text)
    options.results.mkdir(parents=True, exist_ok=True)
    (options.results / "khat.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
