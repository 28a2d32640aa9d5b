"""A pyro.param that first appears after some steps is trained from then on, as by stock SVI."""

import pyro
import pyro.distributions as dist
import pytest
import torch

from ppl_vae import inference as inf
from ppl_vae.errors import ModelError
from tests.inference.small_runs import D, small_data, train

FROM = 3


def programs():
    """A guide that gets its offset after some training steps."""
    steps = 0

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(D), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 0.5).to_event(1), obs=x)

    def guide(x):
        nonlocal steps
        steps += 1
        slope = pyro.param("slope", torch.zeros(()))
        offset = pyro.param("offset", torch.zeros(D)) if steps > FROM else 0.0
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(slope * x + offset, 0.5).to_event(1))

    return model, guide


def test_it_is_trained_as_by_stock_svi():
    """Far from the optimum, where Adam's steps have the gradient's sign, whatever the draws."""
    x = small_data(16) + 5
    train(programs(), x, elbo=inf.AnalyticKL(), compile=False, epochs=20)
    ours = {name: pyro.param(name).detach().clone() for name in ("slope", "offset")}
    pyro.clear_param_store()
    model, guide = programs()
    guide(x)
    guide(x)
    svi = pyro.infer.SVI(model, guide, pyro.optim.Adam({"lr": 1e-2}), pyro.infer.TraceMeanField_ELBO())
    for _ in range(20):
        svi.step(x)
    assert ours["offset"].abs().max() > 0.05
    # Nor do they depend on whether the loss is a sum or a mean. One step more or less were a hundredth.
    torch.testing.assert_close(ours["offset"], pyro.param("offset").detach(), rtol=0, atol=0.004)


def test_captured_steps_fall_back_to_it():
    with pytest.warns(UserWarning, match="the closure's 'steps'"):
        train(programs(), small_data(16), elbo="analytic-kl", compile=True)
    assert pyro.param("offset").abs().max() > 0


def test_a_schedule_reaches_it_too():
    train(programs(), small_data(16), elbo="analytic-kl", compile=False, epochs=8, schedule=lambda step: 0.0)
    assert pyro.param("offset").abs().max() == 0


def test_a_checkpoint_that_holds_it_is_refused_by_name(tmp_path):
    train(programs(), small_data(16), elbo="analytic-kl", compile=False, epochs=8, out_dir=tmp_path)
    pyro.clear_param_store()
    with pytest.raises(ModelError, match=r"'offset' is a pyro\.param that first appears after some steps"):
        train(programs(), small_data(16), elbo="analytic-kl", epochs=9, out_dir=tmp_path, resume=True)
