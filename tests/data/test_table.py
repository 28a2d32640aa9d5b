"""A table in a file as a data set: every row and column arrives, or a refusal says which does not."""

import numpy as np
import pandas as pd
import pytest
import torch

import ppl_vae as pv
from ppl_vae.errors import DataError

N = 40
FRAME = pd.DataFrame(
    {
        "age": np.linspace(20, 80, N).round(2),
        "weight": np.random.default_rng(0).normal(70, 10, N),
        "smoker": np.arange(N) % 2 == 0,
        "site": np.arange(N) % 3,
        "kind": ["b", "a"] * (N // 2),
    }
)


@pytest.fixture
def csv(tmp_path):
    FRAME.to_csv(tmp_path / "t.csv", index=False)
    return tmp_path / "t.csv"


def in_file_order(dataset, part="x"):
    """The rows of both splits in the order of the file."""
    names = np.concatenate([dataset.train.names, dataset.test.names])
    values = torch.cat([getattr(dataset.train, part), getattr(dataset.test, part)])
    return values[torch.from_numpy(names.argsort())]


def test_all_rows_and_columns_arrive_with_their_names(csv):
    data = pv.load_dataset(csv, labels="kind", covariates=["site"])
    assert data.column_names == ("age", "weight", "smoker")
    expected = FRAME[["age", "weight", "smoker"]].to_numpy(dtype=np.float32)
    assert torch.equal(in_file_order(data), torch.from_numpy(expected))
    assert in_file_order(data, "y").tolist() == [1, 0] * (N // 2)
    assert data.train.covariates["site"].tolist() == (data.train.names % 3).tolist()
    assert "kind: 0 = a, 1 = b" in data.notes
    assert (len(data.train), len(data.test)) == (36, 4)


@pytest.mark.parametrize("ending", ["tsv", "parquet"])
def test_other_files_are_the_same_table(csv, tmp_path, ending):
    if ending == "parquet":
        pytest.importorskip("pyarrow")
        FRAME.to_parquet(tmp_path / "t.parquet")
    else:
        FRAME.to_csv(tmp_path / "t.tsv", index=False, sep="\t")
    first, other = (pv.load_dataset(p, drop="kind") for p in (csv, tmp_path / f"t.{ending}"))
    assert torch.equal(first.train.x, other.train.x)
    assert first.column_names == other.column_names


def test_names_of_rows_are_no_column(tmp_path):
    for index in (FRAME.index, [f"p{i}" for i in range(N)]):
        FRAME[["age", "weight"]].set_index(pd.Index(index)).to_csv(tmp_path / "named.csv")
        data = pv.load_dataset(tmp_path / "named.csv")
        assert data.column_names == ("age", "weight")
        assert set(data.train.names) | set(data.test.names) == set(index)


def test_an_empty_cell_is_missing_and_named_where_that_is_refused(tmp_path):
    holes = FRAME[["age", "weight"]].copy()
    holes.loc[7, "weight"] = np.nan
    holes.to_csv(tmp_path / "h.csv", index=False)
    data = pv.load_dataset(tmp_path / "h.csv")
    assert in_file_order(data).isnan().nonzero().tolist() == [[7, 1]]
    assert "1 of 80 cells are missing: NaN in x" in data.notes
    with pytest.raises(DataError, match=r"row 7, column 'weight'.*missing-pixels"):
        pv.fit(pv.VAE((2,), 1, likelihood="gaussian"), data, epochs=1, progress=False)


def test_a_test_file_is_held_out_whole_and_has_the_same_categories(csv, tmp_path):
    FRAME.tail(3).assign(kind="c").to_csv(tmp_path / "held.csv", index=False)
    data = pv.load_dataset(csv, labels="kind", test=tmp_path / "held.csv")
    assert (len(data.train), len(data.test)) == (N, 3)
    assert data.test.y.tolist() == [2, 2, 2]
    FRAME[["weight", "age", "smoker", "site", "kind"]].to_csv(tmp_path / "held.csv", index=False)
    with pytest.raises(
        DataError, match=r"held.csv: expected the columns of .*found 'weight' in the place of 'age'"
    ):
        pv.load_dataset(csv, labels="kind", test=tmp_path / "held.csv")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, r"found others in 'kind' \(such as 'b'\); name each by labels="),
        ({"labels": "knd"}, "labels: unknown column 'knd'; did you mean 'kind'"),
        ({"labels": "kind", "drop": ["kind"]}, "column 'kind' is named twice, by labels and by drop"),
        ({"drop": list(FRAME)}, "no column is left for x"),
        ({"drop": 3}, "drop: expected the name of a column, or a list of names, found 3"),
        ({"drop": "kind", "value_range": (0, 1)}, r"expected x in \[0, 1\]"),
        ({"labels": "weight", "drop": "kind"}, "expected y as whole numbers"),
    ],
)
def test_what_does_not_fit_is_named(csv, options, words):
    with pytest.raises(DataError, match=words):
        pv.load_dataset(csv, **options)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("14.2,1.7,2.4\n13.2,1.8,2.1\n", "expected the names of its columns in the first line"),
        ("5.1,3.5,1.4,0.2,setosa\n4.9,3.0,1.4,0.2,setosa\n", "expected the names of its columns"),
        ("a;b\n1;2\n3;4\n", "its columns are separated by ';'"),
        ("a,b\n1,2\n3,inf\n", "an infinite value in row 1, column 'b'"),
        ("a,b\n", "expected rows of numbers, found none"),
        ("", "no table that can be read"),
        ("a,b\n1,2\n1,2,3\n", "the first line names 2 columns, found 3 cells in line 3"),
        ("a,b\n1,2\n1", "the first line names 2 columns, found 1 cells in line 3"),
        ("a,b\n,\n,\n", "expected rows of numbers, found none"),
    ],
)
def test_a_file_that_would_be_misread_is_refused(tmp_path, text, words):
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(DataError, match=rf"m\.csv: .*({words})"):
        pv.load_dataset(tmp_path / "m.csv")


@pytest.mark.parametrize(
    "names", ["400,402,404,406", "3999.64,3997.71,3995.79", "0,1", "1,2,3", "who,2019,2020", "x,7"]
)
def test_numbers_that_are_names_are_taken(tmp_path, names):
    width = names.count(",") + 1
    (tmp_path / "n.csv").write_text(names + "\n" + "\n".join([",".join(["1.5"] * width)] * 5))
    assert pv.load_dataset(tmp_path / "n.csv").column_names == tuple(names.split(","))


WORDS = pd.DataFrame(
    {
        "stage": ["mid", "low", "high", "low"] * (N // 4),
        "size": np.linspace(1, 2, N).round(3),
        "site": ["south", "north"] * (N // 2),
    }
)


@pytest.fixture
def words(tmp_path):
    WORDS.to_csv(tmp_path / "w.csv", index=False)
    return tmp_path / "w.csv"


def test_words_in_x_are_refused_with_the_remedy_or_become_the_numbers_of_their_levels(words):
    with pytest.raises(DataError, match=r"found others in 'stage' .*, 'site' .*levels='auto'"):
        pv.load_dataset(words)
    data = pv.load_dataset(words, levels="auto")
    assert data.column_levels == {"stage": ("high", "low", "mid"), "site": ("north", "south")}
    assert in_file_order(data)[:4, 0].tolist() == [2, 1, 0, 1]
    assert in_file_order(data)[:4, 2].tolist() == [1, 0, 1, 0]
    assert "stage: 0 = high, 1 = low, 2 = mid" in data.notes
    assert pv.load_dataset(words, drop=["stage", "site"]).column_levels == {}
    hidden = pv.data.hide_labels(pv.load_dataset(words, levels="auto", labels="site"), 2)
    assert hidden.column_levels == {"stage": ("high", "low", "mid"), "site": ("north", "south")}


def test_levels_that_are_given_keep_their_order_and_know_no_other_word(words, tmp_path):
    levels = {"stage": ["low", "mid", "high"], "site": ["south", "north"]}
    data = pv.load_dataset(words, levels=levels)
    assert in_file_order(data)[:4, 0].tolist() == [1, 0, 2, 0]
    few = WORDS[WORDS["stage"] != "low"].reset_index(drop=True)
    few.to_csv(tmp_path / "few.csv", index=False)
    fewer = pv.load_dataset(tmp_path / "few.csv", levels=levels)
    assert in_file_order(fewer)[:, 0].tolist() == [1, 2] * (N // 4)
    few.assign(stage="huge").to_csv(tmp_path / "other.csv", index=False)
    with pytest.raises(DataError, match=r"other.csv: column 'stage': 'huge' in row 0 .*'low', 'mid', 'high'"):
        pv.load_dataset(tmp_path / "other.csv", levels=levels)
    with pytest.raises(DataError, match="found others in 'site'"):
        pv.load_dataset(words, levels={"stage": ["low", "mid", "high"]})


@pytest.mark.parametrize(
    ("levels", "reason"),
    [
        ("every", "expected 'auto', or by column"),
        ({"stage": "low"}, "expected 'auto', or by column"),
        ({"stage": ["low", "low"]}, "expected 'auto', or by column"),
        ({"stag": ["low"]}, "levels: unknown column 'stag'; did you mean 'stage'"),
    ],
)
def test_levels_that_are_none_are_named(words, levels, reason):
    with pytest.raises(DataError, match=reason):
        pv.load_dataset(words, levels=levels)


def test_levels_are_those_of_the_file_and_the_test_file_and_empty_cells_stay_missing(words, tmp_path):
    held = WORDS.head(4).assign(stage=["low", None, "absent", "mid"])
    held.to_csv(tmp_path / "held.csv", index=False)
    data = pv.load_dataset(words, levels="auto", test=tmp_path / "held.csv")
    assert data.column_levels["stage"] == ("absent", "high", "low", "mid")
    assert data.test.x[:, 0].nan_to_num(-1).tolist() == [2, -1, 0, 3]


def test_words_that_look_like_numbers_are_words_in_every_file(tmp_path):
    """A file of 01 and 1 alone would be read as numbers, and these taken for codes."""
    rows = {"a.csv": ["1", "01", "A", "1"], "b.csv": ["01", "1", "", "01"]}
    for name, cells in rows.items():
        lines = "\n".join(f"{cell},{i}.5" for i, cell in enumerate(cells))
        (tmp_path / name).write_text(f"grade,x\n{lines}\n")
    both = pv.load_dataset(tmp_path / "a.csv", levels="auto", test=tmp_path / "b.csv")
    assert both.column_levels == {"grade": ("01", "1", "A")}
    alone = pv.load_dataset(tmp_path / "b.csv", levels=both.column_levels)
    for found in (both.test.x, in_file_order(alone)):
        assert found[:, 0].nan_to_num(-1).tolist() == [0, 1, -1, 0]


def test_categories_of_parquet_keep_their_order(tmp_path):
    pytest.importorskip("pyarrow")
    order = ["low", "mid", "high", "never"]
    WORDS.assign(stage=pd.Categorical(WORDS["stage"], order, ordered=True)).to_parquet(tmp_path / "w.parquet")
    data = pv.load_dataset(tmp_path / "w.parquet", levels="auto")
    assert data.column_levels == {"stage": tuple(order), "site": ("north", "south")}
    assert in_file_order(data)[:4, 0].tolist() == [1, 0, 2, 0]


def test_classes_beside_x_are_numbered_by_given_levels(csv, tmp_path):
    own = pv.load_dataset(csv, labels="kind")
    assert own.column_levels == {"kind": ("a", "b")}
    FRAME.assign(kind="b").to_csv(tmp_path / "b.csv", index=False)
    other = pv.load_dataset(tmp_path / "b.csv", labels="kind", levels=own.column_levels)
    assert other.train.y.unique().tolist() == [1]


def test_booleans_with_an_empty_cell_are_numbers(tmp_path):
    holes = FRAME["smoker"].astype(object).where(FRAME.index != 3)
    FRAME[["age"]].assign(smoker=holes).to_csv(tmp_path / "b.csv", index=False)
    found = in_file_order(pv.load_dataset(tmp_path / "b.csv"))[:, 1]
    assert found[:5].nan_to_num(-1).tolist() == [1, 0, 1, -1, 1]


def test_a_model_that_numbers_words_in_another_order_is_not_fitted(words):
    kinds = pv.models.Columns(
        {"stage": {"name": "ordinal", "levels": ["low", "mid", "high"]}, "size": "gaussian", "site": "nominal"}
    )
    vae = pv.VAE((3,), 1, likelihood=kinds, network="linear")
    with pytest.raises(DataError, match=r"w.csv.*column 'stage' has the levels 'high', 'low', 'mid'"):
        pv.fit(vae, pv.load_dataset(words, levels="auto"), epochs=1, progress=False)


def test_a_level_that_is_called_as_empty_cells_are_is_a_level(tmp_path):
    """Cells "None" and "NA" of columns with these levels were missing values."""
    rows = [["None", "NA", "1"], ["some", "DE", ""], ["", "FR", "NA"]] * 5
    path = tmp_path / "t.csv"
    path.write_text("dose,land,n\n" + "\n".join(map(",".join, rows)) + "\n")
    levels = {"dose": ["None", "some"], "land": ["DE", "FR", "NA"]}
    found = pv.load_dataset(path, levels=levels)
    x = torch.cat([found.train.x, found.test.x])[np.concatenate([found.train.names, found.test.names]).argsort()]
    expected = [[0, 2, 1], [1, 0, np.nan], [np.nan, 1, np.nan]] * 5
    np.testing.assert_array_equal(x.numpy(), np.array(expected, np.float32))
    missing = pv.load_dataset(path, levels="auto")
    assert missing.column_levels == {"dose": ("some",), "land": ("DE", "FR")}
