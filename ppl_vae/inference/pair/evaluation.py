"""The plain, un-weighted ELBO of a pair on given data, per datum, in memory-bounded chunks."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import cast

import pyro
import torch
from torch import Tensor

from ppl_vae.allocator import keep_freed_memory
from ppl_vae.arrays import Array
from ppl_vae.checks import integer
from ppl_vae.containers import Data
from ppl_vae.display import card, with_error
from ppl_vae.errors import ConvergenceError, DataError, ModelError
from ppl_vae.inference.pair.admission import admitted
from ppl_vae.inference.pair.covariates import Arguments
from ppl_vae.inference.pair.evaluation_mode import evaluation_mode
from ppl_vae.inference.pair.exchangeable import MOST_DATA, require_exchangeable
from ppl_vae.inference.pair.hidden_noise import hidden_noise
from ppl_vae.inference.pair.indices import rows_named, with_indices
from ppl_vae.inference.pair.labels import Batch
from ppl_vae.inference.pair.masses import has_masses
from ppl_vae.inference.pair.own_parameters import own_parameters
from ppl_vae.inference.pair.pair import Pair, PairLike, as_pair
from ppl_vae.inference.pair.protocols import Program
from ppl_vae.inference.pair.runs import run_terms
from ppl_vae.inference.pair.separate_draws import require_separate_draws
from ppl_vae.inference.pair.stream import (
    LOADER_STREAM,
    OneOrder,
    batches_of,
    in_own_stream,
    is_stream,
    require_own_labels,
)
from ppl_vae.inference.pair.supports import require_within
from ppl_vae.inference.pair.terms import Terms
from ppl_vae.randomness import derived_seed, seeded
from ppl_vae.registration import unregistered
from ppl_vae.renamed import by_keyword

# Numbers per chunk: K particles of a batch times the coordinates of a datum. It is fixed, not measured,
# because the draws, and so the last digits of the result, depend on where the chunks are cut.
CHUNK_NUMBERS = 1 << 21
# An evaluation draws from a stream of its own, none of training's under the same seed.
EVALUATION_STREAM = 4
# Independent passes over programs with random numbers of their own, which all data may share. The error of the
# error is 1 / sqrt(2 (PASSES - 1)) of it, 18%.
PASSES = 16
WHOLE_SET = (
    "some sites stand outside the data plate, and every batch would draw them anew: give the data in one piece"
)


@dataclass(frozen=True)
class Evaluation:
    """ELBO and its terms, per datum: [N], nats.

    Where sites stand outside the data plate, ``global_kl`` is KL(q(g) || p(g)) in nats of the whole data set of
    ``num_total`` data, and ``elbo`` of every datum includes its share: elbo = log_likelihood - kl - global_kl /
    num_total, with log p of what is observed outside the plate, if anything, shared alike. A guide that draws the
    latents of all data at once has all its KL there.

    The KL is in closed form where there is one, else by Monte Carlo on the same draws; ``closed_form`` says.
    Programs that draw random numbers outside their sample sites were run in ``num_passes`` passes, and all is their
    mean: what data share in one pass is no error that a spread over data could tell.

    Where ``is_bound`` is False there is no ELBO: the prior is improper, as an autoencoder's is, the KL is 0 by
    convention and ``elbo`` is the reconstruction log likelihood. ``score`` says which of the two it is.
    ``has_masses`` says whether all that is observed has a probability, and no density, so that it has bits.
    """

    elbo: Tensor
    log_likelihood: Tensor
    kl: Tensor
    closed_form: bool
    num_particles: int
    is_bound: bool = True
    global_kl: float | None = None
    num_total: float | None = None
    draws_stderr: float | None = None
    num_passes: int = 1
    has_masses: bool = False

    @property
    def num_data(self) -> int:
        """The number of data that were seen, each once."""
        return len(self.elbo)

    @property
    def score(self) -> str:
        """The name of the quantity in ``elbo``, in words."""
        return "ELBO" if self.is_bound else "reconstruction log likelihood"

    def summary(self) -> dict[str, float]:
        """The means over the data, and the standard error of the mean ELBO over data and draws.

        ``elbo_stderr`` is sd / sqrt(N): how the mean would differ on N other data of the same population, not on
        these data. Two of it on either side cover 95 of 100 where N is large for the data's skewness; with 20 data
        as skewed as an exponential 91, as a log-normal with a spread of 1 86 (with 1000: 95 and 94). The data share
        the draws of global sites: their error is added, and is not known, NaN, from one draw. So is that of several
        passes.
        """
        stderr = self.elbo.std().item() / math.sqrt(len(self.elbo)) if len(self.elbo) > 1 else math.nan
        of_set = {} if self.global_kl is None else {"global_kl": self.global_kl}
        return {
            "elbo": self.elbo.mean().item(),
            "elbo_stderr": stderr if self.draws_stderr is None else math.hypot(stderr, self.draws_stderr),
            "log_likelihood": self.log_likelihood.mean().item(),
            "kl": self.kl.mean().item(),
            **of_set,
        }

    def _repr_html_(self) -> str:
        means = self.summary()
        facts = {
            self.score: with_error(means["elbo"], means["elbo_stderr"], "nats per datum"),
            "log likelihood": f"{means['log_likelihood']:.3f}",
            "KL": f"{means['kl']:.3f}, {'in closed form' if self.closed_form else 'by Monte Carlo'}",
            "KL of the global sites": None if self.global_kl is None else f"{self.global_kl:.3f} nats of all data",
            "data": len(self.elbo),
            "draws per datum": self.num_particles * self.num_passes,
        }
        return card("evaluation", facts)


@by_keyword("seed", "y", "num_total")
@torch.no_grad()
def evaluate(
    pair: PairLike,
    x: Data | Iterable[object],
    num_particles: int = 1,
    *,
    y: Array | None = None,
    num_total: int | None = None,
    seed: int = 0,
) -> Evaluation:
    """Evaluate the plain ELBO of every datum.

    Args:
        pair: an object with ``.model`` and ``.guide``, or a tuple of the two programs.
        x: [N, *event_shape]; with covariates a tuple (x, c1, ..., cm) or a dict of named arrays
            (``inference.pair.covariates``). Any container of ``ppl_vae.containers``; or batches, such as a
            DataLoader, of which one at a time is in memory.
        num_particles: K draws per datum; the terms are means over them.
        y: class labels [N], of a pair that takes them; others do not look at them.
        num_total: the number of data that global sites were fitted to, by which their KL is shared out, where the
            data plate does not say it, as pyro.plate("data", total, subsample=x) does; N by default. Without global
            sites it is not looked at.
        seed: of the draws; torch's global generators are left as they were.

    Returns:
        elbo, log_likelihood and kl of every datum [N], in nats; the KL in closed form where there is one. The KL of
        global sites stands apart, in nats of all data, and its share is in ``elbo``. Programs with random numbers
        outside their sample sites are run 16 times, and the error of their mean holds what data share in a run.

    Raises:
        ModelError: the pair is refused, the site is named; or the data are too many for one pass and its programs
            cannot take them in parts; or it takes labels and there are none.
        DataError: x is empty, or the model's likelihood has no density for some value of it, or y does not fit.
        ConvergenceError: a term is NaN or infinite, as after a training that failed; the datum is named.

    >>> import ppl_vae as pv
    >>> lg = pv.LinearGaussianVAE(torch.ones(3, 1), torch.zeros(3), 1.0)
    >>> sorted(evaluate(lg, torch.zeros(2, 3), num_particles=100).summary())
    ['elbo', 'elbo_stderr', 'kl', 'log_likelihood']
    """
    num_particles = integer("num_particles", num_particles)
    if is_stream(x):
        require_own_labels(y)
        return _of_stream(as_pair(pair), x, num_particles, seed)
    pair, data = admitted(pair, x, y, keep_rows=True)
    return _in_passes(pair, data, num_particles, seed, num_total, _passes_over(pair, data))


@torch.no_grad()
def evaluate_once(
    pair: PairLike, x: Data | Iterable[object], *, num_total: int | None = None, seed: int = 0
) -> Evaluation:
    """Evaluate as ``evaluate`` does with one particle, in one pass whatever programs draw: a row of a history."""
    if is_stream(x):
        return _of_stream(as_pair(pair), x, 1, seed, 1)
    pair, data = admitted(pair, x, keep_rows=True)
    return _in_passes(pair, data, 1, seed, num_total, 1)


def _passes_over(pair: Pair, data: Batch) -> int:
    noise = hidden_noise(*with_indices(pair.model, pair.guide, data))
    return 1 if noise.model == noise.guide == "none" else PASSES


def _in_passes(
    pair: Pair, data: Batch, num_particles: int, seed: int, num_total: int | None, num_passes: int
) -> Evaluation:
    """The mean of independent passes, with the error of the mean ELBO over them."""
    passes = []
    for number in range(num_passes):
        own = derived_seed(seed, EVALUATION_STREAM, *([number] if number else []))
        with evaluating(pair.model, pair.guide, seed=own, device=data[0].device):
            passes.append(_in_chunks(*with_indices(pair.model, pair.guide, data), num_particles, num_total))
    if num_passes == 1:
        return passes[0]
    elbo = torch.stack([each.elbo for each in passes])
    kls = [each.global_kl for each in passes if each.global_kl is not None]
    return replace(
        passes[0],
        elbo=elbo.mean(0),
        log_likelihood=torch.stack([each.log_likelihood for each in passes]).mean(0),
        kl=torch.stack([each.kl for each in passes]).mean(0),
        global_kl=sum(kls) / num_passes if kls else None,
        draws_stderr=elbo.mean(1).std().item() / math.sqrt(num_passes),
        num_passes=num_passes,
    )


def _of_stream(
    pair: Pair, data: Iterable[object], num_particles: int, seed: int, num_passes: int | None = None
) -> Evaluation:
    """Evaluate batch by batch: every datum counts once, whatever the size of its batch."""
    parts: list[Evaluation] = []
    rule: Arguments | None = None
    in_order = OneOrder()
    for number, batch in enumerate(batches_of(in_own_stream(data, derived_seed(seed, LOADER_STREAM)))):
        rule = rule or Arguments.of(pair, batch)
        own = derived_seed(seed, EVALUATION_STREAM, number)
        named = cast(Data, in_order(rule, batch))
        given, rows = admitted(rule.pair, named, keep_rows=True)
        num_passes = num_passes or _passes_over(given, rows)
        parts.append(_in_passes(given, rows, num_particles, own, None, num_passes))
        if parts[-1].global_kl is not None:
            raise ModelError(WHOLE_SET)
        if not number:
            require_parts(rule.pair, named, own)
    if not parts:
        raise DataError("data are empty: there is not one batch")
    count = sum(part.num_data for part in parts)
    errors = [part.draws_stderr * part.num_data / count for part in parts if part.draws_stderr is not None]
    return Evaluation(
        elbo=torch.cat([part.elbo for part in parts]),
        log_likelihood=torch.cat([part.log_likelihood for part in parts]),
        kl=torch.cat([part.kl for part in parts]),
        closed_form=all(part.closed_form for part in parts),
        num_particles=num_particles,
        is_bound=all(part.is_bound for part in parts),
        draws_stderr=math.hypot(*errors) if errors else None,
        num_passes=num_passes or 1,
        has_masses=all(part.has_masses for part in parts),
    )


@torch.no_grad()
def require_parts(pair: Pair, batch: object, seed: int) -> None:
    """Refuse a pair whose data cannot come in batches, by the first of them.

    Raises:
        ModelError: a density depends on the datum's place, or the model's on the rest of its batch.
    """
    pair, data = admitted(pair, batch)
    with evaluating(pair.model, pair.guide, seed=seed, device=data[0].device):
        require_exchangeable(pair.model, pair.guide, tuple(part[:MOST_DATA] for part in data))


def _in_chunks(
    model: Program, guide: Program, data: Batch, num_particles: int, num_total: int | None = None
) -> Evaluation:
    closed_form, is_bound, in_bits = True, True, True
    rows: list[Tensor] = []
    of_set: list[_OfSet] = []
    size = data_per_chunk(data[0], num_particles)
    for batch in zip(*(part.split(size) for part in data), strict=True):
        with rows_named(model, guide, len(batch[0]), len(data[0])):
            if not rows and num_particles > 1:
                with seeded(0, data[0].device):
                    require_separate_draws(model, guide, batch, among_data=False)
            terms = run_terms(model, guide, batch, {}, num_particles, num_total=num_total, both_levels=True)
        if not rows and size < len(data[0]):
            require_exchangeable(model, guide, tuple(part[:MOST_DATA] for part in batch))
        kl, closed_form = closed_form_or_monte_carlo(terms)
        is_bound, in_bits = terms.is_bound, in_bits and has_masses(terms)
        rows.append(torch.stack([terms.log_likelihood.mean(0), kl.mean(0)]))
        if terms.whole is not None:
            of_set.append(_of_set(_of_all(terms, num_total, len(data[0])), terms.whole, kl, len(data[0])))
    log_likelihood, kl = torch.cat(rows, dim=1)
    if kl.isinf().any():
        require_within(terms.sites)
    _require_numbers(log_likelihood, kl)
    elbo = log_likelihood - kl
    if not of_set:
        return Evaluation(elbo, log_likelihood, kl, closed_form, num_particles, is_bound, has_masses=in_bits)
    # Every pass has draws of its own of the global sites, of which each stands for the whole set.
    global_kl, share = (torch.stack(each).mean() for each in zip(*((p.kl, p.share) for p in of_set), strict=True))
    if not (share.isfinite() and global_kl.isfinite()):
        raise ConvergenceError(f"the KL of the global sites is not finite: {global_kl.item()}")
    variance = torch.stack([part.variance for part in of_set]).sum()
    total = of_set[0].num_total
    return Evaluation(
        elbo + share, log_likelihood, kl, closed_form and all(part.closed_form for part in of_set), num_particles,
        is_bound, global_kl.item(), total, variance.sqrt().item(), has_masses=in_bits,
    )  # fmt: skip


@dataclass(frozen=True)
class _OfSet:
    """The terms of the global sites in one pass.

    Attributes:
        kl: KL(q(g) || p(g)), nats of all data.
        share: what a datum's ELBO has of it.
        variance: of this pass's part of the mean ELBO over draws; NaN for one draw.
        num_total: the number of data that share it.
        closed_form: whether the KL is.
    """

    kl: Tensor
    share: Tensor
    variance: Tensor
    num_total: float
    closed_form: bool


def _of_all(terms: Terms, num_total: int | None, num_data: int) -> Terms:
    """Terms of a pass whose data plate says nothing of data that are not at hand: the set is all that are."""
    return replace(terms, num_total=num_data) if num_total is None and terms.data_scale == 1 else terms


def _of_set(terms: Terms, whole: Terms, kl: Tensor, num_data: int) -> _OfSet:
    global_kl, closed_form = closed_form_or_monte_carlo(whole)
    share = (whole.log_likelihood - global_kl) / terms.num_total
    part = terms.log_likelihood.shape[1] / num_data
    by_draw = (terms.log_likelihood - kl).sum(1) / num_data + part * share[:, 0]
    variance = by_draw.var() / len(by_draw) if len(by_draw) > 1 else by_draw.new_full((), torch.nan)
    return _OfSet(global_kl.mean(), share.mean(), variance, terms.num_total, closed_form)


def _require_numbers(log_likelihood: Tensor, kl: Tensor) -> None:
    """Refuse terms [N] that are no numbers: of a model whose training has failed nothing can be said."""
    for name, values in (("log p(x|z)", log_likelihood), ("the KL", kl)):
        broken = (~values.isfinite()).nonzero()
        if len(broken):
            raise ConvergenceError(
                f"datum {int(broken[0])}: {name} is NaN or infinite, as on {len(broken)} of {len(values)} data"
            )


def closed_form_or_monte_carlo(terms: Terms) -> tuple[Tensor, bool]:
    """The KL term [K, N] in closed form if all sites have one, else by Monte Carlo; and which it is."""
    try:
        return terms.kl(), True
    except ModelError:
        return terms.log_guide - terms.log_prior, False


def data_per_chunk(x: Tensor, num_particles: int, numbers: int | None = None) -> int:
    """The number of data of x [N, *event_shape] in a pass with K particles each: at most ``numbers`` numbers."""
    return max(1, (numbers or CHUNK_NUMBERS) // (num_particles * max(1, x[0].numel())))


@contextlib.contextmanager
def evaluating(*programs: Program, seed: int, device: torch.device) -> Iterator[None]:
    """Run a pair that is not to change: a stream of its own at ``seed``, evaluation mode, nothing registered.

    Whether gradients are recorded is left to the caller.
    """
    keep_freed_memory()
    with (
        seeded(seed, device),
        unregistered(),
        pyro.validation_enabled(False),
        own_parameters(*programs),
        evaluation_mode(*programs),
    ):
        yield
