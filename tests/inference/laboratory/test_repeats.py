import numpy as np
import pytest
import torch

from ppl_vae import inference as inf
from ppl_vae.inference.laboratory.repeats import GradientMoments, repeat
from ppl_vae.inference.training.weights import collect_weights
from ppl_vae.randomness import seeded
from tests.inference.comparisons import off_optimum


@pytest.mark.parametrize("sizes", [(12,), (1, 11), (5, 4, 3), (1,) * 12])
def test_moments_of_chunks_are_those_of_the_whole(sizes):
    draws = torch.randn(12, 3, 2, dtype=torch.float64) * 1e-3 + 1e3
    moments = GradientMoments()
    for chunk in draws.split(list(sizes)):
        moments.merge({"weight": chunk})
    assert moments.count == 12
    np.testing.assert_allclose(moments.mean["weight"], draws.mean(0), rtol=1e-14)
    np.testing.assert_allclose(moments.variance("weight"), draws.var(0), rtol=1e-6)


def test_moments_of_float32_are_kept_in_float64():
    moments = GradientMoments()
    moments.merge({"weight": torch.randn(4, 2)})
    assert moments.mean["weight"].dtype == torch.float64


def repeated(name, repeats, seed=0):
    lg, x = off_optimum()
    estimator = inf.get_elbo(name)
    weights = collect_weights(lg.model, lg.guide, estimator, x)
    done = []
    with seeded(seed):
        found = repeat(lg.model, lg.guide, estimator, weights, x, repeats, 1 << 20, done.append)
    assert sum(done) == repeats
    return found, lg, x


def test_values_are_the_bound_of_every_datum_and_gradients_climb_it():
    found, lg, x = repeated("analytic-kl", 4000)
    assert found.values.shape == (4000, len(x))
    stderr = found.values.std(0) / 4000**0.5
    assert ((found.values.mean(0) - lg.elbo(x)).abs() < 4 * stderr).all()
    exact = torch.autograd.grad(lg.elbo(x).mean(), lg.guide.posterior.offset)[0]
    name = "guide.posterior.offset"
    error = (found.moments.variance(name) / 4000).sqrt()
    assert ((found.moments.mean[name] - exact).abs() < 4 * error).all()


def test_the_first_repeats_do_not_depend_on_how_many_follow():
    few, many = repeated("dreg", 3)[0], repeated("dreg", 40)[0]
    torch.testing.assert_close(few.values, many.values[:3], rtol=1e-12, atol=1e-12)


def test_frozen_parameters_have_no_gradient():
    lg, x = off_optimum()
    lg.model.requires_grad_(False)
    estimator = inf.get_elbo("analytic-kl")
    weights = collect_weights(lg.model, lg.guide, estimator, x)
    found = repeat(lg.model, lg.guide, estimator, weights, x, 5, 1 << 20, lambda _: None)
    assert set(found.moments.mean) == {f"guide.posterior.{n}" for n in ("gain", "offset", "log_scale")}
