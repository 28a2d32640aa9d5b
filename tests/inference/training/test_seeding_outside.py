"""Data sets, callbacks, schedules and optimisers that seed torch leave the run its own stream.

Objectives and gradients that do it are refused.
"""

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


class Silent(Watched):
    """The same pair, which keeps nothing."""

    def loc(self, x):
        return self.slope * x

    def guide(self, x):
        pyro.module("watched", self)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.loc(x), 0.5))


def seeding_rate(step):
    torch.manual_seed(0)
    return torch.tensor(1.0) / (1 + step)


def steady_rate(step):
    return torch.tensor(1.0) / (1 + step)


class SeedingDescent(torch.optim.SGD):
    """An optimiser that rounds its steps by chance, by a fixed seed."""

    def step(self, closure=None):
        torch.manual_seed(0)
        return super().step(closure)


def with_a_hook(parameters):
    made = torch.optim.SGD(parameters, lr=1e-3)
    made.register_step_post_hook(lambda *given: torch.manual_seed(0))
    return made


@pytest.mark.parametrize(
    "compile_", [pytest.param(False, id="eager"), pytest.param(True, id="captured", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(
    ("seeding", "plain"),
    [
        ({"schedule": seeding_rate}, {"schedule": steady_rate}),
        ({"optimizer": SeedingDescent}, {"optimizer": torch.optim.SGD}),
        ({"optimizer": with_a_hook}, {"optimizer": lambda p: torch.optim.SGD(p, lr=1e-3)}),
    ],
    ids=["schedule", "optimizer", "hook of its steps"],
)
def test_every_step_has_noise_of_its_own_though_a_schedule_or_an_optimizer_seeds(seeding, plain, compile_):
    """All steps but the first had one noise; the losses are those without the seeding."""
    x = Augmented(seeds=False).x

    def losses(options):
        found = inf.fit(Silent(), x, epochs=EPOCHS, batch_size=BATCH, compile=compile_, progress=False, **options)
        return list(found.history["loss"])

    assert losses(seeding) == losses(plain)


class Seeding(inf.AnalyticKL):
    """An estimator that draws its own constants by a fixed seed."""

    def forward(self, terms, step=None):
        torch.manual_seed(0)
        return super().forward(terms, step)


class SeedingRecord(inf.AnalyticKL):
    """An estimator that seeds where it says what a history shows."""

    def record(self, terms):
        torch.manual_seed(0)
        return super().record(terms)


class Hooked(Silent):
    """A pair whose gradient seeds, as a hook of a tensor's may."""

    def loc(self, x):
        loc = super().loc(x)
        if loc.requires_grad:
            loc.register_hook(lambda gradient: torch.manual_seed(0) and None)
        return loc


def test_a_gradient_that_seeds_is_refused():
    with pytest.raises(ModelError, match="the backward pass seeds torch's generator"):
        inf.fit(Hooked(), Augmented(seeds=False).x, batch_size=BATCH, epochs=1, compile=False, progress=False)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: noise_of(x, batch_size=BATCH, elbo=SeedingRecord()),
        lambda x: noise_of(x, batch_size=BATCH, elbo=Seeding()),
        # Its values had an error of 0.
        lambda x: inf.compare_estimators(Watched(), x, [Seeding()], num_repeats=10),
    ],
)
def test_an_objective_that_seeds_is_refused(function):
    with pytest.raises(ModelError, match="seeds torch's generator"):
        function(Augmented(seeds=False).x)
