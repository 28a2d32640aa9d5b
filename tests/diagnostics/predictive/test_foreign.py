"""Foreign sets: areas and their errors against closed forms, the known failure of log p(x), and what mends it."""

import numpy as np
import pytest
import torch
import xarray as xr
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

import ppl_vae as pv
from ppl_vae.diagnostics import check_foreign, perturbed, run_foreign
from ppl_vae.diagnostics.predictive.foreign import area_under_curve
from ppl_vae.errors import DataError, ModelError
from tests.scenarios import draw_data, linear_gaussian


def test_the_area_is_that_of_scikit_learn_and_its_error_covers_the_closed_form():
    """Two normals a deviation apart: the area is Phi(1 / sqrt 2). Of 200 repeats 95% hold it, by a binomial."""
    rng, exact, held = np.random.default_rng(0), norm.cdf(1 / np.sqrt(2)), 0
    for _ in range(200):
        ours, theirs = rng.normal(1, 1, size=80), rng.normal(0, 1, size=50)
        area, error = area_under_curve(ours, theirs)
        held += abs(area - exact) < 1.96 * error
    assert abs(held / 200 - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 200)
    ours, theirs = rng.integers(4, size=60), rng.integers(5, size=70)
    labels, scores = np.repeat([1, 0], [60, 70]), np.concatenate([ours, theirs])
    assert area_under_curve(ours, theirs)[0] == pytest.approx(roc_auc_score(labels, scores))
    area, error = area_under_curve(np.ones(30), np.zeros(20))
    assert area == 1
    assert 0 < error < 0.1


@pytest.fixture(scope="module")
def oracle():
    """An exact linear-Gaussian pair, its data, data near their mean, and data far away."""
    lg = linear_gaussian(latent_dim=2)
    x = draw_data(lg, 600)
    mean = lg.bias.detach()
    return lg, x, {"simpler": mean + 0.3 * (x[:200] - mean), "far": mean + 3 * (x[200:300] - mean)}


def test_simpler_data_have_more_likelihood_and_typicality_knows_them(oracle):
    """Data shrunk to their mean are all more likely than the model's own: the failure, and it is said."""
    lg, x, foreign = oracle
    numbers = run_foreign(lg, x, foreign, num_samples=30, seed=1)
    area = numbers["auroc"]
    assert area.sel(foreign="simpler", score="log_evidence") < 0.1
    assert area.sel(foreign="simpler", score="typicality") > 0.6
    assert area.sel(foreign="far", score="log_evidence") > 0.95
    assert numbers["batch_auroc"].sel(foreign="simpler") == 1
    # By 30 draws of the best mean-field guide.
    exact = lg.log_evidence(foreign["far"]).detach().numpy()
    found = numbers["scores"].sel(set="far", score="log_evidence").dropna("datum")
    assert abs(found - exact).max() < 0.3
    assert numbers["mean_log_evidence"].sel(set="far") == pytest.approx(exact.mean(), abs=0.05)
    verdicts = {verdict.diagnostic: verdict for verdict in check_foreign(numbers)}
    failure = verdicts["simpler by log_evidence"]
    assert failure.level == "bad"
    assert "takes these foreign data for the better ones" in failure.words
    assert verdicts["far by log_evidence"].level in ("good", "unknown")
    assert "complexity" not in numbers["score"].values


@pytest.mark.slow
def test_scores_are_their_formulas(oracle):
    """With the pair as its own background the ratio is 0; of pictures the complexity is added."""
    lg, x, foreign = oracle
    same = run_foreign(lg, x[:40], {"far": foreign["far"]}, background=lg, num_samples=30)
    assert abs(same["scores"].sel(score="likelihood_ratio")).max() < 0.3
    vae = pv.VAE((1, 8, 8), 2, network={"name": "mlp", "hidden": (8,)})
    flat = torch.zeros(20, 1, 8, 8)
    noisy = torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(0)).round()
    numbers = run_foreign(vae, noisy, {"flat": flat}, num_samples=30)
    added = numbers["scores"].sel(score="complexity") - numbers["scores"].sel(score="log_evidence")
    assert (added.sel(set="held out") > 0).sum() == 20
    assert added.sel(set="flat").mean() < added.sel(set="held out").mean() - 20
    spread = numbers["scores"].sel(score="typicality") + abs(
        numbers["scores"].sel(score="log_evidence") - numbers.attrs["reference_mean"]
    )
    assert abs(spread).max() < 1e-9


def test_mutations_come_at_their_rate_and_from_the_datas_values():
    x = torch.cat([torch.zeros(200, 30), torch.ones(200, 10)], 1)
    mutated = perturbed(x, 0.3, seed=2)
    assert set(mutated.unique().tolist()) == {0.0, 1.0}
    changed = (mutated != x).double().mean().item()
    assert abs(changed - 0.15) < 4 * np.sqrt(0.15 * 0.85 / x.numel())
    assert torch.equal(perturbed(x, 0.3, seed=2), mutated)
    assert torch.equal(perturbed(x, 0.0), x)
    with pytest.raises(ModelError, match="rate must lie between 0 and 1, got 2"):
        perturbed(x, 2)
    with pytest.raises(DataError, match="at most 256 distinct finite values"):
        perturbed(torch.rand(1000))


def test_sets_of_data_that_are_sorted_are_told_apart_no_better_than_by_chance(oracle):
    lg, x, _ = oracle
    same = draw_data(lg, 400, seed=9)
    same = same[run_foreign(lg, x, {"same": same}, num_samples=30)["scores"][1, :400, 0].argsort().values]
    numbers = run_foreign(lg, x, {"same": same}, num_samples=30, batch_size=10)
    assert abs(numbers["batch_auroc"].item() - 0.5) < 3 * numbers["batch_auroc_stderr"].item()


def test_mistakes_are_named(oracle):
    lg, x, foreign = oracle
    with pytest.raises(ModelError, match="foreign: expected data by name, got none"):
        run_foreign(lg, x, {})
    with pytest.raises(ModelError, match="'held out' is the name of the data x"):
        run_foreign(lg, x, {"held out": x})
    with pytest.raises(DataError, match="expected what run_foreign returns"):
        check_foreign(xr.Dataset())
    numbers = run_foreign(lg, x[:8], {"one": foreign["far"][:1]}, num_samples=30)
    assert np.isnan(numbers["batch_auroc"]).all()
    with pytest.raises(DataError, match="auroc"):
        check_foreign(numbers.assign(auroc=numbers["auroc"] * np.nan))
