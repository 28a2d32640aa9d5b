r"""log p(x), per datum and with its error: by importance sampling, by annealing, or exactly.

    L_S = log (1/S) sum_s w_s,    w_s = p(x, z_s) / q(z_s | x)

is a stochastic lower bound on log p(x) (Burda et al. 2016). Its bias is -Var(w) / (2 S p(x)^2) to first order;
the jackknife S L_S - (S - 1) mean_s L_{-s} takes that order off and is no bound any more (Nowozin 2018). The
standard error is by the delta method, sd(w) / (sqrt(S) mean(w)): where a few draws carry the weight it is too
small, which k-hat shows where it sees the tail at all; ``evidence_interval`` has an interval that covers.

Burda, Grosse & Salakhutdinov (2016): https://arxiv.org/abs/1509.00519
Nowozin (2018), "Debiasing evidence approximations: on importance-weighted autoencoders and
jackknife variational inference"
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, cast, get_args

import torch
from torch import Tensor

from ppl_vae.arrays import Array
from ppl_vae.checks import integer
from ppl_vae.containers import Data
from ppl_vae.declared import declared
from ppl_vae.display import card, with_error
from ppl_vae.errors import DataError, ModelError, unknown_name
from ppl_vae.inference.estimators.importance_weighted import log_mean_exp
from ppl_vae.inference.evidence.annealed import TEMPERATURES, annealed_evidence
from ppl_vae.inference.evidence.haste import warn_of_haste
from ppl_vae.inference.evidence.importance import delta_stderr, shared_deviation, weight_blocks
from ppl_vae.inference.evidence.interval import NORMAL, evidence_interval
from ppl_vae.inference.evidence.pareto import threshold
from ppl_vae.inference.evidence.weight_chunks import MEMORY_LIMIT
from ppl_vae.inference.pair.admission import admitted
from ppl_vae.inference.pair.at_global import at_global_draws, held_sites
from ppl_vae.inference.pair.conditioned import Conditioned
from ppl_vae.inference.pair.covariates import Arguments
from ppl_vae.inference.pair.evaluation import WHOLE_SET, require_parts
from ppl_vae.inference.pair.labels import Batch
from ppl_vae.inference.pair.pair import Pair, PairLike, as_pair
from ppl_vae.inference.pair.protocols import HasEvidence, Program
from ppl_vae.inference.pair.stream import (
    LOADER_STREAM,
    OneOrder,
    batches_of,
    in_own_stream,
    is_stream,
    require_own_labels,
)
from ppl_vae.progress import watched
from ppl_vae.randomness import derived_seed

Method = Literal["importance", "jackknife", "ais", "exact"]
IMPORTANCE_DRAWS, CHAINS = 5000, 16
EVIDENCE, PREDICTIVE = "log p(x)", "posterior predictive log E_q(g) p(x | g)"
SCORE = "reconstruction score and no log p(x), since the likelihood is no density"
ANNEALING = ("num_global", "num_leapfrog", "num_temperatures", "start")
GLOBAL_DRAWS = 16
INSTEAD = "method 'importance' takes such a pair"
# The name of this file's stream under a seed.
STREAM = 8


@dataclass(frozen=True)
class Evidence:
    """An estimate of log p(x) of every datum, in nats.

    Attributes:
        per_datum: [N], float64.
        per_datum_stderr: its Monte-Carlo error by the delta method [N]; 0 where the method is "exact". It is too
            small where a few draws carry the weight: at a k-hat of 0.8 the 95% interval made of it covers 4 to 6 of
            10 times. ``interval`` covers.
        method: "importance", "jackknife", "ais" or "exact".
        num_samples: importance draws or chains per datum; 0 where the method is "exact".
        khat: the tail index of the importance weights [N], NaN where they have no tail, as of an exact guide, or
            are fewer than 25; None for other methods.
        per_datum_lower: end of a 95% interval for log p(x) [N]; None but for importance weights.
        per_datum_upper: the other end [N], wider by k-hat; +inf where none is known.
        mean_stderr: the Monte-Carlo error of the mean where the data share draws of global sites, or random numbers
            that the model draws outside its sample sites, so that their errors are not independent; else None.
        quantity: what is estimated, in words: log p(x), or of a pair with global sites g the posterior predictive
            log E_q(g) p(x_n | g), which for data that q(g) was fitted to is no evidence. Of a likelihood that is no
            density, as the relaxed Bernoulli, a score that is comparable with others of its kind alone.
    """

    per_datum: Tensor
    per_datum_stderr: Tensor
    method: str
    num_samples: int
    khat: Tensor | None = None
    per_datum_lower: Tensor | None = None
    per_datum_upper: Tensor | None = None
    mean_stderr: float | None = None
    quantity: str = EVIDENCE

    @property
    def num_data(self) -> int:
        """The number of data that were seen, each once."""
        return len(self.per_datum)

    @property
    def mean(self) -> float:
        """The mean of log p(x) over the data."""
        return self.per_datum.mean().item()

    @property
    def stderr(self) -> float:
        """The Monte-Carlo error of the mean on these data."""
        if self.mean_stderr is not None:
            return self.mean_stderr
        return math.sqrt(self.per_datum_stderr.square().sum().item()) / len(self.per_datum)

    @property
    def interval(self) -> tuple[float, float]:
        """A 95% interval for the mean of log p(x) on these data, in nats; an end that is not known is infinite.

        From importance weights the lower end is 1.96 standard errors down, and the upper one the mean of the data's
        own upper ends, since what their weights miss adds up (``evidence_interval``). Annealing bounds from below
        alone.
        """
        if self.method == "exact":
            return self.mean, self.mean
        lower = self.mean - NORMAL * self.stderr
        return lower, math.inf if self.per_datum_upper is None else self.per_datum_upper.mean().item()

    @property
    def data_stderr(self) -> float:
        """The standard error of the mean over data and draws; NaN for one datum."""
        count = len(self.per_datum)
        stderr = self.per_datum.std().item() / math.sqrt(count) if count > 1 else math.nan
        return stderr if self.mean_stderr is None else math.hypot(stderr, self.mean_stderr)

    def _repr_html_(self) -> str:
        facts = {
            "mean": with_error(self.mean, self.stderr, "nats per datum, the error of the draws"),
            "over data": with_error(self.mean, self.data_stderr, "nats per datum, the error of draws and data"),
            "data": len(self.per_datum),
            "lowest, highest": f"{self.per_datum.min().item():.3f}, {self.per_datum.max().item():.3f} nats",
            "largest error of a datum": f"{self.per_datum_stderr.max().item():.3g} nats",
            "method": self.method,
            "draws per datum": self.num_samples or None,
            "95% interval of the mean": self._told_interval(),
            "errors stated too small": self._told_errors(),
        }
        return card(f"evidence {self.quantity}" if self.quantity == EVIDENCE else self.quantity, facts)

    def _told_interval(self) -> str | None:
        if self.method == "exact":
            return None
        lower, upper = self.interval
        return (
            f"{lower:.3f} to {upper:.3f}" if math.isfinite(upper) else f"{lower:.3f} upwards; no upper end is known"
        )

    def _told_errors(self) -> str | None:
        """Say on how many data the delta method's error is known to be too small."""
        if self.khat is None:
            return None
        above = int((self.khat > threshold(self.num_samples)).sum())
        limit = f"k-hat above {threshold(self.num_samples):.2f}"
        return f"on {above} of {len(self.khat)} data ({limit}), and perhaps on others: use the interval"


def log_evidence(
    pair: PairLike,
    x: Data | Iterable[object],
    method: Method = "importance",
    num_samples: int | None = None,
    *,
    memory_limit: int = MEMORY_LIMIT,
    y: Array | None = None,
    progress: bool | None = None,
    seed: int = 0,
    **annealing: Any,
) -> Evidence:
    """Estimate log p(x) of every datum; log p(x|y) or log p(x, y), as it says, of a pair that takes labels.

    Where sites stand outside the data plate there is no log p(x) of a datum apart from the others. What is told
    then, by importance weights, is the posterior predictive density of held-out data: log of the mean over q(g) of
    p(x_n | g), with the error that the data share; ``Evidence.quantity`` says so.

    Args:
        pair: an object with ``.model`` and ``.guide``, or a tuple of the two programs.
        x: [N, *event_shape]; with covariates a tuple (x, c1, ..., cm) or a dict of named arrays
            (``inference.pair.covariates``), and log p(x|c) is estimated. Any container of
            ``ppl_vae.containers``; or batches, such as a DataLoader, of which one at a time is in memory.
        method: "importance" (a lower bound in expectation), "jackknife" (the same draws with their first-order
            bias taken off, no bound), "ais" (annealed importance sampling, a lower bound in expectation; where one
            chain of a datum has most of the weight it warns that the walk was too fast), or "exact" for a pair with
            a ``log_evidence(x)`` of its own.
        num_samples: importance draws per datum, 5000 by default; for "ais" chains per datum, 16 by default.
        memory_limit: bytes that the activations of a pass may take, roughly. Under Gaussian guides the
            importance bound does not depend on it but for rounding.
        y: class labels [N], of a pair that takes them; others do not look at them.
        progress: show a progress bar; by default where a terminal or a notebook shows it to somebody.
        seed: of the draws; torch's global generators are left as they were.
        **annealing: for "ais" alone: ``num_temperatures``, ``start``, ``num_leapfrog`` of ``annealed_evidence``;
            and ``num_global``, 16 draws of the global sites of a pair that has any, at each of which p(x_n | g) is
            annealed.

    Raises:
        ModelError: the pair or an argument is refused; it is named.
        DataError: x is empty, or the model's likelihood has no density for some value of it.

    >>> import ppl_vae as pv
    >>> lg = pv.LinearGaussianVAE(torch.ones(3, 1), torch.zeros(3), 1.0, guide="exact")
    >>> pv.log_evidence(lg, torch.zeros(2, 3), num_samples=100).mean
    -3.4499...
    """
    if method not in get_args(Method):
        raise ModelError(unknown_name("method", method, get_args(Method)))
    for option in annealing:
        if method == "ais" and option not in ANNEALING:
            raise ModelError(unknown_name("option of method 'ais'", option, ANNEALING))
    if annealing and method != "ais":
        raise ModelError(f"method {method!r} takes no {', '.join(sorted(annealing))}")
    if method == "exact":
        return _exact(pair, x, y)
    likelihood = declared(_Observed, as_pair(pair).model).likelihood
    found = _estimated(pair, x, method, num_samples, memory_limit, y, progress, seed, annealing)
    return found if declared(_Density, likelihood).is_density else replace(found, quantity=SCORE)


@dataclass(frozen=True)
class _Observed:
    """The optional attribute of a program by which it says what its likelihood is."""

    likelihood: object = None


@dataclass(frozen=True)
class _Density:
    """The optional attribute of a likelihood by which it says that it is none."""

    is_density: bool = True


def _estimated(
    pair: PairLike,
    x: Data | Iterable[object],
    method: Method,
    num_samples: int | None,
    memory_limit: int,
    y: Array | None,
    progress: bool | None,
    seed: int,
    annealing: dict[str, Any],
) -> Evidence:
    """Estimate by draws or by annealing."""
    if is_stream(x):
        require_own_labels(y)
        return _of_stream(as_pair(pair), x, method, num_samples, seed, memory_limit, annealing)
    pair, (data, *labels) = admitted(pair, x, y, keep_rows=True)
    model, guide = pair.model, pair.guide
    if method == "ais":
        chains = CHAINS if num_samples is None else integer("num_samples", num_samples, least=2)
        temperatures = integer("num_temperatures", annealing.get("num_temperatures", TEMPERATURES))
        count = integer("num_global", annealing.pop("num_global", GLOBAL_DRAWS), least=2)
        given = Conditioned((model, guide), (data, *labels))
        held = at_global_draws(given, count, derived_seed(seed, STREAM, 1), INSTEAD)
        steps = len(data) * temperatures * max(1, len(held))
        with watched(steps, "temperature", progress, unit_scale=True):
            found = [
                annealed_evidence(
                    *each.programs, data, chains, seed=derived_seed(seed, STREAM, 2, number) if held else seed,
                    memory_limit=memory_limit, labels=tuple(labels), **annealing,
                )
                for number, each in enumerate(held or [given])
            ]  # fmt: skip
        warn_of_haste(torch.cat([stderr for _, stderr in found]), chains)
        if not held:
            return Evidence(*found[0], method, chains)
        log_density = torch.stack([estimate for estimate, _ in found])
        shared = _shared_error(shared_deviation(log_density), len(data))
        bound, stderr = log_mean_exp(log_density), delta_stderr(log_density)
        quantity = PREDICTIVE if held_sites(held[0]) else EVIDENCE
        return Evidence(bound, stderr, method, chains, mean_stderr=shared, quantity=quantity)
    draws = IMPORTANCE_DRAWS if num_samples is None else integer("num_samples", num_samples, least=2)
    weights = _importance(model, guide, data, draws, seed, memory_limit, tuple(labels), method == "jackknife")
    with watched(len(data) * draws, "draw", progress, unit_scale=True):
        blocks = list(weights)
    return _of_blocks(blocks, method, draws)


def _of_blocks(blocks: Sequence[_Block], method: Method, draws: int) -> Evidence:
    """Put together what ``_importance`` gave block by block."""
    bound, stderr, tail, lower, upper = (torch.cat(column) for column in zip(*(b[:5] for b in blocks), strict=True))
    influence = [block.influence for block in blocks if block.influence is not None]
    shared = _shared_error(torch.stack(influence).sum(0), len(bound)) if influence else None
    return Evidence(bound, stderr, method, draws, tail, lower, upper, shared, blocks[0].quantity)


def _of_stream(
    pair: Pair,
    data: Iterable[object],
    method: Method,
    num_samples: int | None,
    seed: int,
    memory_limit: int,
    annealing: dict[str, Any],
) -> Evidence:
    """Estimate batch by batch, each from a stream of its own."""
    parts: list[Evidence] = []
    rule: Arguments | None = None
    in_order = OneOrder()
    for number, batch in enumerate(batches_of(in_own_stream(data, derived_seed(seed, LOADER_STREAM)))):
        rule = rule or Arguments.of(pair, batch)
        own, given = derived_seed(seed, STREAM, number), cast(Data, in_order(rule, batch))
        parts.append(
            log_evidence(rule.pair, given, method, num_samples, seed=own, memory_limit=memory_limit, **annealing)
        )
        if parts[-1].quantity == PREDICTIVE:
            raise ModelError(WHOLE_SET)
        if not number:
            require_parts(rule.pair, given, own)
    if not parts:
        raise DataError("data are empty: there is not one batch")

    count = sum(part.num_data for part in parts)
    shared = [part.mean_stderr * part.num_data / count for part in parts if part.mean_stderr is not None]
    return Evidence(
        torch.cat([part.per_datum for part in parts]),
        torch.cat([part.per_datum_stderr for part in parts]),
        method,
        parts[0].num_samples,
        _joined([part.khat for part in parts]),
        _joined([part.per_datum_lower for part in parts]),
        _joined([part.per_datum_upper for part in parts]),
        math.hypot(*shared) if shared else None,
    )


def _joined(columns: Sequence[Tensor | None]) -> Tensor | None:
    """One column of all batches; None where the first has none."""
    present = [column for column in columns if column is not None]
    return torch.cat(present) if len(present) == len(columns) else None


class _Block(NamedTuple):
    """The estimates of n neighbouring data [n], and each draw's influence on their sum [S] where they share it."""

    bound: Tensor
    stderr: Tensor
    khat: Tensor
    lower: Tensor
    upper: Tensor
    influence: Tensor | None
    quantity: str


def _importance(
    model: Program,
    guide: Program,
    x: Tensor,
    draws: int,
    seed: int,
    memory_limit: int,
    labels: Batch,
    corrected: bool,
) -> Iterator[_Block]:
    """Estimate the bound or its jackknife, its error, k-hat, and the ends of the interval, block by block."""
    stream = derived_seed(seed, STREAM)
    for block in weight_blocks(model, guide, x, draws, stream, memory_limit, labels=labels, both_levels=True):
        interval = evidence_interval(block.log_weight)
        bound = jackknife(block.log_weight) if corrected else interval.bound
        shared = shared_deviation(block.log_weight) if block.shares_draws else None
        quantity = PREDICTIVE if block.given_global else EVIDENCE
        yield _Block(bound, interval.stderr, interval.khat, interval.lower, interval.upper, shared, quantity)


def _shared_error(deviation: Tensor, num_data: int) -> float:
    """The error of the mean over data, from the influence of each draw on their sum [S]."""
    return deviation.std().item() / math.sqrt(len(deviation)) / num_data


def importance_bound(
    model: Program, guide: Program, x: Tensor, num_samples: int, seed: int = 0, memory_limit: int = MEMORY_LIMIT
) -> tuple[float, float]:
    """The mean importance bound of data that are where the pair is, and its Monte-Carlo error, in nats.

    Args:
        model: the generative program.
        guide: its guide.
        x: [N, *event_shape].
        num_samples: S.
        seed: of the draws.
        memory_limit: bytes of a pass.
    """
    blocks = list(_importance(model, guide, x, num_samples, seed, memory_limit, (), False))
    return (found := _of_blocks(blocks, "importance", num_samples)).mean, found.stderr


def jackknife(log_weight: Tensor) -> Tensor:
    """The jackknife S L_S - (S - 1) mean_s L_{-s} of log w [S, n]: [n] (Nowozin 2018), bias of order 1 / S^2."""
    count = len(log_weight)
    share = log_weight.softmax(0)
    log_others = torch.log1p(-share)
    # One minus the largest share loses its digits; what the others weigh is summed anew.
    largest = share.argmax(0, keepdim=True)
    log_rest = log_weight.scatter(0, largest, -torch.inf).logsumexp(0) - log_weight.logsumexp(0)
    log_others = log_others.scatter(0, largest, log_rest.unsqueeze(0))
    # L_{-s} = L_S + log(S / (S - 1)) + log(1 - share_s)
    shift = math.log(count / (count - 1)) + log_others.mean(0)
    return log_mean_exp(log_weight) - (count - 1) * shift


def _exact(pair: PairLike, x: Data | Iterable[object], y: Array | None) -> Evidence:
    source = as_pair(pair).source
    if not isinstance(source, HasEvidence):
        raise ModelError(f"{type(source).__name__} has no log_evidence(x): its evidence is not known exactly")
    _, data = admitted(pair, x, y)
    with torch.no_grad():
        exact = source.log_evidence(*data).double()
    return Evidence(exact, torch.zeros_like(exact), "exact", 0)
