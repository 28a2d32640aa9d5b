"""The ladder of inference for a block of data: each datum stops at the first rung whose check passes.

    1  the guide's draws as they are          weights equal but for `efficiency`, k-hat below its threshold
    2  resampled with smoothed weights        k-hat below its threshold, enough effective draws; where these are far
                                              from equal, of draws that were moved (``matched``)
    3  the guide fitted to this datum, then resampled                      the same checks
    4  many-chain HMC from the best draws so far                           R-hat and effective sample sizes
    5  flagged: nothing passed; the draws are those of the highest rung that was tried

A datum with a mode that the guide has missed (``missed_modes``) climbs to rung 4, with chains in both places. Where
all sites are discrete and their values few, those are weighed exactly (``enumerated``): rung 2, whatever the guide.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ppl_vae.diagnostics.gaps.local_fit import LocalGuide, optimise
from ppl_vae.diagnostics.infer import missed_modes
from ppl_vae.diagnostics.infer.convergence import nested_rhat, split_statistics
from ppl_vae.diagnostics.infer.enumerated import enumerated
from ppl_vae.diagnostics.infer.matched import NOTE, matched
from ppl_vae.diagnostics.infer.part import Part
from ppl_vae.diagnostics.infer.weighted import Weighted, from_guide, from_local, systematic
from ppl_vae.errors import ModelError, first_line
from ppl_vae.inference.chains import Chains
from ppl_vae.inference.chains.metric import metric_of
from ppl_vae.inference.evidence.pareto import threshold
from ppl_vae.inference.evidence.unconstrained import LatentVector

GUIDE, RESAMPLED, REFINED, CHAINS, FLAGGED = 1, 2, 3, 4, 5
FIT_STEPS, FIT_PARTICLES = 300, 4
SUPERCHAINS, CHAINS_EACH, WARMUP, LEAST_LENGTH, MOST_ROUNDS = 4, 4, 150, 50, 4
# So few data take one length of trajectories: each length more is recorded anew, which is dearer than longer ones.
FEW = 16
MISSED = "a mode that the guide's draws have missed was found"


@dataclass(frozen=True)
class Checks:
    """The limits that draws must reach, and how much is drawn.

    Attributes:
        draws: of every datum.
        num_samples: importance draws they are chosen from.
        khat: the largest k-hat that passes.
        efficiency: the least share of effective draws with which the guide's stay as they are.
        rhat: the largest R-hat, nested and split, that passes.
        ess: the least effective sample size that passes.
        deadline: on the clock of ``time.monotonic``; no rung is begun after it.
        memory_limit: bytes that the activations of a pass may take, roughly.
    """

    draws: int
    num_samples: int
    khat: float | None = None
    efficiency: float = 0.99
    rhat: float = 1.01
    ess: float = 400.0
    deadline: float = math.inf
    memory_limit: int = 1 << 26

    @property
    def largest_khat(self) -> float:
        """The threshold of k-hat."""
        return threshold(self.num_samples) if self.khat is None else self.khat

    @property
    def least_ess(self) -> float:
        """The least effective sample size; as many as there are draws where few are asked for."""
        return min(self.ess, self.draws)


@dataclass
class Climbed:
    """The draws of a block of n data, and the rung that each datum reached.

    Attributes:
        values: draws [draws, n, *event] by latent site.
        rung: [n], 1 to 5.
        khat: of the guide's or, from rung 3 on, of the fitted guide's weights [n].
        rhat: [n], NaN below rung 4.
        ess: [n].
        seconds: [n], the time of a rung shared among its data.
        gradients: evaluations [n].
        reason: why each was flagged, or climbed so high [n].
        complete: whether no rung was left out for want of time.
    """

    values: dict[str, Tensor]
    rung: Tensor
    khat: Tensor
    rhat: Tensor
    ess: Tensor
    seconds: Tensor
    gradients: Tensor
    reason: list[str]
    complete: bool = True

    @property
    def numbers(self) -> dict[str, Tensor]:
        """The numbers of every datum by name, each [n]."""
        return {
            "rung": self.rung,
            "khat": self.khat,
            "rhat": self.rhat,
            "ess": self.ess,
            "seconds": self.seconds,
            "gradients": self.gradients,
        }

    def put(self, which: Tensor, values: Mapping[str, Tensor]) -> None:
        """Replace the draws of some data."""
        for name, value in values.items():
            here = self.values[name]
            self.values[name] = here.index_copy(1, which.to(here.device), value.to(here))

    @contextmanager
    def timed(self, which: Tensor) -> Iterator[None]:
        """Share the time spent inside among some data."""
        start = time.perf_counter()
        yield
        self.seconds[which] += (time.perf_counter() - start) / max(1, len(which))


def climb(part: Part, checks: Checks, seed: int) -> Climbed:
    """Climb the ladder with all data of a part; draws come from torch's current stream and from ``seed``.

    Raises:
        ModelError: the pair is refused.
    """
    everything = torch.arange(len(part))
    start = time.perf_counter()
    with torch.no_grad():
        exact = enumerated(part, checks.memory_limit)
        if exact is not None:
            return _of_all_values(exact, checks, start)
        weighted = from_guide(part, checks.num_samples, seed, checks.memory_limit)
        weighted = matched(part, weighted, checks.least_ess, checks.largest_khat, checks.memory_limit)
        climbed = _first_rungs(weighted, checks)
        climbed.seconds += (time.perf_counter() - start) / len(part)
        latents, refusal = _latents(part)
        summits = None
        if latents is not None:
            with climbed.timed(everything):
                summits = _look_for_modes(latents, weighted, climbed)
    left = (climbed.rung == FLAGGED).nonzero().squeeze(1)
    if not len(left):
        return climbed
    if time.monotonic() > checks.deadline:
        return _out_of_time(climbed, left)
    best = weighted.of(left)
    with climbed.timed(left):
        fitted = _refined(part.of(left), checks, climbed, left)
        if fitted is not None:
            best = best.better_of(fitted)
    still = (climbed.rung[left] == FLAGGED).nonzero().squeeze(1)
    left, best = left[still], best.of(still)
    if refusal or not len(left):
        for index in left.tolist():
            climbed.reason[index] = refusal
        return climbed
    if time.monotonic() > checks.deadline:
        return _out_of_time(climbed, left)
    assert summits is not None
    with torch.no_grad(), climbed.timed(left):
        _walk(part.of(left), best, summits, checks, climbed, left)
    return climbed


def _of_all_values(exact: Weighted, checks: Checks, start: float) -> Climbed:
    """Rung 2 with exact weights: draws of p(z|x) itself."""
    count, num_data = exact.weight.shape
    numbers = torch.zeros(num_data, dtype=torch.float64)
    return Climbed(
        exact.resampled(checks.draws), torch.full((num_data,), RESAMPLED), exact.khat.cpu(),
        torch.full_like(numbers, torch.nan), torch.full_like(numbers, float(checks.draws)),
        numbers + (time.perf_counter() - start) / num_data, torch.zeros(num_data, dtype=torch.int64),
        [f"drawn from all {count} values, weighed exactly"] * num_data,
    )  # fmt: skip


def _first_rungs(weighted: Weighted, checks: Checks) -> Climbed:
    """Rungs 1 and 2: the guide's own draws, and resampled ones."""
    khat, ess = weighted.khat.cpu(), weighted.ess.cpu()
    sound = khat <= checks.largest_khat
    moved = weighted.moved.cpu()
    equal = sound & (ess >= checks.efficiency * checks.num_samples) & ~moved
    rung = torch.where(equal, GUIDE, torch.where(sound & (ess >= checks.least_ess), RESAMPLED, FLAGGED))
    values, plain = weighted.resampled(checks.draws), weighted.plain(checks.draws)
    which = equal.nonzero().squeeze(1)
    zeros = torch.zeros(len(khat), dtype=torch.float64)
    climbed = Climbed(
        values, rung, khat, torch.full_like(zeros, torch.nan), ess, zeros.clone(),
        torch.zeros(len(khat), dtype=torch.int64), [NOTE if each else "" for each in moved.tolist()],
    )  # fmt: skip
    climbed.put(which, {name: value[:, which] for name, value in plain.items()})
    climbed.ess = _of_chosen(ess, checks.draws)
    climbed.ess[which] = float(checks.draws)
    return climbed


def _of_chosen(ess: Tensor, draws: int) -> Tensor:
    """The effective size of draws that were chosen by weights: the choice adds its own variance to theirs."""
    return 1 / (1 / ess + 1 / draws)


def _latents(part: Part) -> tuple[LatentVector | None, str]:
    """The latent vector that chains need, or why there is none."""
    try:
        return part.latents(), ""
    except ModelError as error:
        return None, first_line(error)


def _look_for_modes(latents: LatentVector, weighted: Weighted, climbed: Climbed) -> missed_modes.Summits:
    """Send data with a missed mode up the ladder: the summits, NaN where the draws have missed nothing."""
    draws = latents.pack(weighted.values)
    summits = missed_modes.climb(latents, draws[:1])
    missed = missed_modes.missed(summits, draws, weighted.weight, latents.counted)
    climbed.gradients += summits.gradients
    for index in missed.any(0).nonzero().squeeze(1).tolist():
        climbed.rung[index], climbed.reason[index] = FLAGGED, MISSED
    position = torch.where(missed.unsqueeze(-1), summits.position, torch.nan)
    return missed_modes.Summits(position, summits.log_density, summits.gradients)


def _refined(part: Part, checks: Checks, climbed: Climbed, left: Tensor) -> Weighted | None:
    """Rung 3: the family's best member for each datum, weighed; None where the guide has no such thing."""
    try:
        local = LocalGuide(part.model_of_x(), part.guide_of_x(), part.x)
        with torch.enable_grad():
            optimise(local, FIT_PARTICLES, FIT_STEPS)
        with torch.no_grad():
            fitted = from_local(local, checks.num_samples, checks.memory_limit)
            fitted = matched(part, fitted, checks.least_ess, checks.largest_khat, checks.memory_limit)
    except ModelError as error:
        for index in left.tolist():
            climbed.reason[index] = climbed.reason[index] or first_line(error)
        return None
    climbed.gradients[left] += FIT_STEPS * FIT_PARTICLES
    khat, ess = fitted.khat.cpu(), fitted.ess.cpu()
    climbed.khat[left] = khat
    missed = torch.tensor([climbed.reason[index] == MISSED for index in left.tolist()])
    passed = (khat <= checks.largest_khat) & (ess >= checks.least_ess) & ~missed
    which = passed.nonzero().squeeze(1)
    climbed.put(left[which], fitted.of(which).resampled(checks.draws))
    climbed.rung[left[which]] = REFINED
    climbed.ess[left] = _of_chosen(ess, checks.draws)
    return fitted


def _walk(
    part: Part, best: Weighted, summits: missed_modes.Summits, checks: Checks, climbed: Climbed, left: Tensor
) -> None:
    """Rung 4: many short chains, made longer until they pass."""
    latents = part.latents()
    draws = latents.pack(best.values)
    start = _starts(draws, best, summits.position[:, left])
    enough = best.ess >= 5 * (latents.dim + 1)
    weight = torch.where(enough, best.weight, 1 / len(best.weight))
    chains = Chains(part.latents, start, WARMUP, metric_of(draws, weight), grouped=len(part) > FEW)
    length = max(LEAST_LENGTH, math.ceil(checks.draws / len(start)))
    positions = [chains.draw(length).position]
    open_data = torch.arange(len(part))
    for round_number in range(1, MOST_ROUNDS + 1):
        joined = torch.cat(positions, 1)
        passed = _judge(latents, joined, open_data, checks, climbed, left, part)
        open_data, kept = open_data[~passed], (~passed).nonzero().squeeze(1)
        if not len(open_data) or round_number == MOST_ROUNDS or time.monotonic() > checks.deadline:
            break
        positions = [joined[:, :, kept], chains.draw(length, open_data).position]
        length *= 2
    if len(open_data) and round_number < MOST_ROUNDS:
        climbed.complete = False
    climbed.gradients[left] += chains.gradients


def _judge(
    latents: LatentVector,
    position: Tensor,
    open_data: Tensor,
    checks: Checks,
    climbed: Climbed,
    left: Tensor,
    part: Part,
) -> Tensor:
    """Judge the chains [C, S, n, D] of the data that are open; their draws are thinned and put in place."""
    nested = nested_rhat(position, SUPERCHAINS).cpu().numpy()
    split, least = split_statistics(position.cpu().double().numpy())
    largest = np.maximum(split, nested)
    passed = torch.zeros(len(open_data), dtype=torch.bool)
    for place, index in enumerate(left[open_data].tolist()):
        worst, ess = float(largest[place]), float(least[place])
        climbed.rhat[index], climbed.ess[index] = worst, ess
        passed[place] = worst <= checks.rhat and ess >= checks.least_ess
        climbed.rung[index] = CHAINS if passed[place] else FLAGGED
        why = f"R-hat {worst:.3f}, {ess:.0f} effective draws"
        note = MISSED if climbed.reason[index].startswith(MISSED) else ""
        climbed.reason[index] = note if passed[place] else f"{note}; {why}" if note else why
    pooled = position.flatten(0, 1)
    rows = torch.linspace(0, len(pooled) - 1, checks.draws).round().long()
    here = part.of(open_data).latents() if len(open_data) < len(part) else latents
    values, _ = here.unpack(pooled[rows.to(pooled.device)])
    climbed.put(left[open_data], values)
    return passed


def _starts(draws: Tensor, best: Weighted, summits: Tensor) -> Tensor:
    """Where chains begin: superchains at weighted draws, at plain draws, and at summits that were missed.

    Args:
        draws: u [S, n, D].
        best: their weights.
        summits: u [P, n, D], NaN where none was missed.
    """
    half = SUPERCHAINS // 2
    index = systematic(best.weight, half)
    weighted = draws.take_along_dim(index.unsqueeze(-1), 0)
    begin = torch.cat([weighted, draws[: SUPERCHAINS - half]])
    missed = summits.isfinite().all(-1)
    # The missed summits of a datum in front, in the order of the climbs.
    order = (~missed).to(torch.int64).argsort(dim=0, stable=True)
    places = summits.take_along_dim(order.unsqueeze(-1), 0)
    for row in range(min(half, len(places))):
        there = places[min(row, len(places) - 1)]
        begin[SUPERCHAINS - 1 - row] = torch.where(there.isfinite(), there, begin[SUPERCHAINS - 1 - row])
    return begin.repeat_interleave(CHAINS_EACH, 0)


def _out_of_time(climbed: Climbed, left: Tensor) -> Climbed:
    for index in left.tolist():
        climbed.reason[index] = "; ".join(filter(None, [climbed.reason[index], "the deadline was reached"]))
    climbed.complete = False
    return climbed
