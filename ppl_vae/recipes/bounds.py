"""Recipes of bounds from several importance weights.

Burda et al. 2016, https://arxiv.org/abs/1509.00519; Rainforth et al. 2018, https://arxiv.org/abs/1802.04537;
Tucker et al. 2019, https://arxiv.org/abs/1810.04152; Li & Turner 2016, https://arxiv.org/abs/1602.02311.
"""

from __future__ import annotations

from collections.abc import Mapping

from ppl_vae.inference import CIWAE, MIWAE, PIWAE, DReG, ImportanceWeighted, Renyi
from ppl_vae.recipes.recipe import Row

# The network of the importance-weighted autoencoder's paper and of those that compare themselves with it.
TWO_TANH_LAYERS = {"name": "mlp", "hidden": (200, 200), "activation": "tanh"}

BOUNDS: Mapping[str, Row] = {
    "iwae": Row(
        "several importance weights in one bound",
        "Burda, Grosse & Salakhutdinov 2016",
        {"latent_dim": 50, "network": TWO_TANH_LAYERS},
        elbo=ImportanceWeighted,
    ),
    "miwae": Row(
        "the mean of several importance-weighted bounds",
        "Rainforth et al. 2018",
        {"latent_dim": 50, "network": TWO_TANH_LAYERS},
        elbo=MIWAE,
    ),
    "piwae": Row(
        "many importance weights for the model, means of few for the guide",
        "Rainforth et al. 2018",
        {"latent_dim": 50, "network": TWO_TANH_LAYERS},
        elbo=PIWAE,
    ),
    "ciwae": Row(
        "a combination of the ELBO and the importance-weighted bound",
        "Rainforth et al. 2018",
        {"latent_dim": 50, "network": TWO_TANH_LAYERS},
        elbo=CIWAE,
    ),
    "dreg-iwae": Row(
        "the importance-weighted bound with doubly reparameterised gradients",
        "Tucker et al. 2019",
        {"latent_dim": 50, "network": TWO_TANH_LAYERS},
        elbo=DReG,
    ),
    "renyi-vae": Row(
        "the variational Renyi bound of order alpha",
        "Li & Turner 2016",
        {"latent_dim": 50, "network": TWO_TANH_LAYERS},
        elbo=Renyi,
    ),
}
