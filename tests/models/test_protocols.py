"""The optional attributes of parts: a user's own part without them works, and one with them is asked."""

import pytest
import torch
from pyro import distributions as dist
from torch import nn

import ppl_vae as pv
from ppl_vae.declared import declared
from ppl_vae.errors import ModelError
from ppl_vae.inference.pair.protocols import Traits
from ppl_vae.models.hierarchies.conditional import built
from ppl_vae.models.likelihoods.base import Likelihood
from ppl_vae.models.protocols import Encoder, Posterior, Prior, nothing
from tests.models.program_table import PROGRAMS

X = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))


class BarePrior(nn.Module):
    """p(z) = N(0, 4 I) and nothing else; ``build`` is a word of its owner's."""

    build = True

    def forward(self):
        return dist.Normal(torch.zeros(2), 2.0).to_event(1)


class BarePosterior(nn.Module):
    """q(z|x) on the first features, and nothing else."""

    def forward(self, features):
        return dist.Normal(features[..., :2], 1.0).to_event(1)


class AskedPrior(BarePrior):
    """A prior that writes down how it was asked."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def build(self, latent_dim):
        self.asked.append(("build", latent_dim))

    def attach(self, guide, event_shape):
        self.asked.append(("attach", event_shape))

    def initialise(self, x):
        self.asked.append(("initialise", tuple(x.shape)))


class AskedPosterior(BarePosterior):
    """A posterior that is moved by one when it is refined."""

    def build(self, num_features, latent_dim):
        self.sizes = (num_features, latent_dim)

    def attach(self, model):
        self.observed = model.event_shape

    def refine(self, q, x):
        return dist.Normal(q.mean + 1, 1.0).to_event(1)


class OwnLikelihood(Likelihood):
    """A Gaussian with what is abstract and no more."""

    name = "own"

    def forward(self, features, event_dim):
        return dist.Normal(features.select(-1 - event_dim, 0), 1.0).to_event(event_dim)

    def check(self, x):
        assert x.shape[1:] == (3,)


def _vae(prior, posterior, likelihood="gaussian"):
    network = (nn.Linear(3, 4), nn.Linear(2, 3))
    return pv.VAE((3,), 2, network, likelihood=likelihood, prior=prior, posterior=posterior)


def test_parts_without_any_optional_attribute_work():
    vae = _vae(BarePrior(), BarePosterior(), OwnLikelihood())
    vae.initialise(X)
    terms = pv.inference.trace_terms(vae, X)
    z = terms.sites["z"].value
    torch.testing.assert_close(terms.log_prior, dist.Normal(0.0, 2.0).log_prob(z).sum(-1))
    expected = dist.Normal(vae.model.decoder(z), 1.0).log_prob(X).sum(-1)
    torch.testing.assert_close(terms.log_likelihood, expected)
    assert list(vae.parameter_groups()) == ["encoder body", "decoder"]
    assert pv.fit(vae, X, epochs=1, progress=False, device="cpu").epochs_run == 1


def test_optional_methods_are_called_with_what_they_declare():
    prior, posterior = AskedPrior(), AskedPosterior()
    vae = _vae(prior, posterior)
    vae.initialise(X)
    assert prior.asked == [("build", 2), ("attach", (3,)), ("initialise", (6, 3))]
    assert (posterior.sizes, posterior.observed) == ((4, 2), (3,))
    plain = vae.guide.amortised(X).mean
    torch.testing.assert_close(vae.encode(X).mean, plain + 1)


def test_a_posterior_that_needs_the_model_cannot_stand_between_latents():
    with pytest.raises(ModelError, match="posterior 'AskedPosterior' needs a model with one latent site"):
        built(AskedPosterior(), 4, 2)
    assert isinstance(built(BarePosterior(), 4, 2), BarePosterior)


@pytest.mark.parametrize("kind", [Prior, Posterior, Encoder, Traits])
def test_every_attribute_has_a_default_and_an_object_without_any_has_them(kind):
    assert declared(kind, object()) == kind()
    assert declared(kind, nn.Identity()) == kind()


def test_what_cannot_be_called_is_no_method():
    assert declared(Prior, BarePrior()).build is nothing


@pytest.mark.parametrize("program", PROGRAMS, ids=str)
def test_what_inference_reads_of_a_program_is_what_our_programs_declare(program):
    """Every trait is an attribute of ours, in model or guide: a new name for one would be read as its default."""
    pair = program.pair()
    told, seen = declared(Traits, pair.model), declared(Traits, pair.guide)
    assert told.check_data == pair.model.check_data
    assert told.require_observed == pair.model.require_observed
    assert told.allows_missing == pair.model.likelihood.allows_missing
    assert seen.sees_missing == pair.guide.sees_missing
    assert told.takes_labels == (program.num_classes > 0 or told.allows_missing_labels)
    assert told.num_classes == (pair.num_classes if told.takes_labels else None)
