"""Topics by a product of experts: the prior against the Dirichlet, the decoder, densities, topics found again."""

import pytest
import torch
from scipy.optimize import linear_sum_assignment
from scipy.stats import multinomial

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.distributions import MultinomialCounts
from ppl_vae.errors import DataError, ModelError
from ppl_vae.models.counts.topic_parts import laplace_dirichlet


@pytest.mark.parametrize("concentration", [[1.0, 1.0, 1.0], [0.3, 2.0, 0.7, 5.0]])
def test_the_prior_has_the_mode_and_the_curvature_of_the_dirichlet_in_the_basis_of_the_softmax(concentration):
    """There log p(z) = sum_k a_k log theta_k, up to a constant."""
    a = torch.tensor(concentration, dtype=torch.float64)
    loc, variance = laplace_dirichlet(a)

    def log_density(z):
        return (a * z.log_softmax(-1)).sum()

    slope = torch.autograd.functional.jacobian(log_density, loc)
    torch.testing.assert_close(slope, torch.zeros_like(slope), atol=1e-12, rtol=0)
    assert loc.sum().abs() < 1e-12
    # The density does not change along (1, ..., 1): its precision is inverted across it, and the diagonal taken.
    hessian = -torch.autograd.functional.hessian(log_density, loc)
    torch.testing.assert_close(torch.linalg.pinv(hessian).diagonal(), variance)


def test_topics_multiply_where_lda_adds():
    vae = pv.models.TopicVAE((6,), 3)
    theta = torch.tensor([0.2, 0.5, 0.3])
    shares = vae.decode(theta.log().unsqueeze(0)).mean[0].double()
    topics = vae.topics().double()
    product = (topics.log() * theta.double().unsqueeze(1)).sum(0).exp()
    torch.testing.assert_close(shares, product / product.sum(), rtol=1e-5, atol=0)
    assert ((shares - theta.double() @ topics).abs() > 1e-5).any()


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_the_mass_is_scipys_in_single_precision(scale):
    torch.manual_seed(0)
    x = torch.poisson(scale * torch.rand(5, 7))
    d = MultinomialCounts(x.sum(1), 3 * torch.randn(5, 7))
    for row in range(5):
        shares = d.logits[row].double().softmax(-1)
        exact = multinomial.logpmf(x[row].numpy(), int(x[row].sum()), (shares / shares.sum()).numpy())
        assert d.log_prob(x)[row].item() == pytest.approx(exact, rel=1e-6)
    assert (d.log_prob(x + 1) == -torch.inf).all()


def test_draws_have_the_total_the_means_and_the_covariance():
    logits = torch.tensor([0.0, 1.0, -1.0, 0.5])
    d = MultinomialCounts(torch.tensor([0.0, 1.0, 40.0]), logits.expand(3, 4))
    torch.manual_seed(0)
    draws = d.sample((20_000,)).double()
    assert (draws.sum(-1) == d.total).all()
    shares = logits.double().softmax(-1)
    error = (d.variance / len(draws)).sqrt()
    assert ((draws.mean(0) - d.mean).abs() <= 4 * error + 1e-9).all()
    covariance = 40 * (torch.diag(shares) - torch.outer(shares, shares))
    assert (torch.cov(draws[:, 2].T) - covariance).abs().max() < 0.3


def test_the_bound_is_one_given_the_totals_and_simulations_keep_them():
    vae = pv.models.TopicVAE((2, 3), 3, network={"name": "mlp", "hidden": (8,)})
    x = torch.poisson(torch.full((6, 2, 3), 4.0))
    assert (inf.simulate(vae, x).x.flatten(1).sum(1) == x.flatten(1).sum(1)).all()
    torch.testing.assert_close(vae.reconstruct(x).flatten(1).sum(1), x.flatten(1).sum(1))
    # E_z p(x | z, n) by draws from the prior, in which no guide counts.
    torch.manual_seed(0)
    with torch.no_grad():
        z = vae.model.prior().sample((40_000,))
        logits = vae.model.decoder(z)
        density = MultinomialCounts(x[:1].sum().expand(len(z)), logits).log_prob(x[0].flatten().expand(len(z), 6))
    weight = density.double().exp()
    found = pv.log_evidence(vae, x[:1], num_samples=20_000)
    error = (weight.std() / weight.mean() / len(weight) ** 0.5).item()
    assert abs(found.mean - weight.mean().log().item()) < 4 * (error**2 + found.stderr**2) ** 0.5


def test_it_is_stored_and_draws_documents_of_the_mean_length(tmp_path):
    vae = pv.models.TopicVAE((5,), 3, concentration=[0.5, 1.0, 2.0])
    assert (vae.sample(4, with_noise=True).sum(1) == 1).all()
    x = torch.tensor([[3.0, 0, 0, 4, 0], [0, 5, 0, 0, 0]])
    pv.fit(vae, x, epochs=1, progress=False, device="cpu", compile=False)
    assert (vae.sample(4, with_noise=True).sum(1) == 6).all()
    vae.save(tmp_path / "model")
    again = pv.load(tmp_path / "model")
    assert again.config == vae.config
    assert torch.equal(again.proportions(x), vae.proportions(x))
    assert (again.sample(4, with_noise=True).sum(1) == 6).all()


def test_what_is_no_topic_model_is_refused_by_name():
    with pytest.raises(ModelError, match="latent_dim must be an integer of at least 2, got 1"):
        pv.models.TopicVAE((5,), 1)
    with pytest.raises(ModelError, match="concentration: expected one number or 3 of them, got 2"):
        pv.models.TopicVAE((5,), 3, concentration=[1.0, 2.0])
    with pytest.raises(DataError, match="likelihood 'multinomial' needs counts"):
        pv.evaluate(pv.models.TopicVAE((5,), 3), torch.rand(2, 5))


@pytest.mark.slow
def test_topics_of_simulated_documents_are_found_again_and_none_collapses():
    torch.manual_seed(0)
    topics, words = 5, 60
    truth = torch.full((topics, words), -1.0)
    for topic in range(topics):
        truth[topic, 12 * topic : 12 * topic + 12] = 5.0
    theta = torch.distributions.Dirichlet(torch.full((topics,), 0.3)).sample((2000,))
    x = MultinomialCounts(torch.full((2000,), 80.0), theta @ truth).sample()
    recipe = pv.make("prod-lda", (words,), latent_dim=topics, concentration=0.3, num_steps=300)
    result = pv.fit(recipe, x, epochs=100, lr=5e-3, progress=False, device="cpu", compile=False)
    assert result.history["train_kl"].iloc[-1] > 1.0
    vae = recipe.vae
    found = vae.model.decoder.weight.detach()
    correlation = torch.corrcoef(torch.cat([truth, found]))[:topics, topics:]
    rows, columns = linear_sum_assignment(-correlation.numpy())
    assert correlation[rows, columns].min() > 0.9
    proportions = vae.proportions(x)[:, columns]
    assert torch.corrcoef(torch.stack([proportions.flatten(), theta.flatten()]))[0, 1] > 0.9
