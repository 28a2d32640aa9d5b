"""Recipes of sequences beside the Markov chain of ``programs``.

Fortuin et al. 2020, https://arxiv.org/abs/1907.04155.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

from ppl_vae.models import GPVAE
from ppl_vae.recipes.programs import warmed_up
from ppl_vae.recipes.recipe import Row

SEQUENCES: Mapping[str, Row] = {
    "gp-vae": Row(
        "sequences with frames missing: latent channels that are Gaussian processes, a guide banded over time",
        "Fortuin, Baranchuk, Raetsch & Mandt 2020",
        {
            "num_channels": 6,
            "network": {"name": "mlp", "hidden": (64,), "activation": "relu"},
            "likelihood": {"name": "missing-pixels", "of": "bernoulli"},
        },
        # A guide that starts with frames apart is far from a smooth process: hundreds of nats, that swamp the data.
        elbo=functools.partial(warmed_up, num_steps=100, first_weight=0.01),
        program=GPVAE,
    ),
}
