"""k-hat of 1000 data: batched against one datum at a time.

    python benchmarks/khat.py [--data 1000] [--samples 1000 4000] [--rounds 5] [--threads 1] [--device cpu]

On given weights ``inference.evidence.pareto.smooth`` runs against a loop of ArviZ 0.23's ``psislw``. End to end
``run_importance`` runs against loops that run the pair and ``psislw`` datum by datum: the pair once by Pyro's own
``vectorized_importance_weights`` and once by this package's ``trace_terms``, each with Pyro's validation on, as it
is after ``import pyro`` and as a user has it, and off, as ``run_importance`` has it.

Every one of them has to decode all draws of all data. What that alone takes is measured too: a loop's time over it
is the most that anybody can gain on the loop by batching, and it says for which pairs a factor can be had at all.

The rivals take turns, and the medians over the rounds are written, with the machine's description, to
benchmarks/results/khat.json: of the wall clock, and of the CPU time, which a busy machine disturbs less. A number
that heads a table is the draws per datum. The figure draws the CPU time of each loop over that of the batch.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import time
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from matplotlib.figure import Figure
from pyro.infer.importance import vectorized_importance_weights

import ppl_vae as pv
from ppl_vae.inference import trace_terms
from ppl_vae.inference.evidence.pareto import khat, smooth

RESULTS = Path(__file__).parent / "results"
Times = tuple[list[float], list[float]]  # wall clock, and the CPU time of this process alone


def load_psislw() -> Callable:
    """ArviZ 0.23's own; it warns at import, and its plots use what matplotlib has set aside."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import matplotlib.style.core  # noqa: F401
        from arviz.stats.stats import psislw
    return psislw


def in_turns(rivals: dict[str, Callable[[], Any]], rounds: int) -> tuple[dict[str, Times], dict[str, Any]]:
    """Seconds of every rival in every round, and what each found in the last."""
    times: dict[str, Times] = {name: ([], []) for name in rivals}
    found = {}
    for turn in range(rounds + 1):
        for name, run in rivals.items():
            wall, cpu = time.perf_counter(), time.process_time()
            found[name] = run()
            if turn:  # the first round warms up
                times[name][0].append(time.perf_counter() - wall)
                times[name][1].append(time.process_time() - cpu)
    return times, found


def medians(times: dict[str, Times]) -> dict[str, dict[str, float]]:
    return {
        kind: {name: statistics.median(both[index]) for name, both in times.items()}
        for index, kind in enumerate(("wall", "cpu"))
    }


def summary(times: dict[str, Times]) -> dict:
    """Seconds of each, and how many times longer than the first the others take."""
    row: dict[str, Any] = {}
    for kind, seconds in medians(times).items():
        (_, batched), *loops = seconds.items()
        row[f"{kind}_seconds"] = {name: round(value, 4) for name, value in seconds.items()}
        row[f"{kind}_ratio"] = {name: round(value / batched, 2) for name, value in loops}
    return row


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
    rows_of_both = {}
    for what, run in batched.items():
        times, found = in_turns({"batched": run, "psislw datum by datum": loop}, options.rounds)
        first, second = found.values()
        rows_of_both[what] = summary(times) | {"largest_difference_of_khat": float(np.abs(first - second).max())}
    return rows_of_both


def end_to_end(options: argparse.Namespace, psislw: Callable, pair: Any, x: torch.Tensor, samples: int) -> dict:
    x = x.to(options.device)
    model, guide = pair if isinstance(pair, tuple) else (pair.to(options.device).model, pair.guide)

    def by_terms(datum: torch.Tensor) -> torch.Tensor:
        return trace_terms(model, guide, datum, num_particles=samples).log_weight[:, 0]

    def by_pyro(datum: torch.Tensor) -> torch.Tensor:
        kinds = {"num_samples": samples, "max_plate_nesting": 1, "normalized": False}
        return vectorized_importance_weights(model, guide, datum, **kinds)[0]

    def loop(log_weight: Callable[[torch.Tensor], torch.Tensor], validated: bool) -> np.ndarray:
        with torch.no_grad(), pyro.validation_enabled(validated):
            return np.array([float(psislw(log_weight(datum).double().cpu().numpy())[1]) for datum in x.split(1)])

    decode = decoding(pair, samples, options)
    rivals = {"batched": lambda: pv.diagnostics.run_importance((model, guide), x, samples)["khat"].to_numpy()}
    for who, log_weight in {"Pyro's importance weights": by_pyro, "trace_terms": by_terms}.items():
        for validation in ("on", "off"):
            rivals[f"{who} and psislw datum by datum, validation {validation}"] = partial(
                loop, log_weight, validation == "on"
            )
    if decode is not None:
        rivals["decoding alone"] = decode
    times, _ = in_turns(rivals, options.rounds)
    bound = {}
    if decode is not None:
        alone = medians({name: times[name] for name in rivals if name != "batched"})["cpu"]
        decoding_alone = alone.pop("decoding alone")
        bound["cpu_ratio_if_only_decoding_took_time"] = {k: round(v / decoding_alone, 2) for k, v in alone.items()}
    return summary({name: times[name] for name in rivals if name != "decoding alone"}) | bound


def decoding(pair: Any, samples: int, options: argparse.Namespace) -> Callable[[], Any] | None:
    """What decodes as many draws as there are, in passes of a cache's size; None for a pair without a decoder."""
    if isinstance(pair, tuple):
        return None
    codes = torch.randn(16 * samples, pair.latent_dim, device=options.device)

    @torch.no_grad()
    def decode() -> None:
        for _ in range(math.ceil(options.data / 16)):
            pair.model.decoder(codes)

    return decode


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


def drawn(end_to_end: Mapping[str, Mapping[str, Any]]) -> Figure:
    """The CPU time of every loop over that of the batch, a group of dots a pair; at 1 nothing is gained."""
    figure = Figure(figsize=(6.4, 0.62 * len(end_to_end) + 1.6), layout="constrained")
    axes = figure.subplots()
    rivals = dict.fromkeys(rival for by in end_to_end.values() for rival in next(iter(by.values()))["cpu_ratio"])
    for index, rival in enumerate(rivals):
        ratios = [next(iter(by.values()))["cpu_ratio"][rival] for by in end_to_end.values()]
        axes.plot(ratios, range(len(ratios)), "osD^"[index % 4], label=rival.replace("_", " "), alpha=0.8, ms=5)
    axes.axvline(1.0, color="#8c8c8c", linewidth=1)
    axes.set_yticks(range(len(end_to_end)), [name.replace(", ", ",\n", 1) for name in end_to_end], fontsize=8)
    axes.set(xscale="log", xlabel="CPU time of a loop over that of the batch", ylim=(len(end_to_end) - 0.5, -0.5))
    figure.legend(loc="outside lower center", fontsize=7, frameon=False)
    return figure


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
    drawn(found["end_to_end"]).savefig(options.results / "khat.png", dpi=160)


if __name__ == "__main__":
    main()
