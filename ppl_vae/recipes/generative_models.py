"""Recipes that are a choice of generative model and guide: networks, likelihoods, priors, posteriors.

Kingma & Welling 2014, https://arxiv.org/abs/1312.6114; Rezende, Mohamed & Wierstra 2014,
https://arxiv.org/abs/1401.4082; Tipping & Bishop 1999, https://doi.org/10.1111/1467-9868.00196;
Rybkin et al. 2021, https://arxiv.org/abs/2006.13202; Kingma et al. 2016, https://arxiv.org/abs/1606.04934;
Chen et al. 2017, https://arxiv.org/abs/1611.02731; Loaiza-Ganem & Cunningham 2019,
https://arxiv.org/abs/1907.06845; Dilokthanakul et al. 2016, https://arxiv.org/abs/1611.02648;
Tomczak & Welling 2018, https://arxiv.org/abs/1705.07120; Davidson et al. 2018, https://arxiv.org/abs/1804.00891;
De Cao & Aziz 2020, https://arxiv.org/abs/2006.04437; Mathieu et al. 2019, https://arxiv.org/abs/1901.06033;
Falorsi et al. 2018, https://arxiv.org/abs/1807.04689; Geffner & Domke 2021, https://arxiv.org/abs/2107.04150;
Zhang et al. 2021, https://arxiv.org/abs/2107.10211; Caterini et al. 2018, https://arxiv.org/abs/1805.11328.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

import torch

from ppl_vae.inference import AnalyticKL, MonteCarloKL
from ppl_vae.recipes.programs import warmed_up
from ppl_vae.recipes.recipe import Row

# Keras's Adam: its epsilon is ten times torch's.
KERAS_ADAM = functools.partial(torch.optim.Adam, eps=1e-7, fused=True)

# Where the concentration falls to nothing before the decoder reads the code, it stays there.
WARMED_UP = functools.partial(warmed_up, num_steps=600)

GENERATIVE_MODELS: Mapping[str, Row] = {
    "vae": Row(
        "Gaussian guide and prior, one hidden layer of 400 units, closed-form KL",
        "Kingma & Welling 2014; Rezende, Mohamed & Wierstra 2014",
        {"latent_dim": 20},
    ),
    "conv-vae": Row(
        "two strided convolutions and their transposes, 2-d latent space",
        "Chollet, Keras examples: convolutional VAE",
        {"latent_dim": 2, "network": "conv", "likelihood": "bernoulli-relaxed"},
        settings={"epochs": 30, "batch_size": 32, "optimizer": KERAS_ADAM, "patience": 2},
    ),
    "tiny-conv-vae": Row(
        "2x2 convolutions for 3x3 images, variance by softplus, 25 decoder draws per encoder pass",
        "a three-by-three VAE written out in NumPy",
        {
            "latent_dim": 2,
            "network": "conv-tiny",
            "likelihood": {"name": "gaussian", "sigma": 0.3},
            "posterior": {"name": "diagonal", "scale": "softplus-variance"},
        },
        elbo=functools.partial(AnalyticKL, num_particles=25),
        settings={"epochs": 4000, "batch_size": 4, "lr": 5e-3},
    ),
    "ppca": Row(
        "probabilistic PCA: one affine map and Gaussian noise, learned by SVI",
        "Tipping & Bishop 1999; Lucas et al. 2019",
        {"latent_dim": 2, "network": "linear", "likelihood": {"name": "gaussian", "sigma": "learned"}},
        settings={"lr": 1e-2},
    ),
    "sigma-vae": Row(
        "a Gaussian likelihood whose one standard deviation is the optimal one of every batch",
        "Rybkin, Daniilidis & Levine 2021",
        {"latent_dim": 20, "likelihood": {"name": "gaussian", "sigma": "optimal"}},
    ),
    "iaf-vae": Row(
        "a guide by inverse autoregressive flow",
        "Kingma et al. 2016",
        {"latent_dim": 20, "posterior": {"name": "flow", "kind": "iaf"}},
        elbo=MonteCarloKL,
    ),
    "flow-prior-vae": Row(
        "an autoregressive flow as the prior",
        "Chen et al. 2017; Papamakarios, Pavlakou & Murray 2017",
        {"latent_dim": 16, "prior": {"name": "flow", "kind": "autoregressive"}},
        elbo=MonteCarloKL,
    ),
    "full-covariance-vae": Row(
        "a guide whose Gaussian has a full covariance matrix",
        "Kingma & Welling 2014, appendix B; Opper & Archambeau 2009",
        {"latent_dim": 20, "posterior": "full-covariance"},
    ),
    "continuous-bernoulli-vae": Row(
        "grey pixels under a normalised likelihood on [0, 1]",
        "Loaiza-Ganem & Cunningham 2019",
        {"latent_dim": 20, "likelihood": "continuous-bernoulli"},
    ),
    "mog-prior-vae": Row(
        "a mixture of Gaussians as the prior, learned",
        "Dilokthanakul et al. 2016; Tomczak & Welling 2018",
        {"latent_dim": 20, "prior": "mixture"},
        elbo=MonteCarloKL,
    ),
    "hyperspherical-vae": Row(
        "codes on a sphere: a von Mises-Fisher guide and a uniform prior, closed-form KL",
        "Davidson et al. 2018",
        {"latent_dim": 6, "prior": "uniform-sphere", "posterior": "von-mises-fisher"},
        elbo=WARMED_UP,
    ),
    "power-spherical-vae": Row(
        "codes on a sphere: a power spherical guide, drawn without rejection, and a uniform prior",
        "De Cao & Aziz 2020",
        {"latent_dim": 6, "prior": "uniform-sphere", "posterior": "power-spherical"},
        elbo=WARMED_UP,
    ),
    "poincare-vae": Row(
        "codes in the Poincare ball, where trees have room: wrapped normals as guide and prior",
        "Mathieu et al. 2019; Nagano et al. 2019",
        {"latent_dim": 2, "prior": "wrapped-normal", "posterior": "wrapped-normal"},
        elbo=MonteCarloKL,
    ),
    "torus-vae": Row(
        "codes that are angles: independent von Mises guides and a uniform prior, closed-form KL",
        "Falorsi et al. 2018; Davidson et al. 2018",
        {"latent_dim": 2, "prior": "uniform-torus", "posterior": "von-mises"},
        elbo=WARMED_UP,
    ),
    "dais-vae": Row(
        "a guide moved by annealed Hamiltonian steps without rejection, their sizes and temperatures learned",
        "Geffner & Domke 2021; Zhang et al. 2021",
        {"latent_dim": 16, "posterior": {"name": "dais", "num_steps": 4}},
        elbo=MonteCarloKL,
    ),
    "hamiltonian-vae": Row(
        "a guide carried along a tempered Hamiltonian trajectory of the model",
        "Caterini, Doucet & Sejdinovic 2018",
        {"latent_dim": 16, "posterior": {"name": "hamiltonian", "num_steps": 4}},
        elbo=MonteCarloKL,
    ),
    "vamp-vae": Row(
        "a mixture of the guide's posteriors at learned pseudo-inputs as the prior",
        "Tomczak & Welling 2018",
        {"latent_dim": 40, "prior": "vamp"},
        elbo=MonteCarloKL,
        settings={"lr": 5e-4, "batch_size": 100},
    ),
}
