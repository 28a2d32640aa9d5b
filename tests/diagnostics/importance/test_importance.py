"""k-hat, ESS and weights on the linear-Gaussian model, whose tail indices are known (exact posterior, faults)."""

import math

import numpy as np
import pytest
import torch
import xarray as xr
from pyro import distributions as dist

import ppl_vae as pv
from ppl_vae.diagnostics import check_importance, khat_table, resample_posterior, run_importance
from ppl_vae.errors import DataError, ModelError
from tests.inference.comparisons import CategoricalPair
from tests.inference.evidence.psis_reference import psislw
from tests.scenarios import draw_data, linear_gaussian


class Beside(torch.nn.Module):
    """A guide beside the exact posterior of a LinearGaussianVAE: shifted, and its scales multiplied."""

    def __init__(self, lg, shift=0.0, factor=1.0):
        super().__init__()
        self.lg, self.shift, self.factor = [lg], shift, factor

    def forward(self, features):
        exact = self.lg[0].posterior(features)
        return dist.MultivariateNormal(exact.mean + self.shift, scale_tril=self.factor * exact.scale_tril)


def faulty(shift=0.0, variance=1.0, latent_dim=2, n=10):
    """A model with a guide of ``variance`` times the posterior's, moved by ``shift``, and data of its own."""
    lg = linear_gaussian(seed=2, data_dim=4, latent_dim=latent_dim, guide="exact")
    x = draw_data(lg, n)
    lg.guide.posterior = Beside(lg, shift, math.sqrt(variance))
    return lg, x


def correlated(c, n=10):
    """A posterior N(m, V) in two dimensions with correlation c, under its best diagonal guide."""
    # W'W = sigma^2 (M - I) with M = V^-1; V has unit scale times 1/4, so that M - I is positive.
    precision = torch.linalg.inv(0.25 * torch.tensor([[1.0, c], [c, 1.0]], dtype=torch.float64))
    weight = torch.linalg.cholesky(precision - torch.eye(2, dtype=torch.float64)).mT
    lg = pv.LinearGaussianVAE(weight, torch.zeros(2, dtype=torch.float64), 1.0)
    return lg, draw_data(lg, n)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_exact_posterior_is_reported_as_exact_on_every_datum(dtype):
    lg = linear_gaussian(guide="exact").to(dtype)
    x = draw_data(linear_gaussian(guide="exact"), 200).to(dtype)
    ds = run_importance(lg, x)
    assert ds["exact"].all()
    assert ds["khat"].isnull().all()
    np.testing.assert_allclose(ds["ess"], 1000, rtol=1e-4)
    floor = 1e-5 if dtype == torch.float32 else 1e-10
    with torch.no_grad():
        np.testing.assert_allclose(ds["log_evidence"], lg.log_evidence(x), rtol=floor, atol=10 * floor)
    verdict = check_importance(ds)
    assert (verdict.level, verdict.value) == ("good", 0.0)
    assert "the guide is the exact posterior" in verdict.words


@pytest.mark.parametrize("off", [1e-3, 0.1])
def test_a_guide_a_little_off_is_not_called_exact(off):
    lg, x = faulty(shift=off)
    assert not run_importance(lg, x)["exact"].any()


@pytest.mark.parametrize(
    ("make", "k"),
    [
        (lambda: correlated(0.3), 0.3),
        (lambda: correlated(0.5), 0.5),
        (lambda: faulty(variance=0.7), 0.3),
        (lambda: faulty(variance=0.5), 0.5),
    ],
    ids=["correlation 0.3", "correlation 0.5", "variance 0.7", "variance 0.5"],
)
def test_khat_is_the_tail_index_of_a_planted_fault(make, k):
    """k = 1 - lambda_min(S^{1/2} M S^{1/2}), the mean of 10 data at 10,000 draws to within 0.1."""
    lg, x = make()
    ds = run_importance(lg, x, num_samples=10_000)
    assert float(ds["khat"].mean()) == pytest.approx(k, abs=0.1)


@pytest.mark.slow
def test_a_guide_that_is_too_wide_has_a_negative_khat():
    """Bounded weights: k = -2 / d."""
    lg, x = faulty(variance=4.0, latent_dim=2, n=50)
    ds = run_importance(lg, x, num_samples=10_000)
    assert float(ds["khat"].mean()) == pytest.approx(-1.0, abs=0.2)
    assert check_importance(ds).level == "good"


def test_a_shifted_guide_has_a_larger_khat_the_further_it_is_off():
    means = [float(run_importance(*faulty(shift=s, latent_dim=1), 4000)["khat"].mean()) for s in (0.1, 0.5, 2.0)]
    assert means == sorted(means)
    assert means[-1] > 0.7


def test_the_effective_sample_size_goes_to_one_over_one_plus_chi_squared():
    """For a guide of variance a times the posterior's, 1 + chi^2 = prod a^{1/2} (2 - 1/a)^{-1/2}, a > 1/2."""
    lg, x = faulty(variance=1.5, latent_dim=2, n=100)
    ds = run_importance(lg, x, num_samples=4000)
    expected = 4000 / (math.sqrt(1.5) / math.sqrt(2 - 1 / 1.5)) ** 2
    share = ds["ess"].to_numpy()
    assert abs(share.mean() - expected) < 4 * share.std() / 10 + 2


def test_every_column_is_its_formula_and_arvizs_number():
    lg = linear_gaussian()
    ds = run_importance(lg, draw_data(lg, 12), 1000, keep_weights=True)
    log_weight = ds["log_weight"].to_numpy()
    assert ds["log_weight"].dims == ("sample", "datum")
    smoothed, khat = psislw(log_weight)
    np.testing.assert_allclose(ds["khat"], khat, rtol=0, atol=1e-6)
    np.testing.assert_allclose(ds["smoothed_log_weight"], smoothed, rtol=0, atol=1e-6)
    weight = np.exp(log_weight)
    np.testing.assert_allclose(ds["ess"], weight.sum(0) ** 2 / (weight**2).sum(0))
    np.testing.assert_allclose(ds["max_weight_share"], weight.max(0) / weight.sum(0))
    np.testing.assert_allclose(ds["log_evidence"], np.log(weight.mean(0)))
    np.testing.assert_allclose(
        ds["log_evidence_stderr"], weight.std(0, ddof=1) / weight.mean(0) / np.sqrt(1000), rtol=1e-9
    )
    np.testing.assert_allclose(ds["elbo"], log_weight.mean(0))
    assert ds.attrs == {"num_samples": 1000, "seed": 0, "dtype": "float64", "threshold": 1 - 1 / 3}


@pytest.mark.slow
@pytest.mark.parametrize("memory_limit", [1 << 14, 1 << 18])
def test_nothing_depends_on_the_passes(memory_limit):
    lg = linear_gaussian()
    x = draw_data(lg, 40)
    whole, cut = run_importance(lg, x, 200), run_importance(lg, x, 200, memory_limit=memory_limit)
    xr.testing.assert_allclose(whole, cut, rtol=1e-9)
    xr.testing.assert_allclose(whole.isel(datum=slice(0, 7)), run_importance(lg, x[:7], 200), rtol=1e-9)


def test_a_seed_gives_one_result_and_leaves_the_global_stream():
    lg = linear_gaussian()
    x, before = draw_data(lg, 5), torch.get_rng_state()
    first, again, other = (run_importance(lg, x, 50, seed=s) for s in (1, 1, 2))
    xr.testing.assert_identical(first, again)
    assert not np.array_equal(first["khat"], other["khat"])
    assert torch.equal(torch.get_rng_state(), before)


def test_few_distinct_weights_are_neither_exact_nor_judged():
    pair = CategoricalPair()
    ds = run_importance(pair, torch.randn(6, 2, dtype=torch.float64), 100)
    unfit = np.flatnonzero(np.isinf(ds["khat"]))
    assert len(unfit) > 2
    assert not ds["exact"].any()
    verdict = check_importance(ds.isel(datum=unfit))
    assert verdict.level == "unknown"
    assert "too few distinct weights" in verdict.words


@pytest.mark.parametrize(
    ("above", "count", "level"),
    [
        (0, 100, "good"),
        (5, 100, "unknown"),
        (6, 100, "unknown"),
        (25, 100, "doubtful"),
        (26, 100, "doubtful"),
        (40, 100, "bad"),
        (250, 10_000, "good"),
        (600, 10_000, "doubtful"),
        (2600, 10_000, "bad"),
        (0, 10, "unknown"),
        (1, 3, "unknown"),
        (3, 3, "bad"),
    ],
)
def test_the_verdict_goes_by_the_share_above_the_threshold_and_its_error(above, count, level):
    khat = np.full(count, 0.2)
    khat[:above] = 0.9
    numbers = {"khat": khat, "exact": np.zeros(count, bool), "ess": khat, "elbo": khat}
    ds = xr.Dataset({k: ("datum", v) for k, v in numbers.items()}, attrs={"threshold": 2 / 3, "num_samples": 1000})
    verdict = check_importance(ds)
    assert verdict.level == level
    assert verdict.value == pytest.approx(above / count)
    # None of 100 is no proof of none at all: Laplace's rule has 1 / 102.
    chance = above / count if 0 < above < count else (above + 1) / (count + 2)
    assert verdict.stderr == pytest.approx(math.sqrt(chance * (1 - chance) / count))
    assert f"{above} of {count} data are above 0.67" in verdict.words
    assert ("does not decide" in verdict.words) == (level == "unknown")
    assert bool(verdict.advice) == (level in ("doubtful", "bad"))


def test_the_table_by_class_and_decile():
    lg = linear_gaussian()
    ds = run_importance(lg, draw_data(lg, 50), 200)
    labels = np.arange(50) % 2
    table = khat_table(ds, labels)
    assert list(table.index.get_level_values("by")) == ["all", *["class"] * 2, *["elbo decile"] * 10]
    odd = ds.isel(datum=np.flatnonzero(labels == 1))
    row = table.loc[("class", 1)]
    assert row["data"] == 25
    assert row["khat_median"] == pytest.approx(float(odd["khat"].median()))
    assert row["above"] == pytest.approx(float((odd["khat"] > ds.attrs["threshold"]).mean()))
    deciles = table.loc["elbo decile"]
    assert deciles["data"].tolist() == [5] * 10
    assert deciles["elbo"].is_monotonic_increasing
    assert deciles.loc[1, "elbo"] == pytest.approx(np.sort(ds["elbo"])[:5].mean())
    with pytest.raises(DataError, match=r"labels: expected \[50\]"):
        khat_table(ds, labels[:3])


def test_resampled_draws_have_the_posteriors_moments_where_the_guides_have_not():
    lg, x = correlated(0.5, n=8)
    with torch.no_grad():
        lg.guide.posterior.offset += 0.2
        lg.guide.posterior.log_scale += 0.3
        exact = lg.posterior(x)
    drawn = resample_posterior(lg, x, num_draws=4000, num_samples=4000)["z"]
    assert drawn.shape == (4000, 8, 2)
    # Resampling draws again from the weighted ones: twice the variance of independent draws, over the ESS.
    ess = torch.from_numpy(run_importance(lg, x, 4000)["ess"].to_numpy())[:, None]
    error = (exact.variance * (1 / ess + 1 / 4000)).sqrt()
    assert ((drawn.mean(0) - exact.mean) / error).abs().max() < 4
    guides = lg.guide.encode(x).mean.detach()
    assert ((guides - exact.mean) / error).abs().min() > 8
    correlation = torch.stack([torch.corrcoef(drawn[:, n].mT)[0, 1] for n in range(8)])
    assert abs(correlation.mean() - 0.5) < 0.05


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda lg, x: run_importance(lg, x, 24), ModelError, "num_samples must be an integer of at least 25"),
        (lambda lg, x: run_importance(lg, x[:0]), DataError, "empty"),
        (lambda lg, x: run_importance(lg, x, memory_limit=0), ModelError, "memory_limit"),
        (lambda lg, x: resample_posterior(lg, x, 0), ModelError, "num_draws"),
        (lambda lg, x: check_importance(xr.Dataset()), DataError, "expected what run_importance returns"),
        (lambda lg, x: run_importance(lg.model, x), ModelError, "expected an object with .model and .guide"),
    ],
)
def test_bad_input_is_described(call, error, message):
    lg = linear_gaussian()
    with pytest.raises(error, match=message):
        call(lg, draw_data(lg, 3))
