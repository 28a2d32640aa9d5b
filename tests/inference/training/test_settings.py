import functools
import json
import math

import numpy as np
import pytest
import torch

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.errors import ModelError
from ppl_vae.inference.training.settings import Settings, resolve
from tests.inference.small_runs import D, small_data, small_vae, train


class Recording(torch.optim.SGD):
    """SGD that keeps the gradients' global norm and its learning rate at every step."""

    seen: list

    def step(self, closure=None):
        gradients = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
        norm = torch.stack([g.square().sum() for g in gradients]).sum().sqrt().item()
        Recording.seen.append((norm, self.param_groups[0]["lr"]))
        return super().step(closure)


def recorded(**options):
    Recording.seen = []
    train(small_vae(), small_data(), **{"optimizer": Recording, "lr": 1e-4, "epochs": 2, **options})
    return np.array(Recording.seen).T


def test_defaults_are_the_documented_ones():
    assert resolve(object(), {}) == Settings("analytic-kl", 50, None, 1e-3, None, None, None, None, None)


def test_the_users_argument_goes_before_the_recipes_before_the_default():
    recipe = pv.make("conv-vae", (1, 28, 28))
    given = {"epochs": None, "batch_size": 8, "lr": None}
    settings = resolve(recipe, given)
    assert (settings.epochs, settings.batch_size, settings.lr, settings.patience) == (30, 8, 1e-3, 2)
    assert settings.objective is recipe.elbo


def test_an_estimators_name_replaces_the_recipes_objective():
    recipe = pv.make("beta-vae", (D,), likelihood="gaussian")
    assert isinstance(resolve(recipe, {"elbo": "iwae"}).objective, inf.ImportanceWeighted)


@pytest.mark.parametrize(
    ("optimizer", "rate"),
    [
        (Recording, 1e-4),
        (functools.partial(Recording, momentum=0.9), 1e-4),
        (functools.partial(Recording, lr=5e-4), 5e-4),
        (lambda parameters: Recording(parameters, lr=2e-4), 2e-4),
        (functools.partial(lambda parameters, lr: Recording(parameters, lr=lr), lr=3e-4), 3e-4),
    ],
)
def test_who_gives_the_learning_rate(optimizer, rate):
    _, rates = recorded(optimizer=optimizer, lr=1e-4 if rate == 1e-4 else None)
    assert rates == pytest.approx(np.full(8, rate))


def test_adam_is_the_default():
    optimizer = Settings(lr=0.02).make_optimizer([torch.nn.Parameter(torch.ones(2))])
    assert isinstance(optimizer, torch.optim.Adam)
    assert optimizer.defaults["lr"] == 0.02


def test_an_optimiser_is_given_every_parameter():
    given = []

    def optimizer(parameters):
        given.extend(parameters)
        return torch.optim.SGD(parameters, lr=1e-3)

    vae = small_vae()
    train(vae, small_data(), optimizer=optimizer, epochs=1)
    assert {id(p) for p in given} == {id(p) for p in vae.parameters()}


def test_gradients_are_clipped_to_the_global_norm():
    free, _ = recorded()
    bound = float(np.median(free))
    clipped, _ = recorded(max_grad_norm=bound)
    assert (clipped <= bound * (1 + 1e-5)).all()
    assert free[0] == pytest.approx(clipped[0]) if free[0] <= bound else clipped[0] == pytest.approx(bound)
    # Only gradients that are too long are touched.
    loose, _ = recorded(max_grad_norm=10 * free.max())
    assert loose == pytest.approx(free)


def test_sgd_takes_the_step_of_the_mean_gradient():
    x, vae = small_data(), small_vae()
    start = [p.detach().clone() for p in vae.parameters()]
    gradients = []

    class Watching(torch.optim.SGD):
        def step(self, closure=None):
            gradients.extend(p.grad.clone() for p in self.param_groups[0]["params"])
            return super().step(closure)

    train(vae, x, optimizer=Watching, lr=0.1, epochs=1, batch_size=len(x))
    by_shape = {p.shape: g for p, g in zip(vae.parameters(), gradients, strict=True)}
    for before, now in zip(start, vae.parameters(), strict=True):
        if now.shape == (D, 8):
            torch.testing.assert_close(now.detach(), before - 0.1 * by_shape[now.shape])
    # The likelihood is N(decoder(z), 1): the output bias's gradient is minus the mean residual over data,
    # of the order of the data and not of their number times it.
    bias = next(g for p, g in zip(vae.parameters(), gradients, strict=True) if p.shape == (D,))
    assert bias.abs().max() < 3 * x.abs().mean()


def test_the_description_is_plain_values():
    optimizer = functools.partial(torch.optim.SGD, momentum=0.9)
    settings = Settings(inf.Beta("iwae", 2.0), optimizer=optimizer, schedule=lambda step: 1.0)
    described = json.loads(json.dumps(settings.describe()))
    assert "beta=2.0" in described["elbo"]
    assert "ImportanceWeighted" in described["elbo"]
    assert "momentum=0.9" in described["optimizer"]
    assert Settings().describe()["optimizer"] == "Adam"


class Warmup:
    """A schedule that is an object."""

    def __call__(self, step):
        return 1.0


def make_optimizer(parameters, lr):
    return torch.optim.SGD(parameters, lr=lr)


@pytest.mark.parametrize("field", ["optimizer", "schedule"])
def test_a_description_has_no_addresses(field):
    """They would make every resumed run look like another one."""
    for function in (
        functools.partial(make_optimizer, lr=0.1),
        Warmup(),
        functools.partial(lambda p, lr: p, lr=0.1),
    ):
        assert " at 0x" not in Settings(**{field: function}).describe()[field]


def test_numpy_numbers_are_taken():
    settings = Settings(epochs=np.int64(3), batch_size=np.int32(4), lr=np.float32(0.5), patience=np.int64(2))
    assert json.loads(json.dumps(settings.describe()))["lr"] == 0.5
    result = train(small_vae(), small_data(), epochs=np.int64(2), lr=np.float64(0.01), seed=np.int64(3))
    json.dumps(result.manifest)
    assert result.epochs_run == 2


@pytest.mark.parametrize(
    ("field", "value"),
    [("epochs", -1), ("epochs", True), ("batch_size", 1.5), ("lr", -1e-3), ("lr", math.inf), ("patience", "2")],
)
def test_values_that_cannot_be_meant(field, value):
    with pytest.raises(ModelError, match=field):
        Settings(**{field: value})
