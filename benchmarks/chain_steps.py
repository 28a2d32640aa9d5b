"""Do K steps of a chain inside the guide pay? On the linear-Gaussian oracle, whose log p(x) is known.

    OMP_NUM_THREADS=1 python benchmarks/chain_steps.py [--repeats 50] [--particles 400] [--results FOLDER]

The model has 5 data dimensions and 2 latent ones; 10 data are drawn from it. A chain, "dais" or "hamiltonian", of
K = 0, 1, 4 and 16 steps starts from one of two diagonal guides: "best", the best of its family (what is left of the
gap is the posterior's correlation), and "lagging", with means that are 0.7 of the best. What belongs to the chain
alone is learned by 60 steps of Adam on draws of their own; model and start are held. By start, chain and K:

    gap             mean over data of log p(x) - bound, nats, with its standard error
    gap closed      1 - gap / (gap at K = 0)
    milliseconds    of one value and gradient of one draw per datum, the laboratory's median
    variance        of the gradient, its trace, for the model's parameters and for the start's heads
    variance x ms   the laboratory's cost

and beside every chain "iwae", the importance-weighted bound of the plain start with as many draws as the chain's
time pays for: the ratio of the milliseconds, at most 64; draws in a batch cost less than that. A chain pays in the
gap where its gap is below that one's by more than 4 standard errors of the difference, and in the gradient where
its variance x ms is below the plain guide's. The numbers go to benchmarks/results/chain_steps.json.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.models import DAISPosterior, DiagonalPosterior, HamiltonianPosterior

RESULTS = Path(__file__).parent / "results"
CHAINS = {"dais": DAISPosterior, "hamiltonian": HamiltonianPosterior}
STEPS, STARTS = (1, 4, 16), {"best": 1.0, "lagging": 0.7}
DATA_DIM, LATENT_DIM, NUM_DATA, TUNING = 5, 2, 10, 60
MOST_DRAWS = 64
# A weight matrix under which the best diagonal guide leaves 0.23 nats to close.
MODEL_SEED = 7


def oracle(posterior: Any, share: float) -> tuple[pv.LinearGaussianVAE, Tensor]:
    """The model with this guide, whose start is the best diagonal one with a share of its means; and the data."""
    g = torch.Generator().manual_seed(MODEL_SEED)
    weight = torch.randn(DATA_DIM, LATENT_DIM, generator=g)
    plain = pv.LinearGaussianVAE(weight, torch.zeros(DATA_DIM), 0.5)
    vae = pv.LinearGaussianVAE(weight, torch.zeros(DATA_DIM), 0.5, guide=posterior)
    start, best = (posterior if isinstance(posterior, DiagonalPosterior) else posterior.of), plain.guide.posterior
    with torch.no_grad():
        start.loc_head.weight.copy_(share * best.gain)
        start.loc_head.bias.copy_(share * best.offset)
        start.scale_head.weight.zero_()
        start.scale_head.bias.copy_(2 * best.log_scale)
    torch.manual_seed(1)
    return vae, plain.sample(NUM_DATA, True)


def tune(vae: pv.LinearGaussianVAE, x: Tensor) -> None:
    """Learn what belongs to the chain alone."""
    own = [p for name, p in vae.guide.posterior.named_parameters() if not name.startswith("of.")]
    optimizer = torch.optim.Adam(own, lr=0.05)
    torch.manual_seed(7)
    for _ in range(TUNING):
        optimizer.zero_grad()
        inf.MonteCarloKL(num_particles=10)(vae.model, vae.guide)(x).backward()
        optimizer.step()


def gap(vae: pv.LinearGaussianVAE, x: Tensor, particles: int, draws: int = 1) -> tuple[float, float]:
    """The mean of log p(x) minus the bound of ``draws`` draws, and its standard error."""
    torch.manual_seed(2)
    with torch.no_grad():
        weights = inf.trace_terms(vae, x, num_particles=particles * draws).log_weight
        bounds = weights.unflatten(0, (particles, draws)).logsumexp(1) - math.log(draws)
        rows = (vae.log_evidence(x) - bounds).mean(1)
    return rows.mean().item(), (rows.std() / math.sqrt(particles)).item()


def laboratory(vae: pv.LinearGaussianVAE, x: Tensor, repeats: int) -> dict[str, float]:
    """Time, variance and cost of one draw's gradient, as the laboratory measures them."""
    posterior = vae.guide.posterior
    start = posterior if isinstance(posterior, DiagonalPosterior) else posterior.of
    groups = {"model": [vae.model.decoder.weight, vae.model.decoder.bias], "start": list(start.parameters())}
    table = inf.compare_estimators(vae, x, [inf.MonteCarloKL()], repeats, parameters=groups, progress=False)
    table = table.isel(estimator=0)
    found = {"milliseconds": table["milliseconds"].item()}
    for group in groups:
        at = table.sel(group=group)
        found[f"variance of the {group}'s gradient"] = at["gradient_variance"].item()
        found[f"variance x ms of the {group}'s gradient"] = at["cost"].item()
    return found


def measure(start: str, particles: int, repeats: int) -> dict[str, Any]:
    """All chains from one start, beside the plain guide."""
    share = STARTS[start]
    plain, x = oracle(DiagonalPosterior(), share)
    before = gap(plain, x, particles)
    base = laboratory(plain, x, repeats)
    table: dict[str, Any] = {"K = 0": {"gap": rounded(*before), **{k: rounded(v)[0] for k, v in base.items()}}}
    for name, kind in CHAINS.items():
        for steps in STEPS:
            vae, _ = oracle(kind(num_steps=steps), share)
            tune(vae, x)
            found, own = gap(vae, x, particles), laboratory(vae, x, repeats)
            draws = min(MOST_DRAWS, max(1, round(own["milliseconds"] / base["milliseconds"])))
            beside = gap(plain, x, particles, draws)
            error = math.hypot(found[1], beside[1])
            cheaper = [g for g in ("model", "start") if own[cost(g)] < base[cost(g)]]
            table[f"{name}, K = {steps}"] = {
                "gap": rounded(*found),
                "gap closed": round(1 - found[0] / before[0], 4),
                **{key: rounded(value)[0] for key, value in own.items()},
                "iwae at its time": {"draws": draws, "gap": rounded(*beside)},
                "pays in the gap": found[0] < beside[0] - 4 * error,
                "pays in the gradient of": cheaper,
            }
    return table


def cost(group: str) -> str:
    """The key of a group's cost."""
    return f"variance x ms of the {group}'s gradient"


def rounded(*values: float) -> list[float]:
    """Numbers of four digits."""
    return [float(f"{value:.4g}") for value in values]


def main() -> None:
    """Measure from both starts, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument("--particles", type=int, default=400)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    started = time.process_time()
    record = {
        "on": {
            "data dimensions": DATA_DIM, "latent dimensions": LATENT_DIM, "num_data": NUM_DATA,
            "particles": options.particles, "repeats": options.repeats, "torch": torch.__version__, "threads": 1,
        },
        "from": {start: measure(start, options.particles, options.repeats) for start in STARTS},
    }  # fmt: skip
    record["on"]["seconds"] = round(time.process_time() - started, 1)
    options.results.mkdir(parents=True, exist_ok=True)
    (options.results / "chain_steps.json").write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
