"""The transformer keeps scikit-learn's contract, and its numbers are those of the model in closed form."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

import ppl_vae as pv
from ppl_vae.errors import DataError, ModelError
from ppl_vae.recipes import RECIPES

TINY = {"epochs": 2, "num_samples": 8}


# Scikit-learn's own decorator hands pytest a generator, which pytest 9.1 deprecates.
CHECKS = list(estimator_checks_generator(pv.sklearn.VAETransformer(**TINY)))


@pytest.mark.parametrize(("estimator", "check"), CHECKS, ids=[check.func.__name__ for _, check in CHECKS])
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(400, 2)) @ rng.normal(size=(2, 5)) + 0.3 * rng.normal(size=(400, 5))


@pytest.fixture(scope="module")
def linear(data):
    """A linear decoder, whose evidence has a closed form."""
    options = {"network": "linear", "epochs": 30, "lr": 1e-2, "num_samples": 200, "random_state": 0}
    return pv.sklearn.VAETransformer(2, **options).fit(data)


def exact(transformer, data):
    """log p(x) = log N(x; b, W W' + diag s^2), the mean and the scale read off the decoder."""
    with torch.no_grad():
        decoded = transformer.vae_.decode(torch.cat([torch.zeros(1, 2), torch.eye(2)]).double())
    mean = decoded.mean.numpy()
    weight = (mean[1:] - mean[0]).T
    return multivariate_normal(mean[0], weight @ weight.T + np.diag(decoded.variance[0].numpy())).logpdf(data)


@pytest.mark.slow
def test_scores_are_the_evidence_in_closed_form(linear, data):
    """Each row lies near log p(x), by four of the standard errors that its weights state."""
    evidence = pv.log_evidence(linear.vae_, torch.from_numpy(data), num_samples=200)
    errors = evidence.per_datum_stderr.numpy()
    deviation = linear.score_samples(data) - exact(linear, data)
    assert np.all(np.abs(deviation) < 6 * errors + 0.02)
    assert abs(deviation.mean()) < 4 * math.hypot(*errors) / len(data) + np.mean(errors**2)
    assert linear.score(data) == pytest.approx(linear.score_samples(data).mean())


def test_rows_have_draws_of_their_own(linear, data):
    """Common draws would make the errors of like rows alike, and the error of a mean would not fall with n."""
    near = np.repeat(data[:1], 200, 0) + 1e-6 * np.arange(200)[:, None]
    errors = linear.score_samples(near) - exact(linear, near)
    single = pv.log_evidence(linear.vae_, torch.from_numpy(near[:1]), num_samples=200).per_datum_stderr.item()
    assert errors.std() == pytest.approx(single, rel=0.5)
    assert abs(errors.mean()) < 4 * single / math.sqrt(200) + single**2


def test_codes_and_the_way_back_are_those_of_the_vae(linear, data):
    x = torch.from_numpy(data)
    codes = linear.transform(data)
    with torch.no_grad():
        np.testing.assert_allclose(codes, linear.vae_.encode(x).mean.numpy())
    np.testing.assert_allclose(linear.inverse_transform(codes), linear.vae_.reconstruct(x).numpy())
    assert linear.transform(data.astype(np.float32)).dtype == np.float32
    assert linear.score_samples(data.astype(np.float32)).dtype == np.float32


def test_draws_have_the_moments_of_the_model(linear):
    draws = linear.sample(4000, random_state=0)
    with torch.no_grad():
        decoded = linear.vae_.decode(torch.cat([torch.zeros(1, 2), torch.eye(2)]).double())
    mean = decoded.mean.numpy()
    weight = (mean[1:] - mean[0]).T
    variance = (weight**2).sum(1) + decoded.variance[0].numpy()
    np.testing.assert_allclose(draws.mean(0), mean[0], atol=4 * math.sqrt(variance.max() / 4000))
    np.testing.assert_allclose(draws.var(0), variance, rtol=4 * math.sqrt(2 / 4000))
    np.testing.assert_array_equal(draws, linear.sample(4000, random_state=0))


@pytest.mark.slow
def test_a_pipeline_is_searched_over_a_grid_by_held_out_evidence(data):
    pipeline = make_pipeline(StandardScaler(), pv.sklearn.VAETransformer(random_state=0, epochs=3, num_samples=8))
    pipeline.set_output(transform="pandas")
    search = GridSearchCV(pipeline, {"vaetransformer__latent_dim": [1, 2]}, cv=2, error_score="raise").fit(data)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    best = search.best_estimator_
    frame = best.transform(data)
    size = search.best_params_["vaetransformer__latent_dim"]
    assert list(frame.columns) == [f"vaetransformer{i}" for i in range(size)] == list(best.get_feature_names_out())


@pytest.mark.slow
def test_images_and_other_posteriors_are_taken(data):
    rows = (data[:40, :4] > 0).astype(float)
    options = {"likelihood": "bernoulli", "event_shape": (1, 2, 2), "posterior": "flow", "random_state": 0}
    transformer = pv.sklearn.VAETransformer(options={"elbo": "monte-carlo-kl"}, **options, **TINY).fit(rows)
    assert transformer.vae_.event_shape == (1, 2, 2)
    scores = transformer.score_samples(rows)
    np.testing.assert_array_equal(scores[::-1], transformer.score_samples(rows[::-1]))
    assert transformer.inverse_transform(transformer.transform(rows)).shape == (40, 4)


@pytest.mark.slow
def test_a_seed_gives_the_same_codes_and_a_recipe_its_options(data):
    beta = pv.sklearn.VAETransformer(recipe="beta-vae", options={"beta": 50.0}, random_state=1, epochs=20, lr=1e-2)
    plain = clone(beta).set_params(recipe="vae", options=None).fit(data)
    beta.fit(data)
    np.testing.assert_array_equal(beta.transform(data), clone(beta).fit(data).transform(data))
    assert beta.transform(data).std(0).max() < 0.5 < plain.transform(data).std(0).max()


@pytest.mark.parametrize("name", ["ppca", "sigma-vae", "full-covariance-vae", "vamp-vae", "iwae"])
def test_a_recipe_keeps_the_parts_that_nobody_asked_to_change(name, data):
    """They were those of a plain VAE: a "ppca" had a hidden layer and a noise of 1."""
    kept = pv.sklearn.VAETransformer(recipe=name, random_state=0, **TINY).fit(data[:8]).vae_
    own = {} if "likelihood" in RECIPES[name].parts else {"likelihood": "gaussian"}
    assert repr(kept) == repr(pv.make(name, (5,), latent_dim=2, **own).vae.double())


@pytest.mark.slow
def test_a_recipe_that_sets_rows_aside_has_batches_of_the_others():
    """The batch of all rows was told to be larger than the data."""
    rows = np.random.default_rng(0).uniform(size=(20, 64))
    images = pv.sklearn.VAETransformer(recipe="conv-vae", event_shape=(1, 8, 8), random_state=0, epochs=1).fit(rows)
    assert images.vae_.model.likelihood.name == "bernoulli-relaxed"


def test_parts_that_are_asked_for_take_the_place_of_a_recipes(data):
    asked = pv.sklearn.VAETransformer(recipe="ppca", network="mlp", likelihood="student-t", **TINY).fit(data).vae_
    assert repr(asked) == repr(pv.make("ppca", (5,), network="mlp", likelihood="student-t").vae.double())


def test_mistakes_are_named(data):
    with pytest.raises(NotFittedError):
        pv.sklearn.VAETransformer().sample()
    with pytest.raises(ModelError, match="unknown recipe 'veä'"):
        pv.sklearn.VAETransformer(recipe="veä").fit(data)
    with pytest.raises(ModelError, match="no one code z"):
        pv.sklearn.VAETransformer(recipe="hierarchical-vae").fit(data)
    with pytest.raises(DataError, match="X: expected 9 columns for event_shape"):
        pv.sklearn.VAETransformer(event_shape=(3, 3)).fit(data)
    with pytest.raises(DataError, match="Z: expected 2 columns, got 3"):
        pv.sklearn.VAETransformer(random_state=0, **TINY).fit(data).inverse_transform(np.zeros((1, 3)))
    with pytest.raises(DataError, match="does not fit single precision"):
        pv.sklearn.VAETransformer().fit(data * 1e300)
    with pytest.raises(DataError, match="needs binary data"):
        pv.sklearn.VAETransformer(likelihood="bernoulli").fit(data)
