"""What sweeps in these tests train; other processes import it."""

import os
import signal
import sys
from pathlib import Path

import torch

import ppl_vae as pv
from tests.inference.small_runs import D, small_data

SEEDS = (0, 1)


def linear(rate, seed, epochs=3):
    """A linear Gaussian VAE, whose ELBO is known exactly, trained at a rate."""
    generator = torch.Generator().manual_seed(seed)
    pair = pv.LinearGaussianVAE(
        torch.randn(D, 2, generator=generator), torch.zeros(D), torch.tensor(1.0), guide="mean-field"
    )
    return pv.Recipe("linear", pair, pv.inference.AnalyticKL(), {"lr": rate, "epochs": epochs, "batch_size": 16})


def dies_once(rate, seed):
    """Kill the worker in the first trial of all."""
    mark = Path(os.environ["SWEEP_MARK"])
    if rate == 0.01 and seed == 1 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return linear(rate, seed)


def slow(rate, seed):
    """Take long enough to be killed in between."""
    return linear(rate, seed, epochs=30)


def main(folder, recipe):
    pv.sweep(
        globals()[recipe], {"rate": [0.1, 0.01, 0.001]}, small_data(200), SEEDS, out_dir=folder, progress=False
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
