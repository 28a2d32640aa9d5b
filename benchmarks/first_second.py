"""What a user waits for before the steady state: import, help, first steps cold and warm, a short fit, a neighbour.

    python benchmarks/first_second.py [--other CHECKOUT] [--rounds 2] [--extend] [--threads 2] [--only NAME ...]

Every turn is a process of its own, timed by the wall clock from its start until its work is done, the help to its
end; a round gives each one turn in a random order. Cold turns have empty caches of their own, also of precompiled
headers; warm ones share a folder in which their step was compiled before the first round. With --other the build in
another checkout takes the same turns. Printed and recorded are medians in seconds and ratios of medians with 95%
bootstrap intervals, in benchmarks/results/first_second.json and .png with the machine's description and its load
before the first round.

A round takes about two minutes, with --other three, and is recorded when it is over. --extend adds rounds to the
record: of the same turns, code and machine. NumPyro is optional: pip install 'ppl_vae[bench]'.
"""

from __future__ import annotations

import argparse
import compileall
import contextlib
import functools
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from peers.child import with_byte_code
from peers.figures import FAINT, INK, OURS, PEER
from peers.interleave import orders
from peers.machine import machine
from peers.spread import quartiles, ratio

ROOT = Path(__file__).parents[1]
RECORD = ROOT / "benchmarks" / "results" / "first_second.json"
TICKS = (0.5, 1, 2, 4)
MLP = "vae = pv.VAE((1, 28, 28), 20, network={'name': 'mlp', 'hidden': [400]}, seed=0); batch = 128"
CONV = "vae = pv.VAE((1, 28, 28), 20, network={'name': 'conv'}, seed=0); batch = 32"
TEN_STEPS = """
import sys, warnings
import torch
import ppl_vae as pv
{pair}
x = (torch.rand({size}, 1, 28, 28, generator=torch.Generator().manual_seed(0)) < 0.3).float()
result = pv.fit(vae, x, epochs={epochs}, batch_size=batch, progress=False, device={device!r}{options})
print(result.manifest["compile"], len(x) / result.history.seconds.iloc[-1])
"""
STOCK = """
import torch, pyro
from pyro import distributions as dist
from torch import nn
E, D = nn.Sequential(nn.Flatten(), nn.Linear(784, 400), nn.Softplus()), nn.Sequential(
    nn.Linear(20, 400), nn.Softplus(), nn.Linear(400, 784))
H = nn.Linear(400, 40)
def model(x):
    pyro.module("d", D)
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(x.new_zeros(len(x), 20), 1.0).to_event(1))
        pyro.sample("x", dist.Bernoulli(logits=D(z)).to_event(1), obs=x.flatten(1))
def guide(x):
    pyro.module("e", nn.ModuleList([E, H]))
    with pyro.plate("data", len(x)):
        mean, log_variance = H(E(x)).chunk(2, -1)
        pyro.sample("z", dist.Normal(mean, (0.5 * log_variance).exp()).to_event(1))
svi = pyro.infer.SVI(model, guide, pyro.optim.Adam({{"lr": 1e-3}}), pyro.infer.Trace_ELBO())
x = (torch.rand({size}, 1, 28, 28, generator=torch.Generator().manual_seed(0)) < 0.3).float()
import time
for epoch in range({epochs}):
    began = time.perf_counter()
    for part in x.split(128):
        svi.step(part)
print("stock", len(x) / (time.perf_counter() - began))
"""
NUMPYRO = """
import jax, jax.numpy as jnp, numpyro
from numpyro import distributions as dist
from numpyro.infer import SVI, Trace_ELBO
def dense(name, i, o): return numpyro.param(name, jax.random.normal(jax.random.PRNGKey(0), (i, o)) * 0.02)
def model(x):
    with numpyro.plate("data", len(x)):
        z = numpyro.sample("z", dist.Normal(jnp.zeros((len(x), 20)), 1.0).to_event(1))
        h = jax.nn.softplus(z @ dense("d1", 20, 400)) @ dense("d2", 400, 784)
        numpyro.sample("x", dist.Bernoulli(logits=h).to_event(1), obs=x)
def guide(x):
    with numpyro.plate("data", len(x)):
        h = jax.nn.softplus(x @ dense("e1", 784, 400)) @ dense("e2", 400, 40)
        mean, log_variance = jnp.split(h, 2, -1)
        numpyro.sample("z", dist.Normal(mean, jnp.exp(0.5 * log_variance)).to_event(1))
svi = SVI(model, guide, numpyro.optim.Adam(1e-3), Trace_ELBO())
x = (jax.random.uniform(jax.random.PRNGKey(1), (10, 128, 784)) < 0.3).astype(jnp.float32)
state = svi.init(jax.random.PRNGKey(2), x[0])
state, losses = jax.jit(lambda s, d: jax.lax.scan(svi.update, s, d))(state, x)
print("numpyro", float(losses[-1]))
"""
# What a user waits for ends here; then the process takes itself down.
DONE = "\nimport time; print(time.time())"
PEAK = "\nimport resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
SHORT = 10
# What the machine itself lets a thread have: products of the shapes of the MLP's step.
PRODUCTS = """
import time, torch
torch.set_num_threads(1)
a, b = torch.rand(128, 784), torch.rand(784, 400)
a @ b
began, number = time.perf_counter(), 0
while time.perf_counter() - began < 3:
    a @ b
    number += 1
print(number / (time.perf_counter() - began))
"""
BUSY = "x = 0\nwhile True: x += 1"


@dataclass(frozen=True)
class Turn:
    """A process to time.

    Attributes:
        arguments: of Python.
        cache: "cold" has empty caches, "warm" shares a filled one; "" needs none.
        neighbour: whether another process computes meanwhile.
        reads: "seconds" of the process to its end, or until its work is "done", whose time it prints last; or the
            last number that it "prints".
        other: whether the build of the other checkout runs.
        fill: arguments of the process that fills the warm cache; by default those of the turn.
        times: processes one after the other, whose mean is the turn's number: of short ones, several.
    """

    arguments: tuple[str, ...]
    cache: str = ""
    neighbour: bool = False
    reads: str = "seconds"
    other: bool = False
    fill: tuple[str, ...] | None = None
    times: int = 1


def turns(device: str, other: bool) -> dict[str, Turn]:
    """Every turn by name."""

    def steps(pair: str, options: str, size: int = 1280, epochs: int = 1) -> tuple[str, ...]:
        return "-c", TEN_STEPS.format(pair=pair, size=size, epochs=epochs, device=device, options=options)

    def done(arguments: tuple[str, ...], cache: str = "", times: int = 1) -> Turn:
        return Turn((*arguments[:-1], arguments[-1] + DONE), cache, reads="done", times=times)

    conv, whole = {"pair": CONV, "size": 320}, steps(MLP, ", compile=True", 60_000)
    table = {
        "pass": Turn(("-c", "pass"), times=SHORT),
        "torch and pyro": done(("-c", "import torch, pyro"), times=5),
        "import": done(("-c", "import torch, pyro, ppl_vae"), times=5),
        "import, VAE and fit": done(("-c", "import torch, pyro, ppl_vae as pv; pv.VAE; pv.fit"), times=5),
        "help": Turn(("-m", "ppl_vae", "--help"), times=SHORT),
        "ten eager steps": done(steps(MLP, ", compile=False")),
        "ten compiled steps, warm": done(steps(MLP, ", compile=True"), "warm"),
        "ten compiled steps, cold": done(steps(MLP, ", compile=True"), "cold"),
        "conv: ten eager steps": done(steps(options=", compile=False", **conv)),
        "conv: ten compiled steps, warm": done(steps(options=", compile=True", **conv), "warm"),
        "conv: ten compiled steps, cold": done(steps(options=", compile=True", **conv), "cold"),
        # By default so short a run is compiled where a longer one of the same data was compiled before.
        "two epochs by default, warm": replace(done(steps(MLP, "", 60_000, 2), "warm"), fill=whole),
        "rate, alone": Turn(steps(MLP, ", compile=True, num_threads=1", 12_800, 6), "warm", reads="prints"),
        "rate, neighbour": Turn(steps(MLP, ", compile=True", 12_800, 6), "warm", True, "prints"),
        "Pyro's rate, neighbour": Turn(("-c", STOCK.format(size=6_400, epochs=3)), "", True, "prints"),
        "products, alone": Turn(("-c", PRODUCTS), reads="prints"),
        "products, neighbour": Turn(("-c", PRODUCTS), "", True, "prints"),
        "peak memory": Turn(("-c", steps(MLP, "", 60_000)[1] + PEAK), "warm", reads="prints", fill=whole),
        "Pyro's peak memory": Turn(("-c", STOCK.format(size=60_000, epochs=1) + PEAK), reads="prints"),
        "NumPyro: ten steps, cold": done(("-c", NUMPYRO), "cold"),
    }
    for name in ("ten compiled steps, cold", "conv: ten compiled steps, cold", "two epochs by default, warm"):
        if other:
            table[f"other: {name}"] = replace(table[name], other=True)
    return table


# What is judged: the ratio of two turns, and the number that it should be at most ("<") or at least (">").
RATIOS: Mapping[str, tuple[str, str, str, float]] = {
    "import over torch and Pyro": ("import, VAE and fit", "torch and pyro", "<", 1.15),
    "help over pass": ("help", "pass", "<", 6.0),
    "warm over eager": ("ten compiled steps, warm", "ten eager steps", "<", 1.5),
    "warm over NumPyro": ("ten compiled steps, warm", "NumPyro: ten steps, cold", "<", 1.0),
    "conv: warm over eager": ("conv: ten compiled steps, warm", "conv: ten eager steps", "<", 1.5),
    "cold over the other build": ("ten compiled steps, cold", "other: ten compiled steps, cold", "<", 0.4),
    "conv: cold over the other build": (
        "conv: ten compiled steps, cold", "other: conv: ten compiled steps, cold", "<", 0.4,
    ),
    "two epochs, the other build over this": (
        "other: two epochs by default, warm", "two epochs by default, warm", ">", 1.8,
    ),
    "with a neighbour over alone": ("rate, neighbour", "rate, alone", ">", 0.85),
    "with a neighbour, over Pyro's": ("rate, neighbour", "Pyro's rate, neighbour", ">", 3.0),
    "peak memory over Pyro's": ("peak memory", "Pyro's peak memory", "<", 1.1),
}  # fmt: skip

# What no program could pass on this machine, beside the ratio that it bounds.
BOUNDS: Mapping[str, tuple[str, str]] = {
    "with a neighbour over alone": ("products, neighbour", "products, alone"),
}


@contextlib.contextmanager
def neighbour(wanted: bool) -> Iterator[None]:
    """Let another process compute meanwhile."""
    process = subprocess.Popen([sys.executable, "-c", BUSY]) if wanted else None
    try:
        yield
    finally:
        if process is not None:
            process.kill()
            process.wait()


def take(turn: Turn, warm: Path, other: Path | None, threads: int) -> float:
    """One number of one process."""
    with tempfile.TemporaryDirectory() as cold, neighbour(turn.neighbour):
        build = other if turn.other and other is not None else ROOT
        caches = (warm / ("other" if turn.other else "this")) if turn.cache == "warm" else Path(cold)
        caches.mkdir(parents=True, exist_ok=True)
        environment = with_byte_code(
            PYTHONPATH=str(build),
            OMP_NUM_THREADS=str(threads),
            PPL_VAE_STEPS=str(caches / "steps"),
            TORCHINDUCTOR_CACHE_DIR=str(caches / "inductor"),
            # Inductor keeps precompiled headers beside temporary files.
            TMPDIR=str(caches),
            PYTHONWARNINGS="ignore",
        )
        return sum(number_of(turn, environment) for _ in range(turn.times)) / turn.times


def number_of(turn: Turn, environment: Mapping[str, str]) -> float:
    """What one process takes or prints."""
    began = time.time()
    told = subprocess.run(
        [sys.executable, *turn.arguments],
        env=environment,
        cwd=environment["TMPDIR"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    if turn.reads == "seconds":
        return time.time() - began
    return float(told.split()[-1]) - (began if turn.reads == "done" else 0.0)


Numbers = dict[str, list[float]]


def rounds(
    table: Mapping[str, Turn], number: int, other: Path | None, threads: int, seed: int
) -> Iterator[tuple[Numbers, dict[str, str]]]:
    """The numbers of one round after another, by name; who cannot run is left out, with the reason."""
    failures: dict[str, str] = {}
    for build in {ROOT, other or ROOT}:
        compileall.compile_dir(build / "ppl_vae", quiet=2)
    with tempfile.TemporaryDirectory() as warm:
        take_one = functools.partial(take, warm=Path(warm), other=other, threads=threads)
        for turn in table.values():
            if turn.cache == "warm":
                take_one(replace(turn, arguments=turn.fill or turn.arguments, neighbour=False, reads="seconds"))
        for order in orders(list(table), number, seed):
            numbers: Numbers = {}
            for name in [name for name in order if name not in failures]:
                try:
                    numbers[name] = [take_one(table[name])]
                except subprocess.CalledProcessError as error:
                    failures[name] = (error.stderr.strip().splitlines() or ["no reason"])[-1]
            yield numbers, failures


def judged(numbers: Mapping[str, list[float]]) -> dict[str, dict[str, Any]]:
    """The ratios that can be made of these numbers."""
    rows = {}
    for name, (top, bottom, sign, target) in RATIOS.items():
        if numbers.get(top) and numbers.get(bottom):
            spread = ratio(numbers[top], numbers[bottom])
            met = spread.median <= target if sign == "<" else spread.median >= target
            rows[name] = {**spread.rounded(), "asked": f"{sign}= {target}", "met": met}
            above, below = (numbers.get(each) for each in BOUNDS.get(name, ("", "")))
            if above and below:
                rows[name]["bare products"] = ratio(above, below).rounded()
    return rows


def drawn(ratios: Mapping[str, Mapping[str, Any]]) -> Figure:
    """A bar a ratio, with its interval, and a line where it should be."""
    figure = Figure(figsize=(6.4, 0.34 * len(ratios) + 1.0), layout="constrained")
    panel = figure.subplots()
    for index, (name, row) in enumerate(ratios.items()):
        whisker = [[row["median"] - row["lower"]], [row["upper"] - row["median"]]]
        panel.barh(index, row["median"], 0.6, color=OURS if row["met"] else PEER, xerr=whisker,
                   error_kw={"elinewidth": 0.8, "capsize": 2, "ecolor": INK})  # fmt: skip
        panel.plot([RATIOS[name][3]] * 2, [index - 0.4, index + 0.4], color=INK, linewidth=1.5)
        beyond = max(row["upper"], RATIOS[name][3])
        panel.annotate(f"  {row['median']:.3g}", (beyond, index), va="center", fontsize=7, color=INK)
    panel.set_yticks(range(len(ratios)), list(ratios), fontsize=8, color=INK)
    panel.invert_yaxis()
    panel.set_xscale("log")
    panel.set_xticks(TICKS, [f"{tick:g}" for tick in TICKS])
    panel.set_xticks([], minor=True)
    panel.set_xlim(right=1.5 * max(max(row["upper"], RATIOS[name][3]) for name, row in ratios.items()))
    panel.set_xlabel("ratio of medians, with 95% interval; the mark is what is asked for", fontsize=8, color=INK)
    panel.tick_params(colors=FAINT, labelsize=7)
    panel.tick_params(axis="y", labelsize=8, labelcolor=INK)
    return figure


def main() -> None:
    """Measure, print and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--other", type=Path, help="a checkout of another build")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--extend", action="store_true", help="add to the rounds of the record")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--only", nargs="+", help="words that the names of turns begin with")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    table = turns(options.device, options.other is not None)
    if options.only:
        table = {name: turn for name, turn in table.items() if name.startswith(tuple(options.only))}
    about = {"machine": machine(options.threads), "turns": sorted(table), "code": code_of(options.other)}
    numbers = extended(about) if options.extend else {}
    done = max(map(len, numbers.values()), default=0)
    for found, failures in rounds(table, options.rounds, options.other, options.threads, seed=done):
        numbers = {name: numbers.get(name, []) + value for name, value in found.items()}
        done += 1
        print(f"round {done}", flush=True)
        ratios = judged(numbers)
        record = {
            **about,
            "load_before": round(load, 2),
            "rounds": done,
            "ratios": ratios,
            "medians": {name: quartiles(values).rounded() for name, values in numbers.items()},
            "unavailable": failures,
            "numbers": {name: [float(f"{value:.5g}") for value in values] for name, values in numbers.items()},
        }
        RECORD.write_text(json.dumps(record, indent=2) + "\n")
    for name, why in failures.items():
        print(f"{name} could not run: {why}")
    for name, values in numbers.items():
        print(f"{name}: {quartiles(values).rounded()}")
    for name, row in ratios.items():
        print(f"{name}: {row}")
    if ratios:
        drawn(ratios).savefig(RECORD.with_suffix(".png"), dpi=200)


def code_of(other: Path | None) -> list[str]:
    """What tells the measured builds from others: hashes of their code."""
    builds = [ROOT] if other is None else [ROOT, other]
    return [
        hashlib.sha256(b"".join(path.read_bytes() for path in sorted(build.glob("ppl_vae/**/*.py")))).hexdigest()[
            :16
        ]
        for build in builds
    ]


def extended(about: Mapping[str, Any]) -> Numbers:
    """The numbers of the record, to which rounds are added.

    Raises:
        SystemExit: it is of other turns, of other code or of another machine.
    """
    before = json.loads(RECORD.read_text())
    changed = [name for name, value in about.items() if before[name] != value]
    if changed:
        sys.exit(f"{RECORD} is of another {' and '.join(changed)}: leave out --extend, and it is made anew")
    numbers: Numbers = before["numbers"]
    return numbers


if __name__ == "__main__":
    main()
