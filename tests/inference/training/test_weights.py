import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from ppl_vae import inference as inf
from ppl_vae.errors import ModelError
from ppl_vae.inference.training.weights import collect_weights
from tests.inference.small_runs import D, small_data, small_vae, weight_bytes


class Critic(inf.AnalyticKL):
    """An objective with a parameter and a buffer of its own."""

    def __init__(self):
        super().__init__()
        self.strength = nn.Parameter(torch.tensor(1.0))
        self.register_buffer("seen", torch.zeros(()))


def collect(vae, objective=None):
    return collect_weights(vae.model, vae.guide, objective or inf.AnalyticKL(), small_data(2))


def test_every_trainable_leaf_is_found_once():
    vae = small_vae()
    weights = collect(vae)
    assert {id(p) for p in weights.parameters()} == {id(p) for p in vae.parameters()}
    assert len(weights.parameters()) == len(list(vae.parameters()))
    assert not weights.store


def test_frozen_parameters_are_kept_but_not_trained():
    vae = small_vae()
    vae.model.decoder[0].weight.requires_grad_(False)
    weights = collect(vae)
    assert id(vae.model.decoder[0].weight) not in {id(p) for p in weights.parameters()}
    assert "model.decoder.0.weight" in weights.state()


def test_a_network_that_both_programs_use_counts_once():
    vae = small_vae()
    vae.guide.shared = vae.model.decoder
    parameters = collect(vae).parameters()
    assert len({id(p) for p in parameters}) == len(parameters) == len(list(vae.parameters()))


def test_the_objective_is_part_of_it():
    objective = Critic()
    weights = collect(small_vae(), objective)
    assert any(p is objective.strength for p in weights.parameters())
    assert {"objective.strength", "objective.seen"} <= set(weights.state())


def test_state_is_a_copy_and_restore_brings_it_back():
    vae = small_vae()
    weights = collect(vae)
    before, state = weight_bytes(vae), weights.state()
    addresses = [p.data_ptr() for p in vae.parameters()]
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter.add_(1.0)
    assert weight_bytes(vae) != before
    weights.restore(state)
    assert weight_bytes(vae) == before
    assert [p.data_ptr() for p in vae.parameters()] == addresses


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("guide.encoder.1.bias"), "'guide.encoder.1.bias' is nothing, expected"),
        (lambda state: state.update(extra=torch.ones(2)), r"'extra' is \[2\], expected nothing"),
        (lambda state: state.update({"model.decoder.0.bias": torch.ones(3)}), r"is \[3\], expected \[8\]"),
    ],
)
def test_a_state_of_another_pair_is_refused_whole(change, message):
    vae = small_vae()
    weights = collect(vae)
    state = {name: tensor + 1 for name, tensor in weights.state().items()}
    change(state)
    before = weight_bytes(vae)
    with pytest.raises(ModelError, match=message):
        weights.restore(state)
    assert weight_bytes(vae) == before


def test_params_of_the_store_are_found_unconstrained_and_apart_from_those_of_others():
    pyro.param("somebody_elses", torch.ones(2))

    def model(x):
        scale = pyro.param("scale", torch.tensor(2.0), constraint=dist.constraints.positive)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(D), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, scale).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x * pyro.param("gain", torch.tensor(0.5)), 1.0).to_event(1))

    weights = collect_weights(model, guide, inf.AnalyticKL(), small_data(2))
    assert set(weights.store) == {"scale", "gain"}
    assert weights.store["scale"].item() == pytest.approx(0.6931, abs=1e-4)
    assert all(leaf.is_leaf and leaf.requires_grad for leaf in weights.parameters())


def test_collecting_changes_no_statistics_and_no_modes():
    encoder = nn.Sequential(nn.Linear(D, 4), nn.BatchNorm1d(4))
    vae = small_vae()
    vae.guide.encoder = encoder
    vae.guide.posterior.build(4, 2)
    encoder.eval()
    vae.model.train()
    before = weight_bytes(vae)
    collect(vae)
    vae.train()
    collect(vae)
    assert weight_bytes(vae) == before
    assert all(module.training for module in vae.modules())


def test_train_puts_every_module_into_a_mode():
    vae, objective = small_vae(), Critic()
    weights = collect(vae, objective)
    for mode in (True, False):
        weights.train(mode)
        assert {m.training for m in (vae.model, vae.guide, vae.model.decoder, objective)} == {mode}
