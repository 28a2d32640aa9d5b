"""The function ``sample``: draws of data as the data were given, a frame with names where they were a table."""

from __future__ import annotations

from typing import Any

import torch

from ppl_vae.checks import whole
from ppl_vae.errors import ModelError
from ppl_vae.models.likelihoods.columns import Columns
from ppl_vae.models.program_pair import ProgramPair
from ppl_vae.randomness import seeded


def sample(vae: ProgramPair, num_samples: int, *, seed: int = 0) -> Any:
    """Draw data from p(z) p(x|z).

    Args:
        vae: a pair of the package.
        num_samples: how many.
        seed: of the draws; torch's global generators are left as they were.

    Returns:
        Of a likelihood ``Columns`` a pandas DataFrame with the names of the columns, levels by their names; of
        others a tensor [num_samples, *event_shape].

    Raises:
        ModelError: it is no pair of the package's own.

    >>> import ppl_vae as pv
    >>> vae = pv.VAE((2,), 1, likelihood=pv.models.Columns({"age": "gaussian", "smoker": "bernoulli"}))
    >>> sample(vae, 3).columns.tolist()
    ['age', 'smoker']
    """
    if not isinstance(vae, ProgramPair):
        raise ModelError(f"sample needs a pair of the package's own, such as a VAE, got {type(vae).__name__}")
    with seeded(whole("seed", seed, least=None), next(vae.parameters()).device), torch.no_grad():
        drawn = vae.sample(num_samples, with_noise=True)
    likelihood = vae.model.likelihood
    return likelihood.frame(drawn) if isinstance(likelihood, Columns) else drawn
