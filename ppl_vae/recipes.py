"""Recipes: named points on the three axes (generative model, guide, objective), one row of a table each."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor

from ppl_vae.errors import ModelError, unknown_name
from ppl_vae.inference import (
    CIWAE,
    DIP,
    MIWAE,
    MMD,
    PIWAE,
    AnalyticKL,
    Annealed,
    Beta,
    Capacity,
    DReG,
    FreeBits,
    ImportanceWeighted,
    MonteCarloKL,
    Objective,
    Renyi,
    TotalCorrelation,
    get_elbo,
    schedules,
)
from ppl_vae.inference.settings import Settings
from ppl_vae.models import VAE


@dataclass(frozen=True)
class Recipe:
    """A model, the objective that trains it, and the settings of its paper; ``pv.fit(recipe, data)`` uses all."""

    name: str
    vae: VAE
    elbo: Objective
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Row:
    """One recipe of the table.

    Attributes:
        summary: what it is, in one line.
        paper: where it comes from.
        parts: arguments of VAE.
        elbo: makes the objective from its options.
        settings: arguments of fit.
    """

    summary: str
    paper: str
    parts: Mapping[str, Any] = field(default_factory=dict)
    elbo: Callable[..., Objective] = AnalyticKL
    settings: Mapping[str, Any] = field(default_factory=dict)


def beta_objective(beta: float = 4.0, estimator: str = "analytic-kl", num_particles: int = 1) -> Beta:
    """A weight on the KL of any estimator."""
    return Beta(get_elbo(estimator, num_particles=num_particles), beta)


def rising_capacity(gamma: float = 1000.0, capacity: float = 25.0, steps: int = 100_000) -> Capacity:
    """A capacity that rises linearly from 0 to ``capacity`` nats in ``steps`` optimiser steps."""
    return Capacity("analytic-kl", gamma, schedules.linear(steps, 0.0, capacity))


def cycles(steps: int = 40_000, num_cycles: int = 4, ramp: float = 0.5) -> Annealed:
    """Cyclical annealing of the KL weight over ``steps`` optimiser steps."""
    return Annealed("analytic-kl", schedules.cyclical(steps, num_cycles, ramp))


# Keras's Adam: its epsilon is ten times torch's.
KERAS_ADAM = functools.partial(torch.optim.Adam, eps=1e-7, fused=True)

# The network of the importance-weighted autoencoder's paper and of those that compare themselves with it.
TWO_TANH_LAYERS = {"name": "mlp", "hidden": (200, 200), "activation": "tanh"}

RECIPES: Mapping[str, Row] = {
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
    "vamp-vae": Row(
        "a mixture of the guide's posteriors at learned pseudo-inputs as the prior",
        "Tomczak & Welling 2018",
        {"latent_dim": 40, "prior": "vamp"},
        elbo=MonteCarloKL,
        settings={"lr": 5e-4, "batch_size": 100},
    ),
    "beta-vae": Row(
        "a weight beta on the KL, for disentanglement (beta > 1) or sharper reconstructions (beta < 1)",
        "Higgins et al. 2017",
        {"latent_dim": 10},
        elbo=beta_objective,
    ),
    "annealed-beta-vae": Row(
        "the KL held at a capacity that rises from zero",
        "Burgess et al. 2018",
        {"latent_dim": 10},
        elbo=rising_capacity,
        settings={"lr": 5e-4, "batch_size": 64},
    ),
    "cyclical-vae": Row(
        "a KL weight that rises from zero several times over",
        "Fu et al. 2019",
        {"latent_dim": 20},
        elbo=cycles,
    ),
    "free-bits-vae": Row(
        "every latent dimension may use some nats for free",
        "Kingma et al. 2016",
        {"latent_dim": 20},
        elbo=functools.partial(FreeBits, "analytic-kl", floor=0.1),
    ),
    "beta-tc-vae": Row(
        "a weight on the total correlation of the aggregate posterior alone; needs num_data",
        "Chen et al. 2018",
        {"latent_dim": 10},
        elbo=functools.partial(TotalCorrelation, "monte-carlo-kl"),
    ),
    "dip-vae-i": Row(
        "the covariance of the guide's means held near the identity",
        "Kumar, Sattigeri & Balakrishnan 2018",
        {"latent_dim": 10},
        elbo=functools.partial(DIP, "analytic-kl", kind="i"),
    ),
    "dip-vae-ii": Row(
        "the covariance of the aggregate posterior held near the identity",
        "Kumar, Sattigeri & Balakrishnan 2018",
        {"latent_dim": 10},
        elbo=functools.partial(DIP, "analytic-kl", kind="ii", off_diagonal=10.0, diagonal=10.0),
    ),
    "info-vae": Row(
        "part of the KL replaced by the MMD between aggregate posterior and prior",
        "Zhao, Song & Ermon 2019",
        {"latent_dim": 10},
        elbo=functools.partial(MMD, "analytic-kl"),
    ),
    "wae-mmd": Row(
        "no KL at all, only the MMD between aggregate posterior and prior",
        "Tolstikhin et al. 2018",
        {"latent_dim": 10},
        elbo=functools.partial(MMD, "analytic-kl", alpha=1.0),
    ),
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


def list_recipes() -> list[str]:
    """The names that ``make`` knows."""
    return list(RECIPES)


def make(name: str, event_shape: tuple[int, ...], data: Tensor | None = None, **options: Any) -> Recipe:
    """Make a recipe for data of a shape.

    Args:
        name: one of ``list_recipes()``.
        event_shape: the shape of one datum.
        data: [N, *event_shape], what parts that can start from data start from (see ``VAE.initialise``).
        **options: whatever shall differ from the row: arguments of VAE (latent_dim, network, likelihood,
            prior, posterior, seed), of the objective (beta, num_particles, ...), and of fit (epochs, lr, ...).
            ``elbo=`` takes another estimator or objective in place of the row's.

    Raises:
        ModelError: the recipe or an option is unknown, or an option is missing that the row has no value for.
    """
    if name not in RECIPES:
        raise ModelError(unknown_name("recipe", name, RECIPES))
    row, groups = RECIPES[name], option_names(name)
    known = [option for group in groups.values() for option in group]
    for option in options:
        if option not in known:
            raise ModelError(f"recipe {name!r}: {unknown_name('option', option, known)}")
    parts, objective, settings = (
        {option: value for option, value in options.items() if option in groups[kind]}
        for kind in ("parts", "objective", "settings")
    )
    elbo = _objective(name, row, settings.pop("elbo", None), objective)
    vae = VAE(event_shape, **{**row.parts, **parts})
    if data is not None:
        vae.initialise(data, seed=parts.get("seed") or 0)
    return Recipe(name, vae, elbo, {**row.settings, **settings})


def _objective(name: str, row: Row, elbo: str | Objective | None, options: dict[str, Any]) -> Objective:
    """The row's objective, or the one that the user puts in its place, with its options."""
    if isinstance(elbo, str):
        return get_elbo(elbo, **options)
    if elbo is not None:
        if options:
            raise ModelError(f"recipe {name!r}: {sorted(options)} are options of the objective that elbo= replaces")
        return elbo
    for option, parameter in inspect.signature(row.elbo).parameters.items():
        if parameter.default is inspect.Parameter.empty and option not in options:
            raise ModelError(f"recipe {name!r} needs {option}=")
    return row.elbo(**options)


def option_names(name: str) -> dict[str, tuple[str, ...]]:
    """The options of a recipe by what they set: "parts" of the model, the "objective", "settings" of fit."""
    parts = tuple(p for p in inspect.signature(VAE).parameters if p != "event_shape")
    objective = tuple(inspect.signature(RECIPES[name].elbo).parameters)
    return {"parts": parts, "objective": objective, "settings": tuple(f.name for f in fields(Settings))}
