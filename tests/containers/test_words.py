"""Numbers and dates as text are no words: taken for words, each would be a level in the order of the alphabet."""

import numpy as np
import pandas as pd
import pytest

import ppl_vae as pv
from ppl_vae.containers.words import require_words
from ppl_vae.errors import DataError

NO_WORDS = {
    "thousands": [f"{i + 1},{100 + i}" for i in range(20)],
    "decimal commas": [f"{i},5" for i in range(6)],
    "spaces": [f"{i + 1} 000 000" for i in range(6)],
    "percent": [f"{i} %" for i in range(6)],
    "money": [f"${i}.50" for i in range(6)],
    "one question mark": ["?", *(f"{1.5 * i}" for i in range(12))],
    "below detection": ["<0.5", *(f"{i}" for i in range(12))],
    "dates": [f"2020-01-0{i}" for i in range(1, 7)],
    "dates of day and time": [f"{i}/1/2020 10:00" for i in range(1, 7)],
    "spaces around": ["yes", "yes ", "no"],
}
WORDS = {
    "codes": [f"0{i}" for i in range(9)],
    "years and codes": ["250", "V45", "E11", "V57", "401", "E88", "414", *(f"{i}" for i in range(500, 520))],
    "children": ["0", "1", "2", "3+"],
    "answers": ["1", "1,2", "2", "1,3"],
    "more answers": [f"{i},{j},{k}" for i in range(3) for j in range(3) for k in range(3)],
    "age groups": [f"{i}-{i + 4}" for i in range(0, 90, 5)],
    "versions": [f"1.{i}.0" for i in range(9)],
}


@pytest.mark.parametrize("name", NO_WORDS)
def test_what_is_no_word_is_refused(name, tmp_path):
    frame = pd.DataFrame({"a": NO_WORDS[name] * 3})
    with pytest.raises(DataError, match="column 'a'"):
        pv.models.Columns.from_frame(frame, report=None)
    path = tmp_path / "t.csv"
    frame.assign(b=np.arange(len(frame))).to_csv(path, index=False)
    with pytest.raises(DataError, match=r"t.csv: column 'a'"):
        pv.load_dataset(path, levels="auto")
    found = pv.load_dataset(path, levels={"a": sorted(NO_WORDS[name])})
    assert found.column_levels["a"] == tuple(sorted(NO_WORDS[name]))
    assert pv.models.Columns.from_frame(frame.astype("category"), report=None).column_levels["a"]


@pytest.mark.parametrize("name", WORDS)
def test_words_that_look_like_numbers_stay_words(name):
    require_words("a", WORDS[name])


def test_what_stands_beside_x_is_judged_alike(tmp_path):
    """A covariate of ages with one question mark became the place of each age in the alphabet."""
    path = tmp_path / "t.csv"
    frame = pd.DataFrame(
        {"age": ["?", *map(str, range(30, 49))], "day": NO_WORDS["dates"] * 3 + ["2020-01-01"] * 2}
    )
    frame.assign(a=np.arange(20), b=1.0).to_csv(path, index=False)
    with pytest.raises(DataError, match=r"t.csv: column 'age' holds numbers, and '\?' among them"):
        pv.load_dataset(path, covariates=["age"], drop=["day"])
    assert len(pv.load_dataset(path, covariates=["day"], drop=["age"]).column_levels["day"]) == 6
