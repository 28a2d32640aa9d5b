"""A latent site masked in model and guide has one closed form, whichever way each side says its mask.

z ~ N(0, 1) and q = N(0.3, 0.5) for even data; odd ones have no z, and x ~ N(0, 1) whatever it is.
"""

import contextlib
import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine

import ppl_vae as pv
from ppl_vae import inference as inf

X = torch.linspace(-1.0, 2.0, 8)
MASK = torch.arange(8) % 2 == 0
KL = 0.5 * (0.3**2 + 0.5**2 - 1) - math.log(0.5)
# E log N(x; z, 1) under q where there is a z, log N(x; 0, 1) elsewhere.
LIKELIHOOD = -0.5 * math.log(2 * math.pi) - 0.5 * torch.where(MASK, (X - 0.3).square() + 0.25, X.square())
ELBO = LIKELIHOOD - KL * MASK
WAYS = ["handler", "distribution"]


def site(way, loc, scale):
    handler = poutine.mask(mask=MASK) if way == "handler" else contextlib.nullcontext()
    p = dist.Normal(torch.tensor(loc).expand(8, 1), scale).to_event(1)
    with handler:
        return pyro.sample("z", p if way == "handler" else p.mask(MASK))


def pair(of_model, of_guide, scale=1.0):
    def model(x):
        with pyro.plate("data", len(x)), poutine.scale(scale=scale):
            z = site(of_model, 0.0, 1.0)[..., 0]
            pyro.sample("x", dist.Normal(torch.where(MASK, z, 0.0), 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)), poutine.scale(scale=scale):
            site(of_guide, 0.3, 0.5)

    return model, guide


@pytest.mark.parametrize("of_model", WAYS)
@pytest.mark.parametrize("of_guide", WAYS)
def test_the_closed_forms_are_those_of_the_data_that_have_the_site(of_model, of_guide):
    """Where the two ways met it was refused: no closed form between MaskedDistribution and Independent."""
    programs = pair(of_model, of_guide)
    terms = inf.trace_terms(programs, X)
    assert torch.allclose(terms.kl()[0], KL * MASK)
    assert torch.allclose(terms.coordinate_kl("z")[0, :, 0], KL * MASK)
    assert torch.allclose(terms.entropy[0], MASK * 0.5 * math.log(2 * math.pi * math.e * 0.25))
    told = pv.evaluate(programs, X, num_particles=4000)
    assert told.closed_form
    # (x - z)^2 / 2 has a spread of at most 0.9 over draws.
    assert (told.elbo - ELBO).abs().max() < 5 * 0.9 / math.sqrt(4000)


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_free_bits_without_a_floor_are_the_elbo(scale):
    """The KL of single dimensions was that of all data, masked or not, and without the user's scale."""
    programs = pair("handler", "handler", scale)
    elbo = inf.FreeBits("analytic-kl", floor=0.0)
    terms = elbo.run(*programs, X)
    assert torch.allclose(elbo.forward(terms), inf.get_elbo("analytic-kl").forward(terms))
    assert torch.allclose(elbo.forward(terms) + terms.log_likelihood.mean(), torch.tensor(scale * KL / 2))
