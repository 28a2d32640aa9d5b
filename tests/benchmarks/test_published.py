"""The published tables: every statement names rows and measures, errors are right, and a stopped run goes on."""

import argparse
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import ppl_vae as pv
from ppl_vae.data.dataset import Dataset, Split

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def published(monkeypatch):
    """The command as a module, as it is when it is run."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import published

    return published


def test_every_statement_names_rows_of_its_table_and_every_figure_a_measure(published):
    for table in published.TABLES.values():
        labels = [row.label for row in table.rows]
        assert len(set(labels)) == len(labels)
        assert all(row.published.keys() <= set(table.binarizations) for row in table.rows)
        for each in table.comparisons:
            assert {each.greater, each.less} <= set(labels), each
            for data in table.binarizations:
                figures = {row.label: row.published.get(data, {}).get(each.measure) for row in table.rows}
                greater, less = figures[each.greater], figures[each.less]
                # The paper's own figures agree with what the paper says.
                assert greater is None or less is None or greater > less, each


def test_the_stages_are_those_of_the_paper(published):
    from tables.table import Stages

    rate = Stages(3280)
    firsts = [sum(3**j for j in range(i)) for i in range(8)]
    found = [1e-3 * rate(torch.tensor(step)).item() for step in firsts]
    np.testing.assert_allclose(found, [1e-3, 7.2e-4, 5.2e-4, 3.7e-4, 2.7e-4, 1.9e-4, 1.4e-4, 1e-4], rtol=0.02)
    assert rate(torch.tensor(firsts[3] - 1)) > rate(torch.tensor(firsts[3]))


def test_an_error_is_over_data_and_over_seeds(published):
    from tables.report import mean_and_error

    generator = np.random.default_rng(0)
    draws = generator.normal(0, 3, (4000, 1, 25)).mean(-1)[:, 0]
    mean, error = mean_and_error(generator.normal(0, 3, (1, 400)))
    assert error == pytest.approx(3 / 400**0.5, rel=0.2)
    assert draws.std() == pytest.approx(3 / 25**0.5, rel=0.05)
    # The seeds lie 2 apart and the data do not differ.
    mean, error = mean_and_error(np.array([[1.0] * 10, [3.0] * 10]))
    assert (mean, error) == pytest.approx((2.0, 1.0))


@pytest.mark.parametrize(("shift", "sign"), [(1.0, "reproduced"), (-1.0, "reversed"), (0.0, "not significant")])
def test_a_sign_is_told_by_the_same_data(published, shift, sign):
    from tables.report import compared
    from tables.table import Comparison

    generator = np.random.default_rng(1)
    data, noise = generator.normal(0, 30, 200), generator.normal(0, 1, 200)
    noise -= noise.mean()
    runs = {
        "a": [{"per_datum": {"nll": (data + noise + shift).tolist()}}],
        "b": [{"per_datum": {"nll": data.tolist()}}],
    }
    found = compared(Comparison("a over b", "nll", "a", "b"), runs)
    assert found["sign"] == f"{sign} (one seed)"
    assert found["difference"] == pytest.approx(shift, abs=1e-3)
    # The data's own spread, 30, is common to both.
    assert found["difference_stderr"] == pytest.approx(1 / 200**0.5, rel=0.2)


@pytest.fixture
def small_table(published, monkeypatch):
    """A table of one row whose training is counted; it is scored by its own exact evidence."""
    from tables.table import Comparison, Row, Scores, Table

    trained = []

    def train(ds, run):
        trained.append((run.passes, len(run.data(ds).train), run.epochs))
        return pv.LinearGaussianVAE(torch.eye(4, 2), torch.zeros(4), 1.0)

    def score(pair, test, seed):
        return Scores({"nll": -pair.log_evidence(test.x).detach().numpy()}, {"active units": [2]})

    rows = (Row("a", train, {"dynamic": {"nll": 5.0}}), Row("b", train))
    table = Table("small", "nobody 2020, Table 1", 10, rows, score, (Comparison("a", "nll", "a", "b"),))
    x = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    ds = Dataset("small", Split(x), Split(x[:50]))
    monkeypatch.setattr(published.pv, "load_dataset", lambda *_, **__: ds)
    return table, trained


def test_a_stopped_run_goes_on_and_a_longer_record_is_kept(published, small_table, tmp_path):
    table, trained = small_table
    options = argparse.Namespace(
        budget=None, seeds=2, data="dynamic", root=None, device="cpu", threads=1, runs=tmp_path / "runs",
        results=tmp_path / "published.json",
    )  # fmt: skip
    found = published.run_table(table, options)["small"]
    assert trained == [(10, 60, 10)] * 4
    assert found["rows"]["a"]["nll, ours minus paper"] == pytest.approx(found["rows"]["a"]["nll"] - 5.0, abs=1e-3)
    assert found["comparisons"]["1"]["sign"] == "not significant"
    assert published.run_table(table, options)["small"]["rows"] == found["rows"]
    assert len(trained) == 4
    longer = {"small": {"on": {"passes": 11}}}
    options.results.write_text(json.dumps(longer))
    with pytest.raises(SystemExit, match="the record is of 11 passes and this run is of 10"):
        published.run_table(table, options)


def test_a_plan_leaves_out_what_training_takes_however_long_it_is(published, monkeypatch, tmp_path):
    """By a clock of its own: rows of 7 s and .01 s a datum, .5 s of a scored datum, 10,000 data, half an hour."""
    from tables.table import Row, Scores, Table

    clock = [0.0]
    monkeypatch.setattr(published.time, "perf_counter", lambda: clock[0])

    def train(ds, run):
        clock[0] += 7 + 0.01 * len(ds.train) * run.passes

    def score(pair, test, seed):
        clock[0] += 0.5 * len(test)
        return Scores({}, {})

    table = Table("clocked", "nobody 2020", 1000, (Row("a", train), Row("b", train)), score, ())
    x = torch.zeros(10_000, 1)
    options = argparse.Namespace(budget=30, seeds=1, device="cpu", threads=1)
    plan = published.planned(table, Dataset("d", Split(x), Split(x)), options, tmp_path)
    # Of 1800 s a quarter scores 450 data, 14 s are fixed, a pass of both rows takes 200.
    assert plan == {"passes": 6.0, "num_test": 450}
    assert published.planned(table, Dataset("d", Split(x), Split(x)), options, tmp_path) == plan


def test_a_short_run_begins_every_row_with_the_same_weights(published, monkeypatch, tmp_path):
    """By a clock of its own: a start of 1 s and .001 s a datum, a row of 7 s and .01 s a datum."""
    from tables.table import Row, Scores, Table

    clock, begun = [0.0], []
    monkeypatch.setattr(published.time, "perf_counter", lambda: clock[0])

    def trains(seconds, per_datum):
        def train(ds, run):
            pair = run.begun(pv.VAE((4,), 2, network="linear", likelihood="gaussian", seed=run.seed))
            begun.append((run.passes, None if run.start is None else pair.model.decoder.weight.mean().item()))
            clock[0] += seconds + per_datum * len(ds.train) * run.passes
            if run.start is None:
                torch.nn.init.constant_(pair.model.decoder.weight, 3.0)
            return pair

        return train

    def score(pair, test, seed):
        clock[0] += 0.5 * len(test)
        return Scores({"nll": np.zeros(len(test)) + pair.model.decoder.weight.mean().item()})

    table = Table(
        "small", "nobody 2020", 1000, (Row("a", trains(7, 0.01), start="s"), Row("b", trains(7, 0.01))), score,
        starts={"s": trains(1, 0.001)},
    )  # fmt: skip
    x = torch.randn(10_000, 4, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(published.pv, "load_dataset", lambda *_, **__: Dataset("d", Split(x), Split(x[:1000])))
    options = argparse.Namespace(
        budget=30, seeds=1, data="dynamic", root=None, device="cpu", threads=1, runs=tmp_path / "runs",
        results=tmp_path / "published.json",
    )  # fmt: skip
    found = published.run_table(table, options)["small"]
    # 450 of 1800 s score, half of 1350 are the start's (10 s a pass), half the rows' (14 s fixed, 200 a pass).
    assert (found["on"]["passes of the start"], found["on"]["passes"]) == (67, 3)
    assert begun[-3:] == [(67.0, None), (3.0, pytest.approx(3.0)), (3.0, None)]
    assert "67 passes with one draw a datum" in found["this run"]
    trained = len(begun)
    assert published.run_table(table, options)["small"]["rows"] == found["rows"]
    assert len(begun) == trained


def test_a_budget_below_one_pass_sees_some_images_once(published, small_table):
    from tables.table import Run

    run = Run(0, 0.5)
    x = torch.zeros(60, 4)
    assert (len(run.data(Dataset("d", Split(x), Split(x))).train), run.epochs) == (30, 1)
    assert Run(0, 2.0).steps(Dataset("d", Split(x), Split(x)), 25) == 6
