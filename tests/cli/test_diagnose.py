"""``ppl-vae diagnose``: what it prints and leaves behind, and what a mistake gets."""

import functools
import json

import pytest

import ppl_vae as pv
from ppl_vae import diagnostics
from ppl_vae.cli.source import DataSource
from tests.cli.test_cli import call, contents
from tests.diagnostics.small_effort import CHEAP, SMALL


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """--quick is quicker here: without fits and chains."""
    monkeypatch.setattr(diagnostics, "QUICK", SMALL)
    monkeypatch.setattr(diagnostics, "diagnose", functools.partial(diagnostics.diagnose, topics=CHEAP))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with a manifest, trained for one epoch."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    options = ("--network", '{"name": "mlp", "hidden": [16]}', "--latent-dim", 2, "--epochs", 1, "--no-figures")
    assert call("train", "vae", "--data", "digits", *options, "--quiet", "--device", "cpu", "--out", folder) == 0
    return folder


@pytest.fixture(scope="module")
def grey(tmp_path_factory):
    """A model that has no draws of the kind of its data, without a manifest."""
    folder = tmp_path_factory.mktemp("runs") / "grey"
    network = {"name": "mlp", "hidden": [16]}
    pv.VAE((1, 8, 8), 2, network=network, likelihood="bernoulli-relaxed", seed=0).save(folder)
    DataSource("digits").write(folder)
    return folder


def test_a_table_and_one_report(run, capsys, monkeypatch):
    # Names of diagnostics stand on one line.
    monkeypatch.setenv("COLUMNS", "160")
    before = contents(run)
    assert call("diagnose", run, "--data", "digits", "--quick") == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert {path.name for path in set(contents(run)) - set(before)} == {"report.html"}
    assert {path: content for path, content in contents(run).items() if path in before} == before
    for diagnostic in ("Pareto k-hat", "Calibration", "Active units", "Population predictive check"):
        assert diagnostic in printed
    assert "digits, test split (30 data)" in printed
    assert "report.html" in printed


@pytest.mark.slow
def test_the_report_has_the_run_in_it(run, tmp_path):
    out = tmp_path / "page.html"
    assert call("diagnose", run, "--quick", "--split", "train", "--seed", 3, "--out", out) == 0
    page = out.read_text(encoding="utf-8")
    manifest = json.loads((run / "manifest.json").read_text())
    for fact in ("digits, train split", "bernoulli", "dynamic", manifest["versions"]["pyro-ppl"], "embedded"):
        assert fact in page
    assert "ppl-vae diagnose first --data digits --split train --quick --seed 3" in page
    assert "epochs run" in page


@pytest.mark.slow
def test_a_topic_on_demand_is_run_beside_the_usual_ones(run, tmp_path, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(diagnostics, "QUICK", SMALL)
    out = tmp_path / "page.html"
    assert call("diagnose", run, "--quick", "--topic", "local_c2st", "--out", out) == 0
    page = out.read_text(encoding="utf-8")
    assert "--quick --topic local_c2st" in page
    assert "Calibration at single data" in page
    assert "linear-Gaussian models" in page


@pytest.mark.slow
def test_what_cannot_be_run_is_a_line(grey, tmp_path, capsys):
    assert call("diagnose", grey, "--quick", "--out", tmp_path / "report.html") == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "no verdict" in printed
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Not run: site &#39;x&#39;: expected data that the model can draw" in page
    assert "is no density" in page


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("nosuch",), "nosuch: no such folder"),
        (("{run}", "--data", "nodata"), "unknown data set 'nodata'"),
        (("{run}", "--data", "four-small-images"), "site 'x': expected data of shape"),
        (("{run}", "--split", "validation"), "--split"),
    ],
)
def test_a_mistake_is_one_line_and_code_two(run, args, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call("diagnose", *(str(arg).format(run=run) for arg in args), "--quick") == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.startswith("ppl-vae: ")
    assert told.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_damaged_manifest_is_told(grey, tmp_path, capsys):
    folder = tmp_path / "run"
    folder.mkdir()
    for path in grey.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "manifest.json").write_text("[]")
    assert call("diagnose", folder, "--quick") == 2
    assert "manifest.json: not the manifest of a run" in capsys.readouterr().err
    assert not (folder / "report.html").exists()
