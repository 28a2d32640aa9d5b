"""Importance weights of every datum of a data set, in passes that keep to a memory limit.

    log w_ns = log p(x_n | z_ns) + log p(z_ns) - log q(z_ns | x_n),    z_ns ~ q(z | x_n),   s = 1..S

Log evidence, k-hat and resampling all read them from here. Gaussian guides draw from a table of noise
(``inference.pair.tiled_noise``), so that their weights do not depend on where the passes are cut but for rounding;
other guides draw from one stream, whose order does.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ppl_vae.errors import ModelError
from ppl_vae.inference.estimators.importance_weighted import log_mean_exp
from ppl_vae.inference.evidence.weight_chunks import MEMORY_LIMIT, pass_size
from ppl_vae.inference.pair.evaluation import evaluating
from ppl_vae.inference.pair.exchangeable import MOST_DATA, require_exchangeable
from ppl_vae.inference.pair.hidden_noise import require_means_over_draws
from ppl_vae.inference.pair.indices import rows_named, with_indices
from ppl_vae.inference.pair.labels import Batch
from ppl_vae.inference.pair.point_mass import require_spread
from ppl_vae.inference.pair.protocols import Program
from ppl_vae.inference.pair.runs import run_terms
from ppl_vae.inference.pair.separate_draws import require_separate_draws
from ppl_vae.inference.pair.supports import require_cover
from ppl_vae.inference.pair.terms import Terms
from ppl_vae.inference.pair.tiled_noise import TiledNoise
from ppl_vae.inference.pair.validity import require_numbers
from ppl_vae.progress import advance
from ppl_vae.randomness import derived_seed

# Of the weights of a block, and of what is made of them at once.
BYTES_PER_WEIGHT = 64


@dataclass(frozen=True)
class WeightBlock:
    """The weights of n neighbouring data.

    Attributes:
        first: the index of the first of them.
        log_weight: log w [S, n] in float64, nats.
        magnitude: mean over draws of |log p(x|z)| + |log p(z)| + |log q(z|x)|: [n], the scale of rounding.
        eps: the precision that the pair computed in.
        values: the draws [S, n, *event] by latent site; empty unless asked for.
        given_global: whether every draw has a draw of the model's global sites of its own, which all data share.
        shares_draws: whether the data share draws of any global site, or hidden noise of the model, so that their
            errors move together.
    """

    first: int
    log_weight: Tensor
    magnitude: Tensor
    eps: float
    values: Mapping[str, Tensor]
    given_global: bool = False
    shares_draws: bool = False


def weight_blocks(
    model: Program,
    guide: Program,
    x: Tensor,
    num_samples: int,
    seed: int,
    memory_limit: int = MEMORY_LIMIT,
    keep_values: bool = False,
    labels: Batch = (),
    both_levels: bool = False,
) -> Iterator[WeightBlock]:
    """The weights of x, block by block, without gradients.

    Args:
        model: the generative program.
        guide: its guide.
        x: [N, *event_shape].
        num_samples: S draws per datum.
        seed: of the draws; torch's generators are left as they were.
        memory_limit: bytes that the activations of a pass may take, roughly; at least 64 draws of one datum.
        keep_values: whether blocks hold the draws.
        labels: the covariates of a pair that takes any, each [N, ...].
        both_levels: whether the pair may have global sites. Then the weights are those of the local sites given the
            global draw, which every draw has of its own, so that their mean estimates the mean of p(x_n | g) over
            q(g).

    Raises:
        ModelError: the pair is refused, or its guide leaves a part of the prior's support out or has one value: the
            site is named; or all draws of a datum share hidden noise of the model; or a datum has a weight of NaN
            or +inf, or none above zero: it is named.
    """
    data, draws = pass_size(x, num_samples, memory_limit)
    # Many columns are judged together; where draws are kept they are what takes room.
    columns = 1 if keep_values else memory_limit // (BYTES_PER_WEIGHT * num_samples * data)
    size = data * max(1, columns)
    model, guide, arguments = with_indices(model, guide, (x, *labels))
    shares_noise = require_means_over_draws(model, guide, arguments)
    in_parts = data < len(x)
    few = tuple(part[: min(data, MOST_DATA)] for part in arguments) if in_parts else arguments
    with evaluating(model, guide, seed=derived_seed(seed, 0), device=x.device):
        if in_parts:
            with rows_named(model, guide, len(few[0]), len(x)):
                before = run_terms(model, guide, few, {}, 1, both_levels=both_levels)
            require_exchangeable(model, guide, few, before)
        require_separate_draws(model, guide, few, among_data=True)
    for first in range(0, len(x), size):
        block = _Block(num_samples, min(size, len(x) - first), x.device, keep_values, shares_noise)
        # Entered anew for every block: a generator would else leave its state in the caller's hands.
        with torch.no_grad(), evaluating(model, guide, seed=derived_seed(seed, first), device=x.device):
            for datum, draw in itertools.product(range(0, block.num_data, data), range(0, num_samples, draws)):
                rows = slice(first + datum, first + min(datum + data, block.num_data))
                batch = tuple(part[rows] for part in arguments)
                count = min(draws, num_samples - draw)
                noise = TiledNoise(seed, draw, rows.start, count, len(batch[0]))
                with rows_named(model, guide, len(batch[0]), len(x)):
                    terms = run_terms(model, guide, batch, {}, count, draw_handler=noise, both_levels=both_levels)
                if terms.coupling is not None:
                    raise ModelError(
                        f"site {terms.coupling!r} draws the latents of all data at once: of such a guide there are "
                        "no importance weights of a datum"
                    )
                if draw == 0:
                    require_cover(terms.sites)
                block.add(draw, datum, terms)
                if draw == 0:
                    # After the weights, so that an improper prior, which has none, is named first.
                    require_spread(terms.sites)
                advance(count * len(batch[0]))
                if not block.is_sound(datum, len(batch[0])):
                    require_numbers(terms)
        yield block.finished(first)


class _Block:
    """The weights of some neighbouring data, while they are being computed."""

    def __init__(
        self, num_samples: int, num_data: int, device: torch.device, keep_values: bool, shares_noise: bool
    ) -> None:
        self.num_data, self.keep_values, self.shares_draws = num_data, keep_values, shares_noise
        self.log_weight = torch.empty(num_samples, num_data, dtype=torch.float64, device=device)
        self.magnitude = torch.zeros(num_data, dtype=torch.float64, device=device)
        self.eps = 0.0
        self.values: list[dict[str, Tensor]] = []
        self.given_global = False

    def add(self, draw: int, datum: int, terms: Terms) -> None:
        """The terms of a pass [K, n] whose first draw and datum these are."""
        count, size = terms.log_likelihood.shape
        self.log_weight[draw : draw + count, datum : datum + size] = terms.log_weight
        magnitude = terms.log_likelihood.abs().add_(terms.log_prior.abs()).add_(terms.log_guide.abs())
        self.magnitude[datum : datum + size] += magnitude.sum(0, dtype=torch.float64)
        of_set = {} if terms.whole is None else terms.whole.sites
        # Over draws of a guide's auxiliary site alone the mean of the weights is p(x) itself.
        self.given_global = any(site.p is not None for site in of_set.values())
        self.shares_draws = self.shares_draws or bool(of_set)
        self.eps = torch.finfo(terms.log_likelihood.dtype).eps
        if self.keep_values:
            self.values.append({name: site.value for name, site in terms.sites.items()})

    def is_sound(self, datum: int, size: int) -> bool:
        """Mark data of which no term was NaN or infinite so far, but for a weight of zero."""
        return not bool(self.magnitude[datum : datum + size].isnan().any())

    def finished(self, first: int) -> WeightBlock:
        """All of them; ``first`` is the index of the first datum."""
        require_weights(self.log_weight, first)
        names = self.values[0] if self.values else {}
        values = {name: torch.cat([each[name] for each in self.values]) for name in names}
        magnitude = self.magnitude / len(self.log_weight)
        return WeightBlock(
            first, self.log_weight, magnitude, self.eps, values, self.given_global, self.shares_draws
        )


def require_weights(log_weight: Tensor, first: int) -> None:
    """Refuse log w [S, n] of the data from ``first`` on that have no finite mean weight above zero.

    Raises:
        ModelError: a weight of a datum is NaN or +inf, or all are zero; the datum is named.
    """
    broken = (~log_weight.amax(0).isfinite()).nonzero()
    if len(broken):
        raise ModelError(
            f"datum {first + int(broken[0])}: an importance weight is NaN or infinite, or all are zero"
        )


def shared_deviation(log_weight: Tensor) -> Tensor:
    """The influence of each draw on the sum over data of log_mean_exp, to first order, from log w [S, n]: [S].

    Where the data share draws of global sites, or hidden noise, their errors move together, and these are added up
    over the data.
    """
    return (log_weight - log_mean_exp(log_weight)).exp().sub_(1).sum(1)


def delta_stderr(log_weight: Tensor) -> Tensor:
    """The standard error of log_mean_exp by the delta method, from log w [S, n]: [n]."""
    relative = (log_weight - log_mean_exp(log_weight)).exp()
    return relative.std(0) / math.sqrt(len(log_weight))
