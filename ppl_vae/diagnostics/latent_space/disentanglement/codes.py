"""The codes of data under a pair: the mean of q(z|x), and one draw from it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ppl_vae.containers import Data
from ppl_vae.diagnostics.given import admitted
from ppl_vae.errors import ModelError
from ppl_vae.inference.pair.active_units import expected_codes, needs_draws
from ppl_vae.inference.pair.at_global import at_global_draws
from ppl_vae.inference.pair.conditioned import Conditioned
from ppl_vae.inference.pair.evaluation import data_per_chunk, evaluating
from ppl_vae.inference.pair.latent_coordinates import coordinates
from ppl_vae.inference.pair.pair import PairLike
from ppl_vae.inference.pair.prior_spread import prior_moments, prior_variance
from ppl_vae.inference.pair.runs import run_terms
from ppl_vae.inference.pair.validity import require_numbers
from ppl_vae.randomness import derived_seed

CODES_STREAM = 61
INSTEAD = "there is no code of a datum"
#: What codes are judged: the posterior's mean, or a draw of it.
REPRESENTATIONS = ("mean", "sample")


@torch.no_grad()
def mean_and_sampled_codes(
    pair: PairLike, x: Data, num_draws: int = 10, seed: int = 0
) -> dict[str, NDArray[np.float64]]:
    """The codes E q(z|x), one draw of q(z|x), and Var p(z), all latent sites one after the other: [N, U] or [U].

    Of a pair with global sites g they are those of q(z|x, g), its mean averaged over ``num_draws`` draws of g.

    Args:
        pair: an object with ``.model`` and ``.guide``, or a tuple of the two programs.
        x: data [N, *event_shape].
        num_draws: per datum, of which a mean is made that has no closed form.
        seed: of the draws.

    Raises:
        ModelError: the pair is refused, or has no latent site.
        DataError: the likelihood has no density for some value.
    """
    given = admitted(pair, x, least=2)
    held = at_global_draws(given, num_draws, derived_seed(seed, CODES_STREAM, 1), INSTEAD)
    every = [_codes(each, num_draws, seed) for each in held or [given]]
    averaged = {name: np.mean([codes[name] for codes in every], 0) for name in ("mean", "prior_variance")}
    return averaged | {"sample": every[0]["sample"]}


def _codes(given: Conditioned, num_draws: int, seed: int) -> dict[str, NDArray[np.float64]]:
    """The codes of a pair of one level."""
    means: list[Tensor] = []
    draws: list[Tensor] = []
    moments: list[Tensor] = []
    with evaluating(*given.programs, seed=derived_seed(seed, CODES_STREAM), device=given.x.device):
        few = run_terms(*given.programs, given[:2].batch)
        if not any(site.p is not None for site in few.sites.values()):
            raise ModelError("the model has no latent site: there is no code")
        particles = num_draws if needs_draws(few) else 1
        for part in given.split(data_per_chunk(given.x, particles)):
            terms = run_terms(*part.programs, part.batch, {}, particles)
            require_numbers(terms)
            sites = [site for site in terms.sites.values() if site.p is not None]
            means.append(expected_codes(terms)[0])
            draws.append(torch.cat([coordinates(site.value)[0] for site in sites], -1))
            moments.append(prior_moments(terms))
    found = {"mean": torch.cat(means), "sample": torch.cat(draws), "prior_variance": prior_variance(moments)}
    return {name: values.double().cpu().numpy() for name, values in found.items()}
