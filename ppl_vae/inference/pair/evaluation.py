"""The plain, un-weighted ELBO of a pair on given data, per datum, in memory-bounded chunks."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ppl_vae.checks import integer
from ppl_vae.display import card, with_error
from ppl_vae.errors import ConvergenceError, DataError, ModelError
from ppl_vae.inference.pair.admission import admitted
from ppl_vae.inference.pair.covariates import Arguments
from ppl_vae.inference.pair.evaluation_mode import evaluation_mode
from ppl_vae.inference.pair.exchangeable import MOST_DATA, require_exchangeable
from ppl_vae.inference.pair.indices import rows_named, with_indices
from ppl_vae.inference.pair.labels import Batch
from ppl_vae.inference.pair.pair import Pair, PairLike, as_pair
from ppl_vae.inference.pair.protocols import Program
from ppl_vae.inference.pair.stream import batches_of, is_stream, require_own_labels
from ppl_vae.inference.pair.supports import require_within
from ppl_vae.inference.pair.terms import Terms, run_terms
from ppl_vae.randomness import derived_seed, seeded
from ppl_vae.registration import unregistered

# Numbers per chunk: K particles of a batch times the coordinates of a datum. It is fixed, not measured,
# because the draws, and so the last digits of the result, depend on where the chunks are cut.
CHUNK_NUMBERS = 1 << 21
# An evaluation draws from a stream of its own, none of training's under the same seed.
EVALUATION_STREAM = 4


@dataclass(frozen=True)
class Evaluation:
    """ELBO and its two terms, per datum: [N], nats.

    The KL is in closed form where there is one, else by Monte Carlo on the same draws; ``closed_form`` says.
    Where ``is_bound`` is False there is no ELBO: the prior is improper, as an autoencoder's is, the KL is 0 by
    convention and ``elbo`` is the reconstruction log likelihood. ``score`` says which of the two it is.
    """

    elbo: Tensor
    log_likelihood: Tensor
    kl: Tensor
    closed_form: bool
    num_particles: int
    is_bound: bool = True

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
        as skewed as an exponential 91, as a log-normal with a spread of 1 86 (with 1000: 95 and 94).
        """
        return {
            "elbo": self.elbo.mean().item(),
            "elbo_stderr": self.elbo.std().item() / math.sqrt(len(self.elbo)) if len(self.elbo) > 1 else math.nan,
            "log_likelihood": self.log_likelihood.mean().item(),
            "kl": self.kl.mean().item(),
        }

    def _repr_html_(self) -> str:
        means = self.summary()
        facts = {
            self.score: with_error(means["elbo"], means["elbo_stderr"], "nats per datum"),
            "log likelihood": f"{means['log_likelihood']:.3f}",
            "KL": f"{means['kl']:.3f}, {'in closed form' if self.closed_form else 'by Monte Carlo'}",
            "data": len(self.elbo),
            "draws per datum": self.num_particles,
        }
        return card("evaluation", facts)


@torch.no_grad()
def evaluate(
    pair: PairLike,
    x: Any,
    num_particles: int = 1,
    seed: int = 0,
    y: ArrayLike | Tensor | None = None,
) -> Evaluation:
    """Evaluate the plain ELBO of every datum.

    Args:
        pair: an object with ``.model`` and ``.guide``, or a tuple of the two programs.
        x: [N, *event_shape]; with covariates a tuple (x, c1, ..., cm) or a dict of named arrays
            (``inference.pair.covariates``). Any container of ``ppl_vae.containers``; or batches, such as a
            DataLoader, of which one at a time is in memory.
        num_particles: K draws per datum; the terms are means over them.
        seed: of the draws; torch's global generators are left as they were.
        y: class labels [N], of a pair that takes them; others do not look at them.

    Returns:
        elbo, log_likelihood and kl of every datum [N], in nats; the KL in closed form where there is one.

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
    model, guide = pair.model, pair.guide
    with evaluating(model, guide, seed=derived_seed(seed, EVALUATION_STREAM), device=data[0].device):
        return _in_chunks(*with_indices(model, guide, data), num_particles)


def _of_stream(pair: Pair, data: Iterable[Any], num_particles: int, seed: int) -> Evaluation:
    """Evaluate batch by batch: every datum counts once, whatever the size of its batch."""
    parts: list[Evaluation] = []
    rule: Arguments | None = None
    for number, batch in enumerate(batches_of(data)):
        rule = rule or Arguments.of(pair, batch)
        own = derived_seed(seed, EVALUATION_STREAM, number)
        parts.append(evaluate(rule.pair, rule.in_batch(batch), num_particles, own))
    if not parts:
        raise DataError("data are empty: there is not one batch")
    return Evaluation(
        elbo=torch.cat([part.elbo for part in parts]),
        log_likelihood=torch.cat([part.log_likelihood for part in parts]),
        kl=torch.cat([part.kl for part in parts]),
        closed_form=all(part.closed_form for part in parts),
        num_particles=num_particles,
        is_bound=all(part.is_bound for part in parts),
    )


def _in_chunks(model: Program, guide: Program, data: Batch, num_particles: int) -> Evaluation:
    closed_form, is_bound = True, True
    rows: list[Tensor] = []
    size = data_per_chunk(data[0], num_particles)
    for batch in zip(*(part.split(size) for part in data), strict=True):
        with rows_named(model, guide, len(batch[0]), len(data[0])):
            terms = run_terms(model, guide, batch, {}, num_particles)
        if not rows and size < len(data[0]):
            require_exchangeable(model, guide, tuple(part[:MOST_DATA] for part in batch))
        kl, closed_form = closed_form_or_monte_carlo(terms)
        is_bound = terms.is_bound
        rows.append(torch.stack([terms.log_likelihood.mean(0), kl.mean(0)]))
    log_likelihood, kl = torch.cat(rows, dim=1)
    if kl.isinf().any():
        require_within(terms.sites)
    _require_numbers(log_likelihood, kl)
    return Evaluation(log_likelihood - kl, log_likelihood, kl, closed_form, num_particles, is_bound)


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
    with (
        seeded(seed, device),
        unregistered(),
        pyro.validation_enabled(False),
        evaluation_mode(*programs),
    ):
        yield
