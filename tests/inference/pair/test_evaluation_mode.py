"""Evaluation changes no network and looks at no neighbour, wherever the networks lie."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import ppl_vae as pv
from ppl_vae.errors import ModelError
from ppl_vae.inference.pair.evaluation_mode import evaluation_mode
from tests.inference.small_runs import train

D = 5


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(D, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.BatchNorm1d(16, affine=False),
        nn.Linear(16, 2),
    )  # fmt: skip


def programs(encoder, kind):
    """A pair of functions whose guide has its network in a closure, in a dict, or calls its forward."""
    held = {"enc": encoder} if kind == "dict" else encoder
    decoder = nn.Linear(1, D)

    def model(x):
        pyro.module("dec", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(decoder(z), 3.0).to_event(1), obs=x)

    def guide(x):
        enc = held["enc"] if kind == "dict" else held
        pyro.module("enc", enc)
        h = enc.forward(x) if kind == "forward" else enc(x)
        with pyro.plate("data", len(x)):
            # A narrow posterior: what is left of a datum's number is the network's.
            pyro.sample("z", dist.Normal(h[:, :1], h[:, 1:].clamp(max=-9).exp()).to_event(1))

    return model, guide


def data(n=64):
    return 3 * torch.randn(n, D, generator=torch.Generator().manual_seed(1)) + 5


def bytes_of(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def require_same_bytes(module, before):
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["closure", "dict", "forward"])
def test_evaluation_changes_nothing_and_no_datum_depends_on_its_neighbours(kind):
    encoder, x = network(), data()
    pair, before = programs(encoder, kind), bytes_of(encoder)
    alone = torch.cat([pv.evaluate(pair, x[n : n + 1]).elbo for n in range(4)])
    # The draws differ by e^-9 of a unit.
    torch.testing.assert_close(pv.evaluate(pair, x).elbo[:4], alone, rtol=1e-3, atol=5e-3)
    pv.log_evidence(pair, x[:4], num_samples=64)
    require_same_bytes(encoder, before)
    assert all(module.training for module in encoder.modules())


@pytest.mark.parametrize("kind", ["closure", "dict", "forward"])
def test_fit_trains_them_with_its_batches_alone_and_leaves_evaluation_mode(kind):
    encoder = network()
    train(programs(encoder, kind), data(), elbo="monte-carlo-kl", epochs=1, validation=data(8) + 100)
    assert int(encoder[1].num_batches_tracked) == 4
    assert encoder[1].running_mean.abs().max() < 20
    assert not any(module.training for module in encoder.modules())


@pytest.mark.slow
@pytest.mark.parametrize("wanted", [False, True])
def test_a_trial_of_captured_steps_leaves_the_buffers(wanted, monkeypatch):
    monkeypatch.setattr("ppl_vae.inference.compilation.step_choice.missing_compiler", lambda: "no compiler")
    encoder = network()
    options = {"compile": wanted, "elbo": "monte-carlo-kl", "epochs": 2}
    if wanted:
        with pytest.warns(UserWarning, match="traced"):
            train(programs(encoder, "closure"), data(), **options)
    else:
        train(programs(encoder, "closure"), data(), **options)
    assert encoder[1].running_mean.isfinite().all()
    assert int(encoder[1].num_batches_tracked) == 8


@pytest.mark.slow
def test_the_buffers_of_a_closures_network_are_in_the_checkpoint(tmp_path):
    options = {"elbo": "monte-carlo-kl", "compile": False}
    whole = network()
    train(programs(whole, "closure"), data(), epochs=4, **options)
    pyro.clear_param_store()
    train(programs(network(), "closure"), data(), epochs=2, out_dir=tmp_path, **options)
    pyro.clear_param_store()
    continued = network()
    train(programs(continued, "closure"), data(), epochs=4, out_dir=tmp_path, resume=True, **options)
    for name in ("1.running_mean", "1.running_var", "4.running_mean"):
        assert torch.equal(continued.state_dict()[name], whole.state_dict()[name])


def test_a_frozen_network_keeps_its_mode():
    frozen = nn.Sequential(nn.Linear(D, D), nn.BatchNorm1d(D)).eval().requires_grad_(False)
    model, guide = programs(network(), "closure")
    before = bytes_of(frozen)
    train((model, lambda x: guide(frozen(x))), data(), elbo="monte-carlo-kl", epochs=1)
    require_same_bytes(frozen, before)


def test_batch_norm_without_running_statistics_is_refused():
    encoder = network()
    encoder[1] = nn.BatchNorm1d(16, track_running_stats=False)
    with pytest.raises(ModelError, match=r"BatchNorm1d\(16.*depends on its neighbours"):
        pv.evaluate(programs(encoder, "closure"), data())
    assert all(module.training for module in encoder.modules())


class Counting(nn.Module):
    """Counts its calls in buffers, by assignment and in place, whatever its mode."""

    def __init__(self):
        super().__init__()
        self.register_buffer("assigned", torch.zeros(()))
        self.register_buffer("added", torch.zeros(()))

    def forward(self, x):
        self.assigned = self.assigned + 1
        self.added += 1
        return x


def test_buffers_are_put_back_however_they_were_changed():
    module = Counting()
    with evaluation_mode(module):
        module(torch.zeros(1))
    assert module.assigned.item() == module.added.item() == 0
