import numpy as np
import torch
from scipy import stats

from ppl_vae.diagnostics.calibration.ranks import rank_of_first


def ranked(values, share=None, seed=0):
    return rank_of_first(torch.as_tensor(values), torch.Generator().manual_seed(seed), share)


def test_the_rank_is_the_number_of_draws_below():
    values = torch.tensor([[2.5, 0.0, 9.0], [1.0, 1.0, 1.0], [2.0, 2.0, 2.0], [3.0, 3.0, 3.0]])
    rank, pit = ranked(values)
    assert rank.tolist() == [2, 0, 3]
    assert ((pit > rank / 4) & (pit < (rank + 1) / 4)).all()


def test_ties_are_broken_at_random_and_uniformly():
    rank, pit = ranked(torch.zeros(5, 5000))
    assert stats.chisquare(np.bincount(rank.long().numpy(), minlength=5)).pvalue > 0.001
    assert stats.kstest(pit.numpy(), "uniform").pvalue > 0.001


def test_values_that_differ_by_rounding_alone_are_ties():
    """A decoder that ignores its code gives one log p(x|z) up to rounding, which may lean one way throughout."""
    values = torch.full((10, 2000), -123.4)
    values[0] *= 1 + 2 * torch.finfo(torch.float32).eps
    rank, _ = ranked(values)
    assert stats.chisquare(np.bincount(rank.long().numpy(), minlength=10)).pvalue > 0.001


def test_minus_infinity_is_the_least_value():
    rank, _ = ranked(torch.tensor([[0.0, -torch.inf], [-torch.inf, 1.0], [1.0, 2.0]]))
    assert rank.tolist() == [1, 0]


def test_whole_numbers_are_ranked_too():
    rank, _ = ranked(torch.tensor([[3, 1], [2, 2], [1, 3]]))
    assert rank.tolist() == [2, 0]


def test_equal_weights_give_the_plain_pit():
    values = torch.randn(20, 50, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    values[5:9, :20] = values[0, :20]
    share = torch.full((19, 50), 1 / 19, dtype=torch.float64)
    plain, weighted = ranked(values)[1], ranked(values, share)[1]
    torch.testing.assert_close(weighted, plain)


def test_a_weighted_rank_is_the_sum_of_weights_below():
    share = torch.tensor([[0.5], [0.3], [0.2]], dtype=torch.float64)
    rank, _ = ranked(torch.tensor([[0.0], [-1.0], [1.0], [-2.0]], dtype=torch.float64), share)
    torch.testing.assert_close(rank, torch.tensor([3 * 0.7], dtype=torch.float64))
