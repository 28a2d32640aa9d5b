"""Sampling importance resampling (Rubin 1987): draws of the guide, chosen anew by their smoothed weights.

The weights are smoothed as by Vehtari, Simpson, Gelman, Yao & Gabry 2024, https://arxiv.org/abs/1507.02646.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ppl_vae.arrays import Array
from ppl_vae.checks import integer
from ppl_vae.diagnostics.given import admitted, require_own_posterior
from ppl_vae.diagnostics.importance.importance import LEAST_SAMPLES
from ppl_vae.inference.evidence.importance import WeightBlock, weight_blocks
from ppl_vae.inference.evidence.pareto import smooth
from ppl_vae.inference.evidence.weight_chunks import MEMORY_LIMIT
from ppl_vae.inference.pair.pair import PairLike
from ppl_vae.randomness import derived_seed, seeded
from ppl_vae.renamed import by_keyword

STREAM = 12


@by_keyword("seed")
def resample_posterior(
    pair: PairLike,
    x: Array,
    num_draws: int,
    num_samples: int = 1000,
    *,
    memory_limit: int = MEMORY_LIMIT,
    seed: int = 0,
) -> dict[str, Tensor]:
    """Draw nearer to p(z|x) than the guide does: by resampling S of its draws with their smoothed weights.

    A draw may come several times. Where k-hat is above its threshold the result is not to be trusted.

    Args:
        pair: an object with ``.model`` and ``.guide``, or a tuple of the two programs.
        x: [N, *event_shape].
        num_draws: of every datum in the result.
        num_samples: S draws of the guide they are taken from, at least 25.
        seed: of all draws.
        memory_limit: bytes that the activations of a pass may take, roughly.

    Returns:
        By latent site, [num_draws, N, *event].

    Raises:
        ModelError: the pair or an argument is refused.
        DataError: x is empty, or the model's likelihood has no density for some value of it.
    """
    integer("num_draws", num_draws)
    integer("num_samples", num_samples, least=LEAST_SAMPLES)
    given = admitted(pair, x)
    require_own_posterior(given, seed, "resample_posterior")
    source = derived_seed(seed, STREAM)
    found: dict[str, list[Tensor]] = {}
    (model, guide), c = given.programs, given.covariates
    for block in weight_blocks(
        model, guide, given.x, num_samples, source, memory_limit, keep_values=True, labels=c
    ):
        chosen = _chosen(block, num_draws, derived_seed(source, block.first))
        for name, value in block.values.items():
            index = chosen.reshape(*chosen.shape, *[1] * (value.dim() - 2))
            found.setdefault(name, []).append(value.take_along_dim(index, 0))
    return {name: torch.cat(parts, 1) for name, parts in found.items()}


def _chosen(block: WeightBlock, num_draws: int, seed: int) -> Tensor:
    """Choose among the S draws by their weights: [num_draws, n]."""
    weight = smooth(block.log_weight).log_weight.exp()
    with seeded(seed, weight.device):
        return torch.multinomial(weight.mT, num_draws, replacement=True).mT
