"""Gradients of binary latents at equal cost: variance beside RLOO and VIMCO, where answers can be enumerated.

    OMP_NUM_THREADS=1 python benchmarks/discrete_estimators.py [--copies 20000] [--results FOLDER]

z is six bits with a learned prior, x | z a linear-Gaussian of four numbers, q a product of Bernoullis away from the
optimum; five models by five seeds. Every estimator spends the same number of evaluations of the model, K = 2 or 4
draws. RELAX's control variate needs none beside them; it is trained for 300 steps of 200 copies at the same model
before it is measured. The mean gradient of the logits is compared with the enumerated one: the largest |z| over
coordinates and models is told. The variance, summed over coordinates, is told relative to RLOO's at the same K: the
geometric mean over models, the smallest and the largest. VIMCO climbs another bound, that of K draws: its variance
stands beside the others', its mean is compared with its own enumerated gradient at K = 2. The straight-through
relaxations are biased: their cosine with the exact gradient is told in place of a z.

Published: DisARM's variance is never above ARM's (Dong et al. 2020, theorem); DisARM's is below RLOO's at two draws
in the training of VAEs (Dong et al. 2020, figure 2); RELAX's is below plain REINFORCE's (Grathwohl et al. 2018);
Gumbel-Rao's is never above straight-through Gumbel's (Paulus et al. 2021, proposition 1). The numbers, and whether
each of these holds here, go to benchmarks/results/discrete_estimators.json.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import time
from pathlib import Path
from typing import Any

import pyro
import torch
from pyro import distributions as dist
from torch import Tensor

from ppl_vae import inference as inf

RESULTS = Path(__file__).parent / "results"
BITS, DATA_DIM, SEEDS = 6, 4, 5
WIDTH, FARTHER = 1.5, 0.8


class Copies:
    """Copies of one datum and of the guide's logits, so that one backward pass gives independent gradients.

    Args:
        seed: of the model and the datum.
        copies: how many.
        one_hot: whether each bit is a OneHotCategorical of two categories, which can be relaxed.
    """

    def __init__(self, seed: int, copies: int, one_hot: bool = False) -> None:
        g = torch.Generator().manual_seed(seed)
        self.prior, self.weight, q, self.x = (
            torch.randn(*shape, generator=g, dtype=torch.float64)
            for shape in ((BITS,), (DATA_DIM, BITS), (BITS,), (DATA_DIM,))
        )
        self.logits = WIDTH * q
        self.live = self.logits.expand(copies, -1).clone().requires_grad_()
        self.data = self.x.expand(copies, -1)
        self.one_hot = one_hot

    def law(self, logits: Tensor) -> dist.TorchDistribution:
        """The distribution of all bits."""
        if self.one_hot:
            return dist.OneHotCategorical(logits=torch.stack([torch.zeros_like(logits), logits], -1)).to_event(1)
        return dist.Bernoulli(logits=logits).to_event(1)

    def model(self, x: Tensor) -> None:
        """The generative program."""
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self.law(self.prior))
            bits = z[..., 1] if self.one_hot else z
            pyro.sample("x", dist.Normal(FARTHER * bits @ self.weight.mT, 1.0).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        """Its guide."""
        with pyro.plate("data", len(x)):
            pyro.sample("z", self.law(self.live))

    def gradients(self, objective: inf.Objective) -> Tensor:
        """One independent gradient of the logits per copy: [copies, BITS]."""
        terms = objective.run(self.model, self.guide, self.data)
        loss = -len(self.data) * objective.forward(terms)
        return torch.autograd.grad(loss, self.live)[0].detach()


def exact(of: Copies, draws: int, one_bound: bool) -> Tensor:
    """The enumerated gradient of the ELBO, or of the bound of so many draws: [BITS]."""
    logits = of.logits.clone().requires_grad_()
    z = torch.tensor(list(itertools.product((0.0, 1.0), repeat=BITS)), dtype=torch.float64)
    log_prior, log_q = (torch.distributions.Bernoulli(logits=own).log_prob(z).sum(1) for own in (of.prior, logits))
    fit = torch.distributions.Normal(FARTHER * z @ of.weight.mT, 1.0).log_prob(of.x).sum(1)
    log_w = fit + log_prior - log_q
    number = draws if one_bound else 1
    index = torch.cartesian_prod(*[torch.arange(len(z))] * number).view(-1, number).T
    bound = log_w[index].logsumexp(0) - math.log(number)
    return torch.autograd.grad((log_q[index].sum(0).exp() * bound).sum(), logits)[0]


def relax(of: Copies, draws: int) -> inf.RELAX:
    """A control variate that was trained at this model."""
    torch.manual_seed(0)
    objective = inf.RELAX(draws, hidden=(64,))
    train = Copies(0, 200)
    train.__dict__.update({**of.__dict__, "data": of.x.expand(200, -1)})
    train.live = of.logits.expand(200, -1).clone().requires_grad_()
    train.gradients(objective)
    optimizer = torch.optim.Adam(objective.parameters(), lr=3e-3)
    for _ in range(300):
        optimizer.zero_grad()
        objective.forward(objective.run(train.model, train.guide, train.data)).backward()
        optimizer.step()
    return objective


def estimators(draws: int) -> dict[str, Any]:
    """Constructors by name, from the model where they need it."""
    return {
        "score-function": lambda of: inf.ScoreFunction(draws),
        "rloo": lambda of: inf.RLOO(draws),
        "arm": lambda of: inf.ARM(draws),
        "disarm": lambda of: inf.DisARM(draws),
        "relax": lambda of: relax(of, draws),
        "vimco": lambda of: inf.VIMCO(draws),
        "straight-through": lambda of: inf.GumbelSoftmax(draws, 0.5, straight_through=True),
        "gumbel-rao-10": lambda of: inf.GumbelSoftmax(draws, 0.5, straight_through=True, num_conditional=10),
    }


def measure(draws: int, copies: int) -> dict[str, dict[str, Any]]:
    """Variance and bias of every estimator on every model."""
    variances: dict[str, list[float]] = {}
    worst: dict[str, float] = {}
    cosines: dict[str, list[float]] = {}
    for seed in range(SEEDS):
        for name, make in estimators(draws).items():
            relaxed = name in ("straight-through", "gumbel-rao-10")
            of = Copies(seed, copies, relaxed)
            objective = make(of)
            torch.manual_seed(seed)
            found = of.gradients(objective)
            # The bound of four draws has 64^4 terms; it is compared at two draws alone.
            wanted = None if name == "vimco" and draws > 2 else exact(of, draws, name == "vimco")
            variances.setdefault(name, []).append(found.var(0).sum().item())
            mean = found.mean(0)
            if relaxed:
                own = torch.nn.functional.cosine_similarity(mean, exact(of, 1, False), dim=0)
                cosines.setdefault(name, []).append(own.item())
            elif wanted is not None:
                z = ((mean - wanted) / (found.std(0) / math.sqrt(copies))).abs().max().item()
                worst[name] = max(worst.get(name, 0.0), z)
    table: dict[str, dict[str, Any]] = {}
    for name, own in variances.items():
        ratios = [v / base for v, base in zip(own, variances["rloo"], strict=True)]
        mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
        table[name] = {"variance / rloo's": [round(n, 4) for n in (mean, min(ratios), max(ratios))]}
        table[name]["variance"] = [float(f"{v:.4g}") for v in own]
        if name in worst:
            table[name]["largest |z| of the mean"] = round(worst[name], 2)
        if name in cosines:
            table[name]["cosine with the exact gradient"] = [round(c, 4) for c in cosines[name]]
    return table


def orderings(tables: dict[str, dict[str, dict[str, Any]]]) -> dict[str, str]:
    """Each published ordering, and on how many models it holds here."""
    pairs = {
        "disarm <= arm": ("disarm", "arm"),
        "disarm < rloo": ("disarm", "rloo"),
        "relax < score-function": ("relax", "score-function"),
        "rloo < score-function": ("rloo", "score-function"),
        "gumbel-rao <= straight-through": ("gumbel-rao-10", "straight-through"),
    }
    told = {}
    for words, (low, high) in pairs.items():
        for draws, table in tables.items():
            both = zip(table[low]["variance"], table[high]["variance"], strict=True)
            count = sum(a < b for a, b in both)
            verdict = "holds" if count == SEEDS else "does not hold" if count == 0 else "holds on some"
            told[f"{words}, {draws}"] = f"{verdict}: {count} of {SEEDS} models"
    return told


def main() -> None:
    """Measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--copies", type=int, default=20_000)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    started = time.perf_counter()
    tables = {f"K = {draws}": measure(draws, options.copies) for draws in (2, 4)}
    record = {
        "on": {
            "bits": BITS, "models": SEEDS, "copies": options.copies, "torch": torch.__version__,
            "threads": torch.get_num_threads(), "seconds": round(time.perf_counter() - started, 1),
        },
        "published orderings": orderings(tables),
        "estimators": tables,
    }  # fmt: skip
    options.results.mkdir(parents=True, exist_ok=True)
    (options.results / "discrete_estimators.json").write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
