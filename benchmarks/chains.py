"""Effective draws a second: chains for all data at once against Pyro's NUTS, datum by datum; and `pv.infer`.

    python benchmarks/chains.py [--data 100] [--nuts-data 2] [--infer-data 1000] [--rounds 3] [--epochs 30]

A VAE of the digits with 8 latents is trained, and both samplers draw from the same posteriors: 4 chains of 150
transitions of warm-up and 300 draws. Pyro's NUTS climbs the same log density with a full mass matrix and one chain
after the other, as a reference posterior was drawn before. An effective draw is the least over latents of ArviZ's
bulk ess. The two take turns; of both the median over rounds is told, of the wall clock and of the CPU time, which a
busy machine disturbs less. Means are compared in standard errors first.

Then `pv.infer` gives 1000 draws of every digit, and the same chains alone do: gradient evaluations, seconds, and
the share of data on each rung.

Written to benchmarks/results/chains.json, with the machine's description and its load.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pyro.infer import NUTS
from torch import Tensor

import ppl_vae as pv
from ppl_vae.diagnostics.arviz.container import ess
from ppl_vae.diagnostics.infer.convergence import split_statistics
from ppl_vae.diagnostics.infer.ladder import CHAINS_EACH, SUPERCHAINS, WARMUP
from ppl_vae.inference.chains import Chains, frozen
from ppl_vae.inference.evidence.unconstrained import LatentVector
from ppl_vae.inference.pair.evaluation import evaluating

RESULTS = Path(__file__).parent / "results"
NUM_CHAINS, NUM_WARMUP, NUM_DRAWS = 4, 150, 300


def ours(vae: Any, x: Tensor, seed: int, num_chains: int = NUM_CHAINS, warmup: int = NUM_WARMUP) -> np.ndarray:
    """Draw all chains of all data at once: [N, C, S, D]."""

    def latents_of(which: Tensor | None) -> LatentVector:
        return LatentVector(vae.model, x if which is None else x[which])

    with torch.no_grad(), evaluating(vae.model, vae.guide, seed=seed, device=x.device), frozen(vae.model):
        chains = Chains(latents_of, latents_of(None).prior_draw(num_chains), warmup)
        return chains.draw(NUM_DRAWS).position.permute(2, 0, 1, 3).double().numpy()


def nuts(vae: Any, x: Tensor, seed: int) -> np.ndarray:
    """Draw one chain of one datum after another by Pyro's NUTS: [N, C, S, D]."""
    draws = []
    with evaluating(vae.model, vae.guide, seed=seed, device=x.device), frozen(vae.model):
        for index in range(len(x)):
            latents = LatentVector(vae.model, x[index : index + 1])
            draws.append([_walk(latents) for _ in range(NUM_CHAINS)])
    return np.array(draws)


def _walk(latents: LatentVector) -> list[np.ndarray]:
    def potential(position: dict[str, Tensor]) -> Tensor:
        return -latents.log_density(position["u"][None, None]).sum()

    kernel = NUTS(potential_fn=potential, full_mass=True)
    position = {"u": latents.prior_draw(1)[0, 0]}
    kernel.initial_params = position
    kernel.setup(NUM_WARMUP)
    kept = []
    for step in range(NUM_WARMUP + NUM_DRAWS):
        position = kernel.sample(position)
        if step >= NUM_WARMUP:
            kept.append(position["u"].numpy().astype(float))
    return kept


def timed(run: Callable[[], np.ndarray]) -> dict[str, Any]:
    """Run it: draws, seconds of wall clock and CPU, effective draws of all data."""
    wall, cpu = time.perf_counter(), time.process_time()
    draws = run()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    effective = sum(float(ess(each).min()) for each in draws)
    return {
        "draws": draws,
        "per_wall_second": effective / wall,
        "per_cpu_second": effective / cpu,
        "data": len(draws),
    }


def apart(a: np.ndarray, b: np.ndarray) -> float:
    """The largest difference of means in standard errors."""
    off = []
    for one, other in zip(a, b, strict=False):
        errors = [each.var((0, 1)) / ess(each) for each in (one, other)]
        off.append(np.abs(one.mean((0, 1)) - other.mean((0, 1))) / np.sqrt(sum(errors)))
    return float(np.max(off))


def infer_against_chains(vae: Any, x: Tensor) -> dict[str, Any]:
    """Give 1000 draws to every datum by the ladder, and by chains alone until they pass."""
    # What a process pays for once, such as imports, the chains have paid for before.
    pv.infer(vae, x[:20], progress=False)
    start, cpu = time.perf_counter(), time.process_time()
    result = pv.infer(vae, x, progress=False)
    of_ladder, cpu_of_ladder = time.perf_counter() - start, time.process_time() - cpu
    stats = result.sample_stats
    counts = np.bincount(stats["rung"].values, minlength=6)[1:].tolist()
    start, cpu = time.perf_counter(), time.process_time()
    draws = ours(vae, x, 0, SUPERCHAINS * CHAINS_EACH, WARMUP)
    of_chains, cpu_of_chains = time.perf_counter() - start, time.process_time() - cpu
    passed = [worst <= 1.01 and least >= 400 for worst, least in map(split_statistics, draws[:50])]
    return {
        "data": len(x),
        "per_rung": counts,
        "seconds": of_ladder,
        "seconds_of_chains": of_chains,
        "cpu_seconds": cpu_of_ladder,
        "cpu_seconds_of_chains": cpu_of_chains,
        "share_of_chains_that_pass": float(np.mean(passed)),
        "gradients_per_datum": float(stats["gradients"].mean()),
    }


def main() -> None:
    """Measure, print and record."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name, default in (("data", 100), ("nuts-data", 2), ("infer-data", 1000), ("rounds", 3), ("epochs", 30)):
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    digits = pv.load_dataset("digits", binarize="threshold")
    vae = pv.VAE(digits.event_shape, latent_dim=8, seed=0)
    pv.fit(vae, digits, epochs=asked.epochs, progress=False)
    x = digits.test.x
    rivals: dict[str, Callable[[int], np.ndarray]] = {
        "chains for all data at once": lambda seed: ours(vae, x[: asked.data], seed),
        "Pyro's NUTS, datum by datum": lambda seed: nuts(vae, x[: asked.nuts_data], seed),
    }
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in rivals}
    for turn in range(asked.rounds):
        for name, run in rivals.items():
            rounds[name].append(timed(lambda run=run, turn=turn: run(turn)))
    first, second = (each[0]["draws"] for each in rounds.values())
    record: dict[str, Any] = {
        "machine": platform.processor() or platform.machine(), "cores": os.cpu_count(), "load": os.getloadavg()[0],
        "torch": torch.__version__, "threads": torch.get_num_threads(), "asked": vars(asked),
        "means_apart_in_standard_errors": apart(first, second),
    }  # fmt: skip
    for name, each in rounds.items():
        record[name] = {
            key: statistics.median(one[key] for one in each)
            for key in ("per_wall_second", "per_cpu_second", "data")
        }
    ours_, theirs = (record[name]["per_cpu_second"] for name in rivals)
    record["ratio_by_cpu"] = ours_ / theirs
    if asked.infer_data:
        # The test split alone is too small.
        every = torch.cat([x, digits.train.x])
        record["infer"] = infer_against_chains(vae, every[: asked.infer_data])
    print(json.dumps(record, indent=2))
    (RESULTS / "chains.json").write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
