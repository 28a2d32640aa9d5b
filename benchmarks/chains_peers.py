"""Effective draws a second of chains for all data at once, ours against NumPyro and blackjax under vmap.

    python benchmarks/chains_peers.py [--data 100] [--rounds 3] [--epochs 30]

It needs ``pip install "ppl-vae[jax-peers]" blackjax``. Every sampler is a process of its own, which is told from
its start to its first draws (JAX with its compilation cache on disk, filled by a run before; ours has nothing to
fill) and then in the steady state, from another seed. The weights, the data, 4 chains of 150 transitions of warm-up
and 300 draws are the same. An effective draw is the least over latents of ArviZ's bulk ess, summed over data. Means
are compared in standard errors before anything is told. The turns interleave; the wall clock of every round is
written to benchmarks/results/chains_peers.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from peers.child import with_byte_code

HERE = Path(__file__).parent
RECORD = HERE / "results" / "chains_peers.json"
OURS = "ppl_vae"
NAMES = (OURS, "NumPyro's NUTS under vmap", "blackjax's NUTS under vmap", "blackjax's ChEES under vmap")
NUM_CHAINS, NUM_WARMUP, NUM_DRAWS = 4, 150, 300


def child(name: str, place: Path, seed: int) -> None:
    """Draw twice, and leave the draws and the seconds."""
    given = np.load(place / "given.npz")
    x = given["x"]
    if name == OURS:
        import torch
        from chains import ours

        import ppl_vae as pv

        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
        vae, own = pv.load(place / "model"), torch.from_numpy(x)

        def draw(seed: int) -> np.ndarray:
            return ours(vae, own, seed, NUM_CHAINS, NUM_WARMUP)
    else:
        from peers.jax_chains import sampler

        layers = [(given[f"weight{i}"], given[f"bias{i}"]) for i in range(int(given["layers"]))]
        draw = sampler(name, layers, x.reshape(len(x), -1), NUM_CHAINS, NUM_WARMUP, NUM_DRAWS)
    draws = draw(seed)
    first, began = time.time(), time.perf_counter()
    again = draw(seed + 1000)
    steady = time.perf_counter() - began
    np.savez(place / "told.npz", draws=draws, again=again, first=first, steady=steady)


def turn(name: str, place: Path, seed: int, threads: int) -> dict[str, Any]:
    """One process: its draws, and the seconds of both ways of counting."""
    settings = {
        "OMP_NUM_THREADS": str(threads),
        "JAX_COMPILATION_CACHE_DIR": str(place / "jax"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_cpu_multi_thread_eigen={'true' if threads > 1 else 'false'}",
    }
    environment = with_byte_code(**settings)
    began = time.time()
    command = [sys.executable, __file__, "--child", name, "--place", str(place), "--seed", str(seed)]
    pinned = ["taskset", "-c", ",".join(map(str, range(threads)))]
    subprocess.run([*pinned, *command], env=environment, check=True, stdout=subprocess.DEVNULL)
    told = np.load(place / "told.npz")
    return {"draws": told["draws"], "again": told["again"], "start": float(told["first"]) - began,
            "steady": float(told["steady"])}  # fmt: skip


def effective(draws: np.ndarray) -> float:
    """The sum over data of the least ess over latents, of draws [N, C, S, D]."""
    from ppl_vae.diagnostics.arviz.container import ess

    return sum(float(ess(each).min()) for each in draws)


def given(place: Path, data: int, epochs: int) -> None:
    """Train a VAE of the digits, and leave it as a model and as arrays."""
    from torch import nn

    import ppl_vae as pv

    digits = pv.load_dataset("digits", binarize="threshold")
    vae = pv.VAE(digits.event_shape, latent_dim=8, seed=0)
    pv.fit(vae, digits, epochs=epochs, progress=False)
    vae.save(place / "model")
    layers = [layer for layer in vae.model.decoder if isinstance(layer, nn.Linear)]
    arrays = {f"weight{i}": layer.weight.detach().numpy() for i, layer in enumerate(layers)}
    arrays |= {f"bias{i}": layer.bias.detach().numpy() for i, layer in enumerate(layers)}
    np.savez(place / "given.npz", x=digits.test.x[:data].numpy(), layers=len(layers), **arrays)


def main() -> None:
    """Measure, print and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("data", 100), ("rounds", 3), ("epochs", 30), ("threads", 1), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--child", choices=NAMES, help=argparse.SUPPRESS)
    parser.add_argument("--place", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        child(asked.child, asked.place, asked.seed)
        return
    from chains import apart
    from peers.interleave import orders
    from peers.machine import machine
    from peers.spread import ratio

    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        given(place, asked.data, asked.epochs)
        filling = {name: turn(name, place, 99, asked.threads) for name in NAMES}
        off = {name: apart(filling[OURS]["draws"], filling[name]["draws"]) for name in NAMES[1:]}
        rates: dict[str, dict[str, list[float]]] = {
            way: {name: [] for name in NAMES} for way in ("start", "steady")
        }
        for number, order in enumerate(orders(list(NAMES), asked.rounds, 0)):
            for name in order:
                told = turn(name, place, number, asked.threads)
                for way, draws in (("start", told["draws"]), ("steady", told["again"])):
                    rates[way][name].append(effective(draws) / told[way])
    record = {
        "machine": machine(asked.threads), "load_before": round(load, 2),
        "data": asked.data, "rounds": asked.rounds,
        "means apart, largest in standard errors": {name: round(value, 2) for name, value in off.items()},
        "effective draws a second": {
            way: {name: [round(value, 1) for value in values] for name, values in each.items()}
            for way, each in rates.items()
        },
        "ours over theirs": {
            way: {name: ratio(each[OURS], each[name]).rounded() for name in NAMES[1:]}
            for way, each in rates.items()
        },
    }  # fmt: skip
    print(json.dumps(record, indent=1))
    RECORD.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
