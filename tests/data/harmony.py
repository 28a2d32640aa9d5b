"""The exact log p(x) of piano rolls under the process that ``ppl_vae.data.piano_rolls`` describes, written anew."""

import math

import torch

KEYS, PITCHES = 12, 36
# Semitones above the tonic of the notes of I, ii, IV, V, vi, the root first; and where a chord that changes goes.
TRIADS = ((0, 4, 7), (2, 5, 9), (5, 9, 0), (7, 11, 2), (9, 0, 4))
CHANGES = ((0, 2, 3, 3, 2), (0, 0, 1, 9, 0), (3, 2, 0, 5, 0), (7, 0, 0, 0, 3), (0, 4, 6, 0, 0))


def sounding(held):
    """P(pitch sounds) [60, 36] of every key and chord, where all pitches sounded before or none did."""
    rows = []
    for key in range(KEYS):
        for triad in TRIADS:
            notes = [(key + note) % 12 for note in triad]
            bass = [0.95 if pitch == notes[0] else 0.01 for pitch in range(12)]
            upper = [(0.8 if held else 0.25) if pitch % 12 in notes else 0.02 for pitch in range(24)]
            rows.append(bass + upper)
    return torch.tensor(rows, dtype=torch.float64)


def forward(x):
    """log p(x) [N] of rolls x [N, T, 36], and P(x_t = 1 | x_1, ..., x_t-1) [N, T, 36]."""
    x = x.double()
    moves = (0.5 * torch.eye(5) + 0.05 * torch.tensor(CHANGES)).double().log()
    silent, held = sounding(False), sounding(True)
    start = torch.tensor([0.0, *[-math.inf] * 4], dtype=torch.float64) - math.log(KEYS)
    belief, before, total, predicted = start.expand(len(x), KEYS, 5), torch.zeros_like(x[:, 0]), 0.0, []
    for t in range(x.shape[1]):
        if t:
            belief = (belief[..., None] + moves).logsumexp(-2)
        p = torch.where(before[:, None] > 0, held, silent)
        weight = belief.flatten(1).softmax(-1)
        predicted.append((weight[:, None] @ p)[:, 0])
        seen = torch.where(x[:, t, None] > 0, p.log(), (1 - p).log()).sum(-1)
        belief = belief + seen.view(-1, KEYS, 5)
        step = belief.flatten(1).logsumexp(-1)
        total, belief, before = total + step, belief - step[:, None, None], x[:, t]
    return total, torch.stack(predicted, 1)
