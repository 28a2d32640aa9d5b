"""Regularised autoencoders and adversarial objectives: values written out, and whom gradients reach."""

import pyro
import pytest
import torch
from pyro import distributions as dist

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.errors import ModelError
from tests.inference.oracles import assert_mean

pytestmark = pytest.mark.usefixtures("one_thread")


def autoencoder():
    """A linear decoder, whose derivative is its weight."""
    return pv.VAE(
        (4,), 2, network="linear", likelihood={"name": "gaussian", "sigma": 1.0}, prior="flat", posterior="point"
    ).double()


def test_the_code_norm_is_half_the_squared_norm():
    vae, x = autoencoder(), torch.randn(5, 4, dtype=torch.float64)
    loss = inf.CodeNorm(inf.ReconstructionLikelihood(), 0.7)(vae.model, vae.guide)(x) / 5
    plain = inf.ReconstructionLikelihood()(vae.model, vae.guide)(x) / 5
    norm = vae.encode(x).mean.square().sum(1).mean()
    assert (loss - plain).item() == pytest.approx(0.35 * norm.item(), rel=1e-9)


def test_the_gradient_penalty_estimates_the_frobenius_norm_and_its_derivative():
    vae, x = autoencoder(), torch.randn(2, 4, dtype=torch.float64)
    objective = inf.DecoderGradient(inf.ReconstructionLikelihood(), 1.0)
    weight = vae.model.decoder.weight
    terms = objective.run(vae.model, vae.guide, x)
    found, slopes = [], []
    for _ in range(500):
        value = objective.penalty(terms)
        found.append(value.detach())
        slopes.append(torch.autograd.grad(value, weight, retain_graph=True)[0][0, 0])
    assert_mean(torch.stack(found), weight.square().sum().item())
    assert_mean(torch.stack(slopes), 2 * weight[0, 0].item())


def test_the_decoder_norm_is_that_of_the_decoder_alone_which_stays_the_models():
    vae, x = autoencoder(), torch.randn(5, 4, dtype=torch.float64)
    objective = inf.DecoderNorm(inf.ReconstructionLikelihood(), vae.model.decoder, 0.3)
    plain = inf.ReconstructionLikelihood()(vae.model, vae.guide)(x) / 5
    norm = sum(p.square().sum() for p in vae.model.decoder.parameters())
    assert (objective(vae.model, vae.guide)(x) / 5 - plain).item() == pytest.approx(0.3 * norm.item(), rel=1e-9)
    assert list(objective.parameters()) == []


@pytest.mark.parametrize("kind", [inf.AdversarialPrior, inf.AdversarialImages])
def test_the_discriminators_loss_reaches_it_alone_and_the_rest_the_pair_alone(kind):
    vae, x = pv.VAE((6,), 2, seed=0), torch.rand(8, 6).round()
    torch.manual_seed(0)
    objective = kind("analytic-kl", gamma=2.0, hidden=(16,))
    torch.manual_seed(1)
    loss = objective(vae.model, vae.guide)(x) / 8
    own = torch.autograd.grad(loss, list(objective.parameters()), retain_graph=True)
    pairs = torch.autograd.grad(loss, list(vae.parameters()), allow_unused=True)
    assert all(g is not None and g.isfinite().all() and g.abs().max() > 0 for g in pairs)
    torch.manual_seed(1)
    terms = objective.run(vae.model, vae.guide, x)
    odds = objective.discriminator
    made, true = objective.made(terms).detach(), objective.true(terms).detach()
    if kind is inf.AdversarialImages:
        # The data need no draws: the cross entropy can be written out.
        entropy = -0.5 * (odds(true).sigmoid().log().mean() + (1 - odds(made).sigmoid()).log().mean())
        wanted = torch.autograd.grad(entropy, list(objective.parameters()))
        for ours, written in zip(own, wanted, strict=True):
            torch.testing.assert_close(ours, written, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_the_adversarial_prior_moves_codes_to_the_prior():
    """Codes that start at N(3, 1) end near N(0, 1): the mean of all by a third of a standard deviation."""

    class Shifted(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.shift = torch.nn.Parameter(torch.tensor(3.0))

        def model(self, x):
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
                pyro.sample("x", dist.Normal(0 * z, 1.0).to_event(1), obs=x)

        def guide(self, x):
            with pyro.plate("data", len(x)):
                pyro.sample("z", dist.Normal(x + self.shift, 0.1).to_event(1))

    pair = Shifted()
    x = torch.randn(256, 1, generator=torch.Generator().manual_seed(0))
    objective = inf.AdversarialPrior(inf.ReconstructionLikelihood(), 1.0, (16,), 1e-2)
    options = {"epochs": 120, "batch_size": 256, "lr": 3e-2, "device": "cpu", "compile": False, "progress": False}
    inf.fit(pair, x, elbo=objective, **options)
    assert abs(pair.shift.item() + x.mean().item()) < 0.35


def test_what_they_cannot_be_is_refused():
    vae = pv.models.LadderVAE((6,), (2, 2))
    with pytest.raises(ModelError, match="the adversarial prior needs one latent site"):
        inf.AdversarialPrior("analytic-kl").run(vae.model, vae.guide, torch.ones(4, 6))
    with pytest.raises(ModelError, match="needs reparameterised draws, which RLOO does not use"):
        inf.AdversarialImages("rloo")
    with pytest.raises(ModelError, match="AdversarialImages needs a bound that is a log likelihood minus a KL"):
        inf.AdversarialImages("iwae")
    with pytest.raises(ModelError, match="the gradient penalty needs one latent and one observed site"):
        inf.DecoderGradient(inf.ReconstructionLikelihood())(vae.model, vae.guide)(torch.ones(4, 6))
