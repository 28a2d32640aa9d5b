"""One row a program with latents of its own; every law of tests/models/test_program_laws.py is a test over it."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from ppl_vae import inference as inf
from ppl_vae import models
from ppl_vae.networks import MLP

# Two of everything in front: a channel, a frame, a member of a group.
SHAPE = (2, 3, 4)
SMALL = {"network": MLP((8,)), "likelihood": "bernoulli"}


@dataclass(frozen=True)
class Program:
    """How to make it, its latent sites in the order of each program, and what trains it.

    ``num_classes`` is that of one that takes labels; ``completes`` one that draws nothing without data.
    """

    name: str
    make: Callable[..., models.ProgramPair]
    guide_sites: tuple[str, ...]
    model_sites: tuple[str, ...]
    objectives: dict = field(default_factory=dict)
    num_classes: int = 0
    completes: bool = False

    @property
    def decoding(self):
        """How ``decode(encode(x).mean)`` is refused, where that is not the reconstruction."""
        if self.name == "categorical":
            return "expected one-hot codes"
        if self.name == "invariant":
            return r"expected codes and poses of shape \[N, 6\], got \[4, 2\]"
        if self.name == "deep-markov":
            return r"expected codes of shape \[N, T, 4\], got \[4, 4\]"
        beside_y = ("joint", "joint-full", "semi-supervised", "conditional", "conditional-prior")
        beside = {**dict.fromkeys(beside_y, "y"), "completion": "x", "shared-content": "style"}.get(self.name)
        return f"missing 1 required positional argument: '{beside}'" if beside else ""

    def __str__(self):
        return self.name

    def labels(self, x):
        """(y,) of data, or nothing for a program that takes none."""
        return (torch.arange(len(x)) % self.num_classes,) if self.num_classes else ()

    def pair(self, seed=0, **options):
        return self.make(SHAPE, seed=seed, **{**SMALL, **options})


def made(kind, **options):
    return lambda shape, **more: kind(shape, **{**options, **more})


REPARAMETERISED = {"monte-carlo-kl": inf.MonteCarloKL(2), "sticking-the-landing": inf.StickingTheLanding(2)}

ANALYTIC = {**REPARAMETERISED, "analytic-kl": inf.AnalyticKL(2), "iwae": inf.ImportanceWeighted(3)}


def discrete(configurations):
    return {
        "enumeration": inf.Enumeration(configurations),
        "gumbel-softmax": inf.GumbelSoftmax(2),
        "rloo": inf.RLOO(3),
        "vimco": inf.VIMCO(3),
    }


PROGRAMS = [
    Program("hierarchical-1", made(models.HierarchicalVAE, latent_dims=(3,)), ("z1",), ("z1",), REPARAMETERISED),
    Program(
        "hierarchical-3",
        made(models.HierarchicalVAE, latent_dims=(4, 3, 2), hidden=(5,)),
        ("z1", "z2", "z3"),
        ("z3", "z2", "z1"),
        REPARAMETERISED,
    ),
    Program(
        "hierarchical-full",
        made(models.HierarchicalVAE, latent_dims=(3, 2), hidden=(5,), posterior="full-covariance"),
        ("z1", "z2"),
        ("z2", "z1"),
        REPARAMETERISED,
    ),
    Program(
        "invariant",
        made(models.InvariantVAE, latent_dim=2),
        ("angle", "shift", "log_scale", "z"),
        ("angle", "shift", "log_scale", "z"),
        ANALYTIC,
    ),
    Program(
        "ladder-2",
        made(models.LadderVAE, latent_dims=(3, 2), hidden=(5,)),
        ("z2", "z1"),
        ("z2", "z1"),
        {**REPARAMETERISED, "analytic-kl": inf.AnalyticKL(2)},
    ),
    Program(
        "ladder-3",
        made(models.LadderVAE, latent_dims=(4, 3, 2), hidden=(5,)),
        ("z3", "z2", "z1"),
        ("z3", "z2", "z1"),
        {**REPARAMETERISED, "analytic-kl": inf.AnalyticKL(2), "iwae": inf.ImportanceWeighted(3)},
    ),
    Program(
        "categorical",
        made(models.CategoricalVAE, num_variables=2, num_categories=3),
        ("y",),
        ("y",),
        discrete(9),
    ),
    Program(
        "vector-quantised",
        made(models.VQVAE, num_cells=3, num_codes=4, code_dim=2),
        ("z",),
        ("z",),
        {"analytic-kl": inf.AnalyticKL(), "monte-carlo-kl": inf.MonteCarloKL(2)},
    ),
    Program("joint", made(models.JointVAE, latent_dim=2, num_categories=4), ("y", "z"), ("y", "z"), discrete(4)),
    Program(
        "joint-full",
        made(models.JointVAE, latent_dim=2, num_categories=4, posterior="full-covariance"),
        ("y", "z"),
        ("y", "z"),
        discrete(4),
    ),
    Program(
        "semi-supervised",
        made(models.SemiSupervisedVAE, latent_dim=2, num_classes=4, hidden=(5,)),
        ("y", "z"),
        ("y", "z"),
        discrete(4),
    ),
    Program(
        "conditional",
        made(models.ConditionalVAE, latent_dim=2, num_classes=3, hidden=(5,)),
        ("z",),
        ("z",),
        ANALYTIC,
        num_classes=3,
    ),
    Program(
        "conditional-prior",
        made(models.ConditionalVAE, latent_dim=2, num_classes=3, hidden=(5,), prior="conditional"),
        ("z",),
        ("z",),
        ANALYTIC,
        num_classes=3,
    ),
    Program(
        "completion",
        made(models.CompletionVAE, latent_dim=2, visible=2, baseline=MLP((6,))),
        ("z",),
        ("z",),
        ANALYTIC,
        completes=True,
    ),
    Program(
        "gaussian-mixture",
        made(models.GaussianMixtureVAE, latent_dim=2, num_categories=4, hidden=(5,)),
        ("y", "z"),
        ("y", "z"),
        discrete(4),
    ),
    Program(
        "shared-content",
        made(models.SharedContentVAE, content_dim=2, style_dim=1),
        ("content", "style"),
        ("content", "style"),
        ANALYTIC,
    ),
    Program("ada-group", made(models.AdaGroupVAE, latent_dim=3), ("z",), ("z",), ANALYTIC),
    Program(
        "deep-markov",
        made(models.DeepMarkovModel, latent_dim=4, hidden=5, transition_hidden=6),
        ("z1", "z2", "z3"),
        ("z1", "z2", "z3"),
        {**REPARAMETERISED, "analytic-kl": inf.AnalyticKL(2), "iwae": inf.ImportanceWeighted(3)},
    ),
    Program("gaussian-process", made(models.GPVAE, num_channels=2, hidden=5), ("z",), ("z",), ANALYTIC),
]


def data(n=4, seed=0):
    """Binary data [n, *SHAPE]."""
    return torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(seed)).round()
