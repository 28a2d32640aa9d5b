from __future__ import annotations

from typing import Any

import pytest
import torch

from ppl_vae.data import load_dataset
from ppl_vae.data.piano_rolls import PROGRESSIONS, load_piano_rolls
from ppl_vae.errors import DataError

from ..inference.oracles import assert_jointly
from .harmony import CHANGES, forward


def rolls(n: int = 1500, **options: Any) -> torch.Tensor:
    dataset = load_piano_rolls(n, num_frames=6, **options)
    return torch.cat([dataset.train.x, dataset.test.x])[:, 0]


@pytest.mark.slow
def test_the_rolls_are_draws_of_the_process() -> None:
    """What comes is as likely as the forward recursion predicts it: by frame and pitch, and by predicted share."""
    x = rolls().double()
    _, predicted = forward(x)
    residual = x - predicted
    variance = (predicted * (1 - predicted)).sum(0)
    assert_jointly(residual.sum(0), variance.sqrt(), torch.zeros_like(variance))
    sums, spreads = [], []
    for tenth in range(10):
        chosen = (10 * predicted).floor() == tenth
        if chosen.sum() > 1000:
            sums.append(residual[chosen].sum())
            spreads.append((predicted * (1 - predicted))[chosen].sum().sqrt())
    assert len(sums) > 6
    assert_jointly(torch.stack(sums), torch.stack(spreads), torch.zeros(len(sums), dtype=torch.float64))


def test_the_chords_change_by_the_table() -> None:
    """A few chords are too rare for the residuals above to tell their rows."""
    torch.testing.assert_close(10 * torch.tensor(PROGRESSIONS), torch.tensor(CHANGES).float())


def test_pitches_follow_one_another() -> None:
    """Knowing the frames before is worth more than 10 nats a sequence against the pitches' own shares."""
    x = rolls(500).double()
    share = x.mean(0)
    alone = torch.where(x > 0, share.log(), (1 - share).log()).sum((1, 2))
    assert (forward(x)[0] - alone).mean() > 10


def test_the_key_is_the_first_frames_bass() -> None:
    """The bass of the first chord, I, is the key; it sounds with probability 0.95."""
    dataset = load_piano_rolls(2000, num_frames=2)
    assert dataset.train.y is not None
    sounds = dataset.train.x[:, 0, 0].gather(1, dataset.train.y[:, None])
    assert abs(sounds.mean() - 0.95) < 4 * (0.95 * 0.05 / len(sounds)) ** 0.5
    assert dataset.train.y.unique().tolist() == list(range(12))


def test_lengths_are_uniform_and_end_in_nan() -> None:
    x = rolls(3000, min_frames=3)
    missing = x.isnan()
    assert (missing.all(-1) == missing.any(-1)).all()
    lengths = (~missing[..., 0]).sum(1)
    assert (~missing[..., 0] == (torch.arange(6) < lengths[:, None])).all()
    shares = torch.bincount(lengths, minlength=7) / len(x)
    assert shares[:3].sum() == 0
    assert (shares[3:] - 0.25).abs().max() < 4 * (0.25 * 0.75 / len(x)) ** 0.5
    whole = rolls(3000)
    assert x[~missing].equal(whole[~missing])


def test_a_seed_is_a_data_set_and_the_default_is_2000() -> None:
    first, again, other = (
        load_dataset("piano-rolls"),
        load_dataset("piano-rolls"),
        load_dataset("piano-rolls", seed=1),
    )
    assert first.train.x.equal(again.train.x)
    assert not first.train.x.equal(other.train.x)
    assert (len(first.train), len(first.test), first.event_shape) == (1800, 200, (1, 16, 36))
    assert first.train.x.unique().tolist() == [0.0, 1.0]
    assert first.binarization == "threshold"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 1}, "piano-rolls: n must be an integer of at least 2, found 1"),
        ({"num_frames": 0}, "num_frames must be an integer of at least 1, found 0"),
        ({"num_frames": 4, "min_frames": 5}, "min_frames must be at most num_frames 4, found 5"),
        ({"min_frames": 0}, "min_frames must be an integer of at least 1, found 0"),
        ({"seed": -1}, "seed must be an integer of at least 0, found -1"),
        ({"lengths": 3}, "unknown option 'lengths'"),
    ],
)
def test_options_that_cannot_be_used_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_dataset("piano-rolls", **options)
