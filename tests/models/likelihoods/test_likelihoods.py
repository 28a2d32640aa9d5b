"""Each likelihood against scipy and quadrature, and the data that each refuses."""

import numpy as np
import pytest
import torch
from scipy import integrate, stats

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.errors import DataError, ModelError
from ppl_vae.models.likelihoods.grey import MIN_LOG_SCALE
from ppl_vae.models.likelihoods.likelihoods import likelihood
from ppl_vae.models.likelihoods.real import MIN_PIXEL_SCALE
from tests.models.table import COUNTS, LIKELIHOODS, legal

# Decoder outputs from certain to undecided, with the neighbourhood of 0 where formulas cancel.
FEATURES = (-30.0, -6.0, -1.0, -1e-3, -1e-6, 0.0, 1e-6, 1e-3, 0.3, 2.5, 8.0)


def one_pixel(spec, feature, second=0.3):
    """p(x | feature) of a single pixel, in float64."""
    part = likelihood(spec).double()
    features = torch.tensor([feature, second][: part.num_parameters], dtype=torch.float64)
    return part(features.reshape(1, part.num_parameters, 1), 1)


def density(distribution, x):
    return distribution.log_prob(torch.as_tensor(x, dtype=torch.float64).reshape(-1, 1)).exp().detach().numpy()


def log_density(distribution, x):
    return distribution.log_prob(torch.as_tensor(x, dtype=torch.float64).reshape(-1, 1)).detach().numpy()


@pytest.mark.parametrize("feature", FEATURES)
def test_bernoulli_sums_to_one_and_is_scipys(feature):
    p = one_pixel("bernoulli", feature)
    assert density(p, [0.0, 1.0]).sum() == pytest.approx(1, abs=1e-12)
    assert density(p, [0.0, 1.0]) == pytest.approx(
        stats.bernoulli(1 / (1 + np.exp(-feature))).pmf([0, 1]), abs=1e-12
    )


@pytest.mark.parametrize("feature", FEATURES)
def test_continuous_bernoulli_integrates_to_one(feature):
    p = one_pixel("continuous-bernoulli", feature)
    nodes, weights = np.polynomial.legendre.leggauss(200)
    total = 0.5 * weights @ density(p, 0.5 * (nodes + 1))
    # torch takes a Taylor polynomial for means in (0.499, 0.501): good to 1e-9 there.
    assert total == pytest.approx(1, abs=1e-8)
    mean = 0.5 * weights @ (density(p, 0.5 * (nodes + 1)) * 0.5 * (nodes + 1))
    assert p.mean.item() == pytest.approx(mean, abs=1e-6)


@pytest.mark.parametrize("feature", [-3.0, 0.0, 2.0])
@pytest.mark.parametrize("name", ["gaussian-fixed", "gaussian-learned", "gaussian-per-pixel"])
def test_gaussian_integrates_to_one_and_is_scipys(name, feature):
    p = one_pixel(LIKELIHOODS[name], feature)
    sigma = {"gaussian-fixed": 0.3, "gaussian-learned": 0.5}.get(name, MIN_PIXEL_SCALE + np.logaddexp(0, 0.3))
    x = np.linspace(feature - 12 * sigma, feature + 12 * sigma, 2001)
    assert integrate.trapezoid(density(p, x), x) == pytest.approx(1, abs=1e-7)
    assert np.log(density(p, x[800:1200])) == pytest.approx(
        stats.norm(feature, sigma).logpdf(x[800:1200]), abs=1e-6
    )


@pytest.mark.parametrize("feature", [-3.0, 0.0, 2.0])
@pytest.mark.parametrize("name", ["student-t", "student-t-per-pixel"])
def test_student_t_integrates_to_one_and_is_scipys(name, feature):
    p = one_pixel(LIKELIHOODS[name], feature)
    sigma = 0.5 if name == "student-t" else MIN_PIXEL_SCALE + np.logaddexp(0, 0.3)
    reference = stats.t(LIKELIHOODS[name]["df"], feature, sigma)
    x = np.linspace(feature - 30 * sigma, feature + 30 * sigma, 2001)
    inside = reference.cdf(x[-1]) - reference.cdf(x[0])
    assert integrate.trapezoid(density(p, x), x) == pytest.approx(inside, abs=1e-6)
    assert log_density(p, x) == pytest.approx(reference.logpdf(x), abs=1e-6)
    assert p.mean.item() == feature


@pytest.mark.parametrize("feature", FEATURES[:-1])
def test_poisson_is_scipys_and_its_features_are_log_rates(feature):
    p, x = one_pixel("poisson", feature), np.arange(60.0)
    assert density(p, x).sum() == pytest.approx(1, abs=1e-12)
    assert log_density(p, x) == pytest.approx(stats.poisson(np.exp(feature)).logpmf(x), rel=1e-10, abs=1e-10)
    assert p.mean.item() == pytest.approx(np.exp(feature))


# scipy's own 1 - p has no digits left at the mean exp(-30).
@pytest.mark.parametrize("feature", FEATURES[1:-1])
def test_negative_binomial_is_scipys_with_the_mean_of_the_features(feature):
    p, x, mean = one_pixel(LIKELIHOODS["negative-binomial"], feature), np.arange(600.0), np.exp(feature)
    assert density(p, x).sum() == pytest.approx(1, abs=1e-6)
    reference = stats.nbinom(2.5, 2.5 / (2.5 + mean))
    few = x[:40]
    assert log_density(p, few) == pytest.approx(reference.logpmf(few), rel=1e-5, abs=1e-5)
    assert p.mean.item() == pytest.approx(mean, rel=1e-5)
    assert p.variance.item() == pytest.approx(mean + mean**2 / 2.5, rel=1e-5)


def test_negative_binomial_of_a_large_dispersion_is_a_poisson():
    wide = one_pixel({"name": "negative-binomial", "initial_dispersion": 1e7}, 1.0)
    assert density(wide, np.arange(15)) == pytest.approx(stats.poisson(np.e).pmf(np.arange(15)), abs=1e-6)


def test_every_coordinate_can_have_a_dispersion_of_its_own(tmp_path):
    part = pv.models.NegativeBinomialLikelihood(dispersion_shape=(2, 1))
    with torch.no_grad():
        part.log_dispersion.copy_(torch.tensor([[0.0], [1.0]]))
    p = part(torch.zeros(4, 1, 2, 3), 2)
    assert p.variance[0].tolist() == [pytest.approx([2.0] * 3), pytest.approx([1 + np.exp(-1)] * 3)]
    vae = pv.VAE((2, 3), 2, likelihood=part)
    vae.save(tmp_path)
    assert torch.equal(pv.load(tmp_path).model.likelihood.log_dispersion, part.log_dispersion)
    with pytest.raises(
        ModelError, match=r"dispersion_shape \(2, 1\) does not broadcast to the event shape \(3, 2\)"
    ):
        part(torch.zeros(4, 1, 3, 2), 2)


@pytest.mark.parametrize("name", ["categorical", "discretised-logistic"])
@pytest.mark.parametrize("levels", [2, 16, 256])
def test_grey_levels_have_masses_that_sum_to_one(name, levels):
    part = likelihood({"name": name, "levels": levels}).double()
    p = part(torch.randn(1, part.num_parameters, 1, dtype=torch.float64), 1)
    x = np.arange(levels) / (levels - 1)
    assert density(p, x).sum() == pytest.approx(1, abs=1e-12)
    assert p.mean.item() == pytest.approx(density(p, x) @ x, abs=1e-12)


def test_categorical_reads_the_logit_of_each_level():
    logits = torch.randn(5)
    p = likelihood(LIKELIHOODS["categorical"])(logits.reshape(1, 5, 1), 1)
    torch.testing.assert_close(p.log_prob(torch.linspace(0, 1, 5)[:, None]), logits.log_softmax(0))


def test_discretised_logistic_reads_location_and_log_scale():
    p = one_pixel("discretised-logistic", 0.4, second=-2.0)
    reference = stats.logistic(0.4, np.exp(-2.0)).cdf
    x, h = np.arange(1, 255) / 255, 0.5 / 255
    assert density(p, x) == pytest.approx(reference(x + h) - reference(x - h), abs=1e-12)
    assert density(p, [0.0, 1.0]) == pytest.approx([reference(h), 1 - reference(1 - h)], abs=1e-12)
    narrow, floor = (one_pixel("discretised-logistic", 0.4, second=s) for s in (-1000.0, MIN_LOG_SCALE))
    assert density(narrow, x).tolist() == density(floor, x).tolist()


@pytest.mark.parametrize("feature", [-6.0, -1.0, 0.3, 2.5])
def test_relaxed_bernoulli_is_no_density_and_says_so(feature):
    p = one_pixel("bernoulli-relaxed", feature)
    nodes, weights = np.polynomial.legendre.leggauss(200)
    total = 0.5 * weights @ density(p, 0.5 * (nodes + 1))
    mean = 1 / (1 + np.exp(-feature))
    assert total == pytest.approx((2 * mean - 1) / feature, abs=1e-10)
    assert abs(total - 1) > 0.05


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_is_density_tells_the_relaxed_one_apart(name):
    assert likelihood(LIKELIHOODS[name]).is_density == (name != "bernoulli-relaxed")


@pytest.mark.parametrize("name", [name for name in LIKELIHOODS if name != "columns"])
def test_coordinates_of_an_image_are_independent_and_in_place(name):
    """Features [B, P, C, H, W]: pixel (c, h, w) reads its parameters at (p, c, h, w)."""
    part = likelihood(LIKELIHOODS[name])
    features = torch.randn(2, part.num_parameters, 3, 2, 4)
    p = part(features, 3)
    x = p.sample()
    assert p.event_shape == (3, 2, 4)
    total = torch.zeros(2)
    for c, h, w in np.ndindex(3, 2, 4):
        total += part(features[:, :, c, h, w].unsqueeze(-1), 1).log_prob(x[:, c, h, w].unsqueeze(-1)).detach()
    torch.testing.assert_close(p.log_prob(x).detach(), total, rtol=1e-4, atol=1e-4)


def test_sigma_of_every_pixel_has_a_floor():
    p = one_pixel(LIKELIHOODS["gaussian-per-pixel"], 0.0, second=-1000.0)
    assert p.stddev.item() == pytest.approx(MIN_PIXEL_SCALE)


def test_learned_sigma_starts_where_it_is_told_and_is_one_parameter():
    part = likelihood(LIKELIHOODS["gaussian-learned"])
    assert [p.numel() for p in part.parameters()] == [1]
    assert part(torch.zeros(1, 1, 2), 1).stddev.tolist() == [pytest.approx([0.5, 0.5])]


GREY = torch.tensor([[0.0, 0.5, 1.0, 0.25]])


def test_grey_data_under_a_bernoulli_are_refused_with_both_ways_out():
    with pytest.raises(DataError, match="2 of 4 values") as error:
        likelihood("bernoulli").check(GREY)
    assert "binarize='dynamic'" in str(error.value)
    assert "likelihood='bernoulli-relaxed'" in str(error.value)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -0.25, 1.5])
@pytest.mark.parametrize("name", LIKELIHOODS)
def test_values_outside_the_support_are_refused_by_name(name, bad):
    part, x = likelihood(LIKELIHOODS[name]), torch.tensor([[0.0, 1.0, bad]])
    if name == "columns":
        part, x = (
            pv.models.Columns({"a": "gaussian", "b": "gaussian", "c": "bernoulli"}),
            torch.tensor([[0, 1, bad]]),
        )
    inner = part.part_of(2) if name == "columns" else getattr(part, "likelihood", part)
    real = inner.name in ("gaussian", "student-t")
    if (real and np.isfinite(bad)) or (part.allows_missing and np.isnan(bad)):
        part.check(x)
        return
    with pytest.raises(DataError, match=f"likelihood '{inner.name}'"):
        part.check(x)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_data_of_the_support_pass(name):
    likelihood(LIKELIHOODS[name]).check(legal(name, GREY))


@pytest.mark.parametrize("name", COUNTS)
def test_refused_counts_are_counted(name):
    with pytest.raises(DataError, match=r"needs counts 0, 1, 2, \.\.\., but 2 of 4 values are not"):
        likelihood(name).check(GREY)


def test_refused_grey_levels_are_counted_with_the_way_out():
    likelihood({"name": "categorical", "levels": 5}).check(GREY)
    with pytest.raises(DataError, match=r"k / 2 in \[0, 1\], but 1 of 4 are not; levels="):
        likelihood({"name": "categorical", "levels": 3}).check(GREY)


@pytest.mark.parametrize("estimator", ["monte-carlo-kl", "analytic-kl"])
def test_estimators_judge_the_data_of_a_vae(estimator):
    vae = pv.VAE((4,), 2)
    with pytest.raises(DataError, match="bernoulli-relaxed"):
        inf.get_elbo(estimator).per_datum(vae.model, vae.guide, GREY)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("bernouli", "unknown likelihood 'bernouli'; did you mean 'bernoulli'"),
        ({"name": "gaussian", "sigm": 1.0}, "likelihood 'gaussian'.*sigm"),
        ({"sigma": 1.0}, "likelihood must be a name"),
        (7, "likelihood must be a name"),
        (torch.nn.Identity(), "must be a pv.models.Likelihood, got Identity"),
        ({"name": "gaussian", "sigma": 0.0}, "sigma must be a positive number, got 0.0"),
        ({"name": "gaussian", "sigma": -1.0}, "sigma must be a positive number, got -1.0"),
        ({"name": "gaussian", "sigma": float("nan")}, "sigma must be a positive number, got nan"),
        ({"name": "gaussian", "sigma": float("inf")}, "sigma must be a positive number, got inf"),
        ({"name": "gaussian", "sigma": "lerned"}, "'learned' or 'per-pixel', got 'lerned'"),
        ({"name": "student-t", "sigma": "optimal"}, "closed form under likelihood 'gaussian' alone"),
        ({"name": "student-t", "df": 1.0}, "df must be above 1 and at most 1e8 \\(a Gaussian\\), got 1.0"),
        ({"name": "negative-binomial", "initial_dispersion": 0.0}, "must be a positive number, got 0.0"),
        ({"name": "negative-binomial", "dispersion_shape": (0,)}, "dispersion_shape must be an integer"),
        ({"name": "categorical", "levels": 1}, "levels must be an integer of at least 2, got 1"),
        ({"name": "discretised-logistic", "levels": 2.5}, "levels must be an integer of at least 2, got 2.5"),
        ({"name": "missing-pixels", "of": "gausian"}, "unknown likelihood 'gausian'; did you mean 'gaussian'"),
        (
            {"name": "gaussian", "sigma": "learned", "initial_sigma": 0.0},
            "sigma must be a positive number, got 0.0",
        ),
    ],
)
def test_what_is_no_likelihood_is_refused(spec, message):
    with pytest.raises(ModelError, match=message):
        likelihood(spec)


@pytest.mark.parametrize("sigma", [torch.tensor(0.5), np.float32(0.5), 1])
def test_sigma_of_any_number_type_is_stored_as_json(sigma, tmp_path):
    vae = pv.VAE((3,), 2, likelihood=pv.models.GaussianLikelihood(sigma))
    vae.save(tmp_path)
    p = pv.load(tmp_path).decode(torch.zeros(1, 2))
    assert p.stddev.tolist() == [[float(sigma)] * 3]
