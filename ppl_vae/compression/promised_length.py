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

from ppl_vae.containers import Data
from ppl_vae.errors import ModelError
from ppl_vae.inference import evaluate
from ppl_vae.inference.pair.admission import admitted
from ppl_vae.inference.pair.pair import PairLike
from ppl_vae.renamed import by_keyword


@by_keyword("seed")
def code_length(pair: PairLike, x: Data, num_particles: int = 10, *, seed: int = 0) -> pd.DataFrame:
    """Tabulate rate, distortion and length, each with its standard error over data and draws.

    Args:
        pair: an object with ``.model`` and ``.guide``, or a tuple of the two programs.
        x: discrete data [N, *event_shape]: a density is no code length.
        num_particles: draws per datum.
        seed: of the draws.

    Returns:
        The rows "rate", "distortion" and "length", with "bits_per_datum", "bits_per_dim" and their errors.

    Raises:
        ModelError: the pair is refused, or has no ELBO.
        DataError: the likelihood has no density for some value.
    """
    evaluation = evaluate(pair, x, num_particles=num_particles, seed=seed)
    if not evaluation.is_bound:
        raise ModelError("this pair has no ELBO, and so no code length: its prior is improper")
    parts = {
        "rate": evaluation.log_likelihood - evaluation.elbo,
        "distortion": -evaluation.log_likelihood,
        "length": -evaluation.elbo,
    }
    size = admitted(pair, x)[1][0][0].numel()
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
