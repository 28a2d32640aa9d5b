"""Labels taken away: how many stay, which, and that the rest of the data are as they were."""

import numpy as np
import pytest
import torch

import ppl_vae as pv
from ppl_vae.data import Split, hide_labels, repeat_labelled
from ppl_vae.errors import DataError


@pytest.fixture(scope="module")
def digits():
    return pv.load_dataset("digits")


def test_equally_many_labels_of_every_class_stay(digits):
    few = hide_labels(digits, 100, seed=3)
    known = few.train.y != -1
    assert few.train.y[known].bincount().tolist() == [10] * 10
    assert torch.equal(few.train.y[known], digits.train.y[known])
    assert few.train.x is digits.train.x
    assert few.test is digits.test
    assert few.notes == (*digits.notes, "100 of 1617 training labels are known, as many of every class, seed 3")
    assert (digits.train.y >= 0).all()


def test_a_seed_chooses_them(digits):
    first, again, other = (hide_labels(digits.train, 50, seed=seed).y for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_what_is_hidden_stays_hidden():
    y = torch.tensor([-1, 0, 0, 1, 1, -1])
    assert hide_labels(Split(torch.zeros(6, 2), y), 4).y.tolist() == y.tolist()


def test_labelled_data_are_repeated_and_no_others(digits):
    few = repeat_labelled(hide_labels(digits, 20), 5)
    known = few.train.y != -1
    assert len(few.train) == 1617 + 4 * 20
    assert int(known.sum()) == 100
    assert len(few.train.x[known].flatten(1).unique(dim=0)) == 20
    assert torch.equal(few.train.x[:1617], digits.train.x)
    assert few.notes[-1] == "every labelled training datum stands 5 times in the data"
    assert torch.equal(repeat_labelled(few.train, 1).y, few.train.y)


def test_factors_go_along():
    whole = Split(torch.arange(3.0)[:, None], torch.tensor([-1, 1, -1]), torch.arange(3.0)[:, None])
    found = repeat_labelled(whole, 3)
    assert found.x.flatten().tolist() == found.factors.flatten().tolist() == [0, 1, 2, 1, 1]


@pytest.mark.parametrize("number", [0, 15, -10, 2.0, True])
def test_numbers_that_no_class_can_share_are_refused(digits, number):
    with pytest.raises(DataError, match=f"num_labelled: expected a multiple of the 10 classes, found {number!r}"):
        hide_labels(digits, number)


def test_other_data_are_refused(digits):
    with pytest.raises(DataError, match="num_labelled: class 2 has 157 data, its share would be 160"):
        hide_labels(digits, 1600)
    for change in (hide_labels, repeat_labelled):
        with pytest.raises(DataError, match=f"{change.__name__}: expected data with labels, found none"):
            change(Split(torch.zeros(3, 2)), 2)
    with pytest.raises(DataError, match="times: expected a whole number above 0, found 0"):
        repeat_labelled(digits, 0)


def test_arrays_in_the_place_of_a_split_are_told_the_way():
    for call in (lambda x: hide_labels(x, 2), lambda x: repeat_labelled(x, 2)):
        with pytest.raises(DataError, match=r"found ndarray; give Split\(x, y\)"):
            call(np.zeros((4, 2)))
