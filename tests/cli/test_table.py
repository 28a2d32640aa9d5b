"""A table in a file through the commands: read by its columns' names, told by its rows' names."""

import json

import numpy as np
import pandas as pd
import pytest

from ppl_vae.cli import main


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on a CSV file with labels, and the folder of both."""
    folder = tmp_path_factory.mktemp("table")
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 2, 90)
    table = pd.DataFrame(rng.normal(size=(90, 3)) + kind[:, None], columns=["one", "two", "three"])
    table.assign(kind=np.where(kind, "b", "a")).to_csv(folder / "t.csv", index=False)
    network = '{"name": "mlp", "hidden": [8]}'
    run(folder, "train", "vae", "--data", folder / "t.csv", "--data-option", "labels=kind",
        "--likelihood", "gaussian", "--latent-dim", "1", "--epochs", "2", "--network", network,
        "--no-figures", "--compile", "no", "--out", folder / "run")  # fmt: skip
    return folder


def run(folder, *arguments):
    with pytest.raises(SystemExit) as left:
        main([*map(str, arguments), *(["--quiet"] if arguments[0] == "train" else [])])
    return left.value.code


@pytest.mark.slow
def test_the_run_remembers_columns_and_options(trained):
    stored = json.loads((trained / "run" / "data.json").read_text())
    assert stored["column_names"] == ["one", "two", "three"]
    assert stored["options"] == {"labels": "kind", "levels": {"kind": ["a", "b"]}}
    assert run(trained, "sample", trained / "run", "--n", "5") == 0
    assert list(pd.read_csv(trained / "run" / "samples.csv")) == ["one", "two", "three"]


def test_other_rows_are_read_in_the_same_way(trained, capsys):
    table = pd.read_csv(trained / "t.csv")
    table.head(30).to_csv(trained / "other.csv", index=False)
    assert run(trained, "evaluate", trained / "run", "--data", trained / "other.csv", "--split", "train") == 0
    metrics = json.loads((trained / "run" / "metrics.json").read_text())
    assert metrics["other.csv train"]["size"] == 27
    table[["two", "one", "three", "kind"]].to_csv(trained / "turned.csv", index=False)
    assert run(trained, "evaluate", trained / "run", "--data", trained / "turned.csv") == 2
    assert "found 'two' in the place of 'one', column 1" in capsys.readouterr().err


@pytest.mark.slow
def test_raw_columns_are_told_and_taken_by_their_kinds(tmp_path, capsys):
    rng = np.random.default_rng(0)
    raw = {
        "income": rng.normal(3000, 500, 60),
        "age": rng.normal(40, 9, 60),
        "visits": rng.negative_binomial(1, 0.1, 60),
    }
    pd.DataFrame(raw).to_csv(tmp_path / "raw.csv", index=False)
    asked = ["train", "vae", "--data", tmp_path / "raw.csv", "--latent-dim", "1", "--epochs", "1", "--no-figures",
             "--network", '{"name": "mlp", "hidden": [4]}', "--compile", "no", "--out"]  # fmt: skip
    for likelihood, words in (
        ("gaussian", "columns as large as 'income'"),
        ("columns", "visits  negative-binomial"),
    ):
        with pytest.raises(SystemExit) as left:
            main([*map(str, asked), str(tmp_path / likelihood), "--likelihood", likelihood])
        assert left.value.code == 0
        assert words in capsys.readouterr().out
    stored = json.loads((tmp_path / "columns" / "config.json").read_text())
    assert [name for name, _ in stored["likelihood"]["kinds"]] == list(raw)
    assert run(tmp_path, "train", "vae", "--data", tmp_path / "raw.csv", "--out", tmp_path / "none") == 2
    assert "column 'income' has values such as" in capsys.readouterr().err
    np.save(tmp_path / "unnamed.npy", np.zeros((9, 3)))
    assert run(tmp_path, "train", "vae", "--data", tmp_path / "unnamed.npy", "--likelihood", "columns") == 2
    assert "no table with names of columns" in capsys.readouterr().err


@pytest.mark.slow
def test_a_report_tells_rows_by_their_place_in_the_file(trained):
    assert run(trained, "diagnose", trained / "run", "--quick") == 0
    page = (trained / "run" / "report.html").read_text()
    assert "three" in page
