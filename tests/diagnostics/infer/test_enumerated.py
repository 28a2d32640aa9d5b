"""Discrete latent sites: where they are few their posterior is a finite sum, whatever the guide; else a flag."""

import math

import numpy as np
import pyro
import pytest
import torch
from pyro import distributions as dist
from pyro import poutine
from pyro.infer.reparam import SplitReparam

from ppl_vae.diagnostics.infer import infer
from ppl_vae.diagnostics.infer.enumerated import enumerated
from ppl_vae.diagnostics.infer.part import Part
from ppl_vae.errors import ModelError

QUIET = {"progress": False}
COLOURS = torch.tensor([0.2, 0.3, 0.5])
# p(shape | colour), and the means of x given both.
SHAPES = torch.tensor([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8]])
MEANS = torch.tensor([[-2.0, 0.0], [0.5, 1.0], [2.0, 4.0]])


def two_sites(x):
    with pyro.plate("data", len(x)):
        colour = pyro.sample("colour", dist.Categorical(COLOURS))
        shape = pyro.sample("shape", dist.Categorical(SHAPES[colour]))
        pyro.sample("x", dist.Normal(MEANS[colour, shape].unsqueeze(-1), 1.0).to_event(1), obs=x)


def two_guides(x):
    """Hardly ever the last colour, which is where most of the data are."""
    with pyro.plate("data", len(x)):
        pyro.sample("colour", dist.Categorical(torch.tensor([0.5, 0.499, 0.001])))
        pyro.sample("shape", dist.Categorical(torch.tensor([0.5, 0.5])))


def switch(x):
    with pyro.plate("data", len(x)):
        b = pyro.sample("switch", dist.Bernoulli(torch.full((len(x), 1), 0.5)).to_event(1))
        pyro.sample("x", dist.Normal(3 * b, 1.0).to_event(1), obs=x)


def biased(x):
    with pyro.plate("data", len(x)):
        pyro.sample("switch", dist.Bernoulli(torch.full((len(x), 1), 1e-3)).to_event(1))


def test_two_sites_of_which_one_depends_on_the_other_have_bayes_posterior_under_any_guide():
    x = torch.tensor([[-1.0], [1.5], [5.0]])
    joint = COLOURS[:, None] * SHAPES * torch.exp(-0.5 * (x[:, :, None] - MEANS) ** 2)
    truth = (joint / joint.sum((1, 2), keepdim=True)).numpy()
    result = infer((two_sites, two_guides), x, num_draws=1000, **QUIET)
    pairs = 2 * result.posterior["colour"].values[0] + result.posterior["shape"].values[0]
    # Systematic resampling counts each value to within one draw.
    for datum in range(3):
        shares = np.bincount(pairs[:, datum].astype(int), minlength=6) / 1000
        np.testing.assert_allclose(shares, truth[datum].ravel(), atol=1.01e-3)
    stats = result.sample_stats
    assert stats["rung"].values.tolist() == [2, 2, 2]
    assert stats["ess"].values.tolist() == [1000, 1000, 1000]
    assert stats["reason"].values.tolist() == ["drawn from all 6 values, weighed exactly"] * 3


def test_a_value_that_the_guide_hardly_draws_is_there():
    x = torch.tensor([[6.0], [1.5]])
    result = infer((switch, biased), x, num_draws=1000, **QUIET)
    truth = torch.sigmoid(3 * x[:, 0] - 4.5).numpy()
    share = result.posterior["switch"].values[0, ..., 0].mean(0)
    np.testing.assert_allclose(share, truth, atol=1.01e-3)


def test_draws_are_in_no_order():
    x = torch.tensor([[1.5]])
    drawn = infer((switch, biased), x, num_draws=1000, **QUIET).posterior["switch"].values[0, :, 0, 0]
    # Half of the draws are ones, in every part of them within four standard errors.
    assert abs(drawn[:250].mean() - 0.5) < 4 * 0.5 / math.sqrt(250)


def many(x):
    with pyro.plate("data", len(x)):
        b = pyro.sample("switch", dist.Bernoulli(torch.full((len(x), 13), 0.5)).to_event(1))
        pyro.sample("x", dist.Normal(3 * b[..., :1], 1.0).to_event(1), obs=x)


def many_guides(x):
    with pyro.plate("data", len(x)):
        pyro.sample("switch", dist.Bernoulli(torch.full((len(x), 13), 1e-3)).to_event(1))


def test_more_values_than_can_be_listed_are_flagged_by_the_site():
    far = infer((many, many_guides), torch.tensor([[6.0]]), num_draws=1000, **QUIET)
    assert far.sample_stats["rung"].values.tolist() == [5]
    assert "site 'switch' is discrete" in str(far.sample_stats["reason"].values[0])


def nested(x):
    """The largest value of one site is that of another."""
    with pyro.plate("data", len(x)):
        most = pyro.sample("most", dist.Binomial(4, torch.full((len(x),), 0.5)))
        count = pyro.sample("count", dist.Binomial(most, torch.full((len(x),), 0.5)))
        pyro.sample("x", dist.Normal(count.unsqueeze(-1), 1.0).to_event(1), obs=x)


def mixed(x):
    with pyro.plate("data", len(x)):
        b = pyro.sample("switch", dist.Bernoulli(torch.full((len(x),), 0.5)))
        z = pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))
        pyro.sample("x", dist.Normal((z + b).unsqueeze(-1), 1.0).to_event(1), obs=x)


def test_supports_that_depend_on_each_other_and_continuous_sites_are_not_enumerated():
    for model in (nested, mixed):
        for size in (1, 3):
            assert enumerated(Part(model, model, (torch.zeros(size, 1),)), 1 << 20) is None


def test_to_ask_whether_a_pair_can_be_enumerated_draws_nothing():
    state = torch.get_rng_state()
    enumerated(Part(mixed, mixed, (torch.zeros(3, 1),)), 1 << 20)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_prior_without_draws_is_refused_by_its_site():
    def plain(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(len(x), 2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            for part in range(2):
                pyro.sample(f"z_split_{part}", dist.Normal(x[:, part : part + 1] / 2, 0.7).to_event(1))

    model = poutine.reparam(plain, {"z": SplitReparam([1, 1], -1)})
    with pytest.raises(ModelError, match="site 'z_split_0': SplitReparam states the prior of 'z' as a weight"):
        infer((model, guide), torch.zeros(3, 2), progress=False)
