r"""The length that a VAE promises: rate, distortion and bits per dimension.

    rate        KL(q(z|x) || p(z)) / log 2           bits per datum, with its share of the KL of global sites
    distortion  -E_q log2 p(x|z)                     bits per datum
    length      rate + distortion = -ELBO / log 2

The ideal code length of x under a distribution p is -log2 p(x) (Shannon 1948): its mean over data is the cross
entropy, which the ELBO bounds from above.
"""

from __future__ import annotations

import math

import pandas as pd
import torch
from torch import Tensor

from ppl_vae.containers import Data
from ppl_vae.errors import DataError, ModelError
from ppl_vae.inference import evaluate
from ppl_vae.inference.pair.admission import admitted
from ppl_vae.inference.pair.evaluation import data_per_chunk, evaluating
from ppl_vae.inference.pair.labels import Batch
from ppl_vae.inference.pair.masses import is_mass
from ppl_vae.inference.pair.pair import Pair, PairLike
from ppl_vae.inference.pair.runs import run_terms
from ppl_vae.inference.pair.scales import value_mask
from ppl_vae.inference.pair.terms import Observation
from ppl_vae.models.labelled.quadrants import HiddenPixels
from ppl_vae.renamed import by_keyword


@by_keyword("seed")
def code_length(pair: PairLike, x: Data, num_particles: int = 10, *, seed: int = 0) -> pd.DataFrame:
    """Tabulate rate, distortion and length, each with its standard error over data and draws.

    Args:
        pair: an object with ``.model`` and ``.guide``, or a tuple of the two programs.
        x: discrete data [N, *event_shape]: a density is no code length. A missing coordinate, NaN, costs nothing
            and is no dimension.
        num_particles: draws per datum.
        seed: of the draws.

    Returns:
        The rows "rate", "distortion" and "length", with "bits_per_datum", "bits_per_dim" and their errors.

    Raises:
        ModelError: the pair is refused, or has no ELBO; or an observed site has a density: it is named.
        DataError: the likelihood has no density for some value, or could never draw it, as a grey one.
    """
    own, batch = admitted(pair, x)
    _require_masses(own, batch)
    evaluation = evaluate(pair, x, num_particles=num_particles, seed=seed)
    if not evaluation.is_bound:
        raise ModelError("this pair has no ELBO, and so no code length: its prior is improper")
    parts = {
        "rate": evaluation.log_likelihood - evaluation.elbo,
        "distortion": -evaluation.log_likelihood,
        "length": -evaluation.elbo,
    }
    size = scored_dimensions(own, batch[0])
    rows = {}
    for name, nats in parts.items():
        bits = nats.double() / math.log(2)
        error = bits.std().item() / math.sqrt(len(bits)) if len(bits) > 1 else math.nan
        rows[name] = {
            "bits_per_datum": bits.mean().item(),
            "bits_per_datum_stderr": error,
            "bits_per_dim": bits.mean().item() / size,
            "bits_per_dim_stderr": error / size,
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def scored_dimensions(pair: Pair, x: Tensor) -> float:
    """The mean number of a datum's coordinates that are scored, of data x [N, *event_shape]."""
    scored = ~x.isnan()
    likelihood = getattr(pair.model, "likelihood", None)
    if isinstance(likelihood, HiddenPixels):
        scored = scored & likelihood.hidden.to(x.device)
    return scored.sum().item() / len(x)


def _require_masses(pair: Pair, batch: Batch) -> None:
    """Refuse a pair whose observed sites have no probability mass at these data.

    Raises:
        ModelError: a site has a density, whose bits depend on the units of the data.
        DataError: a value is outside of a site's support, such as a grey one under the relaxed Bernoulli.
    """
    for name, site in _observed(pair, batch):
        _require_mass(name, site)


@torch.no_grad()
def _observed(pair: Pair, batch: Batch) -> list[tuple[str, Observation]]:
    """The observed sites of some of the data, by name."""
    few = tuple(part[: data_per_chunk(batch[0], 1)] for part in batch)
    with evaluating(pair.model, pair.guide, seed=0, device=batch[0].device):
        levels = run_terms(pair.model, pair.guide, few, both_levels=True).levels
    return [(name, site) for level in levels for name, site in level.observations.items() if site.is_data]


def _require_mass(name: str, site: Observation) -> None:
    support = site.p.support
    if support is None:
        return
    if not is_mass(site):
        raise ModelError(
            f"site {name!r} has a density, and a density is no code length: its bits depend on the units of the "
            "data; take a likelihood of discrete data, such as 'bernoulli' or 'discretised-logistic'"
        )
    mask, value = value_mask(site.p, site.mask), site.value
    missing = value.isnan() if mask is None else value.isnan() | ~mask.to(value.device)
    if missing.any():
        drawn = site.p.sample().reshape(-1, *site.p.event_shape)[0]
        value = torch.where(missing, drawn.to(value.dtype), value)
    if not bool(support.check(value).all()):
        raise DataError(
            f"site {name!r}: some values could never be drawn, so that they have no code; binarise them"
        )
