"""How often rules and stated errors are wrong, on laws whose truth is known: benchmarks/results/verdict_rules.json.

1. ``check_estimators``: how often one of two EQUAL variances is named alone, by the rule and by normal tails.
2. The importance bound: how often log p(x) lies in the interval of the delta method, and in that of
   ``evidence_interval``, against the tail index of the weights, the draws and the dimension.

    python benchmarks/verdict_rules.py
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ppl_vae.inference.evidence.interval import evidence_interval
from ppl_vae.inference.evidence.pareto import threshold
from ppl_vae.inference.laboratory.verdict import _level_with_least, _ratio_errors

RECORD = Path(__file__).parent / "results" / "verdict_rules.json"
Gradients = Callable[[np.random.Generator, int], NDArray[np.float64]]


def at_parity(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Two estimators of one gradient on the same noise, of equal variance and other tails: linear-Gaussian, rho."""
    scale = 0.5**0.5
    noise = rng.normal(size=count)
    return np.stack([scale * noise * (3**0.5 - scale * noise), -(noise**2)])


def twice(draw: Callable[[np.random.Generator, int], NDArray[np.float64]]) -> Gradients:
    """The same law on two streams of noise."""
    return lambda rng, count: np.stack([draw(rng, count), draw(rng, count)])


def score(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Of a guide that is far off."""
    noise = rng.normal(size=count)
    return (-5.0 + 1.5 * noise - noise**2) * noise


LAWS: dict[str, tuple[Gradients, tuple[float, float]]] = {
    "normal": (twice(lambda rng, count: rng.normal(size=count)), (0.0, 0.0)),
    "rho at parity, paired noise": (at_parity, (-0.5, -1.0)),
    "score function": (twice(score), (1.5, 1.5)),
    "Student t, 5": (twice(lambda rng, count: rng.standard_t(5, count)), (0.0, 0.0)),
    "log-normal": (twice(lambda rng, count: rng.lognormal(size=count)), (math.exp(0.5), math.exp(0.5))),
}


def named_alone(law: str, repeats: int, trials: int, seed: int = 0) -> dict[str, float]:
    """The shares of trials in which one of two equal variances is named alone, by either rule."""
    rng, (draw, means) = np.random.default_rng(seed), LAWS[law]
    wrong = {"rule": 0, "normal tails": 0}
    for _ in range(trials):
        gradients = draw(rng, repeats)
        values = gradients.var(1, ddof=1)
        distance = (gradients - np.array(means)[:, None]) ** 2
        wrong["rule"] += not _level_with_least(values, _ratio_errors(distance, values)).all()
        wrong["normal tails"] += not _level_with_least(values, np.full(2, math.sqrt(4 / repeats))).all()
    return {rule: count / trials for rule, count in wrong.items()}


def log_weights(rng: np.random.Generator, tail: float, draws: int, data: int, dim: int) -> torch.Tensor:
    """log w of a Gaussian guide too narrow for a Gaussian posterior, log p(x) = 0: tail index ``tail`` [S, N]."""
    noise = rng.normal(size=(draws, data, dim)) ** 2
    return torch.from_numpy((0.5 * tail * noise + 0.5 * math.log(1 - tail)).sum(-1))


def coverage(tail: float, draws: int, dim: int, data: int = 600, seed: int = 0) -> dict[str, float]:
    """How often 0, the truth, is in the delta method's interval and in the offered one; also where k-hat is low."""
    rng, parts = np.random.default_rng(seed), []
    for _ in range(data // 100):
        parts.append(evidence_interval(log_weights(rng, tail, draws, 100, dim)))
    bound, stderr, khat, lower, upper = (
        torch.cat([getattr(p, name) for p in parts]) for name in ("bound", "stderr", "khat", "lower", "upper")
    )
    delta, offered = (bound.abs() < 1.96 * stderr).double(), ((lower <= 0) & (upper >= 0)).double()
    trusted = khat < threshold(draws)
    return {
        "delta": delta.mean().item(), "offered": offered.mean().item(),
        "trusted": trusted.double().mean().item(),
        "delta where trusted": delta[trusted].mean().item() if trusted.any() else math.nan,
        "offered where trusted": offered[trusted].mean().item() if trusted.any() else math.nan,
        "median width over delta's": ((upper - lower) / (3.92 * stderr)).median().item(),
    }  # fmt: skip


def drawn(intervals: list[dict[str, Any]]) -> Figure:
    """How often the truth lies in an interval of 95%, against the tail index, a panel a number of draws."""
    draws = list(dict.fromkeys(row["draws"] for row in intervals))
    figure = Figure(figsize=(2.6 * len(draws), 3.0), layout="constrained")
    for axes, number in zip(figure.subplots(1, len(draws), sharey=True, squeeze=False)[0], draws, strict=True):
        axes.axhline(0.95, color="#8c8c8c", linewidth=1)
        for name, colour in (("delta", "#d55e00"), ("offered", "#0072b2")):
            for dim, style in ((1, "o-"), (5, "s--")):
                rows = [row for row in intervals if (row["draws"], row["dim"]) == (number, dim)]
                label = f"{name}, {dim} dimension{'s' * (dim > 1)}" if number == draws[0] else None
                axes.plot(
                    [r["tail"] for r in rows], [r[name] for r in rows], style, color=colour, ms=4, label=label
                )
        axes.set_title(f"{number:,} draws", fontsize=9)
        axes.set(xlabel="tail index of the weights", ylim=(0, 1.03))
    figure.axes[0].set_ylabel("share of intervals with the truth")
    figure.legend(loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    return figure


def main() -> None:
    """Measure, print, and write the record."""
    rules: list[dict[str, Any]] = [
        {"law": law, "repeats": repeats, **named_alone(law, repeats, 1000)}
        for law in LAWS for repeats in (30, 100, 1000)
    ]  # fmt: skip
    intervals: list[dict[str, Any]] = [
        {"draws": draws, "dim": dim, "tail": tail, **coverage(tail, draws, dim)}
        for draws in (100, 1000, 5000) for dim in (1, 5) for tail in (0.1, 0.3, 0.5, 0.6, 0.7, 0.8)
    ]  # fmt: skip
    for row in (*rules, *intervals):
        print({name: round(value, 3) if isinstance(value, float) else value for name, value in row.items()})
    drawn(intervals).savefig(RECORD.with_suffix(".png"), dpi=160)
    RECORD.write_text(json.dumps({"equal_variances": rules, "importance_intervals": intervals}, indent=1) + "\n")


if __name__ == "__main__":
    main()
