"""The Bernoulli takes 0 and 1, of any type, and nothing else."""

import pytest
import torch

from ppl_vae.errors import DataError
from ppl_vae.models.likelihoods.likelihoods import NUMBERS_AT_ONCE, BernoulliLikelihood


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.float32, torch.float64, torch.int64, torch.uint8, torch.bool]
)
def test_zeros_and_ones_are_binary(dtype):
    BernoulliLikelihood().check(torch.tensor([[0, 1], [1, 0]], dtype=dtype).T)


@pytest.mark.parametrize(
    "value", [0.5, -1.0, 2.0, float("inf"), -float("inf"), float("nan"), 1e-30, 1 - 2**-24, 1 + 2**-23, 1e-45]
)
@pytest.mark.parametrize("place", [0, -1])
def test_any_other_number_is_refused_wherever_it_stands(value, place):
    x = torch.ones(2, NUMBERS_AT_ONCE // 2 + 1)
    x[place, place] = value
    with pytest.raises(DataError, match=f"1 of {x.numel()} values lie strictly"):
        BernoulliLikelihood().check(x)
