"""Data sets and callbacks that seed torch leave the run its own stream; objectives that do it are refused."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from ppl_vae import inference as inf
from ppl_vae.errors import ModelError

EPOCHS, STEPS, BATCH = 3, 4, 8


class Watched(nn.Module):
    """z ~ N(0, 1), x | z ~ N(z, 1), and a guide that keeps the noise of its first datum in every run."""

    def __init__(self):
        super().__init__()
        self.slope, self.noise = nn.Parameter(torch.tensor(0.5)), []

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(self, x):
        pyro.module("watched", self)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(self.slope * x, 0.5))
        self.noise.append(round(float((z - self.slope * x).detach().flatten()[0]), 5))


class Augmented(Dataset):
    def __init__(self, seeds):
        self.x, self.seeds = torch.linspace(-2, 2, STEPS * BATCH), seeds

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        if self.seeds:
            torch.manual_seed(0)
        return self.x[index]


def noise_of(data, **options):
    """The noise of every step; what was drawn before the first is left out."""
    pair = Watched()
    inf.fit(pair, data, epochs=EPOCHS, compile=False, progress=False, **options)
    return pair.noise[-EPOCHS * STEPS :]


def test_every_step_has_noise_of_its_own_though_the_data_set_seeds():
    noise = noise_of(DataLoader(Augmented(seeds=True), batch_size=BATCH))
    assert len(set(noise)) == len(noise)


def seed_torch(row):
    torch.manual_seed(0)


def test_every_epoch_has_noise_of_its_own_though_a_callback_seeds():
    x = Augmented(seeds=False).x
    noise = noise_of(x, batch_size=BATCH, callbacks=seed_torch)
    assert noise == noise_of(x, batch_size=BATCH)
    assert len(set(noise)) == len(noise)


class Seeding(inf.AnalyticKL):
    """An estimator that draws its own constants by a fixed seed."""

    def forward(self, terms, step=None):
        torch.manual_seed(0)
        return super().forward(terms, step)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: noise_of(x, batch_size=BATCH, elbo=Seeding()),
        # Its values had an error of 0.
        lambda x: inf.compare_estimators(Watched(), x, [Seeding()], num_repeats=10),
    ],
)
def test_an_objective_that_seeds_is_refused(function):
    with pytest.raises(ModelError, match="seeds torch's generator"):
        function(Augmented(seeds=False).x)
