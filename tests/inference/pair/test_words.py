"""Where a model knows words, data and decoded rows have them in every figure, by one rule."""

import numpy as np
import pandas as pd
import pytest
import torch

import ppl_vae as pv
from ppl_vae.diagnostics.report.decoded import decode_draws
from ppl_vae.diagnostics.report.explorable import TableRows, _decoded
from ppl_vae.inference.pair.words import in_words, most_likely, words_by_place

KINDS = {"age": "gaussian", "site": {"name": "nominal", "levels": ["south", "north", "west"]}}
X = torch.tensor([[50.0, 0], [40, 1], [60, torch.nan], [45, 2]])


def pair(kinds=KINDS):
    columns = pv.models.Columns(kinds)
    columns.look_at(X)
    return pv.VAE((2,), 2, likelihood=columns, seed=0)


def test_a_model_of_words_has_rows_in_words_and_others_stay_as_they_are():
    found = in_words(pair().model, X)
    assert isinstance(found, pd.DataFrame)
    assert found["site"].astype(object).where(found["site"].notna(), None).tolist() == [
        "south",
        "north",
        None,
        "west",
    ]
    assert words_by_place(pair().model) == [(), ("south", "north", "west")]
    assert isinstance(in_words(pair().model, X[0]), torch.Tensor)
    plain = pair({"age": "gaussian", "site": {"name": "ordinal", "levels": 3}})
    for model in (plain.model, pv.VAE((2,), 1).model, lambda x: None):
        assert in_words(model, X) is X
        assert words_by_place(model) == []


def test_decoded_rows_have_the_most_likely_level_where_a_name_has_no_mean():
    vae = pair()
    p = vae.decode(torch.zeros(1, 2))
    log_masses = p.blocks[1].base.log_masses[0, 0]
    made = most_likely(vae.model, lambda: vae.decode(torch.zeros(1, 2)).mean)
    assert made[0, 1] == log_masses.argmax()
    assert made[0, 0] == p.mean[0, 0]


@pytest.mark.slow
def test_the_page_of_a_report_has_words_and_whole_levels():
    """It showed means of codes, such as 0.98, and no word."""
    diagnosis = pv.diagnose(pair(), X, topics=["collapse"], progress=False)
    assert isinstance(diagnosis.rows, pd.DataFrame)
    _, rows = _decoded(diagnosis, diagnosis.case, None, [])
    assert isinstance(rows, TableRows)
    assert rows.words == [(), ("south", "north", "west")]
    mean, draws = decode_draws(diagnosis.case)
    for title, values in rows.values.items():
        levels = values[:, 1]
        assert set(levels[~np.isnan(levels)]) <= {0.0, 1.0, 2.0}, title
    counted = [[(draws[:, n, 1] == level).sum() for level in range(3)] for n in range(4)]
    assert draws.shape[0] == pytest.approx(np.sum(counted[0]))
    assert not np.array_equal(mean[:, 0], mean[:, 0].round())
