"""What is trained: architecture, batch, objective and data, the same for every contender.

Grey images under the relaxed Bernoulli (binary cross entropy), so that nobody pays for binarisation and all see
the same numbers; Adam at one learning rate. N is a multiple of the batch: no contender has a short last batch,
which a scan over an epoch could not train on.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

import ppl_vae as pv


@dataclass(frozen=True)
class Workload:
    """One model on one data set.

    Attributes:
        name: in tables and on the command line.
        data: "digits" or "mnist".
        event_shape: the shape of one image.
        latent_dim: L.
        network: an architecture of ppl_vae.networks, by name and options.
        batch: images a step.
        size: N, a multiple of ``batch``.
        epochs: how many are timed in one turn, after one that is not.
        particles: K draws per image; several make the importance-weighted bound, one the closed-form KL.
        lr: Adam's learning rate.
    """

    name: str
    data: str
    event_shape: tuple[int, ...]
    latent_dim: int
    network: Mapping[str, Any]
    batch: int
    size: int
    epochs: int
    particles: int = 1
    lr: float = 1e-3

    def __post_init__(self) -> None:
        if self.size % self.batch:
            raise ValueError(f"workload {self.name!r}: {self.size} images are no multiple of {self.batch}")

    @property
    def steps(self) -> int:
        """Optimiser steps an epoch."""
        return self.size // self.batch


def mlp(*hidden: int) -> dict[str, Any]:
    """Fully connected layers with softplus."""
    return {"name": "mlp", "hidden": hidden}


MNIST = (1, 28, 28)
MNIST_MLP = Workload("mnist-mlp", "mnist", MNIST, 20, mlp(400), batch=128, size=6400, epochs=3)
MNIST_CONV = Workload("mnist-conv-32", "mnist", MNIST, 2, {"name": "conv"}, batch=32, size=640, epochs=1)
# Sizes for two cores: the slowest contender takes about a second a turn.
CPU = (
    Workload("digits-mlp", "digits", (1, 8, 8), 8, mlp(128), batch=64, size=1600, epochs=6),
    MNIST_MLP,
    MNIST_CONV,
    replace(MNIST_CONV, name="mnist-conv-512", batch=512, size=1024),
    replace(MNIST_MLP, name="mnist-iwae-50", particles=50, size=512, epochs=1),
)
# The same models on a device that is a hundred times faster; MNIST whole but for its last short batch.
CUDA = (
    replace(CPU[0], epochs=20),
    replace(CPU[1], size=59904, epochs=2),
    replace(CPU[2], size=19200, epochs=1),
    replace(CPU[3], size=51200, epochs=1),
    replace(CPU[4], size=12800, epochs=1),
)


def load_images(workload: Workload, root: str | None) -> tuple[Tensor, str]:
    """Grey images [N, *event_shape] and what they are, in words.

    MNIST's own where ``root`` or PPL_VAE_DATA names a folder; else noise of its shape, since no contender's time
    depends on the values.
    """
    if workload.data == "digits":
        x, words = pv.load_dataset("digits").train.x, "scikit-learn's digits"
    elif root or os.environ.get("PPL_VAE_DATA"):
        x, words = pv.load_dataset("mnist", root=root).train.x, "MNIST"
    else:
        generator = torch.Generator().manual_seed(0)
        x = torch.rand(workload.size, *workload.event_shape, generator=generator)
        words = "uniform noise of MNIST's shape (no MNIST here; the time does not depend on the values)"
    if len(x) < workload.size:
        x = x.repeat(-(-workload.size // len(x)), *(1,) * (x.dim() - 1))
    return x[: workload.size].contiguous(), f"{words}, {workload.size} images, grey"
