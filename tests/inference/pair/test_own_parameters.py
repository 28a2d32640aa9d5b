"""Two pairs whose parameters have the same names in Pyro's one store keep their own.

mu ~ N(0, 1), x_1..x_N ~ N(mu, 1): the posterior is N(sum x / (N + 1), 1 / (N + 1)), and the ELBO of q = N(m, v) is
sum E log N(x_n | mu, 1) - KL, in closed form.
"""

import gc
import math
import warnings

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import autoguide
from pyro.nn import PyroModule, PyroParam

import ppl_vae as pv
from ppl_vae.diagnostics import run_global_importance
from ppl_vae.errors import ModelError
from ppl_vae.inference import evaluate

N = 8
SETTINGS = {"elbo": "monte-carlo-kl", "lr": 0.05, "device": "cpu", "compile": False, "progress": False}


@pytest.fixture(autouse=True)
def _empty_store():
    pyro.clear_param_store()
    yield
    pyro.clear_param_store()


def data(mean):
    return torch.randn(N, generator=torch.Generator().manual_seed(0)) + mean


def model(x):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(mu, 1.0), obs=x)


class Guide(PyroModule):
    """A guide of a user's own, whose root has no name."""

    def __init__(self, loc, scale):
        super().__init__()
        self.loc = PyroParam(torch.tensor(loc))
        self.scale = PyroParam(torch.tensor(scale), dist.constraints.positive)

    def forward(self, x):
        pyro.sample("mu", dist.Normal(self.loc, self.scale))


def auto(loc, scale):
    guide = autoguide.AutoNormal(model, init_loc_fn=autoguide.init_to_value(values={"mu": torch.tensor(loc)}))
    with pyro.get_param_store().scope():
        guide(data(0.0))
    with torch.no_grad():
        guide.scales.mu = torch.tensor(scale)
    return guide


def elbo(x, loc, scale):
    """The ELBO per datum under q(mu) = N(loc, scale^2)."""
    log_likelihood = (-0.5 * math.log(2 * math.pi) - 0.5 * ((x - loc).square() + scale**2)).mean()
    kl = 0.5 * (loc**2 + scale**2 - 1) - math.log(scale)
    return log_likelihood.item() - kl / len(x)


@pytest.mark.parametrize("make", [Guide, auto])
def test_each_of_two_guides_has_its_own_number_and_stays_what_it_was(make):
    x = data(1.0)
    held = {(loc, scale): make(loc, scale) for loc, scale in ((0.0, 0.3), (3.0, 0.1))}
    before = [parameter.clone() for guide in held.values() for parameter in guide.parameters()]
    for loc, scale in [*held, *held]:
        found = evaluate((model, held[loc, scale]), x, 2000).summary()
        assert found["elbo"] == pytest.approx(elbo(x, loc, scale), abs=0.05)
    assert not dict(pyro.get_param_store())
    next(iter(held.values()))(x)
    for loc, scale in held:
        numbers = run_global_importance((model, held[loc, scale]), x, 25, 1)
        assert float(numbers["log_weight"].mean()) == pytest.approx(N * elbo(x, loc, scale), abs=6)
    for was, now in zip(before, (p for guide in held.values() for p in guide.parameters()), strict=True):
        assert torch.equal(was, now)


MAKE = {"before its first call": lambda: autoguide.AutoNormal(model), "autoguide": lambda: auto(0.0, 0.3)}


@pytest.mark.parametrize("make", [*MAKE.values(), lambda: Guide(0.0, 0.3)], ids=[*MAKE, "of a user's own"])
def test_a_second_fit_neither_starts_from_the_first_nor_moves_it(make):
    guides, found = [make(), make()], []
    for guide, mean in zip(guides, (2.0, -2.0), strict=True):
        found.append(pv.fit((model, guide), data(mean), epochs=8, **SETTINGS))
    alone = make()
    pyro.clear_param_store()
    expected = pv.fit((model, alone), data(-2.0), epochs=8, **SETTINGS)
    assert found[1].history.train_elbo.tolist() == expected.history.train_elbo.tolist()
    first, second = (dict(guide.named_parameters()) for guide in guides)
    loc = next(name for name in first if "loc" in name)
    assert first[loc] > 0 > second[loc]


def test_a_guide_that_is_gone_leaves_nothing_to_the_next():
    pv.fit((model, autoguide.AutoNormal(model)), data(2.0), epochs=3, **SETTINGS)
    gc.collect()
    assert dict(pyro.get_param_store())
    after = pv.fit((model, autoguide.AutoNormal(model)), data(-2.0), epochs=3, **SETTINGS)
    pyro.clear_param_store()
    alone = pv.fit((model, autoguide.AutoNormal(model)), data(-2.0), epochs=3, **SETTINGS)
    assert after.history.train_elbo.tolist() == alone.history.train_elbo.tolist()


def test_a_store_that_was_loaded_fills_a_guide_as_in_pyro(tmp_path):
    guide = autoguide.AutoNormal(model)
    pv.fit((model, guide), data(2.0), epochs=8, **SETTINGS)
    pyro.get_param_store().save(tmp_path / "store.pt")
    pyro.clear_param_store()
    before = evaluate((model, guide), data(2.0), 50).summary()
    del guide
    gc.collect()
    pyro.get_param_store().load(tmp_path / "store.pt")
    assert evaluate((model, autoguide.AutoNormal(model)), data(2.0), 50).summary() == before


def test_parameters_of_nobody_known_are_refused_in_a_fit():
    guide = Guide(0.0, 0.3)
    guide(data(0.0))
    pyro.clear_param_store()
    pyro.param("loc", torch.tensor(5.0))
    with pytest.raises(ModelError, match="param 'loc': the parameter store holds other tensors under this name"):
        pv.fit((model, guide), data(0.0), epochs=1, **SETTINGS)


def plain_guide():
    def guide(x):
        pyro.sample("mu", dist.Normal(pyro.param("loc", torch.tensor(0.0)), 0.3))

    return guide


def test_a_param_that_another_fit_trained_is_told():
    first, second = plain_guide(), plain_guide()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            pv.fit((model, first), data(2.0), epochs=1, **SETTINGS)
        # The same guide for another model is meant.
        pv.fit((lambda x: model(x), first), data(2.0), epochs=1, **SETTINGS)
    with pytest.warns(UserWarning, match="param 'loc' has been trained with other programs"):
        pv.fit((model, second), data(-2.0), epochs=1, **SETTINGS)
    pyro.clear_param_store()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pv.fit((model, second), data(-2.0), epochs=1, **SETTINGS)
