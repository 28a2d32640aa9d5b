"""A program that observes data of its own is refused by the name of the site: other data would have its numbers."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import ppl_vae as pv
from ppl_vae.errors import ModelError
from ppl_vae.inference import evaluate

X = torch.randn(6, generator=torch.Generator().manual_seed(0))
ZEROS = torch.zeros(6)


def unobserved(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 1.0))


def of_a_global(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=X)


class OfABuffer(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("data", X.clone())
        self.loc = nn.Parameter(torch.zeros(()))

    def forward(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(self.loc, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=self.data)


def guide(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(x / 2, 0.5**0.5))


HELD = {
    "pyro.condition": lambda: pyro.condition(unobserved, data={"x": X}),
    "condition inside a handler": lambda: pyro.poutine.scale(pyro.condition(unobserved, data={"x": X}), 1.0),
    "a global": lambda: of_a_global,
    "a buffer": OfABuffer,
}


@pytest.mark.parametrize("name", HELD)
def test_data_that_a_program_holds_are_refused_by_the_site(name):
    pair = HELD[name](), guide
    words = "site 'x' is observed at values that the program holds"
    with pytest.raises(ModelError, match=words):
        evaluate(pair, X + 9)
    with pytest.raises(ModelError, match=words):
        pv.log_evidence(pair, X + 9, num_samples=5)


def test_data_of_the_call_are_taken_however_they_are_observed():
    """log p(x) = log N(x | 0, 2), by the exact guide."""

    def transformed(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x * 1.0)

    def conditioned_inside(x):
        return pyro.condition(unobserved, data={"x": x})(x)

    def with_zeros(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(x - z, 1.0), obs=ZEROS)

    exact = dist.Normal(0.0, 2**0.5).log_prob(X + 1)
    for model in (transformed, conditioned_inside, with_zeros):
        found = pv.log_evidence((model, guide), X + 1, num_samples=5).per_datum
        torch.testing.assert_close(found.float(), exact, rtol=1e-4, atol=1e-4)


class Keeps(nn.Module):
    """Makes what it observes of its argument, and keeps the last of it."""

    def forward(self, x):
        self.seen = x * 1.0
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=self.seen)


def test_what_a_program_makes_anew_and_keeps_is_of_the_call():
    model = Keeps()
    for shift in (1.0, 2.0):
        exact = dist.Normal(0.0, 2**0.5).log_prob(X + shift)
        found = pv.log_evidence((model, guide), X + shift, num_samples=5).per_datum
        torch.testing.assert_close(found.float(), exact, rtol=1e-4, atol=1e-4)


def test_a_latent_that_is_conditioned_is_no_data():
    def model(x):
        spread = pyro.sample("spread", dist.LogNormal(torch.zeros(2), 1.0).to_event(1))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, spread[0]))
            pyro.sample("x", dist.Normal(z, spread[1]), obs=x)

    pair = pyro.condition(model, data={"spread": torch.tensor([1.0, 1.0 + 1e-6])}), guide
    exact = dist.Normal(0.0, 2**0.5).log_prob(X + 1)
    found = pv.log_evidence(pair, X + 1, num_samples=5).per_datum
    torch.testing.assert_close(found.float(), exact, rtol=1e-4, atol=1e-4)
