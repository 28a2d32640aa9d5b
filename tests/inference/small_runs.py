"""A small model, small data, one way to train them, and what it means that two runs are the same."""

import numpy as np
import pandas as pd
import torch

import ppl_vae as pv
from ppl_vae.data.dataset import Dataset, Split
from ppl_vae.networks import MLP

N, D = 50, 6
BATCH = 16
#: Batches of an epoch: 16, 16, 16, 2.
STEPS = 4


def small_vae(seed=0, likelihood="gaussian", **parts):
    """20 latent and hidden units in all: an epoch of small data takes a few milliseconds."""
    return pv.VAE((D,), 2, network=MLP((8,)), likelihood=likelihood, seed=seed, **parts)


def small_data(n=N, seed=0):
    """Real data [n, D] on a noisy plane."""
    generator = torch.Generator().manual_seed(seed)
    plane = torch.randn(n, 2, generator=generator) @ torch.randn(2, D, generator=generator)
    return plane + 0.3 * torch.randn(n, D, generator=generator)


def small_dataset(binarization="none"):
    """A Dataset with a test split: grey training data where it is "dynamic", real ones where "none"."""
    train, test = small_data(), small_data(12, seed=1)
    if binarization == "dynamic":
        train, test = torch.sigmoid(train), (test > 0).float()
    return Dataset("small", Split(train), Split(test), binarization=binarization)


def train(pair, data, **options):
    """Fit on the CPU in silence, three epochs of batches of 16."""
    defaults = {
        "epochs": 3, "batch_size": BATCH, "lr": 1e-2, "device": "cpu", "num_threads": 1, "progress": False,
    }  # fmt: skip
    if not isinstance(data, torch.Tensor | np.ndarray | Dataset | Split | tuple):
        # The user's own batches are as large as they are.
        del defaults["batch_size"]
    if "optimizer" in options and not isinstance(options["optimizer"], type):
        # It has, or may have, a rate of its own.
        del defaults["lr"]
    return pv.fit(pair, data, **{**defaults, **options})


def weight_bytes(module):
    """Every parameter and buffer of a module, bit for bit."""
    return {name: tensor.detach().numpy().tobytes() for name, tensor in module.state_dict().items()}


def files(folder):
    """Every file below a folder with its bytes."""
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def require_same(a, b):
    """Two results agree in every bit of weights and history but the seconds."""
    assert weight_bytes(a.model) == weight_bytes(b.model)
    pd.testing.assert_frame_equal(
        a.history.drop(columns="seconds"), b.history.drop(columns="seconds"), check_exact=True
    )
    assert (a.best_epoch, a.epochs_run) == (b.best_epoch, b.epochs_run)
