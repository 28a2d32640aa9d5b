"""Columns of words on the command line: trained by their kinds, and the same numbers in every other file.

The judge of a density is the sum over columns of log softmax and of a Gaussian's log density, written out in numpy.
"""

import json
import math
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from rich.console import Console

import ppl_vae as pv
from ppl_vae.cli.columns import taking_words, with_kinds
from ppl_vae.cli.source import DataSource, open_data
from ppl_vae.errors import DataError
from tests.cli.test_table import run

N = 60
ORDER = {"stage": ["low", "mid", "high"], "site": ["south", "north"]}
SMALL = ("--latent-dim", "1", "--epochs", "2", "--network", '{"name": "mlp", "hidden": [4]}', "--no-figures",
         "--compile", "no")  # fmt: skip


def table(seed=0):
    rng = np.random.default_rng(seed)
    stage = rng.integers(0, 3, N)
    site = rng.integers(0, 2, N)
    return pd.DataFrame(
        {
            "stage": np.array(ORDER["stage"])[stage],
            "age": rng.normal(50, 9, N).round(2) + 10 * stage,
            "site": np.array(ORDER["site"])[site],
        }
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run on a table with two columns of words, its file and one of held-out rows."""
    folder = tmp_path_factory.mktemp("words")
    table().to_csv(folder / "t.csv", index=False)
    table(1).to_csv(folder / "held.csv", index=False)
    asked = ("--data", folder / "t.csv", "--likelihood", "columns", "--data-option", f"test={folder / 'held.csv'}")
    assert run(folder, "train", "vae", *asked, *SMALL, "--out", folder / "run") == 0
    return folder


def whole(dataset):
    """The rows of both splits in the order of the file."""
    x = torch.cat([dataset.train.x, dataset.test.x])
    return x[torch.from_numpy(np.concatenate([dataset.train.names, dataset.test.names]).argsort())]


def metrics(folder):
    return json.loads((folder / "run" / "metrics.json").read_text())


def test_the_run_keeps_its_levels_and_agrees_with_the_notebook_on_the_frame(folder):
    stored = json.loads((folder / "run" / "data.json").read_text())["options"]
    assert stored["levels"] == {"stage": ["high", "low", "mid"], "site": ["north", "south"]}
    vae = pv.load(folder / "run").eval()
    found = pv.evaluate(vae, pd.read_csv(folder / "held.csv"), num_particles=10, seed=0).summary()
    for name in ("elbo", "log_likelihood", "kl"):
        assert metrics(folder)["test"][name] == pytest.approx(found[name], rel=1e-6)


def test_the_density_is_log_softmax_by_the_words_and_a_gaussian(folder):
    vae, rows = pv.load(folder / "run").eval(), pd.read_csv(folder / "held.csv")
    likelihood, seen = vae.model.likelihood, []
    watch = likelihood.register_forward_hook(lambda module, given, p: seen.append(given[0]))
    with torch.no_grad():
        p = vae.decode(torch.linspace(-2, 2, N).unsqueeze(-1))
        found = p.log_prob(whole(open_data(folder / "run", vae, str(folder / "held.csv"), None)))
    watch.remove()
    features = seen[0].double().numpy()
    expected = np.zeros(N)
    for place, column in ((0, "stage"), (2, "site")):
        words = sorted(set(rows[column]))
        logits = features[:, : len(words), place]
        own = logits[np.arange(N), [words.index(word) for word in rows[column]]]
        expected += own - np.log(np.exp(logits).sum(1))
    scales, gaussian = likelihood.scales, likelihood.part_of(1)
    spread = float(scales.scale[1]) * math.exp(gaussian.log_sigma.item())
    apart = (rows["age"] - float(scales.loc[1]) - float(scales.scale[1]) * features[:, 0, 1]) / spread
    expected += -0.5 * apart**2 - math.log(spread) - 0.5 * math.log(2 * math.pi)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)


def test_a_file_that_lacks_a_level_is_read_by_the_levels_of_the_run(folder, capsys):
    vae, frame = pv.load(folder / "run").eval(), pd.read_csv(folder / "t.csv")
    few = frame[(frame["stage"] != "high") & (frame["site"] == "south")]
    for ending in ("csv", "tsv"):
        other = folder / f"few.{ending}"
        few.to_csv(other, index=False, sep="\t" if ending == "tsv" else ",")
        x = whole(open_data(folder / "run", vae, str(other), None))
        assert x[:, 0].tolist() == [{"high": 0, "low": 1, "mid": 2}[word] for word in few["stage"]]
        assert x[:, 2].unique().tolist() == [1]
    assert run(folder, "evaluate", folder / "run", "--data", folder / "few.csv", "--split", "train") == 0
    few.iloc[:7].assign(stage="huge").to_csv(folder / "other.csv", index=False)
    assert run(folder, "evaluate", folder / "run", "--data", folder / "other.csv") == 2
    told = " ".join(capsys.readouterr().err.split())
    assert (
        "other.csv: column 'stage': 'huge' in row 0 is none of its levels, which are 'high', 'low', 'mid'" in told
    )


def test_a_run_without_a_command_is_asked_by_the_words_of_its_model(folder, tmp_path):
    shutil.copytree(folder / "run", tmp_path / "run")
    (tmp_path / "run" / "data.json").unlink()
    vae = pv.load(tmp_path / "run").eval()
    few = table()[["stage", "age", "site"]].query("stage != 'high'")
    few.to_csv(tmp_path / "few.csv", index=False)
    assert whole(open_data(tmp_path / "run", vae, str(tmp_path / "few.csv"), None))[:, 0].unique().tolist() == [
        1,
        2,
    ]
    few[["age", "stage", "site"]].to_csv(tmp_path / "turned.csv", index=False)
    with pytest.raises(DataError, match="found 'age' in the place of 'stage'"):
        open_data(tmp_path / "run", vae, str(tmp_path / "turned.csv"), None)


def test_levels_in_another_order_than_the_model_has_them_are_refused(folder, tmp_path):
    shutil.copytree(folder / "run", tmp_path / "run")
    path = tmp_path / "run" / "data.json"
    stored = json.loads(path.read_text())
    stored["options"]["levels"]["site"] = ORDER["site"]
    path.write_text(json.dumps(stored))
    with pytest.raises(DataError, match=r"has the levels 'south', 'north', in the model 'north', 'south'"):
        open_data(tmp_path / "run", pv.load(tmp_path / "run"), None, None)


def test_samples_are_words_and_without_noise_the_most_likely_ones(folder):
    vae = pv.load(folder / "run").eval()
    p = []
    vae.model.likelihood.register_forward_hook(lambda module, given, made: p.append(made))
    for noise in (["--with-noise"], []):
        assert run(folder, "sample", folder / "run", "-n", "9", "--seed", "4", *noise) == 0
        found = pd.read_csv(folder / "run" / "samples.csv")
        assert list(found) == ["stage", "age", "site"]
        assert set(found["stage"]) <= set(ORDER["stage"])
        assert set(found["site"]) <= set(ORDER["site"])
        with pv.randomness.seeded(4):
            x = vae.sample(9, bool(noise))
        np.testing.assert_allclose(found["age"], x[:, 1], rtol=1e-6)
        codes = x[:, 0] if noise else p[-1].blocks[0].base.log_masses[:, 0].argmax(-1)
        assert found["stage"].tolist() == [["high", "low", "mid"][int(code)] for code in codes]


def tricky():
    """Columns whose kind single precision, the split into train and test, or floats would hide."""
    rng = np.random.default_rng(0)
    held_out = set(range(N)) - set(pv.data.split.split_indices(N, "")[0].tolist())
    return pd.DataFrame(
        {
            "counts": rng.negative_binomial(1, 0.1, N),
            "flag": rng.integers(0, 2, N),
            "bool": rng.integers(0, 2, N) == 1,
            "holes": pd.Series(rng.integers(0, 2, N) == 1, dtype=object).where(np.arange(N) != 5),
            "always": True,
            "rare": [int(i == min(held_out)) for i in range(N)],
            "whole": rng.integers(-5, 5, N).astype(float),
            "cents": (rng.normal(2e7, 1e6, N)).round(0) + 0.25,
            "text": rng.choice(["a", "b"], N),
        }
    )


def kinds_of(path, **options):
    asked = {"likelihood": "columns"}
    source = taking_words(DataSource(str(path), options=options), asked)
    found = with_kinds(asked, source, source.load(), Console(quiet=True))["likelihood"]
    return dict(found["kinds"])


def test_the_kinds_are_those_of_the_frame_in_the_file(tmp_path):
    tricky().to_csv(tmp_path / "t.csv", index=False)
    expected = dict(pv.models.Columns.from_frame(pd.read_csv(tmp_path / "t.csv"), report=None).config["kinds"])
    assert kinds_of(tmp_path / "t.csv") == expected
    assert [expected[name]["name"] for name in ("holes", "always", "rare", "whole")] == [
        "bernoulli", "bernoulli", "bernoulli", "gaussian"
    ]  # fmt: skip
    assert kinds_of(tmp_path / "t.csv", levels={"text": ["b", "c", "a"]})["text"]["levels"] == ["b", "c", "a"]


def test_ordered_categories_of_parquet_are_ordinal(tmp_path):
    pytest.importorskip("pyarrow")
    frame = table()
    frame["stage"] = pd.Categorical(frame["stage"], ORDER["stage"], ordered=True)
    frame.to_parquet(tmp_path / "t.parquet")
    assert kinds_of(tmp_path / "t.parquet")["stage"] == {"name": "ordinal", "levels": ORDER["stage"]}


def test_text_of_too_many_words_is_no_category(tmp_path):
    many = pd.concat([table()] * 2, ignore_index=True).assign(name=[f"person {i}" for i in range(2 * N)])
    many.to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(DataError, match=r"column 'name' of dtype .*: no kind fits"):
        kinds_of(tmp_path / "t.csv")
