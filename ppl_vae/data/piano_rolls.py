r"""Polyphonic piano rolls, drawn here from a small theory of harmony.

They stand for the music that deep Markov models are known from (Boulanger-Lewandowski, Bengio & Vincent 2012,
https://arxiv.org/abs/1206.6392).

A sequence has a major key k, uniform over 12, and a chord d_t in every frame, one of I, ii, IV, V, vi:

    d_1 = I,    d_t+1 = d_t with probability 1/2, else drawn from the row of d_t in PROGRESSIONS

Of 36 pitches the lowest 12 are the bass and sound by themselves: the chord's root with probability 0.95, each other
with 0.01. Each of the upper 24 depends on whether it sounded in the frame before (none did before the first):

    a note of the chord that sounded       0.8       a note of the chord that did not    0.25
    any other note                         0.02

So x is a hidden Markov chain of 60 states whose emission knows the frame before: log p(x) is a forward recursion
away, and no model's held-out log likelihood can pass it in expectation.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ppl_vae.checks import require_memory
from ppl_vae.data.dataset import Dataset, Split
from ppl_vae.data.split import SPLIT_NOTE, split_in_two
from ppl_vae.errors import DataError

NUM_KEYS, NUM_BASS, NUM_PITCHES = 12, 12, 36
CHORDS = ("I", "ii", "IV", "V", "vi")
# Semitones from the tonic to the root, and from there to the third; every fifth is a perfect one.
ROOTS, THIRDS, FIFTH = (0, 2, 5, 7, 9), (4, 3, 4, 4, 3), 7
PROGRESSIONS = (
    (0.0, 0.2, 0.3, 0.3, 0.2),
    (0.0, 0.0, 0.1, 0.9, 0.0),
    (0.3, 0.2, 0.0, 0.5, 0.0),
    (0.7, 0.0, 0.0, 0.0, 0.3),
    (0.0, 0.4, 0.6, 0.0, 0.0),
)
STAY = 0.5
BASS_ROOT, BASS_OTHER, HELD, STRUCK, PASSING = 0.95, 0.01, 0.8, 0.25, 0.02
_DEFAULT_N = 2000


def load_piano_rolls(
    n: int | None = None, *, num_frames: int = 16, min_frames: int | None = None, seed: int = 0
) -> Dataset:
    """Draw a data set of piano rolls.

    Every value is 0 or 1, so that a Bernoulli likelihood takes them as they are and their binarisation is
    "threshold"; with ``min_frames`` frames after a sequence's end are NaN, for the likelihood "missing-pixels".

    Args:
        n: how many sequences; 2000 by default.
        num_frames: T.
        min_frames: lengths are uniform over [min_frames, num_frames]; by default all are T.
        seed: of the draws; the split does not depend on it.

    Returns:
        A Dataset with ``x`` [N, 1, T, 36], time downwards and pitch to the right, and ``y`` the key.

    Raises:
        DataError: an option that cannot be used; the message names it.

    >>> ds = load_piano_rolls(20, num_frames=8)
    >>> len(ds.train), len(ds.test), ds.event_shape
    (18, 2, (1, 8, 36))
    """
    count = _whole("n", _DEFAULT_N if n is None else n, 2)
    _whole("num_frames", num_frames, 1)
    require_memory(
        f"piano-rolls: n={count}, num_frames={num_frames}", 4.0 * count * num_frames * NUM_PITCHES, DataError
    )
    generator = torch.Generator().manual_seed(_whole("seed", seed, 0))
    keys = torch.randint(NUM_KEYS, (count,), generator=generator)
    x = _notes(keys, _chords(count, num_frames, generator), generator)
    notes: tuple[str, ...] = (f"{count} sequences drawn, seed {seed}", SPLIT_NOTE)
    if min_frames is not None:
        if _whole("min_frames", min_frames, 1) > num_frames:
            raise DataError(f"piano-rolls: min_frames must be at most num_frames {num_frames}, found {min_frames}")
        lengths = torch.randint(min_frames, num_frames + 1, (count, 1), generator=generator)
        x[torch.arange(num_frames) >= lengths] = torch.nan
        notes = (*notes, f"lengths from {min_frames} to {num_frames} frames, NaN after the end")
    train, test = split_in_two(Split(x.unsqueeze(1), keys), "piano-rolls")
    return Dataset("piano-rolls", train, test, binarization="threshold", source="rendered", notes=notes)


def _chords(count: int, num_frames: int, generator: torch.Generator) -> Tensor:
    """Draw indices of CHORDS, [count, num_frames]."""
    moves = STAY * torch.eye(len(CHORDS)) + (1 - STAY) * torch.tensor(PROGRESSIONS)
    chords = torch.zeros(count, num_frames, dtype=torch.int64)
    for t in range(1, num_frames):
        chords[:, t] = torch.multinomial(moves[chords[:, t - 1]], 1, generator=generator).squeeze(1)
    return chords


def _notes(keys: Tensor, chords: Tensor, generator: torch.Generator) -> Tensor:
    """Draw zeros and ones [count, num_frames, 36] for keys [count] and chords [count, num_frames]."""
    roots, tones = chord_tones(keys[:, None], chords)
    x = torch.zeros(*chords.shape, NUM_PITCHES)
    before = x[:, 0]
    for t in range(chords.shape[1]):
        before = torch.bernoulli(sounding(roots[:, t], tones[:, t], before), generator=generator)
        x[:, t] = before
    return x


def chord_tones(key: Tensor, chord: Tensor) -> tuple[Tensor, Tensor]:
    """Mark the pitches of the chord's root, and those of any of its three notes: booleans [*batch, 36]."""
    root = torch.tensor(ROOTS)[chord] + key
    third = root + torch.tensor(THIRDS)[chord]
    classes = torch.arange(NUM_PITCHES) % 12
    root, third, fifth = (classes == (note % 12).unsqueeze(-1) for note in (root, third, root + FIFTH))
    return root, root | third | fifth


def sounding(root: Tensor, tone: Tensor, before: Tensor) -> Tensor:
    """The probability that each pitch sounds, given the chord and the frame before: [*batch, 36]."""
    bass = torch.where(root, BASS_ROOT, BASS_OTHER)
    upper = torch.where(tone, torch.where(before > 0, HELD, STRUCK), PASSING)
    return torch.where(torch.arange(NUM_PITCHES) < NUM_BASS, bass, upper)


def _whole(option: str, value: object, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise DataError(f"piano-rolls: {option} must be an integer of at least {least}, found {value!r}")
    return value
