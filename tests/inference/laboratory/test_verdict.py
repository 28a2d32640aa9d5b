"""The verdict says what the numbers say, and no more."""

import numpy as np
import pytest
import torch

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.errors import DataError
from ppl_vae.inference.laboratory.verdict import _level_with_least, _ratio_errors
from tests.inference.comparisons import compare, made_table, off_optimum


def test_winners_by_group_and_nothing_where_noise_decides():
    said = inf.check_estimators(made_table()).details
    assert "least for sticking-the-landing in encoder, too close to call in decoder" in said
    compared = "(variance x time) is least for sticking-the-landing in encoder, least for analytic-kl in decoder"
    assert compared in said


def test_level_ones_are_named_together():
    level = [[1.02, 1.0], [1.0, 1.0], [4.0, 0.2]]
    said = inf.check_estimators(made_table(gradient_variance=level)).details
    assert "gradient variance is too close to call in every group" in said
    apart = [[1.2, 1.2], [1.0, 1.0], [4.0, 0.2]]
    said = inf.check_estimators(made_table(gradient_variance=apart)).details
    assert "gradient variance is least for sticking-the-landing in every group" in said
    zero = [[0.5, 0.5], [0.0, 0.0], [4.0, 0.2]]
    said = inf.check_estimators(made_table(gradient_variance=zero)).details
    assert "gradient variance is least for sticking-the-landing in every group" in said


def test_a_noisy_clock_decides_nothing():
    said = inf.check_estimators(made_table(milliseconds_stderr=[0.5, 1.0, 0.1])).details
    assert "(variance x time) is too close to call in decoder" in said or "too close to call in every group" in said


def test_biases_beyond_three_errors_and_no_others():
    said = inf.check_estimators(made_table()).details
    assert "iwae (5 draws) +1.00 ± 0.10 (1.00 ± 0.10 below log p(x)); the others do not" in said
    assert "analytic-kl +" not in said
    unbiased = inf.check_estimators(made_table(bias_elbo=[0.0, 0.05, 0.2])).details
    assert "No value differs from the ELBO by more than 3 standard errors." in unbiased
    near = inf.check_estimators(made_table(bias_evidence=[-2.0, -2.0, 0.1])).details
    assert "iwae (5 draws) +1.00 ± 0.10; the others" in near
    above = inf.check_estimators(made_table(bias_evidence=[-2.0, -2.0, 1.0])).details
    assert "1.00 ± 0.10 above log p(x)" in above


def test_particles_that_hurt_the_guide_alone():
    said = inf.check_estimators(made_table()).details
    assert "0.4 of iwae against 1.5 of sticking-the-landing in encoder." in said
    assert said.count("against") == 1
    fine = made_table(snr=[[0.5, 2.0], [1.5, 2.0], [1.6, 0.1]])
    assert "More draws" not in inf.check_estimators(fine).details


def test_references_are_named():
    said = inf.check_estimators(made_table()).details
    assert said.startswith("On 7 data with 10000 repeats, the reference for the ELBO is -10.000 nats per datum")
    assert said.count("(closed form)") == 2


def test_on_a_real_table():
    lg, x = off_optimum("exact")
    said = inf.check_estimators(compare(lg, x, ["sticking-the-landing", "monte-carlo-kl"], num_repeats=300)).details
    assert "least for sticking-the-landing in encoder body" in said
    assert "No value differs" in said
    assert "\n" not in said


def test_one_estimator_wins_nothing():
    lg, x = off_optimum()
    assert "Among" not in inf.check_estimators(compare(lg, x, ["analytic-kl", "iwae"], num_repeats=20)).details


def test_other_tables_are_refused():
    with pytest.raises(DataError, match="expected what compare_estimators returns; missing snr"):
        inf.check_estimators(made_table().drop_vars("snr"))


def alone(draw, repeats, trials=400, seed=0):
    """How often one of two gradients of equal variance is named alone."""
    rng, wrong = np.random.default_rng(seed), 0
    for _ in range(trials):
        gradients = draw(rng, repeats)
        values = gradients.var(1, ddof=1)
        distance = (gradients - gradients.mean(1, keepdims=True)) ** 2
        wrong += not _level_with_least(values, _ratio_errors(distance, values)).all()
    return wrong / trials


def parity(rng, count):
    """Two estimators of a linear-Gaussian KL on the same noise, where their variances cross: one is quadratic."""
    scale, noise = 0.5**0.5, rng.normal(size=count)
    return np.stack([scale * noise * (3**0.5 - scale * noise), -(noise**2)])


def score(rng, count):
    noise = rng.normal(size=(2, count))
    return (-5.0 + 1.5 * noise - noise**2) * noise


LAWS = {
    "normal": lambda rng, count: rng.normal(size=(2, count)),
    "parity": parity,
    "score function": score,
    "log-normal": lambda rng, count: rng.lognormal(size=(2, count)),
}


@pytest.mark.parametrize(
    ("law", "most"), [("normal", 0.003), ("parity", 0.005), ("score function", 0.005), ("log-normal", 0.022)]
)
@pytest.mark.parametrize("repeats", [30, 300])
def test_equal_variances_are_seldom_told_apart(law, most, repeats):
    """As benchmarks/verdict_rules.py measures; by normal tails 20% and 50% of the last two."""
    assert alone(LAWS[law], repeats) <= most + 4 * (most / 400) ** 0.5


def test_variances_that_differ_are_told_apart_on_paired_noise():
    def draw(rng, count):
        noise = rng.normal(size=count)
        return np.stack([noise, 1.5 * noise])

    assert alone(draw, 300) == 1.0


class OwnELBO(inf.Estimator):
    """A user's own, with or without a word on what it estimates."""

    def bound(self, terms):
        return terms.log_weight.mean(0)


@pytest.mark.slow
def test_a_users_own_estimator_of_the_elbo_is_ranked_where_it_says_so():
    class Said(OwnELBO):
        target, side = "elbo", "lower"

    lg, x = off_optimum()
    table = compare(lg, x, [Said(), OwnELBO(), "analytic-kl"], num_repeats=30)
    assert table["of_elbo"].to_numpy().tolist() == [True, False, True]
    assert table["target"].to_numpy().tolist() == ["elbo", "", "elbo"]
    said = inf.check_estimators(table).details
    assert "Among the 2 estimators of the plain ELBO" in said
    assert "Not ranked, because they state no target (Estimator.target): OwnELBO(num_particles=1)." in said


def test_every_estimator_by_name_says_what_it_estimates():
    for name in inf.list_estimators():
        assert inf.get_elbo(name).target in ("elbo", "evidence")
    assert inf.get_elbo("cubo").side == "upper"


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rounding_is_neither_a_bias_nor_a_signal(dtype):
    """At the exact posterior every draw has the same weight: what is left of values and gradients is rounding."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(20, 3, dtype=dtype, generator=generator)
    lg = pv.LinearGaussianVAE(weight, torch.zeros(20, dtype=dtype), 0.1, guide="exact")
    x = torch.randn(8, 3, dtype=dtype, generator=generator) @ weight.T
    table = compare(lg, x, ["monte-carlo-kl", "sticking-the-landing", "iwae"], num_repeats=60)
    said = inf.check_estimators(table).details
    assert "No value differs from the ELBO" in said
    body = table.sel(estimator="sticking-the-landing", group="encoder body")
    assert np.isnan(body["snr"])
    assert np.isnan(body["cosine"])
    assert "signal-to-noise" not in said
    assert "least for sticking-the-landing in encoder body" in said


@pytest.mark.parametrize("name", ["value", "gradient_variance", "cost"])
def test_figures_that_are_no_numbers_are_refused(name):
    table = made_table()
    table[name].values.flat[0] = np.nan
    with pytest.raises(DataError, match=f"numbers of '{name}' are NaN or infinite"):
        inf.check_estimators(table)


def test_the_ranking_is_a_table_and_one_sentence():
    ranking = inf.check_estimators(made_table())
    assert ranking.sentence.count(".") == 1
    assert ranking.sentence.startswith("The cost to a given accuracy (variance x time) is least for sticking-the-")
    assert "values other than the ELBO's have iwae (5 draws)" in ranking.sentence
    table = ranking.table
    cost = made_table()["cost"].transpose("estimator", "group").to_numpy()[:2]
    expected = np.exp(np.log(cost / cost.min(0)).mean(1))
    found = table.loc[["analytic-kl", "sticking-the-landing"], "relative cost"]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert table.index[-1] == "iwae (5 draws)"
    assert table["rank"].isna().tolist() == [False, False, True]
    assert table["relative cost"].dropna().is_monotonic_increasing
    assert str(ranking).splitlines()[-1] == ranking.sentence
    assert len(str(ranking).splitlines()) == 2 + 3 + 1


def test_an_exact_gradient_is_ranked_first():
    zero = made_table(
        gradient_variance=[[0.5, 0.5], [0.0, 0.0], [4.0, 0.2]], cost=[[0.5, 0.5], [0.0, 0.0], [4.0, 1.0]]
    )
    table = inf.check_estimators(zero).table
    assert table.index[0] == "sticking-the-landing"
    assert table["relative cost"].tolist()[:2] == [1.0, np.inf]


def test_one_estimator_is_no_ranking():
    lg, x = off_optimum()
    assert inf.check_estimators(compare(lg, x, ["analytic-kl", "iwae"], num_repeats=20)).sentence.startswith(
        "Fewer than"
    )
