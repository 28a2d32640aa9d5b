"""The verdict on a bracket: narrow, wide, unknown, and crossed."""

import pytest
import torch

from ppl_vae import inference as inf
from ppl_vae.diagnostics import check_bracket
from ppl_vae.errors import DataError
from tests.scenarios import draw_data, linear_gaussian


def bracket_of(gaps):
    gaps = torch.tensor(gaps, dtype=torch.float64)
    zero = torch.zeros_like(gaps)
    return inf.EvidenceBracket(zero, zero - 50, zero, gaps - 50, zero, 8, 100)


@pytest.mark.parametrize(
    ("gaps", "level", "words"),
    [
        ([0.03, 0.05, 0.04, 0.04], "good", "0.04 ± 0.0041 nats above the lower one"),
        ([0.3, 0.4, 0.3, 0.4], "doubtful", "0.35"),
        ([2.0, 2.5, 1.5, 2.0], "bad", "2.00"),
        ([2.0, -2.5, 1.5, -2.0], "unknown", "above the lower one"),
        ([0.05], "unknown", "an error that is not known"),
        ([-0.5, -0.6, -0.4, -0.5], "bad", "the lower end is 0.50 ± 0.041 nats ABOVE the upper one"),
        ([-0.01, 0.02, -0.02, 0.02], "good", "0.00"),
    ],
)
def test_levels(gaps, level, words):
    verdict = check_bracket(bracket_of(gaps))
    assert verdict.level == level
    assert words in verdict.words
    assert bool(verdict.advice) == (level != "good")


@pytest.mark.slow
def test_a_real_bracket():
    lg = linear_gaussian(seed=3, data_dim=4, latent_dim=2, guide="exact")
    x = draw_data(lg, 16)
    found = inf.bidirectional_evidence(lg, x, 8, num_temperatures=60, num_leapfrog=4, start="guide")
    assert check_bracket(found).level == "good"
    short = inf.bidirectional_evidence(
        linear_gaussian(seed=3, data_dim=8, latent_dim=4),
        draw_data(linear_gaussian(seed=3, data_dim=8, latent_dim=4), 16),
        2,
        num_temperatures=2,
    )
    assert check_bracket(short).level in ("bad", "unknown")


def test_no_numbers_are_no_bracket():
    with pytest.raises(DataError, match="1 of the 2 numbers of 'upper' are NaN or infinite"):
        check_bracket(bracket_of([0.1, float("nan")]))
    with pytest.raises(DataError, match="expected at least one datum"):
        check_bracket(bracket_of([]))
