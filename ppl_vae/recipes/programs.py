"""Recipes of programs with latents of their own: hierarchies, categories, clusters, sequences, discrete codes.

Sønderby et al. 2016, https://arxiv.org/abs/1602.02282; Jang et al. 2017, https://arxiv.org/abs/1611.01144;
Maddison et al. 2017, https://arxiv.org/abs/1611.00712; Dupont 2018, https://arxiv.org/abs/1804.00104;
Kingma et al. 2014, https://arxiv.org/abs/1406.5298; Jiang et al. 2017, https://arxiv.org/abs/1611.05148;
Child 2021, https://arxiv.org/abs/2011.10650; Vahdat & Kautz 2020, https://arxiv.org/abs/2007.03898;
Adiban et al. 2022, https://arxiv.org/abs/2208.04554;
Locatello et al. 2020, https://arxiv.org/abs/2002.02886;
Bepler et al. 2019, https://arxiv.org/abs/1909.11663;
Krishnan et al. 2017, https://arxiv.org/abs/1609.09869; Bouchacourt et al. 2018, https://arxiv.org/abs/1705.08841;
Srivastava & Sutton 2017, https://arxiv.org/abs/1703.01488; van den Oord et al. 2017, https://arxiv.org/abs/1711.00937.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Protocol

import torch

from ppl_vae.inference import (
    Annealed,
    ClassifierTerm,
    Enumeration,
    FreeBits,
    GumbelSoftmax,
    MonteCarloKL,
    Objective,
    SkippingAdam,
    SpectralNorm,
    VectorQuantisation,
    get_elbo,
)
from ppl_vae.inference.objectives import schedules
from ppl_vae.models import (
    VQVAE,
    AdaGroupVAE,
    BayesianDecoderVAE,
    CategoricalVAE,
    CompletionVAE,
    DeepMarkovModel,
    GaussianMixtureVAE,
    GroupsVAE,
    HierarchicalVAE,
    InvariantVAE,
    JointVAE,
    LadderVAE,
    ResidualVQVAE,
    SemiSupervisedVAE,
    SharedContentVAE,
    TopicVAE,
    VeryDeepVAE,
)
from ppl_vae.models.labelled.covariate_vae import conditional_vae
from ppl_vae.recipes.recipe import Row
from ppl_vae.recipes.weightings import beta_objective
from ppl_vae.renamed import renamed


@renamed(steps="num_steps")
def warmed_up(
    estimator: str = "analytic-kl", num_particles: int = 1, num_steps: int = 5000, first_weight: float = 0.0
) -> Annealed:
    """Raise the KL weight from ``first_weight`` to 1, linearly in ``num_steps``: no level is dropped at once."""
    return Annealed(get_elbo(estimator, num_particles=num_particles), schedules.linear(num_steps, first_weight))


class HasConfigurations(Protocol):
    """A pair whose discrete latents have few values."""

    @property
    def num_configurations(self) -> int:
        """How many there are, which an exact enumeration sums over."""


def discrete_objective(
    vae: HasConfigurations, estimator: str = "enumeration", num_particles: int = 1, temperature: float = 0.5
) -> Objective:
    """Make the objective of a discrete site: "enumeration", "gumbel-softmax" or a score function such as "rloo"."""
    if estimator == "enumeration":
        return Enumeration(vae.num_configurations)
    if estimator == "gumbel-softmax":
        return GumbelSoftmax(num_particles, temperature)
    return get_elbo(estimator, num_particles=num_particles)


def with_classifier(
    vae: HasConfigurations,
    alpha: float = 2.0,
    estimator: str = "enumeration",
    num_particles: int = 1,
    temperature: float = 0.5,
) -> ClassifierTerm:
    """Add alpha times the cross entropy of q(y|x) with the known labels to the objective of a discrete site."""
    return ClassifierTerm(discrete_objective(vae, estimator, num_particles, temperature), alpha)


def straight_through(commitment: float = 0.25) -> VectorQuantisation:
    """Train by the bound with the straight-through gradient, and by the commitment."""
    return VectorQuantisation(commitment=commitment)


def free_bits_and_spectral_norms(vae: VeryDeepVAE, floor: float = 0.5, weight: float = 1e-3) -> SpectralNorm:
    """Train by the bound with ``floor`` nats for free in every level, and a weight on the spectral norms."""
    return SpectralNorm(FreeBits("analytic-kl", floor, group_size=None), vae.model, vae.guide, weight=weight)


RELU = {"name": "mlp", "hidden": (400,), "activation": "relu"}
SMALL = {**RELU, "hidden": (128,)}
FAST_ADAM = functools.partial(torch.optim.Adam, betas=(0.99, 0.999), fused=True)

PROGRAMS: Mapping[str, Row] = {
    "hierarchical-vae": Row(
        "two levels of Gaussian latents, the guide drawn from the data upwards",
        "Rezende, Mohamed & Wierstra 2014; Burda, Grosse & Salakhutdinov 2016",
        {"latent_dims": (20, 10)},
        elbo=MonteCarloKL,
        program=HierarchicalVAE,
    ),
    "ladder-vae": Row(
        "two levels of Gaussian latents, the guide drawn from the top downwards and sharing the model's arrows",
        "Sonderby et al. 2016",
        {"latent_dims": (20, 10)},
        elbo=warmed_up,
        program=LadderVAE,
    ),
    "very-deep-vae": Row(
        "many levels of latent images along one residual path from one pixel to the data; free bits in each",
        "Child 2021; Vahdat & Kautz 2020",
        {"channels": 2, "width": 16, "levels_each": 2},
        elbo=free_bits_and_spectral_norms,
        settings={"lr": 2e-3, "optimizer": functools.partial(SkippingAdam, times=5.0)},
        program=VeryDeepVAE,
    ),
    "categorical-vae": Row(
        "many categorical latents, relaxed; or few, summed out",
        "Jang, Gu & Poole 2017; Maddison, Mnih & Teh 2017",
        {"num_variables": 20, "num_categories": 10},
        elbo=functools.partial(discrete_objective, estimator="gumbel-softmax"),
        program=CategoricalVAE,
    ),
    "bayesian-decoder-vae": Row(
        "a decoder whose weights have a prior and a posterior, global sites beside the code of each datum",
        "Kingma & Welling 2014, appendix F; Blundell et al. 2015",
        {"latent_dim": 2, "hidden": (64,)},
        elbo=MonteCarloKL,
        settings={"lr": 5e-3},
        program=BayesianDecoderVAE,
    ),
    "factor-analysis-ard": Row(
        "factor analysis with a global scale for each factor, which turns off those that the data do not need",
        "Bishop 1999; MacKay 1995",
        {"latent_dim": 8, "hidden": (), "ard": True, "likelihood": {"name": "gaussian", "sigma": "learned"}},
        elbo=MonteCarloKL,
        settings={"lr": 1e-2},
        program=BayesianDecoderVAE,
    ),
    "hierarchical-groups-vae": Row(
        "groups of data that shift the code: what a group shares is a global site in a plate of groups",
        "Bouchacourt, Tomioka & Nowozin 2018; Gelman & Hill 2006",
        {"latent_dim": 8, "num_classes": 10},
        program=GroupsVAE,
    ),
    "prod-lda": Row(
        "topics of documents by a product of experts: multinomial counts, a logistic-normal prior near a Dirichlet",
        "Srivastava & Sutton 2017",
        # The paper's network and rate of Adam's first moment, against topics that collapse.
        {"latent_dim": 20, "concentration": 1.0, "network": {"name": "mlp", "hidden": (100, 100)}},
        elbo=functools.partial(warmed_up, num_steps=1000),
        settings={"lr": 2e-3, "batch_size": 200, "optimizer": FAST_ADAM},
        program=TopicVAE,
    ),
    "joint-vae": Row(
        "a category, summed out, beside a continuous code",
        "Dupont 2018",
        {"latent_dim": 2, "num_categories": 10},
        elbo=discrete_objective,
        program=JointVAE,
    ),
    "semi-supervised-vae": Row(
        "classes from few labels: the label is summed out where it is missing, and a classifier is trained along; "
        "the ELBO of data with labels is the bound of log p(x, y)",
        "Kingma, Mohamed, Rezende & Welling 2014",
        # The paper's 50 dimensions, 500 softplus units and 0.1 for alpha are for MNIST and thousands of epochs.
        # As there, q(y|x) has a network of its own. With noise before it, few labels are not learned by heart.
        {
            "latent_dim": 10,
            "num_classes": 10,
            "network": SMALL,
            "hidden": (64,),
            "classifier": {"name": "denoising", "of": SMALL, "noise": "gaussian", "level": 0.4},
        },
        elbo=with_classifier,
        settings={"batch_size": 64, "lr": 5e-3},
        program=SemiSupervisedVAE,
    ),
    "conditional-vae": Row(
        "p(x|y) of a known class, or of covariates of any kind: the code is what varies within it",
        "Kingma, Mohamed, Rezende & Welling 2014; Sohn, Lee & Yan 2015",
        {"latent_dim": 8, "num_classes": 10, "network": RELU},
        program=conditional_vae,
    ),
    "completion-vae": Row(
        "p(hidden quadrants | seen ones) of an image: a baseline network, and a code for which completion it is",
        "Sohn, Lee & Yan 2015",
        {"latent_dim": 8, "visible": 1, "network": RELU},
        program=CompletionVAE,
    ),
    "gaussian-mixture-vae": Row(
        "clustering: the component of a Gaussian mixture is a latent, summed out",
        "Dilokthanakul et al. 2016; Jiang et al. 2017",
        {"latent_dim": 8, "num_categories": 10},
        elbo=discrete_objective,
        program=GaussianMixtureVAE,
    ),
    "deep-markov-model": Row(
        "sequences: a chain of Gaussian latents with a gated transition, smoothed by an RNN that reads backwards",
        "Krishnan, Shalit & Sontag 2017",
        {"latent_dim": 16, "network": {"name": "mlp", "hidden": (64,), "activation": "relu"}},
        elbo=functools.partial(warmed_up, num_steps=1000, first_weight=0.2),
        # The paper's rate of 8e-4 is for thousands of epochs.
        settings={"lr": 5e-3, "max_grad_norm": 10.0},
        program=DeepMarkovModel,
    ),
    "invariant-vae": Row(
        "images whose rotation, translation and scale are latents of their own, which the code does not know",
        "Bepler, Zhong, Kelley, Brignole & Berger 2019",
        {"latent_dim": 4, "network": SMALL},
        program=InvariantVAE,
    ),
    "group-vae": Row(
        "groups of data that share a content: every member adds evidence about it, and has a style of its own",
        "Bouchacourt, Tomioka & Nowozin 2018",
        {"content_dim": 5, "style_dim": 5},
        program=SharedContentVAE,
    ),
    "ada-gvae": Row(
        "pairs that share some factors, nobody knows which: dimensions that agree are averaged",
        "Locatello, Poole, Raetsch, Schoelkopf, Bachem & Tschannen 2020",
        {"latent_dim": 10},
        elbo=functools.partial(beta_objective, beta=1.0),
        program=AdaGroupVAE,
    ),
    "vq-vae": Row(
        "discrete codes: the nearest of a codebook in every cell, and a prior over them learned cell by cell",
        "van den Oord, Vinyals & Kavukcuoglu 2017",
        {"num_cells": 4, "num_codes": 32, "code_dim": 32, "codebook": {"learning": "ema", "decay": 0.95}},
        elbo=straight_through,
        program=VQVAE,
    ),
    "hrq-vae": Row(
        "discrete codes in a tree: each level quantises what the one above has left over, among a code's children",
        "Adiban, Stefanov, Siniscalchi & Salvi 2022",
        {
            "num_cells": 4,
            "num_codes": 6,
            "num_levels": 3,
            "code_dim": 16,
            "codebook": {"learning": "ema", "decay": 0.95},
        },
        elbo=straight_through,
        program=ResidualVQVAE,
    ),
}
