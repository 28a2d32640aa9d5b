"""A datum and its copies stay on one side of a split."""

import pytest
import torch

import ppl_vae as pv
from ppl_vae.data import Split, hide_labels, repeat_labelled
from ppl_vae.data.split import split_by_datum
from ppl_vae.errors import DataError
from ppl_vae.inference.training.training_data import training_data

N = 200


def labelled_split():
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(N, 3, generator=generator)
    return hide_labels(Split(x, torch.arange(N) % 2), 40)


def rows(x):
    return {tuple(row) for row in x.tolist()}


@pytest.mark.parametrize("times", [2, 30])
@pytest.mark.parametrize("as_data", [lambda s: s, lambda s: pv.data.Dataset("d", s, s)], ids=["split", "data set"])
def test_no_datum_is_trained_on_and_validated_on(times, as_data):
    """Thirty copies of forty labelled data are most of the rows: told by ``copy_of`` and not by their values."""
    data = repeat_labelled(as_data(labelled_split()), times)
    found = training_data(data, 0.1, None, 0)
    trained, validated = rows(found.train[0]), rows(found.validation[0])
    assert not trained & validated
    assert len(trained) + len(validated) == N
    total = len(data.train if isinstance(data, pv.data.Dataset) else data)
    assert 0.1 * total <= len(found.validation[0]) <= 0.1 * total + times


def test_equal_rows_of_an_array_are_copies_too():
    split = repeat_labelled(labelled_split(), 3)
    found = training_data(split.x, 0.2, None, 0)
    assert not rows(found.train[0]) & rows(found.validation[0])


def test_distinct_rows_are_held_out_as_ever_and_few_values_are_no_copies():
    order = torch.randperm(N, generator=torch.Generator().manual_seed(1))
    for x in (torch.rand(N, 2), torch.randint(2, (N, 2)).float(), torch.randint(2, (N,)).float()):
        first, later = split_by_datum(x, order, 20)
        assert torch.equal(torch.cat([first, later]), order)


def test_copies_of_copies_and_of_one_datum():
    twice = repeat_labelled(repeat_labelled(Split(torch.rand(3, 2), torch.tensor([-1, 0, 1])), 2), 2)
    assert len(twice) == 9
    for number in range(3):
        assert len(twice.x[twice.copy_of == number].unique(dim=0)) == 1
    with pytest.raises(DataError, match="copies of one datum"):
        split_by_datum(torch.ones(4, 2), torch.arange(4), 1, torch.zeros(4))
