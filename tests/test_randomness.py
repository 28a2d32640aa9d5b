"""Streams of our own leave torch's global ones as they were found."""

import pytest
import torch

from ppl_vae.randomness import derived_seed, reseed, seeded


@pytest.mark.parametrize("seed", [0, 1, 2**40 + 3])
def test_a_seed_starts_torchs_stream_of_that_seed(seed):
    with seeded(seed):
        drawn = torch.randn(5)
    assert torch.equal(drawn, torch.randn(5, generator=torch.Generator().manual_seed(seed)))


def test_the_outer_stream_continues_as_if_nothing_had_been_drawn():
    torch.manual_seed(1)
    expected = torch.randn(4)
    torch.manual_seed(1)
    first = torch.randn(2)
    with seeded(9):
        torch.randn(100)
        with seeded(3):
            torch.randn(7)
    torch.testing.assert_close(torch.cat([first, torch.randn(2)]), expected, rtol=0, atol=0)


def test_inner_streams_do_not_disturb_outer_ones():
    with seeded(9):
        expected = torch.randn(2), torch.randn(2)
    with seeded(9):
        first = torch.randn(2)
        with seeded(3):
            torch.randn(7)
        second = torch.randn(2)
    assert torch.equal(first, expected[0])
    assert torch.equal(second, expected[1])


def test_the_stream_comes_back_after_an_error():
    before = torch.get_rng_state()
    with pytest.raises(RuntimeError), seeded(1):
        torch.randn(3, 4) @ torch.randn(3, 4)
    assert torch.equal(torch.get_rng_state(), before)


def test_without_a_seed_the_global_stream_goes_on():
    expected = torch.randn(4, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    with seeded(None):
        first = torch.randn(2)
    assert torch.equal(torch.cat([first, torch.randn(2)]), torch.cat([expected[:2], expected[2:]]))


def test_reseed_starts_the_current_stream_anew():
    with seeded(5):
        first = torch.randn(3)
        reseed(5, torch.device("cpu"))
        assert torch.equal(torch.randn(3), first)


@pytest.mark.gpu
def test_the_device_stream_is_left_as_it_was_found():
    before = torch.cuda.get_rng_state()
    with seeded(5, "cuda"):
        first = torch.randn(3, device="cuda")
    with seeded(5, "cuda"):
        assert torch.equal(torch.randn(3, device="cuda"), first)
    assert torch.equal(torch.cuda.get_rng_state(), before)


def test_derived_seeds_are_apart_in_the_bits_that_torch_looks_at():
    """Torch's generator of the CPU takes a seed modulo 2^32: an offset of 2^40 would change nothing."""
    paths = [(seed, stream, part) for seed in (0, 1, -1, 2**40) for stream in (8, 9) for part in (0, 1)]
    seeds = [derived_seed(*path) for path in paths]
    assert len(set(seeds)) == len(paths)
    assert all(0 <= seed < 2**32 for seed in seeds)
    assert seeds == [derived_seed(*path) for path in paths]


def test_streams_under_one_seed_are_different_streams():
    """Torch's CPU generator reads 32 bits of a seed: an offset above them would give the same draws again."""
    draws = {
        tuple(torch.rand(3, generator=torch.Generator().manual_seed(s)).tolist())
        for s in [3, *(derived_seed(3, stream) for stream in range(60)), derived_seed(4, 0), derived_seed(3, 0, 1)]
    }
    assert len(draws) == 63


def test_a_negative_seed_has_streams_too():
    assert derived_seed(-1, 2) != derived_seed(1, 2)
