"""Steps of a fit of single data: the recording draws and climbs as the programs do, bit by bit."""

import pytest
import torch

from ppl_vae.diagnostics.gaps.local_fit import LocalGuide, optimise
from ppl_vae.inference.chains import recorded_climb
from ppl_vae.randomness import seeded
from tests.scenarios import draw_data, linear_gaussian


def fitted(steps=6):
    lg = linear_gaussian(guide="mean-field", latent_dim=2)
    local = LocalGuide(lg.model, lg.guide, draw_data(lg, 6))
    with seeded(0, torch.device("cpu")):
        optimise(local, 4, steps)
        return [*(leaf.detach() for leaf in local.leaves()), torch.rand(1)]


@pytest.mark.slow
def test_a_recorded_fit_is_the_fit_itself_and_leaves_the_stream_where_it_was(monkeypatch):
    ours = fitted()
    monkeypatch.setattr(recorded_climb.Climb, "_record", lambda self: None)
    assert all(torch.equal(a, b) for a, b in zip(ours, fitted(), strict=True))


def test_a_recording_that_does_otherwise_is_not_used(monkeypatch):
    lg = linear_gaussian(guide="mean-field", latent_dim=2)
    climb = recorded_climb.Climb(LocalGuide(lg.model, lg.guide, draw_data(lg, 6)), 4)
    monkeypatch.setattr(climb, "_record", lambda: lambda *leaves: (torch.zeros(()), *leaves))
    climb()
    climb()
    assert not climb._trusted
