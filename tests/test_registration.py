"""Two models in one process never meet in Pyro's store, and nothing is left there where nobody asked."""

import copy
import pickle

import pyro
import pytest
import torch
from pyro import poutine

import ppl_vae as pv
from ppl_vae.errors import ModelError
from ppl_vae.registration import InstanceName, unregistered


def state(vae):
    return {name: value.clone() for name, value in vae.state_dict().items()}


def moved(vae, before):
    """Names of the parameters that differ from what they were."""
    return {name for name, value in vae.state_dict().items() if not torch.equal(value, before[name])}


def train(vae, x, steps=3):
    svi = pyro.infer.SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": 0.01}), pyro.infer.Trace_ELBO())
    return [svi.step(x) for _ in range(steps)]


@pytest.fixture
def x():
    return torch.rand(5, 4).round()


def test_stock_svi_trains_two_models_without_either_touching_the_other(x):
    first, second = pv.VAE((4,), 2, seed=1), pv.VAE((4,), 2, seed=2)
    before = state(first), state(second)
    train(first, x)
    assert moved(first, before[0]) == {name for name, _ in first.named_parameters()}
    assert moved(second, before[1]) == set()
    after_first = state(first)
    train(second, x)
    assert moved(second, before[1]) == {name for name, _ in second.named_parameters()}
    assert moved(first, after_first) == set()
    assert len(pyro.get_param_store()) == len(before[0]) + len(before[1])


def test_the_second_of_two_models_trains_as_it_would_alone(x):
    """The trap of pyro.module's names: a second model whose tensors the store does not hold never moves."""
    alone = pv.VAE((4,), 2, seed=2)
    torch.manual_seed(3)
    expected = train(alone, x)
    pyro.clear_param_store()
    other, second = pv.VAE((4,), 2, seed=1), pv.VAE((4,), 2, seed=2)
    train(other, x)
    torch.manual_seed(3)
    assert train(second, x) == expected
    assert moved(second, state(alone)) == set()


def test_stock_svi_keeps_the_models_own_tensors_in_the_store(x):
    vae = pv.VAE((4,), 2)
    train(vae, x, steps=1)
    stored = {id(p) for p in pyro.get_param_store()._params.values()}
    assert stored == {id(p) for p in vae.parameters()}


@pytest.mark.parametrize("twin", [copy.deepcopy, lambda vae: pickle.loads(pickle.dumps(vae))])
def test_a_copy_trains_under_a_name_of_its_own(twin, x):
    vae = pv.VAE((4,), 2)
    other = twin(vae)
    train(vae, x)
    before, fresh = state(vae), state(other)
    train(other, x)
    assert moved(vae, before) == set()
    assert moved(other, fresh) == {name for name, _ in other.named_parameters()}


def test_a_deep_copy_of_a_model_in_training_leaves_the_store_behind(x):
    vae = pv.VAE((4,), 2)
    train(vae, x)
    other, before = copy.deepcopy(vae), state(vae)
    train(other, x)
    assert moved(vae, before) == set()
    assert moved(other, before) == {name for name, _ in other.named_parameters()}


def test_a_loaded_model_trains_under_a_name_of_its_own(tmp_path, x):
    vae = pv.VAE((4,), 2)
    vae.save(tmp_path)
    loaded, before = pv.load(tmp_path), state(vae)
    train(loaded, x)
    assert moved(vae, before) == set()
    assert len(moved(loaded, before)) == len(before)


def test_programs_called_bare_or_unregistered_leave_the_store_empty(x):
    vae = pv.VAE((4,), 2)
    vae.guide(x), vae.model(x), vae.model(size=3)
    with unregistered():
        poutine.trace(vae.guide).get_trace(x)
        poutine.trace(vae.model).get_trace(x)
    assert len(pyro.get_param_store()) == 0
    poutine.trace(vae.model).get_trace(x)
    assert len(pyro.get_param_store()) == len(list(vae.model.parameters()))


def test_registration_is_on_again_after_an_error():
    with pytest.raises(RuntimeError, match="inside"), unregistered():
        raise RuntimeError("inside")
    vae = pv.VAE((4,), 2)
    poutine.trace(vae.model).get_trace(size=2)
    assert len(pyro.get_param_store()) > 0


def test_registration_can_be_switched_off_within_itself():
    vae = pv.VAE((4,), 2)
    with unregistered():
        with unregistered():
            pass
        poutine.trace(vae.model).get_trace(size=2)
    assert len(pyro.get_param_store()) == 0


def test_names_are_never_given_twice():
    names = [InstanceName("model") for _ in range(3)]
    names += [copy.deepcopy(names[0]), copy.copy(names[0]), pickle.loads(pickle.dumps(names[0]))]
    assert len({name.value for name in names}) == len(names)
    assert all(name.value.startswith("ppl_vae.model.") for name in names)


def test_a_fit_leaves_the_store_as_it_was_found(x):
    pyro.param("mine", torch.ones(2))
    pv.fit(pv.VAE((4,), 2), x, epochs=1, batch_size=5, device="cpu", progress=False)
    assert list(pyro.get_param_store().keys()) == ["mine"]


def loaded_elsewhere(names, values):
    """The store as ``load`` leaves it: other tensors under the names of an earlier process."""
    store = pyro.get_param_store()
    params = {name: value.detach().clone().requires_grad_() for name, value in zip(names, values, strict=True)}
    store.clear()
    store.set_state({"params": params, "constraints": dict.fromkeys(params, torch.distributions.constraints.real)})


def stored_names(vae):
    traces = [poutine.trace(half).get_trace(torch.zeros(1, 4)) for half in (vae.model, vae.guide)]
    return [name for trace in traces for name, node in trace.nodes.items() if node["type"] == "param"]


@pytest.mark.slow
@pytest.mark.parametrize("first", ["evaluate", "svi", "fit"])
def test_a_loaded_store_reaches_the_networks_and_trains_on(x, first, tmp_path):
    trained, fresh = pv.VAE((4,), 2, seed=1), pv.VAE((4,), 2, seed=2)
    train(trained, x, steps=5)
    expected = pv.evaluate(trained, x).summary()["elbo"]
    loaded_elsewhere(stored_names(fresh), [p for half in (trained.model, trained.guide) for p in half.parameters()])
    leaves = list(fresh.parameters())
    if first == "svi":
        pyro.infer.SVI(
            fresh.model, fresh.guide, pyro.optim.Adam({"lr": 0.01}), pyro.infer.Trace_ELBO()
        ).evaluate_loss(x)
    elif first == "fit":
        still = pv.fit(fresh, x, epochs=1, schedule=lambda step: 0.0, device="cpu", progress=False)
        assert still.epochs_run == 1
    assert pv.evaluate(fresh, x).summary()["elbo"] == expected
    assert all(a is b for a, b in zip(leaves, fresh.parameters(), strict=True))
    before = state(fresh)
    train(fresh, x)
    assert moved(fresh, before) == {name for name, _ in fresh.named_parameters()}


def test_a_loaded_store_of_another_shape_is_refused(x):
    small, large = pv.VAE((4,), 1), pv.VAE((4,), 2)
    train(small, x, steps=1)
    loaded_elsewhere(stored_names(large), [p for half in (small.model, small.guide) for p in half.parameters()])
    with pytest.raises(ModelError, match=r"the parameter store holds .* under this name, the network has"):
        pv.evaluate(large, x)


def test_a_loaded_store_that_no_model_reads_is_told(x):
    loaded_elsewhere(["ppl_vae.model.999999$$$decoder.weight"], [torch.zeros(2)])
    vae = pv.VAE((4,), 2)
    with pytest.warns(UserWarning, match=r"holds 'ppl_vae.model.999999', of another process"):
        train(vae, x, steps=1)
    train(vae, x, steps=1)


def test_parameters_that_were_replaced_are_not_overwritten_by_old_ones(x):
    vae = pv.VAE((4,), 2)
    train(vae, x, steps=1)
    new = {name: torch.zeros_like(value) for name, value in vae.state_dict().items()}
    vae.load_state_dict(new, assign=True)
    pv.evaluate(vae, x)
    assert not any(value.any() for value in vae.state_dict().values())
    before = state(vae)
    train(vae, x)
    assert moved(vae, before) != set()
