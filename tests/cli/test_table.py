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


def test_the_run_remembers_columns_and_options(trained):
    stored = json.loads((trained / "run" / "data.json").read_text())
    assert stored["column_names"] == ["one", "two", "three"]
    assert stored["options"] == {"labels": "kind"}
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
def test_a_report_tells_rows_by_their_place_in_the_file(trained):
    assert run(trained, "diagnose", trained / "run", "--quick") == 0
    page = (trained / "run" / "report.html").read_text()
    assert "three" in page
