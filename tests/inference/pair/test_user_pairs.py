"""Pairs as users of Pyro write them: every kind of program goes through ``fit`` and ``evaluate``.

The target of most is conjugate: z_n ~ N(m, t^2), x_n | z_n ~ N(z_n, s^2), so that p(z|x) is
N(m + gain (x - m), gain s^2) with gain = t^2 / (t^2 + s^2), and x ~ N(m, t^2 + s^2).
"""

import copy
import functools

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.distributions import constraints
from pyro.nn import PyroModule, PyroParam
from torch import nn

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.errors import ModelError
from ppl_vae.inference.pair.pair import as_pair
from tests.inference.small_runs import small_data, small_vae, train, weight_bytes

M, T, S = 1.0, 2.0, 1.0
GAIN = T**2 / (T**2 + S**2)
EXACT = {"slope": GAIN, "intercept": M * (1 - GAIN), "scale": (GAIN * S**2) ** 0.5}


def conjugate_data(n=40, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    return (M + (T**2 + S**2) ** 0.5 * torch.randn(n, generator=generator, dtype=torch.float64)).to(dtype)


def conjugate_model(x, site="z"):
    with pyro.plate("data", len(x)):
        z = pyro.sample(site, dist.Normal(M, T).expand([len(x)]))
        pyro.sample("x", dist.Normal(z, S), obs=x)


def store_guide(x):
    slope = pyro.param("slope", torch.tensor(0.1, dtype=x.dtype))
    intercept = pyro.param("intercept", torch.tensor(0.0, dtype=x.dtype))
    scale = pyro.param("scale", torch.tensor(2.0, dtype=x.dtype), constraint=constraints.positive)
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(slope * x + intercept, scale))


class ModuleGuide(nn.Module):
    """The same guide with its numbers in an nn.Module."""

    def __init__(self):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(0.1, dtype=torch.float64))
        self.intercept = nn.Parameter(torch.tensor(0.0, dtype=torch.float64))
        self.log_scale = nn.Parameter(torch.tensor(0.7, dtype=torch.float64))

    def forward(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.slope * x + self.intercept, self.log_scale.exp()))

    def found(self):
        return {
            "slope": self.slope.item(),
            "intercept": self.intercept.item(),
            "scale": self.log_scale.exp().item(),
        }


class PyroGuide(PyroModule):
    """The same guide with a constrained PyroParam and a linear layer made a PyroModule."""

    def __init__(self):
        super().__init__()
        self.scale = PyroParam(torch.tensor(2.0, dtype=torch.float64), constraint=constraints.positive)
        self.linear = PyroModule[nn.Linear](1, 1, dtype=torch.float64)

    def forward(self, x):
        loc = self.linear(x[:, None]).squeeze(-1)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, self.scale))

    def found(self):
        return {
            "slope": self.linear.weight.item(), "intercept": self.linear.bias.item(), "scale": self.scale.item(),
        }  # fmt: skip


class Both(nn.Module):
    """A module whose two methods are the programs."""

    def __init__(self):
        super().__init__()
        self.inner = ModuleGuide()

    def model(self, x):
        conjugate_model(x)

    def guide(self, x):
        self.inner(x)

    def found(self):
        return self.inner.found()


class Holder:
    """Any object with .model and .guide."""

    def __init__(self, model, guide):
        self.model, self.guide = model, guide


def train_to_the_end(pair, x, **options):
    """Full batches and the path derivative, whose noise vanishes at the exact posterior."""
    settings = {"elbo": "sticking-the-landing", "epochs": 250, "batch_size": len(x), "lr": 0.1}
    return train(pair, x, **{**settings, "schedule": inf.schedules.cosine(250), **options})


def log_evidence(x):
    return dist.Normal(M, (T**2 + S**2) ** 0.5).log_prob(x)


def require_exact_posterior(pair, found, x):
    assert found == pytest.approx(EXACT, abs=2e-3)
    # At the exact posterior every draw of log p(x, z) - log q(z|x) is log p(x).
    with torch.no_grad():
        draws = inf.MonteCarloKL().per_datum(pair, x)
    torch.testing.assert_close(draws, log_evidence(x), rtol=0, atol=0.02)
    evaluation = pv.evaluate(pair, x, num_particles=100)
    gap = evaluation.elbo.mean() - log_evidence(x).mean()
    assert abs(gap) < 0.1


def store_values():
    return {name: pyro.param(name).item() for name in ("slope", "intercept", "scale")}


# Every kind of program -------------------------------------------------------------------------------


@pytest.mark.slow
def test_functions_with_parameters_in_the_store_reach_the_exact_posterior():
    x = conjugate_data()
    train_to_the_end((conjugate_model, store_guide), x)
    require_exact_posterior((conjugate_model, store_guide), store_values(), x)
    assert pyro.param("slope").dtype == torch.float64


def test_data_keep_their_precision_where_no_module_says_another():
    seen = set()

    def guide(x):
        seen.add(x.dtype)
        store_guide(x)

    train((conjugate_model, guide), conjugate_data(), epochs=1)
    assert seen == {torch.float64}
    pyro.clear_param_store()
    seen.clear()
    train((conjugate_model, guide), conjugate_data().round().long(), epochs=1)
    assert seen == {torch.float32}


def test_training_goes_on_from_what_the_store_holds():
    x = conjugate_data()
    train((conjugate_model, store_guide), x, epochs=5)
    after_five = store_values()
    train((conjugate_model, store_guide), x, epochs=1, lr=1e-6)
    assert store_values() == pytest.approx(after_five, abs=1e-3)
    assert after_five["slope"] > 0.15


@pytest.mark.slow
def test_parameters_in_both_programs_of_functions_move():
    x = small_data()

    def model(x):
        weight = pyro.param("weight", lambda: torch.randn(2, 6))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ weight, 1.0).to_event(1), obs=x)

    def guide(x):
        gain = pyro.param("gain", lambda: 0.1 * torch.randn(6, 2))
        scale = pyro.param("scale", torch.ones(2), constraint=constraints.positive)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x @ gain, scale).to_event(1))

    train((model, guide), x, epochs=1, seed=4)
    start = pv.evaluate((model, guide), x).elbo.mean()
    weights = {name: pyro.param(name).detach().clone() for name in ("weight", "gain", "scale")}
    train((model, guide), x, epochs=30)
    assert all((pyro.param(name) != weights[name]).any() for name in weights)
    assert pv.evaluate((model, guide), x).elbo.mean() > start + 1


@pytest.mark.slow
def test_networks_registered_by_pyro_module_in_closures():
    x = conjugate_data()
    network = ModuleGuide()

    def guide(x):
        pyro.module("amortised", network)
        network(x)

    train_to_the_end((conjugate_model, guide), x)
    require_exact_posterior((conjugate_model, guide), network.found(), x)
    stored = {name for name in pyro.get_param_store().keys()}  # noqa: C416, SIM118  (it is no mapping)
    assert stored == {"amortised$$$slope", "amortised$$$intercept", "amortised$$$log_scale"}
    assert pyro.param("amortised$$$slope").item() == network.slope.item()


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["function and module", "module and module", "bound methods", "object", "module object"]
)
def test_modules_in_every_position(kind):
    x = conjugate_data()
    guide, both = ModuleGuide(), Both()

    class Model(nn.Module):
        def forward(self, x):
            conjugate_model(x)

    pair, found = {
        "function and module": ((conjugate_model, guide), guide),
        "module and module": ((Model(), guide), guide),
        "bound methods": ((both.model, both.guide), both),
        "object": (Holder(conjugate_model, guide), guide),
        "module object": (both, both),
    }[kind]
    result = train_to_the_end(pair, x)
    assert result.model is pair
    require_exact_posterior(pair, found.found(), x)
    assert not list(pyro.get_param_store().keys())


@pytest.mark.slow
def test_a_pyro_module_with_constrained_parameters():
    x = conjugate_data()
    guide = PyroGuide()
    train_to_the_end((conjugate_model, guide), x)
    require_exact_posterior((conjugate_model, guide), guide.found(), x)


@pytest.mark.slow
def test_a_partial_of_a_function():
    x = conjugate_data()
    pair = (functools.partial(conjugate_model, site="z"), store_guide)
    train_to_the_end(pair, x)
    require_exact_posterior(pair, store_values(), x)


@pytest.mark.slow
def test_two_latent_sites_of_other_names():
    """v ~ N(0, 1), w | v ~ N(v, 1), x | w ~ N(w, 1): x ~ N(0, 3), w | x ~ N(2x/3, 2/3), v | w ~ N(w/2, 1/2)."""
    x = (3**0.5 * torch.randn(40, dtype=torch.float64)).clone()

    def model(x):
        with pyro.plate("rows", len(x)):
            cause = pyro.sample("cause", dist.Normal(torch.zeros_like(x), 1.0))
            effect = pyro.sample("effect", dist.Normal(cause, 1.0))
            pyro.sample("reading", dist.Normal(effect, 1.0), obs=x)

    def guide(x):
        p = {name: pyro.param(name, torch.tensor(0.3, dtype=x.dtype)) for name in ("a", "b", "c", "d")}
        with pyro.plate("rows", len(x)):
            effect = pyro.sample("effect", dist.Normal(p["a"] * x, p["b"].exp()))
            pyro.sample("cause", dist.Normal(p["c"] * effect, p["d"].exp()))

    train_to_the_end((model, guide), x)
    found = {name: pyro.param(name).item() for name in ("a", "b", "c", "d")}
    exact = torch.tensor([2 / 3, 1 / 2]).sqrt().log()
    assert found == pytest.approx({"a": 2 / 3, "b": exact[0].item(), "c": 0.5, "d": exact[1].item()}, abs=2e-3)
    with torch.no_grad():
        draws = inf.MonteCarloKL().per_datum(model, guide, x)
    torch.testing.assert_close(draws, dist.Normal(0.0, 3**0.5).log_prob(x), rtol=0, atol=0.05)
    # The guide draws in the other order: the sum of closed forms would be no KL of the joint.
    assert not pv.evaluate((model, guide), x).closed_form


@pytest.mark.slow
def test_a_discrete_latent_site_trains_by_the_score_function():
    """z ~ Bernoulli(1/2), x | z ~ N(4z - 2, 1): p(z = 1 | x) = sigmoid(4x)."""
    x = torch.tensor([-2.0, -1.0, 1.0, 2.0]).repeat(10)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("kind", dist.Bernoulli(0.5 * torch.ones(len(x))))
            pyro.sample("x", dist.Normal(4 * z - 2, 1.0), obs=x)

    def guide(x):
        slope = pyro.param("slope", torch.tensor(0.0))
        with pyro.plate("data", len(x)):
            pyro.sample("kind", dist.Bernoulli(logits=slope * x))

    train((model, guide), x, elbo="rloo", epochs=150, lr=0.1, batch_size=40)
    assert 2.5 < pyro.param("slope").item() < 6.0


# Pairs that would train silently wrong --------------------------------------------------------------------


def test_a_second_module_under_the_same_name_in_the_store_is_trained_alone():
    x = conjugate_data()

    def pair(network):
        def guide(x):
            pyro.module("amortised", network)
            network(x)

        return conjugate_model, guide

    first, second = ModuleGuide(), ModuleGuide()
    train(pair(first), x)
    trained, untrained = weight_bytes(first), weight_bytes(second)
    train(pair(second), x)
    assert untrained != weight_bytes(second) == weight_bytes(first) == trained


@pytest.mark.slow
@pytest.mark.parametrize("num_threads", [None, 1])
def test_a_second_pyro_module_does_not_take_the_first_ones_values(num_threads):
    x = conjugate_data()
    first, second = PyroGuide(), PyroGuide()
    train((conjugate_model, first), x)
    trained, untrained = weight_bytes(first), weight_bytes(second)
    twin = copy.deepcopy(second)
    train((conjugate_model, second), x, num_threads=num_threads)
    assert weight_bytes(first) == trained
    pyro.clear_param_store()
    train((conjugate_model, twin), x, num_threads=num_threads)
    assert untrained != weight_bytes(second) == weight_bytes(twin)


def test_a_pair_without_parameters_is_refused():
    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0.8 * x, 1.0))

    with pytest.raises(ModelError, match="nothing to train"):
        train((conjugate_model, guide), conjugate_data())


def test_a_network_that_pyro_cannot_see_is_refused():
    network = ModuleGuide()

    def model(x):
        offset = pyro.param("offset", torch.tensor(0.0, dtype=torch.float64))
        conjugate_model(x - offset)

    def guide(x):
        network(x)

    with pytest.raises(ModelError, match=r"pyro\.module"):
        train((model, guide), conjugate_data())
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    train((model, guide), conjugate_data(), epochs=1)


def test_a_network_without_registration_alone_is_refused():
    network = ModuleGuide()
    with pytest.raises(ModelError, match=r"nothing to train|pyro\.module"):
        train((conjugate_model, lambda x: network(x)), conjugate_data())


def test_a_pair_without_a_data_plate_is_refused_by_site():
    def model(x):
        z = pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x):
        loc = pyro.param("loc", torch.zeros(len(x)))
        pyro.sample("z", dist.Normal(loc, 1.0).to_event(1))

    with pytest.raises(ModelError, match="site 'z' stands in no plate"):
        train((model, guide), conjugate_data(dtype=torch.float32), batch_size=40)


# Several models in one process --------------------------------------------------------------------------


@pytest.mark.slow
def test_two_models_trained_in_turns_do_not_meet(tmp_path):
    for epochs in (1, 2, 3):
        results = [
            train(small_vae(seed), small_data(), epochs=epochs, out_dir=tmp_path / str(seed), resume=True)
            for seed in (0, 1)
        ]
    for seed, result in enumerate(results):
        assert weight_bytes(result.model) == weight_bytes(train(small_vae(seed), small_data()).model)


def stock_steps(vaes, steps=5):
    """One step of stock SVI on each model in turn, every step from a random stream of its own."""
    svis = [pyro.infer.SVI(v.model, v.guide, pyro.optim.Adam({"lr": 1e-2}), pyro.infer.Trace_ELBO()) for v in vaes]
    for step in range(steps):
        for svi in svis:
            torch.manual_seed(step)
            svi.step(small_data())
    return [weight_bytes(vae) for vae in vaes]


def test_two_models_in_turns_under_stock_svi_do_not_meet():
    together = stock_steps([small_vae(0), small_vae(1)])
    alone = [stock_steps([small_vae(seed)])[0] for seed in (0, 1)]
    assert together == alone
    assert together[0] != weight_bytes(small_vae(0))


def test_our_models_leave_the_store_as_they_found_it():
    mine = pyro.param("mine", torch.ones(3), constraint=constraints.positive)
    train(small_vae(), small_data())
    pv.evaluate(small_vae(), small_data())
    assert list(pyro.get_param_store().keys()) == ["mine"]
    assert torch.equal(pyro.param("mine"), mine)


@pytest.mark.slow
def test_users_pair_and_our_model_in_one_process():
    x = conjugate_data()
    train((conjugate_model, store_guide), x)
    alone = store_values()
    pyro.clear_param_store()
    train(small_vae(), small_data())
    train((conjugate_model, store_guide), x)
    train(small_vae(), small_data())
    assert store_values() == alone


@pytest.mark.slow
def test_fit_then_stock_svi_on_the_same_model():
    vae, x = small_vae(), small_data()
    after_fit = weight_bytes(train(vae, x).model)
    svi = pyro.infer.SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": 1e-2}), pyro.infer.Trace_ELBO())
    start = pv.evaluate(vae, x, num_particles=20).elbo.mean()
    for _ in range(60):
        svi.step(x)
    assert all(after_fit[name] != now for name, now in weight_bytes(vae).items())
    assert pv.evaluate(vae, x, num_particles=20).elbo.mean() > start + 0.3


@pytest.mark.slow
def test_stock_svi_then_fit_on_the_same_model():
    vae, x = small_vae(), small_data()
    svi = pyro.infer.SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": 1e-2}), pyro.infer.Trace_ELBO())
    for _ in range(20):
        svi.step(x)
    names, after_svi = sorted(pyro.get_param_store().keys()), weight_bytes(vae)
    train(vae, x, epochs=10)
    assert all(after_svi[name] != now for name, now in weight_bytes(vae).items())
    # The store still holds this model's own tensors, so stock SVI goes on with what fit learnt.
    assert sorted(pyro.get_param_store().keys()) == names
    assert {id(p) for p in pyro.get_param_store()._params.values()} == {id(p) for p in vae.parameters()}


# Continuing a user's pair -------------------------------------------------------------------------------


def make_store_pair():
    """The programs anew, as another process would define them."""

    def model(x):
        conjugate_model(x)

    def guide(x):
        store_guide(x)

    return model, guide


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["functions", "modules", "methods", "pyro module", "object"])
def test_a_users_pair_can_be_continued_by_another_process(kind, tmp_path):
    make = {
        "functions": make_store_pair,
        "modules": lambda: (conjugate_model, ModuleGuide()),
        "methods": lambda: (lambda both: (both.model, both.guide))(Both()),
        "pyro module": lambda: (conjugate_model, _seeded(PyroGuide)),
        "object": lambda: Holder(*make_store_pair()),
    }[kind]
    x = conjugate_data()

    def numbers(pair):
        both = as_pair(pair)
        modules = [m for m in map(inf.pair.trace.owner, (both.model, both.guide)) if m is not None]
        store = {name: p.detach().numpy().tobytes() for name, p in pyro.get_param_store()._params.items()}
        return [weight_bytes(m) for m in modules], store

    straight = make()
    train(straight, x, epochs=4)
    expected = numbers(straight)
    pyro.clear_param_store()
    train(make(), x, epochs=2, out_dir=tmp_path)
    pyro.clear_param_store()
    resumed = make()
    train(resumed, x, epochs=4, out_dir=tmp_path, resume=True)
    assert numbers(resumed) == expected


def _seeded(make):
    torch.manual_seed(0)
    return make()
