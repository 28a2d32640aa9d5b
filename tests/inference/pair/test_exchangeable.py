"""Densities of a datum that depend on the datum alone: which pairs pass, and which are refused."""

import pyro
import pytest
import torch
from pyro import distributions as dist

from ppl_vae.errors import ModelError
from ppl_vae.inference.pair.exchangeable import require_exchangeable
from tests.inference.pair.user_programs import PROGRAMS


@pytest.mark.parametrize("name", ["straight-through", "straight-through, one-hot"])
def test_draws_that_carry_their_soft_values_trade_places_with_them(name):
    pyro.clear_param_store()
    x = torch.randn(8, generator=torch.Generator().manual_seed(0))
    require_exchangeable(*PROGRAMS[name].make(), (x,))


def test_a_guide_with_a_number_per_datum_is_refused():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.arange(float(len(x))), 1.0))

    with pytest.raises(ModelError, match="the guide's density of a datum depends on its place"):
        require_exchangeable(model, guide, (torch.zeros(4),))
