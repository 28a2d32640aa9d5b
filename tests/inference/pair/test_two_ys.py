"""Data that bring a covariate y, and a y beside them: one of the two was left out without a word."""

import numpy as np
import pandas as pd
import pytest
import torch

import ppl_vae as pv
from ppl_vae.diagnostics.given import admitted
from ppl_vae.errors import DataError

X = np.random.default_rng(0).normal(size=(12, 2)).astype(np.float32)
Y, OTHER = np.arange(12) % 3, (np.arange(12) + 1) % 3
FRAME = pd.DataFrame(X, columns=["a", "b"]).assign(y=Y)
BRINGING = {"tuple": (X, Y), "dict": {"x": X, "y": Y}, "frame": FRAME}


def pair():
    likelihood = {"name": "gaussian", "sigma": 1.0}
    return pv.make("conditional-vae", (2,), num_classes=3, likelihood=likelihood, latent_dim=1, seed=0).vae


@pytest.mark.parametrize("form", BRINGING)
def test_another_y_beside_data_that_bring_theirs_is_refused(form):
    data = BRINGING[form]
    for ask in (pv.evaluate, pv.log_evidence):
        with pytest.raises(DataError, match="y: the data bring a y of their own, which is another than y="):
            ask(pair(), data, y=OTHER)
    expected = pv.evaluate(pair(), (X, Y)).elbo
    assert torch.equal(pv.evaluate(pair(), data, y=torch.tensor(Y)).elbo, expected)
    assert torch.equal(pv.evaluate(pair(), X, y=Y).elbo, expected)


def test_diagnostics_are_tabled_by_other_labels_than_those_the_programs_take():
    given = admitted(pair(), (X, Y), y=OTHER)
    assert given.covariates[0].tolist() == Y.tolist()
