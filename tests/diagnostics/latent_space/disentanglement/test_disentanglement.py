"""What stands beside every score: error, chance, inactive and repeated dimensions, bins, seeds; and the verdict."""

import matplotlib.figure
import numpy as np
import pytest
import torch
import xarray as xr

import ppl_vae as pv
from ppl_vae.diagnostics import check_disentanglement, run_disentanglement, score_codes
from ppl_vae.errors import DataError, ModelError
from ppl_vae.plots import plot_disentanglement

CHEAP = ("mig", "modularity", "gaussian-tc")


def drawn(n=1000, seed=0):
    rng = np.random.default_rng(seed)
    levels = np.stack([rng.integers(k, size=n) for k in (2, 3, 5)], 1)
    return levels, (levels - levels.mean(0)) / levels.std(0) + 0.2 * rng.normal(size=(n, 3))


def scored(codes, levels, **options):
    return score_codes(codes, levels, **{"metrics": CHEAP, "votes": 120, **options})


@pytest.fixture(scope="module")
def table():
    levels, codes = drawn()
    return scored(codes, levels, factor_names=("a", "b", "c"))


def test_chance_is_the_score_of_shuffled_factors():
    """The identity is far above it, and noise is not."""
    levels, _ = drawn()
    noise = scored(np.random.default_rng(5).normal(size=(1000, 3)), levels, metrics=(*CHEAP, "factor-vae"))
    table = scored(drawn()[1], levels, metrics=(*CHEAP, "factor-vae"))
    for name in ("mig", "factor-vae score"):
        apart = {
            key: abs(t["mean"] - t["chance"].mean("run")).sel(metric=name).item() for key, t in
            (("identity", table), ("noise", noise))
        }  # fmt: skip
        error = np.hypot(noise["stderr"], noise["chance_spread"]).sel(metric=name).item()
        assert apart["identity"] > 0.2
        assert apart["noise"] < 5 * error + 1e-3
    # A code that knows nothing is modular by chance: that the level stands beside it is the point.
    assert noise["chance"].sel(metric="modularity").item() > 0.5


@pytest.mark.slow
def test_a_collapsed_code_changes_no_score_and_a_repeated_one_is_named(table):
    levels, codes = drawn()
    collapsed = scored(np.concatenate([codes, 1e-6 * codes[:, :1]], 1), levels)
    np.testing.assert_array_equal(collapsed["score"], table["score"])
    assert collapsed["active"].values.tolist() == [[True, True, True, False]]
    assert np.isnan(collapsed["mutual_information"].isel(latent=3)).all()
    repeated = scored(np.concatenate([codes, -codes[:, :1]], 1), levels)
    assert repeated["duplicate_of"].values.tolist() == [[-1, -1, -1, 0]]
    assert repeated["score"].sel(metric="mig") < table["score"].sel(metric="mig") - 0.2
    np.testing.assert_array_equal(
        repeated["without_duplicates"].sel(metric="mig"), table["score"].sel(metric="mig")
    )
    assert np.isnan(table["without_duplicates"]).all()
    (verdict,) = [each for each in check_disentanglement(repeated) if each.diagnostic == "mig"]
    assert "repeats another" in verdict.words


def test_the_effect_of_binning_is_reported(table):
    levels, codes = drawn()
    assert table["bins"].values.tolist() == [10, 20, 40]
    of_ten = scored(codes, levels, bins=10)
    np.testing.assert_allclose(
        table["by_bins"].sel(bins=10, binned_metric="mig"), of_ten["score"].sel(metric="mig"), atol=1e-12
    )
    # The bias of a plug-in grows with the bins, and with it what codes get by chance.
    chance = table["chance_by_bins"].sel(binned_metric="mig")
    assert chance.sel(bins=40).item() > chance.sel(bins=10).item()
    counts = scored(codes, levels, binning="count")
    assert counts["score"].sel(metric="mig").item() != table["score"].sel(metric="mig").item()


@pytest.mark.slow
def test_several_runs_have_an_error_over_runs_and_agree():
    levels, codes = drawn()
    runs = np.stack([codes, -codes[:, ::-1], codes + np.random.default_rng(1).normal(size=codes.shape)])
    several = scored(runs, levels)
    for column in range(len(several["metric"])):
        values = several["score"].values[0, :, column]
        assert several["mean"].values[0, column] == pytest.approx(values.mean())
        assert several["stderr_over_runs"].values[0, column] == pytest.approx(values.std(ddof=1) / np.sqrt(3))
    assert several["udr"].values[0] > 0.7 > several["udr"].values[2]
    assert several["udr_chance"] < 0.1
    assert np.isnan(scored(codes, levels)["udr_mean"])


def test_the_verdict_leans_the_right_way(table):
    levels, codes = drawn()
    levels_of = {v.diagnostic: v.level for v in check_disentanglement(table)}
    assert levels_of["mig"] == "good"
    noise = scored(np.random.default_rng(5).normal(size=(1000, 3)), levels, metrics=("mig",))
    assert {v.level for v in check_disentanglement(noise)} == {"bad"}
    mixed = codes @ (np.eye(3) - 2 / 3)
    verdicts = check_disentanglement(scored(mixed, levels, metrics=("mig",)))
    assert verdicts[0].level != "good"
    assert verdicts[0].value > 0.5
    few = scored(codes[:100], levels[:100], metrics=("mig",))
    assert np.isnan(few["stderr"]).all()
    assert check_disentanglement(few)[0].level == "unknown"
    with pytest.raises(DataError, match="numbers: expected what run_disentanglement returns"):
        check_disentanglement(xr.Dataset({"other": ("datum", [1.0])}))


@pytest.mark.slow
def test_mean_and_sampled_codes_of_pairs_are_judged():
    """The exact guide of data that are the factors and noise: draws are noisier than means."""
    levels, codes = drawn(600)
    pairs = [pv.LinearGaussianVAE(torch.eye(3).double(), torch.zeros(3).double(), s, seed=0) for s in (0.5, 0.3)]
    numbers = run_disentanglement(pairs, codes, levels, metrics=("mig", "irs"), num_shuffles=1)
    mean, sample = (numbers["score"].sel(representation=kind, metric="mig") for kind in ("mean", "sample"))
    assert (mean > sample + 0.05).all()
    direct = score_codes(pairs[0].encode(codes).mean.detach().numpy(), levels, metrics=("mig",), num_shuffles=1)
    assert mean.values[0] == pytest.approx(direct["score"].item())
    assert isinstance(plot_disentanglement(numbers), matplotlib.figure.Figure)
    assert len(numbers["udr"]) == 2


def test_an_inactive_dimension_is_known_by_its_mean_even_in_draws():
    """Draws of a collapsed dimension have variance one, but its mean has none."""
    levels, codes = drawn(600)
    weight = torch.eye(3).double()
    weight[2, 2] = 1e-3
    pair = pv.LinearGaussianVAE(weight, torch.zeros(3).double(), 0.5, seed=0)
    numbers = run_disentanglement(pair, codes, levels, metrics=("mig",), num_shuffles=1)
    assert numbers["active"].values.tolist() == [[True, True, False]]


def test_mistakes_are_named(table):
    levels, codes = drawn(100)
    with pytest.raises(ModelError, match="unknown metric 'migg'; did you mean 'mig'"):
        scored(codes, levels, metrics=("migg",))
    with pytest.raises(ModelError, match="unknown learner 'forest'"):
        scored(codes, levels, learner="forest")
    with pytest.raises(DataError, match=r"codes 'given': expected .* for the 100 rows"):
        scored(codes[:50], levels)
    with pytest.raises(DataError, match="1 values are NaN"):
        scored(np.where(np.arange(300).reshape(100, 3) == 0, np.nan, codes), levels)
    with pytest.raises(ModelError, match="unknown representation 'means'"):
        run_disentanglement(None, codes, levels, representations=("means",))
    with pytest.raises(DataError, match="expected what run_disentanglement returns, found no mean"):
        plot_disentanglement(table.drop_vars("mean"))
