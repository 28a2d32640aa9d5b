"""Autoencoders: what their score is, what they refuse to be, and what corrupts, sparsifies and completes them."""

import math

import pyro
import pytest
import torch
from pyro import distributions as dist
from torch import nn

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.corruption import corruption
from ppl_vae.errors import ConvergenceError, ModelError
from ppl_vae.inference.pair.runs import trace_terms
from ppl_vae.models import with_post_hoc_prior
from ppl_vae.networks import MLP, Denoising
from tests.models.table import ConvPair

SHAPE = (1, 3, 4)


def autoencoder(code="linear", network=MLP((8,)), seed=0):  # noqa: B008  (frozen)
    posterior = {"name": "point", "code": code}
    return pv.VAE(SHAPE, 3, network=network, prior="flat", posterior=posterior, seed=seed).eval()


def binary(n=6):
    return torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(1)).round()


@pytest.mark.parametrize("code", ["linear", "sigmoid", "relu"])
def test_the_score_is_the_log_likelihood_of_x_given_its_own_code(code):
    """Written out on the decoder's logits, value and gradient; every parameter has one, and there is no noise."""
    vae, x = autoencoder(code), binary()
    found = inf.ReconstructionLikelihood().per_datum(vae.model, vae.guide, x)
    h = vae.guide.posterior.loc_head(vae.guide.encoder(x))
    z = {"linear": h, "sigmoid": torch.sigmoid(h), "relu": h.clamp_min(0)}[code]
    logits = vae.model.decoder(z).unflatten(-1, SHAPE)
    wanted = (x * logits - nn.functional.softplus(logits)).sum((1, 2, 3))
    torch.testing.assert_close(found, wanted)
    parameters = list(vae.parameters())
    for ours, theirs in zip(
        torch.autograd.grad(found.sum(), parameters), torch.autograd.grad(wanted.sum(), parameters), strict=True
    ):
        torch.testing.assert_close(ours, theirs)
        assert ours.abs().max() > 0


def test_its_evaluation_says_that_it_is_no_elbo():
    vae, x = autoencoder(), binary()
    found = pv.evaluate(vae, x, num_particles=3)
    assert (found.score, found.is_bound) == ("reconstruction log likelihood", False)
    assert torch.equal(found.elbo, found.log_likelihood)
    assert torch.equal(found.kl, torch.zeros(6))
    torch.testing.assert_close(
        found.elbo, inf.ReconstructionLikelihood().per_datum(vae.model, vae.guide, x).detach()
    )
    assert pv.evaluate(pv.VAE(SHAPE, 3), x).score == "ELBO"


BOUNDS = [
    "monte-carlo-kl",
    "sticking-the-landing",
    "iwae",
    "dreg",
    "score-function",
    "rloo",
    "vimco",
    "renyi",
    "tvo",
]


@pytest.mark.parametrize("name", BOUNDS)
def test_what_needs_a_prior_and_a_density_refuses_it_by_name(name):
    vae = autoencoder()
    with pytest.raises(ModelError, match="site 'z': the prior is improper, so there is no p"):
        inf.get_elbo(name, num_particles=2)(vae.model, vae.guide)(binary())


def test_it_has_no_evidence_and_nothing_to_draw_from():
    vae = autoencoder()
    with pytest.raises(ModelError, match="site 'z': the prior is improper"):
        pv.log_evidence(vae, binary(), num_samples=5)
    with pytest.raises(ModelError, match=r"with_post_hoc_prior$"):
        pv.log_evidence(vae, binary(), "ais", num_samples=2, num_temperatures=5)
    for draw in (lambda: vae.sample(3), lambda: vae.model(size=3)):
        with pytest.raises(ModelError, match=r"an autoencoder is no generative model\. Give it a prior first"):
            draw()


def test_a_point_under_a_proper_prior_is_refused_where_pyro_gives_a_number():
    """Stock Pyro takes the log density of the point for 0; its sum is log p(x, z), no bound on log p(x)."""
    vae, x = pv.VAE(SHAPE, 3, network=MLP((8,)), posterior="point"), binary()
    assert math.isfinite(pyro.infer.Trace_ELBO().loss(vae.model, vae.guide, x))
    for name in ("monte-carlo-kl", "analytic-kl", "iwae"):
        with pytest.raises(ModelError, match="site 'z': the guide is a point mass, which has no density"):
            inf.get_elbo(name, num_particles=2)(vae.model, vae.guide)(x)
    assert torch.isfinite(inf.ReconstructionLikelihood().per_datum(vae.model, vae.guide, x)).all()


def test_a_point_on_a_discrete_latent_is_a_guide_like_any_other():
    """z in {0, 1} with chances 0.7 and 0.3, x | z ~ N(z, 1), the guide at z = 1: the ELBO is log p(x, z = 1)."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(torch.full((len(x),), 0.3)))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Delta(torch.ones(len(x))))

    x = torch.tensor([0.5, -1.0])
    wanted = math.log(0.3) + torch.distributions.Normal(1.0, 1.0).log_prob(x)
    torch.testing.assert_close(inf.MonteCarloKL().per_datum(model, guide, x), wanted)


@pytest.mark.parametrize("code", ["linear", "sigmoid"])
def test_save_and_load_and_a_seed(code, tmp_path):
    vae, x = autoencoder(code, network=Denoising(MLP((8,)), "gaussian", 0.2), seed=2), binary()
    vae.save(tmp_path / "model")
    loaded = pv.load(tmp_path / "model")
    assert loaded.config == vae.config
    assert loaded.config["network"]["of"] == {"name": "mlp", "hidden": (8,), "activation": "softplus"}
    assert torch.equal(loaded.reconstruct(x), vae.reconstruct(x))
    assert torch.equal(
        autoencoder(code, seed=2).reconstruct(x), autoencoder(code, network=MLP((8,)), seed=2).reconstruct(x)
    )
    assert not torch.equal(autoencoder(code, seed=3).reconstruct(x), vae.reconstruct(x))


def test_a_prior_fitted_to_its_codes_makes_it_a_generator():
    """The components are the codes' own: their mean and variance are the mixture's."""
    vae, x = autoencoder(), binary(200)
    twin = with_post_hoc_prior(vae, x, num_components=3)
    codes, drawn = vae.encode(x).mean, twin.model.prior().sample((20_000,))
    assert ((drawn.mean(0) - codes.mean(0)).abs() < 5 * codes.std(0) / 20_000**0.5 + 1e-3).all()
    torch.testing.assert_close(drawn.std(0), codes.std(0), rtol=0.1, atol=0)
    assert twin.sample(4).shape == (4, *SHAPE)
    with pytest.raises(ModelError, match="point mass"):
        pv.evaluate(twin, x)


# Corruption -----------------------------------------------------------------------------------------


def test_noise_is_of_its_kind_in_training_and_absent_in_evaluation():
    """Shares within 4 standard errors of 20,000 coordinates; Gaussian noise by its mean and spread."""
    x = torch.full((200, 100), 0.5)
    share = lambda hit, p: abs(hit.float().mean() - p) < 4 * math.sqrt(p * (1 - p) / 20_000)  # noqa: E731
    masked = corruption("masking", 0.3)(x)
    assert set(masked.unique().tolist()) == {0.0, 0.5}
    assert share(masked == 0, 0.3)
    speckled = corruption("salt-and-pepper", 0.4)(x)
    assert share(speckled == 0, 0.2)
    assert share(speckled == 1, 0.2)
    noise = corruption("gaussian", 0.7)(x) - x
    assert abs(noise.mean()) < 4 * 0.7 / 20_000**0.5
    assert abs(noise.std() - 0.7) < 4 * 0.7 / 40_000**0.5
    for name in ("masking", "salt-and-pepper", "gaussian"):
        assert torch.equal(corruption(name, 0.5).eval()(x), x)


def test_the_encoder_alone_sees_the_corrupted_data():
    """All pixels masked: the code is that of a blank image, but the likelihood is of the data themselves."""
    vae, x = autoencoder(network=Denoising(MLP((8,)), "masking", 1.0)), binary()
    vae.train()
    terms = trace_terms(vae.model, vae.guide, x)
    blank = vae.eval().encode(torch.zeros_like(x)).mean
    assert torch.equal(terms.sites["z"].value[0], blank)
    torch.testing.assert_close(terms.log_likelihood[0], vae.decode(blank).log_prob(x))


def test_a_denoising_architecture_takes_any_other_and_refuses_what_cannot_be_meant():
    conv = pv.VAE((1, 8, 8), 2, network={"name": "denoising", "of": "conv", "noise": "gaussian", "level": 0.1})
    assert conv.reconstruct(torch.rand(2, 1, 8, 8).round()).shape == (2, 1, 8, 8)
    encoder, decoder = ConvPair.make()
    own = pv.VAE(ConvPair.event_shape, 2, network=(nn.Sequential(corruption("masking", 0.5), encoder), decoder))
    x = torch.rand(4, *ConvPair.event_shape).round()
    assert not torch.equal(own.encode(x).mean, own.encode(x).mean)
    assert torch.equal(own.eval().encode(x).mean, own.encode(x).mean)
    for options, message in (
        ({"noise": "maskng"}, "unknown noise 'maskng'; did you mean 'masking'"),
        ({"level": 1.5}, "level must be a share between 0 and 1, got 1.5"),
        ({"level": -0.1}, "level must be at least 0"),
        ({"of": "mpl"}, "unknown network 'mpl'; did you mean 'mlp'"),
    ):
        with pytest.raises(ModelError, match=message):
            Denoising(**options)


# Sparsity -------------------------------------------------------------------------------------------


def test_the_sparsity_penalty_is_the_divergence_of_mean_activations():
    """Written out with Bernoulli KLs, and zero where every unit is at its target."""
    vae, x = autoencoder("sigmoid"), binary()
    terms = trace_terms(vae.model, vae.guide, x)
    objective = inf.SparseActivations(inf.ReconstructionLikelihood(), target=0.1, weight=3.0)
    mean = vae.encode(x).mean.mean(0)
    bernoulli = torch.distributions.Bernoulli
    wanted = torch.distributions.kl_divergence(bernoulli(torch.tensor(0.1)), bernoulli(mean)).sum()
    torch.testing.assert_close(objective.penalty(terms), wanted)
    torch.testing.assert_close(objective.forward(terms), 3 * wanted - terms.log_likelihood.mean())
    at_target = inf.SparseActivations(inf.ReconstructionLikelihood(), target=mean[0].item())
    one = pv.VAE(SHAPE, 1, network=MLP((8,)), prior="flat", posterior={"name": "point", "code": "sigmoid"})
    with torch.no_grad():
        one.guide.posterior.loc_head.weight.zero_()
        one.guide.posterior.loc_head.bias.fill_(math.log(mean[0] / (1 - mean[0])))
    assert at_target.penalty(trace_terms(one.model, one.guide, x)).item() == pytest.approx(0, abs=1e-6)


def test_codes_outside_the_unit_interval_stop_the_training_by_name():
    vae, x = autoencoder("linear"), binary(40)
    sparse = inf.SparseActivations(inf.ReconstructionLikelihood())
    with pytest.raises(ModelError, match=r"site 'z': SparseActivations needs codes in \[0, 1\]"):
        sparse(vae.model, vae.guide)(x)
    with pytest.raises(ModelError, match=r"site 'z': SparseActivations needs codes in \[0, 1\]"):
        pv.fit(vae, x, elbo=sparse, epochs=1, device="cpu", progress=False)


def half(x):
    """A guide that always draws 1/2 here, though its normal has all real numbers."""
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(torch.full((len(x), 1), 0.5), pyro.param("s", torch.tensor(1e-6))).to_event(1))


def test_codes_that_leave_the_unit_interval_by_chance_are_refused_before_training():
    """One datum's code lay in [0, 1], so that training began and ended in a loss that is NaN."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x), 1), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    with pytest.raises(ModelError, match=r"'z': SparseActivations needs codes in \[0, 1\].* support is real"):
        pv.fit((model, half), torch.ones(5, 1), elbo=inf.SparseActivations("analytic-kl"), batch_size=1, epochs=1)


def test_a_code_that_grows_beyond_one_says_why_the_loss_is_no_number():
    """Of a point its values are known alone: a linear code of 0.99 is drawn over 1 by data that are 2."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.ImproperUniform(dist.constraints.real, (), (1,)))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Delta(pyro.param("m", torch.tensor(0.99)).expand(len(x), 1), event_dim=1))

    sparse = inf.SparseActivations(inf.ReconstructionLikelihood(), weight=0.0)
    with pytest.raises(ConvergenceError, match=r"loss = nan.*no value where a code of site 'z' leaves \[0, 1\]"):
        pv.fit((model, guide), 2 * torch.ones(1, 1), elbo=sparse, batch_size=1, epochs=9, lr=0.1, progress=False)


def test_one_datum_has_an_activation_of_its_own():
    """rho_j is the mean over the batch, here z_j itself: KL(Bernoulli(0.2) || Bernoulli(z_j)), written out."""
    vae, x = autoencoder("sigmoid"), binary(1)
    terms = trace_terms(vae.model, vae.guide, x)
    z = vae.encode(x).mean[0].double()
    wanted = (0.2 * (0.2 / z).log() + 0.8 * (0.8 / (1 - z)).log()).sum()
    penalty = inf.SparseActivations(inf.ReconstructionLikelihood(), target=0.2).penalty(terms)
    assert penalty.item() == pytest.approx(wanted.item(), rel=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: inf.SparseActivations("analytic-kl", target=0.0), "target must be between 0 and 1, got 0.0"),
        (lambda: inf.SparseActivations("analytic-kl", weight=-1.0), "weight must be at least 0"),
        (lambda: pv.VAE(SHAPE, 3, posterior={"name": "point", "code": "sigmoidal"}), "did you mean 'sigmoid'"),
    ],
)
def test_numbers_and_names_that_cannot_be_meant_are_refused(make, message):
    with pytest.raises(ModelError, match=message):
        make()


def test_a_site_that_is_not_there_is_named():
    vae = autoencoder("sigmoid")
    sparse = inf.SparseActivations(inf.ReconstructionLikelihood(), site="code")
    with pytest.raises(ModelError, match=r"sparse activations need a site 'code'; the guide draws \['z'\]"):
        sparse(vae.model, vae.guide)(binary())
