"""Objectives that use the codes of a whole batch, or errors of reconstruction, where a mask leaves data out."""

import pyro
import pytest
import torch
from pyro import distributions as dist

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.errors import ModelError

X = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
X[8:] = -9.0


def masked_pair(masked=True, masked_data=True):
    """z of the last four data is drawn and left out of all densities, by a handler."""
    encoder = torch.nn.Linear(3, 2)

    def kept(x, here):
        return x[:, 0] > -9.0 if here else torch.ones(len(x), dtype=torch.bool)

    def model(x):
        with pyro.plate("data", len(x)):
            with pyro.poutine.mask(mask=kept(x, masked)):
                z = pyro.sample("z", dist.Normal(torch.zeros(len(x), 2), 1.0).to_event(1))
            loc = torch.cat([z, z.sum(-1, keepdim=True)], -1)
            with pyro.poutine.mask(mask=kept(x, masked_data)):
                pyro.sample("x", dist.Normal(loc, 1.0).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)), pyro.poutine.mask(mask=kept(x, masked)):
            pyro.sample("z", dist.Normal(encoder(x), 0.5).to_event(1))

    return model, guide


OF_CODES = {
    "total correlation": lambda: inf.TotalCorrelation("monte-carlo-kl", num_data=12),
    "mmd": lambda: inf.MMD("analytic-kl"),
    "dip": lambda: inf.DIP("analytic-kl"),
    "density ratio": lambda: inf.DensityRatio("analytic-kl", hidden=(4,)),
    "adversarial prior": lambda: inf.AdversarialPrior("analytic-kl", hidden=(4,)),
    "decoder gradient": lambda: inf.DecoderGradient("analytic-kl"),
    "sparse": lambda: inf.SparseActivations("analytic-kl"),
}
OF_DATA = {
    "reconstruction error": lambda: inf.ReconstructionError("analytic-kl", factor=1.0),
    "energy score": lambda: inf.EnergyScore(),
    "adversarial images": lambda: inf.AdversarialImages("analytic-kl", hidden=(4,)),
}


def loss(objective, **kwargs):
    return objective(*masked_pair(**kwargs))(X)


@pytest.mark.parametrize("make", OF_CODES.values(), ids=OF_CODES)
def test_codes_of_masked_data_are_refused_by_site(make):
    with pytest.raises(ModelError, match="site 'z' is masked for some data"):
        loss(make())


@pytest.mark.parametrize("make", OF_DATA.values(), ids=OF_DATA)
def test_errors_of_masked_data_are_refused_by_site(make):
    with pytest.raises(ModelError, match="site 'x' is masked for some data or coordinates, which"):
        loss(make(), masked=False)


def test_the_norm_of_codes_leaves_masked_ones_out():
    """Half the mean square of the data whose code is there, as shares of all data."""
    pair, weight = masked_pair(), 3.0
    torch.manual_seed(0)
    terms = inf.trace_terms(*pair, X)
    plain, penalised = inf.AnalyticKL(), inf.CodeNorm("analytic-kl", weight)
    wanted = 0.5 * weight * terms.sites["z"].value[0, :8].square().sum() / 12
    torch.testing.assert_close(penalised.forward(terms) - plain.forward(terms), wanted)


def test_a_site_in_further_plates_is_named():
    def model(x):
        with pyro.plate("data", len(x)), pyro.plate("parts", 3):
            z = pyro.sample("z", dist.Normal(torch.zeros(3, len(x)), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x.mT)

    def guide(x):
        scale = pyro.param("scale", torch.tensor(0.5))
        with pyro.plate("data", len(x)), pyro.plate("parts", 3):
            pyro.sample("z", dist.Normal(x.mT / 2, scale))

    with pytest.raises(ModelError, match="site 'z': the aggregate posterior needs a site in the data plate alone"):
        inf.DIP("analytic-kl")(model, guide)(X)


@pytest.mark.slow
def test_fit_refuses_codes_that_a_later_batch_masks():
    """The first batches have none: steps that were recorded there must not go on over the others."""
    x = torch.cat([X[:8].repeat(30, 1), X[8:]])
    with pytest.raises(ModelError, match="site 'z' is masked for some data"):
        pv.fit(masked_pair(), x, inf.DIP("analytic-kl"), epochs=60, batch_size=20, device="cpu", progress=False)
