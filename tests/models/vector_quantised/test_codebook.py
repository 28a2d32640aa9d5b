"""The codebook: the nearest code, running means against their closed form, and dead codes that come back."""

import math

import pytest
import torch

from ppl_vae.errors import ModelError
from ppl_vae.models.vector_quantised.codebook import Codebook, checked_indices, nearest, perplexity


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def test_the_nearest_code_is_the_first_of_the_nearest():
    z, codes = normal(4, 3, 2), normal(6, 2, seed=1)
    wanted = ((z[..., None, :] - codes) ** 2).sum(-1).argmin(-1)
    assert torch.equal(nearest(z, codes), wanted)
    assert torch.equal(nearest(codes, codes), torch.arange(6))
    twice = torch.cat([codes, codes])
    assert torch.equal(nearest(twice, twice), torch.arange(6).repeat(2))


def test_codes_a_rounding_apart_are_told_apart():
    """Squared distances through products would have lost them: at 100 from the origin, 1e-4 apart, in float32."""
    codes = torch.full((8, 3), 100.0) + 1e-4 * torch.arange(8.0)[:, None]
    assert len(codes.unique(dim=0)) == 8
    assert torch.equal(nearest(codes, codes), torch.arange(8))


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.99])
def test_codes_are_the_weighted_means_of_what_was_assigned_to_them(decay):
    """e_i = sum_t decay^(T-t) s_ti / sum_t decay^(T-t) n_ti; a code that was never chosen stays where it was."""
    book = Codebook(5, 2, decay=decay, revive_below=0).double()
    start, steps = book.code.clone(), 12
    batches = [(normal(7, 3, 2, seed=t), torch.randint(4, (7, 3), generator=generator(t))) for t in range(steps)]
    for z, k in batches:
        book.follow(z, k)
    for i in range(4):
        weight = [decay ** (steps - 1 - t) for t in range(steps)]
        mass = sum(w * (k == i).sum().double() for w, (_, k) in zip(weight, batches, strict=True))
        total = sum(w * z[k == i].sum(0) for w, (z, k) in zip(weight, batches, strict=True))
        if mass > 0:
            torch.testing.assert_close(book.code[i], total / mass, rtol=1e-10, atol=1e-12)
            assert book.count[i].item() == pytest.approx((1 - decay) * mass.item(), rel=1e-10)
    assert torch.equal(book.code[4], start[4])


def test_without_data_a_code_fades_but_does_not_break():
    """Its count underflows in float32 after some 9000 steps; the code stays a number."""
    book = Codebook(2, 1, decay=0.5, revive_below=0)
    book.follow(torch.ones(4, 1), torch.tensor([0, 0, 1, 1]))
    for _ in range(400):
        book.follow(torch.full((4, 1), 3.0), torch.zeros(4, dtype=torch.long))
    assert book.count[1] == 0
    assert torch.isfinite(book.code).all()
    assert book.code[0].item() == pytest.approx(3.0)


@pytest.mark.parametrize("learning", ["ema", "gradient"])
def test_dead_codes_are_put_on_data_with_the_count_of_an_average_code(learning):
    """One code of five takes everything: the others land on five different rows of the batch."""
    book = Codebook(5, 2, learning, decay=0.9, revive_below=0.1).double()
    z = normal(20, 2)
    book.follow(z, torch.zeros(20, dtype=torch.long))
    rows = nearest(book.code[1:].detach(), z)
    assert torch.equal(z[rows], book.code[1:].detach())
    assert len(rows.unique()) == 4
    torch.testing.assert_close(book.count, torch.tensor([2.0, 0.4, 0.4, 0.4, 0.4], dtype=torch.float64))
    if learning == "ema":
        torch.testing.assert_close(book.total[1:], 0.4 * book.code[1:])
        torch.testing.assert_close(book.code[0], z.mean(0))


def clusters(n, seed=0):
    """Eight clusters on a circle of radius 10, far from where codes start."""
    angle = torch.randint(8, (n,), generator=generator(seed)) * (math.pi / 4)
    return 10 * torch.stack([angle.cos(), angle.sin()], -1).double() + 0.1 * normal(n, 2, seed=seed) + 30


@pytest.mark.parametrize(("revive", "least", "most"), [(0.0, 1, 3), (0.1, 6.5, 8)])
def test_revived_codes_are_used(revive, least, most):
    """Codes that start 30 away: few take all the data unless the dead are revived; of 8 clusters, nearly all."""
    torch.manual_seed(0)
    book = Codebook(8, 2, decay=0.9, revive_below=revive).double()
    for t in range(150):
        z = clusters(64, seed=t)
        book.follow(z, book.nearest(z))
    z = clusters(2000, seed=1000)
    found = perplexity(book.nearest(z).bincount(minlength=8).double()).item()
    assert least <= found <= most
    assert book.perplexity == pytest.approx(found, rel=0.15)


def test_fewer_rows_than_codes_are_enough():
    book = Codebook(9, 2, revive_below=0.5).double()
    z = normal(4, 2)
    book.follow(z, torch.zeros(4, dtype=torch.long))
    assert len(book.code[1:].unique(dim=0)) == 4


def test_nothing_moves_in_evaluation_mode():
    book = Codebook(3, 2).eval()
    before = {name: value.clone() for name, value in book.state_dict().items()}
    book.follow(torch.randn(5, 2), torch.zeros(5, dtype=torch.long))
    assert all(torch.equal(value, before[name]) for name, value in book.state_dict().items())
    assert set(before) == {"code", "count", "total"}
    assert list(book.parameters()) == []
    assert math.isnan(book.perplexity)


def test_perplexity_counts_the_codes_in_use():
    use = torch.tensor([[1.0, 1, 1, 1], [5, 0, 0, 0], [2, 2, 0, 0], [3, 1, 0, 0]])
    wanted = [4.0, 1.0, 2.0, math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))]
    assert perplexity(use).tolist() == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_codes": 1}, "num_codes must be an integer of at least 2, got 1"),
        ({"code_dim": 0}, "code_dim must be an integer of at least 1, got 0"),
        ({"learning": "emma"}, "unknown learning 'emma'; did you mean 'ema'"),
        ({"decay": 1.0}, "decay must be below 1, got 1.0"),
        ({"decay": -0.1}, "decay must be at least 0"),
        ({"revive_below": 1.5}, "revive_below must be below 1 \\(the use of an average code\\), got 1.5"),
    ],
)
def test_what_cannot_be_meant_is_refused(options, message):
    with pytest.raises(ModelError, match=message):
        Codebook(**{"num_codes": 4, "code_dim": 2, **options})


@pytest.mark.parametrize(
    ("k", "message"),
    [
        (torch.zeros(3, 2), r"site 'z': expected integers of shape \[N, 2\], got torch.float32 of shape \[3, 2\]"),
        (torch.zeros(3, 4, dtype=torch.long), r"got torch.int64 of shape \[3, 4\]"),
        (torch.tensor([[0, 5]]), "site 'z': expected codes 0, ..., 4, got 0 to 5"),
    ],
)
def test_indices_of_another_kind_are_refused(k, message):
    with pytest.raises(ModelError, match=message):
        checked_indices(k, 2, 5)
