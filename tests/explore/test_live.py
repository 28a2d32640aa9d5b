"""Training that is shown while it runs."""

import io
import sys

import pytest
import torch
from rich.console import Console

import ppl_vae as pv
from ppl_vae.errors import ModelError
from ppl_vae.explore.live import NEWEST, LiveTraining

# The package's own function explore stands before the module's name.
MODULE = sys.modules[LiveTraining.__module__]


def test_a_terminal_shows_the_numbers_of_the_newest_epochs():
    stream = io.StringIO()
    live = LiveTraining(Console(file=stream, width=140, force_terminal=True))
    vae = pv.VAE((4,), latent_dim=2, likelihood="gaussian", network={"name": "mlp", "hidden": [4]}, seed=0)
    result = pv.fit(vae, torch.zeros(8, 4), epochs=NEWEST + 2, callbacks=live, progress=False, compile=False)
    plain = io.StringIO()
    Console(file=plain, width=140).print(live.table())
    shown = plain.getvalue()
    for row in result.history.tail(NEWEST).to_dict("records"):
        line = next(line for line in shown.splitlines() if line.split()[1:2] == [f"{row['epoch']:.0f}"])
        assert f"{row['train_elbo']:.3f}" in line
        assert f"{row['train_kl']:.3f}" in line
    assert f"{result.history['train_elbo'].iloc[0]:.3f}" not in shown
    assert "validation" not in shown
    assert f"{result.history['train_elbo'].iloc[-1]:.3f}" in stream.getvalue()


def test_live_is_a_word_of_fit(capsys):
    vae = pv.VAE((4,), latent_dim=2, likelihood="gaussian", network={"name": "mlp", "hidden": [4]}, seed=0)
    result = pv.fit(vae, torch.zeros(8, 4), epochs=2, progress="live", compile=False)
    assert f"{result.history['train_elbo'].iloc[-1]:.3f}" in capsys.readouterr().err
    with pytest.raises(ModelError, match="progress must be True, False, None or 'live', got 'lively'"):
        pv.fit(vae, torch.zeros(8, 4), epochs=1, progress="lively")


@pytest.mark.slow
def test_a_notebook_has_one_figure_that_is_replaced(monkeypatch):
    pytest.importorskip("IPython")
    shown, replaced = [], []
    monkeypatch.setattr(MODULE, "in_notebook", lambda: True)
    monkeypatch.setattr(MODULE, "SECONDS", -1.0)
    monkeypatch.setattr(
        "IPython.display.display", lambda picture, display_id: shown.append((display_id, picture.data))
    )
    monkeypatch.setattr(
        "IPython.display.update_display", lambda picture, display_id: replaced.append((display_id, picture.data))
    )
    live = LiveTraining()
    for epoch in (1, 2):
        terms = {"loss": 3.0 / epoch, "train_elbo": -3.0, "train_log_likelihood": -2.0, "train_kl": 1.0}
        live({"epoch": epoch, **terms, "data_per_second": 100.0})
    live.close()
    assert len(shown) == 1
    assert [name for name, _ in replaced] == [shown[0][0]] * 2
    assert shown[0][1].startswith(b"\x89PNG")
    assert shown[0][1] != replaced[0][1]
