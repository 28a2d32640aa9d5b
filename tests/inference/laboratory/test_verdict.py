"""The verdict says what the numbers say, and no more."""

import pytest

from ppl_vae import inference as inf
from ppl_vae.errors import DataError
from tests.inference.comparisons import compare, made_table, off_optimum


def test_winners_by_group_and_nothing_where_noise_decides():
    said = inf.check_estimators(made_table())
    assert "least with sticking-the-landing in encoder, with none clearly in decoder" in said
    assert "(variance x time) is least with sticking-the-landing in encoder, with analytic-kl in decoder" in said


def test_level_ones_are_named_together():
    level = [[1.02, 1.0], [1.0, 1.0], [4.0, 0.2]]
    said = inf.check_estimators(made_table(gradient_variance=level))
    assert "gradient variance is least with none clearly in every group" in said
    apart = [[1.2, 1.2], [1.0, 1.0], [4.0, 0.2]]
    said = inf.check_estimators(made_table(gradient_variance=apart))
    assert "gradient variance is least with sticking-the-landing in every group" in said
    zero = [[0.5, 0.5], [0.0, 0.0], [4.0, 0.2]]
    said = inf.check_estimators(made_table(gradient_variance=zero))
    assert "gradient variance is least with sticking-the-landing in every group" in said


def test_a_noisy_clock_decides_nothing():
    said = inf.check_estimators(made_table(milliseconds_stderr=[0.5, 1.0, 0.1]))
    assert (
        "(variance x time) is least with none clearly in decoder" in said or "none clearly in every group" in said
    )


def test_biases_beyond_three_errors_and_no_others():
    said = inf.check_estimators(made_table())
    assert "iwae (5 draws) +1.00 ± 0.10 (1.00 ± 0.10 below log p(x)); the others do not" in said
    assert "analytic-kl +" not in said
    unbiased = inf.check_estimators(made_table(bias_elbo=[0.0, 0.05, 0.2]))
    assert "No value differs from the ELBO by more than 3 standard errors." in unbiased
    near = inf.check_estimators(made_table(bias_evidence=[-2.0, -2.0, 0.1]))
    assert "iwae (5 draws) +1.00 ± 0.10; the others" in near
    above = inf.check_estimators(made_table(bias_evidence=[-2.0, -2.0, 1.0]))
    assert "1.00 ± 0.10 above log p(x)" in above


def test_particles_that_hurt_the_guide_alone():
    said = inf.check_estimators(made_table())
    assert "0.4 of iwae against 1.5 of sticking-the-landing in encoder." in said
    assert said.count("against") == 1
    fine = made_table(snr=[[0.5, 2.0], [1.5, 2.0], [1.6, 0.1]])
    assert "More draws" not in inf.check_estimators(fine)


def test_references_are_named():
    said = inf.check_estimators(made_table())
    assert said.startswith("On 7 data with 10000 repeats, the reference for the ELBO is -10.000 nats per datum")
    assert said.count("(closed form)") == 2


def test_on_a_real_table():
    lg, x = off_optimum("exact")
    said = inf.check_estimators(compare(lg, x, ["sticking-the-landing", "monte-carlo-kl"], repeats=300))
    assert "with sticking-the-landing in encoder body" in said
    assert "No value differs" in said
    assert "\n" not in said


def test_one_estimator_wins_nothing():
    lg, x = off_optimum()
    assert "Among" not in inf.check_estimators(compare(lg, x, ["analytic-kl", "iwae"], repeats=20))


def test_other_tables_are_refused():
    with pytest.raises(DataError, match="expected what compare_estimators returns; missing snr"):
        inf.check_estimators(made_table().drop_vars("snr"))
