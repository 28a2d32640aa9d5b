"""Groups of data that share factors: who shares what, that draws are uniform, and what is refused."""

import numpy as np
import pytest
import torch

from ppl_vae.data import Dataset, Split, factor_groups
from ppl_vae.errors import DataError, PplVaeError

GRID = torch.cartesian_prod(*(torch.arange(float(k)) for k in (2, 3, 4)))
SPLIT = Split(GRID.clone(), factors=GRID)


def test_a_pair_shares_what_it_was_drawn_for_and_differs_elsewhere():
    groups = factor_groups(SPLIT, 400, shared=2, seed=1)
    assert torch.equal(groups.x, GRID[groups.rows])
    assert torch.equal(groups.shared, groups.x[:, 0] == groups.x[:, 1])
    assert groups.shared.sum(1).tolist() == [2] * 400
    # Each of the three sets of two factors comes as often as the others, and no datum is its own mate.
    kinds = np.unique(groups.shared.numpy(), axis=0, return_counts=True)[1]
    assert len(kinds) == 3
    assert abs(kinds - 400 / 3).max() < 4 * np.sqrt(400 * 2 / 9)
    assert (groups.rows[:, 0] != groups.rows[:, 1]).all()


def test_the_number_of_shared_factors_is_drawn_where_none_is_given():
    counts = factor_groups(SPLIT, 600, seed=0).shared.sum(1)
    # One of three is asked for in half of the pairs; a second may agree by chance, a third may not.
    assert set(counts.tolist()) == {1, 2}
    assert 0.5 < (counts == 2).double().mean() < 0.9


def test_mates_are_uniform_over_those_that_agree():
    groups = factor_groups(SPLIT, 6000, size=3, shared="factor 0", seed=2)
    assert (groups.x[:, :, 0] == groups.x[:, :1, 0]).all()
    mates = groups.rows[groups.rows[:, 0] == 5][:, 1:].flatten().numpy()
    counts = np.bincount(mates, minlength=24)
    assert counts[5] == counts[12:].sum() == 0
    others = np.delete(counts[:12], 5)
    expected = len(mates) / 11
    assert ((others - expected) ** 2 / expected).sum() < 31.3  # the 99.95% point of chi-squared, 10 degrees


def test_a_seed_gives_the_same_groups_and_a_constant_factor_is_always_shared():
    held = torch.cat([GRID, torch.ones(24, 1)], 1)
    ds = Dataset("grid", Split(held, factors=held), Split(held, factors=held), ("a", "b", "c", "held"))
    first, again, other = (factor_groups(ds, 50, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(first.rows, again.rows)
    assert not torch.equal(first.rows, other.rows)
    assert first.factor_names == ("a", "b", "c", "held")
    assert first.shared[:, 3].all()
    assert (first.shared.sum(1) < 4).all()
    assert len(first) == 50


def test_labels_alone_are_one_factor():
    split = Split(torch.arange(6.0)[:, None], y=torch.tensor([0, 0, 0, 1, 1, 1]))
    groups = factor_groups(split, 20, size=4, shared="label")
    assert (split.y[groups.rows] == split.y[groups.rows[:, :1]]).all()
    with pytest.raises(DataError, match="1 of 1 factors vary, so that nothing is left to change"):
        factor_groups(split, 20)


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (Split(torch.zeros(3, 1)), {}, "expected data with factors or labels, found neither"),
        (torch.zeros(3, 1), {}, "expected a Dataset or a Split, found Tensor"),
        (SPLIT, {"shared": ["factor 7"]}, "unknown factor 'factor 7'"),
        (SPLIT, {"shared": 3}, "shared: expected a number from 1 to 2, of 3 factors that vary, got 3"),
        (SPLIT, {"size": 1}, "size must be an integer of at least 2, got 1"),
        (Split(torch.zeros(4, 1), factors=torch.rand(4, 2)), {"shared": 1}, "no two of 4 data share factor [01];"),
    ],
)
def test_what_cannot_be_is_refused(data, options, message):
    with pytest.raises(PplVaeError, match=message):
        factor_groups(data, 5, **options)
