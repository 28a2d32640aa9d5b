"""A decoder whose weights are global sites: densities written out, stock Pyro, storage, and what ARD is for."""

import math
import warnings

import pyro
import pytest
import torch

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.diagnostics import check_global_importance, run_global_importance
from ppl_vae.inference.chains.whole_latents import WholeLatents

LINEAR = {"hidden": (), "ard": True, "likelihood": {"name": "gaussian", "sigma": 0.5}}


def linear(latent_dim=2, **options):
    return pv.models.BayesianDecoderVAE((3,), latent_dim, **{**LINEAR, **options})


def test_the_joint_density_is_that_of_factor_analysis_written_out():
    vae = linear().double()
    x = torch.randn(5, 3, dtype=torch.float64)
    latents = WholeLatents(vae.model, x)
    u = torch.randn(4, 1, latents.dim, dtype=torch.float64)
    log_scales, weights, z = u[:, 0].split([2, 9, 10], -1)
    matrix, bias, z = weights[:, :6].view(4, 2, 3), weights[:, 6:].view(4, 1, 3), z.view(4, 5, 2)

    def normal(value, scale):
        return (-0.5 * (value / scale) ** 2 - torch.as_tensor(scale).log() - 0.5 * math.log(2 * math.pi)).flatten(1)

    # The Jacobian of the exponential is the factor that a log-normal density has over its logarithm's.
    of_weights = normal(matrix, log_scales.exp()[:, :, None] / math.sqrt(2)).sum(1) + normal(bias, 1.0).sum(1)
    of_data = normal(z, 1.0).sum(1) + normal(x - z @ matrix - bias, 0.5).sum(1)
    exact = normal(log_scales, 2.0).sum(1) + of_weights + of_data
    torch.testing.assert_close(latents.log_density(u).squeeze(1), exact, rtol=1e-9, atol=1e-9)
    assert latents.whole == {"scales", "weights"}


@pytest.mark.parametrize("options", [LINEAR, {"hidden": (4, 3), "likelihood": "bernoulli"}])
@pytest.mark.parametrize("particles", [1, 3])
def test_several_draws_have_weights_of_their_own_as_in_stock_pyro(options, particles):
    vae = pv.models.BayesianDecoderVAE((3,), 2, **options)
    x = torch.bernoulli(torch.full((6, 3), 0.5))
    stock = pyro.infer.Trace_ELBO(particles, vectorize_particles=particles > 1, max_plate_nesting=1)
    losses = []
    for elbo in (inf.MonteCarloKL(particles), stock):
        torch.manual_seed(3)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            losses.append(elbo.loss(vae.model, vae.guide, x))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_it_draws_reconstructs_and_is_stored(tmp_path):
    vae = pv.models.BayesianDecoderVAE((1, 4, 4), 2, hidden=(5,), seed=1)
    x = torch.bernoulli(torch.full((6, 1, 4, 4), 0.5))
    assert vae.model(size=7).shape == (7, 1, 4, 4)
    assert set(vae.sample(9, with_noise=True).unique().tolist()) <= {0.0, 1.0}
    assert vae.reconstruct(x).shape == x.shape
    vae.save(tmp_path / "model")
    again = pv.load(tmp_path / "model")
    assert again.config == vae.config
    assert torch.equal(again.reconstruct(x), vae.reconstruct(x))
    assert pv.evaluate(vae, x, seed=1).elbo.equal(pv.evaluate(again, x, seed=1).elbo)
    assert pv.evaluate(vae, x).global_kl > 0


@pytest.mark.slow
def test_factors_that_the_data_do_not_need_are_turned_off():
    torch.manual_seed(0)
    loadings = torch.tensor([[1.5, -1.0, 0.8, 0.0, 0.5, -0.7], [0.0, 0.9, 1.2, -1.4, 0.3, 0.6]])
    x = torch.randn(500, 2) @ loadings + 0.3 * torch.randn(500, 6)
    recipe = pv.make("factor-analysis-ard", (6,), latent_dim=5, network="linear")
    pv.fit(recipe, x, epochs=300, batch_size=500, progress=False, device="cpu", compile=False)
    vae = recipe.vae
    size = vae.guide.weight_loc[:30].view(5, 6).norm(dim=1).detach().sort(descending=True).values
    assert size[1] > 0.7
    assert size[2] < 0.25 * size[1]
    # Two factors and noise: the subspace is that of the truth.
    kept = vae.guide.weight_loc[:30].view(5, 6).detach()
    truth = torch.linalg.svd(loadings, full_matrices=False).Vh
    found = torch.linalg.svd(kept, full_matrices=False).Vh[:2]
    assert torch.linalg.svdvals(found @ truth.T).min() > 0.97


def test_its_global_guide_is_weighed():
    vae = linear()
    numbers = run_global_importance(vae, torch.randn(6, 3), 60, 4)
    assert numbers.attrs["weights"] == "pseudo-marginal"
    assert check_global_importance(numbers).diagnostic == "Pareto k-hat of global sites"
