r"""Importance weights of the global sites of a pair, with the local ones averaged out (Andrieu & Roberts 2009).

    log W(g) = log p(g) - log q(g) + log p(y | g) + sum_n log (1/K) sum_k w_nk(g),      g ~ q(g)
    w_nk(g) = p(x_n, z_nk | g) / q(z_nk | x_n, g)

Given g the K local draws make unbiased estimates of p(x_n | g), independent over data, so that W is an unbiased
estimate of p(g, x) / q(g), and its mean over g one of p(x_1, ..., x_N). What K local draws leave of noise widens
its tail beside the guide's own misfit. A guide that draws the latents of all data at once, or local sites before
global ones, has no local draws given g: W is then the weight of all latents together, with K = 1.

Andrieu & Roberts (2009): https://arxiv.org/abs/0903.5480
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ppl_vae.checks import integer
from ppl_vae.errors import ModelError
from ppl_vae.inference.estimators.importance_weighted import log_mean_exp
from ppl_vae.inference.evidence.importance import require_weights
from ppl_vae.inference.evidence.weight_chunks import ACTIVATIONS_PER_OUTPUT, MEMORY_LIMIT
from ppl_vae.inference.pair.evaluation import evaluating
from ppl_vae.inference.pair.global_draws import FEWEST, late_global, require_local_given_global
from ppl_vae.inference.pair.labels import Batch
from ppl_vae.inference.pair.point_mass import require_spread
from ppl_vae.inference.pair.protocols import Program
from ppl_vae.inference.pair.runs import run_terms
from ppl_vae.inference.pair.supports import require_cover
from ppl_vae.inference.pair.terms import Terms
from ppl_vae.inference.pair.two_level_noise import TwoLevelNoise
from ppl_vae.progress import advance
from ppl_vae.randomness import derived_seed


@dataclass(frozen=True)
class GlobalBlock:
    """The weights at some draws of the global sites.

    Attributes:
        log_global: log p(g) - log q(g) + log p(y|g) [m], float64, nats.
        log_local: log w of the local sites given the global draw [m, K, N], float64, nats.
        magnitude: the size of the terms of log_local, the scale of their rounding: mean over K [m, N].
        global_magnitude: the same of log_global [m].
        eps: the precision that the pair computed in.
        joint: whether the weights are those of all latents together.
        has_local: whether there are local sites.
    """

    log_global: Tensor
    log_local: Tensor
    magnitude: Tensor
    global_magnitude: Tensor
    eps: float
    joint: bool
    has_local: bool

    @property
    def log_weight(self) -> Tensor:
        """The log weights log W [m], nats."""
        return self.log_global + log_mean_exp(self.log_local, 1).sum(1)

    @property
    def local_variance(self) -> Tensor:
        """The variance of log W that comes from the K local draws, by the delta method [m]; NaN where K is 1."""
        if not self.has_local:
            return torch.zeros_like(self.log_global)
        if self.log_local.shape[1] == 1:
            return torch.full_like(self.log_global, torch.nan)
        relative = (self.log_local - log_mean_exp(self.log_local, 1).unsqueeze(1)).exp()
        return relative.var(1).sum(1) / self.log_local.shape[1]


def global_blocks(
    model: Program,
    guide: Program,
    x: Tensor,
    num_global: int,
    num_local: int,
    seed: int,
    memory_limit: int = MEMORY_LIMIT,
    labels: Batch = (),
    local_alone: bool = False,
) -> Iterator[GlobalBlock]:
    """The weights at draws of the global sites, block by block, without gradients. Every pass has all data.

    Gaussian guides draw from noise of every global and local draw (``two_level_noise``), so that their weights do
    not depend on where the passes are cut but for rounding; other guides draw from one stream, whose order does.

    Args:
        model: the generative program.
        guide: its guide.
        x: all data [N, *event_shape].
        num_global: M draws of the global sites, at least two.
        num_local: K local draws at each.
        seed: of the draws; torch's generators are left as they were.
        memory_limit: bytes that the activations of a pass may take, roughly.
        labels: the covariates of a pair that takes any, each [N, ...].
        local_alone: whether weights of the local sites given the global draw are asked for; then a guide that has
            none is refused.

    Raises:
        ModelError: the pair is refused, or has no global sites; the site is named. Or a weight is NaN or +inf.
    """
    integer("num_global", num_global, least=FEWEST)
    batch = (x, *labels)
    with torch.no_grad(), evaluating(model, guide, seed=derived_seed(seed, 0), device=x.device):
        probe = run_terms(model, guide, batch, {}, FEWEST, both_levels=True)
        joint = _judged(probe, local_alone)
    # Without local sites there is nothing to be averaged out.
    draws = 1 if joint or not probe.sites else integer("num_local", num_local)
    numbers = memory_limit // (x.element_size() * ACTIVATIONS_PER_OUTPUT * len(x) * max(1, x[0].numel()))
    at_once = min(draws, max(FEWEST, numbers))
    together = min(num_global, max(FEWEST, numbers // at_once))
    # None of the parts is shorter than asked for, so that none is a run with a single draw.
    for number, part in enumerate(np.array_split(range(num_global), num_global // together)):
        with torch.no_grad(), evaluating(model, guide, seed=derived_seed(seed, 1, number), device=x.device):
            noise = _Noise(derived_seed(seed, 2), frozenset(probe.whole.sites if probe.whole else ()), int(part[0]))
            block = _block(model, guide, batch, (len(part), draws, at_once), joint, local_alone, noise)
        advance(len(part))
        yield block


@dataclass(frozen=True)
class _Noise:
    """The noise of a block: its seed, the names of the global sites, and the first global draw."""

    seed: int
    whole: frozenset[str]
    first: int


def _block(
    model: Program,
    guide: Program,
    batch: Batch,
    counts: tuple[int, int, int],
    joint: bool,
    local_alone: bool,
    noise: _Noise,
) -> GlobalBlock:
    """Draw g once, and the local sites in parts at the same g: m draws of g, K local ones, so many at once."""
    num_global, num_local, at_once = counts
    parts: list[Terms] = []
    given: dict[str, Tensor] = {}
    for count in [at_once] * (num_local // at_once) + [num_local % at_once] * bool(num_local % at_once):
        first = noise.first, len(parts) * at_once
        handler = TwoLevelNoise(noise.seed, noise.whole, first, (num_global, count), given)
        terms = run_terms(
            model, guide, batch, {}, num_global * count, draw_handler=handler, share_draws=count, both_levels=True
        )
        parts.append(terms)
        more = num_local % at_once if len(parts) == num_local // at_once else at_once
        given = _same_global(parts[0], at_once, max(1, more))
    of_set = parts[0].whole
    assert of_set is not None
    every = slice(None, None, at_once)
    log_local = torch.cat([_by_global(each.log_weight, num_global) for each in parts], 1)
    size = torch.cat([_by_global(_magnitude(each), num_global) for each in parts], 1).mean(1)
    # A point has no density: what is asked of local sites alone does not read it.
    log_global = log_local.new_zeros(num_global) if local_alone else of_set.log_weight[every, 0].double()
    for index, weights in enumerate(log_local.sum(-1).logsumexp(1) + log_global):
        if not weights.isfinite():
            require_weights(log_local[index], 0)
            raise ModelError("the weight of a draw of the global sites is NaN or infinite, or zero")
    global_size = torch.zeros_like(log_global) if local_alone else _magnitude(of_set)[every, 0].double()
    eps = torch.finfo(parts[0].log_likelihood.dtype).eps
    return GlobalBlock(log_global, log_local, size, global_size, eps, joint, bool(parts[0].sites) or joint)


def _by_global(values: Tensor, num_global: int) -> Tensor:
    return values.double().unflatten(0, (num_global, -1))


def _magnitude(terms: Terms) -> Tensor:
    return terms.log_likelihood.abs() + terms.log_prior.abs() + terms.log_guide.abs()


def _same_global(first: Terms, had: int, count: int) -> dict[str, Tensor]:
    """The global sites' draws of a run that had ``had`` local draws at each, for ``count`` of them."""
    assert first.whole is not None
    draws = {name: site.draw for name, site in first.whole.sites.items() if not site.transforms}
    return {name: draw[::had].repeat_interleave(count, 0) for name, draw in draws.items()}


def _judged(terms: Terms, local_alone: bool) -> bool:
    """Tell whether all latents must be weighed together.

    Raises:
        ModelError: the pair has no weights of its global sites; a site is named.
    """
    whole = terms.whole
    if whole is None or not whole.sites:
        raise ModelError("the model has no global sites: run_importance weighs the latents of each datum")
    if not local_alone:
        require_spread(whole.sites)
        require_cover(whole.sites)
    require_cover(terms.sites)
    standings = {name: site.standing for name, site in whole.sites.items()}
    standings |= {name: site.standing for name, site in whole.observations.items()}
    for name, standing in standings.items():
        if standing is not None and standing.factor != 1.0:
            raise ModelError(
                f"site {name!r} stands in a plate that takes some of its groups alone: the weights of the set need "
                "all of them"
            )
    if not math.isclose(terms.num_total, terms.log_likelihood.shape[1]):
        raise ModelError(
            f"the data plate stands for {terms.num_total:g} data and {terms.log_likelihood.shape[1]} are given: "
            "the weights of the set need all of them"
        )
    if local_alone:
        require_local_given_global(terms, "run_global_importance weighs all of them together")
    return late_global(terms) is not None or terms.coupling is not None
