from __future__ import annotations

import math

import pytest
import torch

from ppl_vae.data import binarize, load_dataset
from ppl_vae.errors import DataError


def test_threshold_is_one_from_a_half_up() -> None:
    x = torch.tensor([[0.0, 0.4999, 0.5], [0.51, 1.0, 0.0]], dtype=torch.float64)
    drawn = binarize(x, "threshold")
    assert drawn.tolist() == [[0, 0, 1], [1, 1, 0]]
    assert drawn.dtype == torch.float64


def test_stochastic_draws_have_the_grey_values_as_means() -> None:
    levels = torch.tensor([0.0, 0.1, 0.5, 0.9, 1.0])
    n = 40_000
    drawn = binarize(levels.expand(n, 5), "stochastic", generator=torch.Generator().manual_seed(0))
    assert drawn.unique().tolist() == [0, 1]
    stderr = (levels * (1 - levels) / n).sqrt()
    # Five standard errors: a false alarm in less than one seed of a million.
    assert ((drawn.mean(0) - levels).abs() <= 5 * stderr).all()


def test_one_generator_state_one_draw() -> None:
    x = torch.full((100,), 0.5)
    first, second = (binarize(x, "stochastic", generator=torch.Generator().manual_seed(3)) for _ in range(2))
    assert first.equal(second)
    assert not first.equal(binarize(x, "stochastic", generator=torch.Generator().manual_seed(4)))


@pytest.mark.parametrize("policy", ["threshold", "stochastic"])
@pytest.mark.parametrize("value", [-0.01, 1.5, math.nan, math.inf])
def test_values_outside_are_counted(policy: str, value: float) -> None:
    x = torch.tensor([0.5, value, value])
    with pytest.raises(DataError, match=r"expected values in \[0, 1\], found 2 outside, such as"):
        binarize(x, policy)


def test_what_else_is_refused() -> None:
    with pytest.raises(DataError, match=r"found dtype torch.uint8"):
        binarize(torch.ones(2, dtype=torch.uint8), "threshold")
    with pytest.raises(DataError, match=r"unknown binarization 'treshold'; did you mean 'threshold'\?"):
        binarize(torch.ones(2), "treshold")
    with pytest.raises(DataError, match="drawn by training, batch by batch; for one draw use 'stochastic'"):
        binarize(torch.ones(2), "dynamic")


def test_dynamic_keeps_train_grey_and_draws_test_once() -> None:
    grey = load_dataset("digits")
    dynamic, again, stochastic = (load_dataset("digits", binarize=p) for p in ("dynamic", "dynamic", "stochastic"))
    assert dynamic.train.x.equal(grey.train.x)
    assert dynamic.test.x.unique().tolist() == [0, 1]
    assert dynamic.test.x.equal(again.test.x)
    assert dynamic.test.x.equal(stochastic.test.x)
    assert stochastic.train.x.unique().tolist() == [0, 1]
    # A pixel that is surely black or white stays as it is.
    sure = (grey.test.x == 0) | (grey.test.x == 1)
    assert dynamic.test.x[sure].equal(grey.test.x[sure])
    assert dynamic.binarization == "dynamic"
    assert "test split binarized once, Bernoulli draws under seed 0" in dynamic.notes
    assert not load_dataset("digits", binarize="dynamic", seed=1).test.x.equal(dynamic.test.x)


def test_threshold_of_a_data_set() -> None:
    grey, hard = load_dataset("digits"), load_dataset("digits", binarize="threshold")
    for before, after in ((grey.train, hard.train), (grey.test, hard.test)):
        assert after.x.equal((before.x >= 0.5).float())
        assert after.y is before.y or (before.y is not None and after.y is not None and after.y.equal(before.y))
    assert hard.binarization == "threshold"
