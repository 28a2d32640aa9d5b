"""Where guide, prior and data have their mass: what torch says of a support is not always where the draws are."""

import math

import pyro
import pytest
import torch
from pyro import distributions as dist
from torch.distributions import constraints, transforms

import ppl_vae as pv
from ppl_vae.errors import DataError, ModelError
from ppl_vae.inference.pair.supports import support_of

X = torch.tensor([0.3, -1.2, 2.0, 0.7])


def pair_of(prior, guide, likelihood=lambda z: dist.Normal(z, 1.0)):
    """A pair of one latent number; ``guide`` makes the distribution of every datum."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", prior)
            pyro.sample("x", likelihood(z), obs=x)

    def amortised(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", guide(x))

    return model, amortised


def moved(base, *steps):
    return lambda x: dist.TransformedDistribution(base(x), list(steps))


ones = torch.ones_like
PARTS = {
    "tanh, scaled": moved(
        lambda x: dist.Normal(x / 2, 0.8), transforms.TanhTransform(), transforms.AffineTransform(0.0, 2.0)
    ),
    "exponential, shifted": lambda x: dist.TransformedDistribution(
        dist.Exponential(ones(x)), [transforms.AffineTransform(x / 2, 1.0)]
    ),
    "gamma, mirrored": lambda x: dist.TransformedDistribution(
        dist.Gamma(2 * ones(x), 1.0), [transforms.AffineTransform(x / 2, -1.0)]
    ),
}


@pytest.mark.parametrize("name", PARTS)
def test_a_guide_that_transforms_keep_to_a_part_of_the_prior_has_no_evidence(name):
    pair = pair_of(dist.Normal(0.0, 1.0), PARTS[name])
    with pytest.raises(ModelError, match=r"site 'z': the guide's support is .*importance weights never reach"):
        pv.log_evidence(pair, X, num_samples=50)
    assert pv.evaluate(pair, X, num_particles=10).elbo.isfinite().all()


@pytest.mark.parametrize(
    ("base", "steps", "lower", "upper"),
    [
        (dist.Exponential(1.0), [transforms.AffineTransform(2.0, 3.0)], 2.0, math.inf),
        (dist.Exponential(1.0), [transforms.AffineTransform(2.0, -3.0)], -math.inf, 2.0),
        (dist.Beta(2.0, 2.0), [transforms.AffineTransform(-5.0, 10.0)], -5.0, 5.0),
        (dist.Beta(2.0, 2.0), [transforms.ExpTransform(), transforms.AffineTransform(0.0, 2.0)], 2.0, 2 * math.e),
        (dist.Normal(0.0, 1.0), [transforms.TanhTransform(), transforms.AffineTransform(0.0, 2.0)], -2.0, 2.0),
    ],
)
def test_a_support_is_where_the_transforms_carry_the_base(base, steps, lower, upper):
    support = support_of(dist.TransformedDistribution(base, steps))
    assert (float(support.lower_bound), float(support.upper_bound)) == pytest.approx((lower, upper))


def test_a_support_that_torch_knows_is_torchs():
    assert support_of(dist.LogNormal(0.0, 1.0)) is constraints.positive
    assert support_of(dist.Gumbel(0.0, 1.0)) is constraints.real
    shifted = dist.TransformedDistribution(dist.Normal(0.0, 1.0), [transforms.AffineTransform(1.0, 2.0)])
    assert support_of(shifted) is constraints.real


def test_a_transformed_guide_on_the_whole_prior_has_the_right_evidence():
    guide = lambda x: dist.TransformedDistribution(  # noqa: E731
        dist.Beta(2 * ones(x), 2.0), [transforms.AffineTransform(-5.0, 10.0)]
    )
    found = pv.log_evidence(pair_of(dist.Uniform(-5.0, 5.0), guide), X, num_samples=4000)
    exact = ((torch.special.ndtr(5 - X) - torch.special.ndtr(-5 - X)) / 10).log().double()
    assert ((found.per_datum - exact).abs() < 4 * found.per_datum_stderr + 1e-3).all()


def test_a_guide_that_never_draws_a_category_has_no_evidence():
    five = dist.Categorical(torch.ones(5))
    for guide in (
        lambda x: dist.Categorical(torch.tensor([0.5, 0.5, 0.0, 0.0, 0.0]).expand(len(x), 5)),
        lambda x: dist.Categorical(torch.ones(len(x), 3)),
    ):
        pair = pair_of(five, guide)
        with pytest.raises(ModelError, match=r"site 'z': the guide('s support is|.* probability 0)"):
            pv.log_evidence(pair, X, num_samples=50)


def test_a_guide_that_is_sure_of_some_data_has_its_evidence():
    """A category without probability for one datum is an answer, not a gap."""
    logits = torch.tensor([[0.0, -200.0], [-200.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    pair = pair_of(dist.Categorical(torch.ones(2)), lambda x: dist.Categorical(logits=logits))
    assert pv.log_evidence(pair, X, num_samples=50).per_datum.isfinite().all()


def test_fewer_categories_in_the_guide_are_a_bound_by_draws():
    """log p(x, z) - log q(z) summed over the guide's own three."""
    pair = pair_of(dist.Categorical(torch.ones(5)), lambda x: dist.Categorical(torch.ones(len(x), 3)))
    found = pv.evaluate(pair, X, num_particles=4000)
    z = torch.arange(3.0).unsqueeze(-1)
    exact = (dist.Normal(z, 1.0).log_prob(X) - math.log(5) + math.log(3)).mean(0)
    assert not found.closed_form
    error = dist.Normal(z, 1.0).log_prob(X).std(0, correction=0) / math.sqrt(4000)
    assert ((found.elbo - exact).abs() < 4 * error + 1e-4).all()


def test_an_infinite_kl_names_the_two_supports():
    pair = pair_of(dist.Uniform(-50.0, 50.0), lambda x: dist.Normal(x / 2, 0.1))
    with pytest.raises(ModelError, match="site 'z': the guide's KL from the prior is infinite, for its support"):
        pv.evaluate(pair, X, num_particles=10)


def test_a_category_that_there_is_not_is_refused_by_name():
    pair = pair_of(
        dist.Normal(0.0, 1.0),
        lambda x: dist.Normal(torch.zeros(len(x)), 1.0),
        lambda z: dist.Categorical(logits=torch.stack([z, -z], -1)),
    )
    for ask in (pv.evaluate, pv.log_evidence, lambda pair, x: pv.fit(pair, x, epochs=1, progress=False)):
        with pytest.raises(DataError, match="site 'x': the data hold values outside the support"):
            ask(pair, torch.tensor([7, 1]))


def test_a_mixture_of_real_numbers_lives_where_they_do():
    """So that its draws, which may be dear, need not be made to compare it with a Gaussian guide."""
    prior = dist.MixtureSameFamily(dist.Categorical(torch.ones(3)), dist.Normal(torch.zeros(3), 1.0))
    drawn = []
    prior.sample = lambda *args, **kwargs: drawn.append(1)
    pv.log_evidence(pair_of(prior, lambda x: dist.Normal(x / 2, 0.8)), X, num_samples=50)
    assert not drawn
