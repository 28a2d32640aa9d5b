"""Active units in the units of the prior: a latent that is multiplied by a number is as active as it was before."""

import numpy as np
import pyro
import pytest
import torch
from pyro import distributions as dist
from torch.distributions.transforms import AffineTransform

from ppl_vae.diagnostics import check_collapse, run_collapse, run_disentanglement
from ppl_vae.inference.pair.active_units import code_variance

# Of the variance of each latent, the share that its posterior mean has: (w s)^2 / (1 + (w s)^2).
SHARES = torch.tensor([0.8, 0.3, 0.002], dtype=torch.float64)


def conjugate(scale, prior=None):
    """Latents N(0, scale^2), each seen once with noise 1, so that its posterior mean has SHARES of the variance."""
    weight = (SHARES / (1 - SHARES)).sqrt() / scale

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", prior or dist.Normal(torch.zeros(3, dtype=torch.float64), scale).to_event(1))
            pyro.sample("x", dist.Normal(weight * z, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            spread = (1 - SHARES).sqrt() * scale
            pyro.sample("z", dist.Normal(spread**2 * weight * x, spread).to_event(1))

    return model, guide


@pytest.fixture(scope="module")
def x():
    noise = torch.randn(400, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return noise / (1 - SHARES).sqrt()


@pytest.mark.parametrize("scale", [0.05, 20.0])
def test_a_latent_is_as_active_on_every_scale(x, scale):
    """At 0.05 all three were idle, at 20 all three active; the information is the same, -log(1 - share) / 2."""
    table = run_collapse(conjugate(scale), x)
    assert list(table["active"].values) == [True, True, False]
    assert np.allclose(table["prior_variance"], scale**2)
    information = -0.5 * (1 - SHARES).log().sum().item()
    assert abs(table["average_kl"].item() - information) < 4 * table["average_kl_stderr"].item()
    verdict = check_collapse(table)
    assert (verdict.level, verdict.value) == ("doubtful", 2.0)
    assert code_variance(*conjugate(scale), x, 2).active(0.01).tolist() == [True, True, False]


def test_no_dimension_is_left_out_of_a_score_for_its_scale(x):
    """The factor is what the first dimension encodes; of a prior of scale 0.05 no dimension was judged."""
    factor = (x[:, :1] > 0).long()
    table = run_disentanglement(conjugate(0.05), x, factor, metrics=["mig"], num_shuffles=1)
    assert table["active"].values.tolist() == [[True, True, False]]
    assert table["mean"].sel(representation="mean").item() > 0.5


def test_probabilities_of_many_levels_are_active():
    """40 levels, 30 draws seen: Var E[p_k | n] is 30 / (30 + 40) of Var p_k = (1 - 1/40) / 40 / 41."""
    levels, seen = 40, 30
    one = torch.ones(levels, dtype=torch.float64)

    def model(x):
        with pyro.plate("data", len(x)):
            p = pyro.sample("p", dist.Dirichlet(one))
            pyro.sample("x", dist.Multinomial(seen, p, validate_args=False), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("p", dist.Dirichlet(one + x))

    torch.manual_seed(0)
    x = dist.Multinomial(seen, dist.Dirichlet(one).sample((150,))).sample()
    table = run_collapse((model, guide), x)
    variance = (1 - 1 / levels) / levels / (levels + 1)
    assert np.allclose(table["prior_variance"], variance)
    share = table["posterior_mean_variance"] / variance
    # The mean of 40 sample variances of 150 data each: about 15% each, and 3% together.
    assert share.mean().item() == pytest.approx(seen / (seen + levels), rel=0.1)
    assert check_collapse(table).level == "good"


def test_a_prior_that_states_no_variance_is_drawn(x):
    """4096 draws or more know it to sqrt(2 / 4096) = 2.2%; the draws of the guide stay what they were."""
    base = dist.Normal(torch.zeros(3, dtype=torch.float64), 1.0).to_event(1)
    drawn = run_collapse(conjugate(0.05, dist.TransformedDistribution(base, [AffineTransform(0.0, 0.05)])), x)
    assert np.allclose(drawn["prior_variance"], 0.05**2, rtol=4 * 0.022)
    assert list(drawn["active"].values) == [True, True, False]
    assert drawn["average_kl"].item() == pytest.approx(run_collapse(conjugate(0.05), x)["average_kl"].item())


def test_the_variance_of_a_latent_that_leans_on_another_is_that_of_both():
    """z2 = 0.1 z1 + 0.02 e: Var = 0.0104 where z1 of the guide has the prior's mean and variance."""

    def model(x):
        with pyro.plate("data", len(x)):
            z1 = pyro.sample("z1", dist.Normal(torch.zeros(len(x), dtype=torch.float64), 1.0))
            z2 = pyro.sample("z2", dist.Normal(0.1 * z1, 0.02))
            pyro.sample("x", dist.Normal(z1 + 10 * z2, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            z1 = pyro.sample("z1", dist.Normal(0.6 * x, 0.8))
            pyro.sample("z2", dist.Normal(0.1 * z1, 0.02))

    x = torch.randn(500, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    table = run_collapse((model, guide), x / x.std(correction=0), num_samples=20)
    assert table["prior_variance"].values == pytest.approx([1.0, 0.0104], rel=0.05)


def test_a_prior_without_a_variance_keeps_the_absolute_threshold():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Cauchy(torch.zeros(len(x)), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0.7 * x, 0.8))

    table = run_collapse((model, guide), torch.linspace(-2, 2, 30))
    assert table["prior_variance"].values == [1.0]
    assert bool(table["active"].all())
