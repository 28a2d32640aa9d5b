"""The command line: what each command leaves behind, and what a mistake gets."""

import json
import math
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import ppl_vae as pv
from ppl_vae import inference
from ppl_vae.cli import main
from ppl_vae.cli.figures import KINDS
from ppl_vae.cli.values import parse_pairs, parse_value
from ppl_vae.data.catalog import DATASETS
from ppl_vae.randomness import seeded
from ppl_vae.recipes import RECIPES

OF_A_TABLE = {"reconstructions", "marginals", "pairs"}
TRAIN = ("train", "vae", "--epochs", "2", "--quiet", "--device", "cpu")
OF_A_PLANE = {
    "learning-curves", "reconstructions", "samples", "latent", "manifold", "interpolations", "traversals"
}  # fmt: skip


def call(*args):
    """The exit code of a command line, in this process."""
    with pytest.raises(SystemExit) as left:
        main([str(arg) for arg in args])
    return left.value.code


def contents(folder):
    """Every file of a folder with its bytes."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="session")
def plane(tmp_path_factory):
    """A short run on the digits with a 2-d latent space, drawn; it is only read, or added to."""
    folder = tmp_path_factory.mktemp("runs") / "plane"
    assert call(*TRAIN, "--latent-dim", 2, "--out", folder) == 0
    return folder


@pytest.fixture(scope="session")
def smiles(tmp_path_factory):
    """A short run on small cartoon faces, without figures."""
    folder = tmp_path_factory.mktemp("runs") / "faces"
    data = ("--data", "faces", "--data-option", "n=96", "--data-option", "size=16", "--batch-size", 32)
    options = ("--likelihood", "continuous-bernoulli", "--latent-dim", 3, "--no-figures")
    assert call(*TRAIN, *data, *options, "--out", folder) == 0
    return folder


def test_train_leaves_a_whole_run(plane):
    expected = {"config.json", "weights.safetensors", "history.csv", "manifest.json", "metrics.json", "data.json"}
    assert expected <= {path.name for path in plane.iterdir()}
    figures = list((plane / "figures").iterdir())
    assert {path.stem for path in figures} == OF_A_PLANE
    for path in figures:
        with Image.open(path) as image:
            assert min(image.size) > 200
    assert len(pd.read_csv(plane / "history.csv")) == 2


def test_train_remembers_its_data_without_a_path_of_the_machine(plane):
    stored = json.loads((plane / "data.json").read_text())
    assert stored == {"data": "digits", "binarize": "dynamic", "root": None, "options": {}}


def test_metrics_are_what_evaluate_gives(plane):
    stored = json.loads((plane / "metrics.json").read_text())["test"]
    ds = pv.load_dataset("digits", binarize="dynamic")
    evaluation = pv.evaluate(pv.load(plane), ds.test.x, num_particles=stored["num_particles"], seed=stored["seed"])
    for name, value in evaluation.summary().items():
        assert stored[name] == pytest.approx(value, rel=1e-6)
    assert stored["kl_stderr"] == pytest.approx(evaluation.kl.std().item() / math.sqrt(180), rel=1e-6)
    assert stored["bits_per_dim"] == pytest.approx(-stored["elbo"] / (64 * math.log(2)), rel=1e-6)
    assert (stored["data"], stored["binarization"], stored["size"]) == ("digits", "dynamic", 180)
    assert (stored["likelihood"], stored["likelihood_is_density"]) == ("bernoulli", True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("likelihood", "asked", "expected"),
    [
        ("bernoulli", "auto", "dynamic"),
        ("bernoulli", "threshold", "threshold"),
        ("bernoulli-relaxed", "auto", "none"),
        ("gaussian", "auto", "none"),
    ],
)
def test_binarisation_follows_the_likelihood_unless_it_is_given(tmp_path, likelihood, asked, expected):
    options = ("--likelihood", likelihood, "--binarize", asked, "--no-figures", "--epochs", 1)
    assert call(*TRAIN, *options, "--out", tmp_path / "run") == 0
    numbers = json.loads((tmp_path / "run" / "metrics.json").read_text())["test"]
    assert numbers["binarization"] == expected
    assert ("bits_per_dim" in numbers) == (likelihood == "bernoulli")
    assert numbers["likelihood_is_density"] == (likelihood != "bernoulli-relaxed")


@pytest.mark.slow
def test_options_reach_the_recipe(tmp_path):
    options = ("--set", "beta=2.5", "--elbo", "monte-carlo-kl", "--num-particles", 3, "--lr", 0.01)
    arguments = ("train", "beta-vae", "--epochs", 1, "--no-figures", "--out", tmp_path, "--seed", 5, "--quiet")
    assert call(*arguments, *options[:2], *options[4:]) == 0
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["seed"] == 5
    assert manifest["settings"]["lr"] == 0.01
    assert "2.5" in manifest["settings"]["elbo"]


@pytest.mark.slow
def test_a_recipe_that_needs_the_number_of_data_is_told_it_unless_its_objective_is_replaced(tmp_path):
    for folder, options in ((tmp_path / "own", ()), (tmp_path / "other", ("--elbo", "analytic-kl"))):
        assert call("train", "beta-tc-vae", *TRAIN[2:], "--no-figures", *options, "--out", folder) == 0
    settings = json.loads((tmp_path / "own" / "manifest.json").read_text())["settings"]
    assert "num_data=1617" in settings["elbo"]


@pytest.mark.slow
def test_the_way_of_taking_steps_can_be_chosen(tmp_path):
    for choice in ("no", "auto"):
        out = tmp_path / choice
        call("train", "vae", "--data", "digits", "--epochs", 1, "--compile", choice, "--out", out, "--no-figures")
        manifest = json.loads((out / "manifest.json").read_text())
        assert manifest["compile"] == "eager"
        assert ("too few" in manifest["compile_reason"]) == (choice == "auto")


@pytest.mark.slow
def test_train_tells_what_it_did(tmp_path, capsys):
    args = [arg for arg in TRAIN if arg != "--quiet"]
    assert call(*args, "--no-figures", "--out", tmp_path) == 0
    captured = capsys.readouterr()
    numbers = json.loads((tmp_path / "metrics.json").read_text())["test"]
    assert f"{numbers['elbo']:.3f} ± {numbers['elbo_stderr']:.3f}" in captured.out
    assert "binarisation dynamic (auto" in captured.out
    assert str(tmp_path) in captured.out
    assert captured.err == ""


def test_resuming_a_finished_run_changes_no_weight(plane):
    before = (plane / "weights.safetensors").read_bytes()
    assert call(*TRAIN, "--latent-dim", 2, "--out", plane, "--no-figures", "--resume") == 0
    assert (plane / "weights.safetensors").read_bytes() == before


def test_evaluate_adds_a_split_and_keeps_the_others(plane, capsys):
    before = json.loads((plane / "metrics.json").read_text())
    assert call("evaluate", plane, "--split", "train", "--num-particles", 2, "--seed", 3) == 0
    after = json.loads((plane / "metrics.json").read_text())
    assert {**after, "train": None} == {**before, "train": None}
    numbers = after["train"]
    assert (numbers["size"], numbers["num_particles"], numbers["seed"]) == (1617, 2, 3)
    assert "train split binarized once" in numbers["data_notes"][-1]
    assert f"{numbers['elbo']:.3f}" in capsys.readouterr().out


def test_evaluate_puts_other_data_under_their_own_name(plane, tmp_path):
    np.save(tmp_path / "mine.npy", np.random.default_rng(0).uniform(size=(40, 1, 8, 8)).astype(np.float32))
    before = json.loads((plane / "metrics.json").read_text())["test"]
    assert call("evaluate", plane, "--data", tmp_path / "mine.npy") == 0
    after = json.loads((plane / "metrics.json").read_text())
    assert after["test"] == before
    assert [numbers["size"] for name, numbers in after.items() if name.endswith(" test")] == [4]


@pytest.mark.parametrize("noise", [(), ("--with-noise",)])
def test_sample_writes_the_models_draws(plane, tmp_path, noise):
    for suffix in ("npy", "npz"):
        assert call("sample", plane, "--n", 5, "--seed", 7, *noise, "--out", tmp_path / f"x.{suffix}") == 0
    with seeded(7):
        expected = pv.load(plane).sample(5, with_noise=bool(noise)).numpy()
    np.testing.assert_allclose(np.load(tmp_path / "x.npy"), expected, rtol=1e-5)
    np.testing.assert_array_equal(np.load(tmp_path / "x.npz")["x"], np.load(tmp_path / "x.npy"))


def test_sample_draws_a_picture_into_the_run(plane):
    assert call("sample", plane, "-n", 4) == 0
    with Image.open(plane / "samples.png") as image:
        assert image.format == "PNG"


@pytest.mark.slow
def test_plot_draws_the_kinds_asked_for(plane, capsys):
    before = {path: path.stat().st_mtime_ns for path in (plane / "figures").iterdir()}
    assert call("plot", plane, "manifold", "learning-curves", "--extent", -2, 2) == 0
    drawn = {path.stem for path in before if path.stat().st_mtime_ns != before[path]}
    assert drawn == {"manifold", "learning-curves"}
    assert capsys.readouterr().out.split() == [
        str(plane / "figures" / f"{kind}.png") for kind in ("manifold", "learning-curves")
    ]


@pytest.mark.slow
def test_plot_arithmetic_follows_an_attribute(smiles):
    assert call("plot", smiles, "arithmetic", "--attribute", "smiling") == 0
    assert [path.name for path in (smiles / "figures").iterdir()] == ["arithmetic.png"]


@pytest.mark.slow
def test_latent_figures_of_more_than_two_dimensions(smiles):
    assert call("plot", smiles, "latent", "traversals") == 0


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("arithmetic", (), "figure 'arithmetic' needs --attribute NAME; known: smiling"),
        ("arithmetic", ("--attribute", "smilling"), "unknown attribute 'smilling'; did you mean 'smiling'"),
        ("arithmetic", ("--attribute", "pose"), "attribute 'pose' has other values than 0 and 1"),
        ("manifold", (), "figure 'manifold' needs a latent space of 2 dimensions, the model's has 3"),
    ],
)
def test_figures_that_the_run_does_not_allow(smiles, capsys, kind, options, message):
    assert call("plot", smiles, kind, *options) == 2
    assert message in _only_line(capsys)


@pytest.mark.slow
def test_vectors_get_only_the_figures_that_make_sense(tmp_path):
    np.save(tmp_path / "vectors.npy", np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32))
    options = ("--data-option", "value_range=null", "--likelihood", "gaussian", "--latent-dim", 2)
    data = ("--data", tmp_path / "vectors.npy", "--batch-size", 16)
    assert call(*TRAIN, *data, *options, "--out", tmp_path / "run") == 0
    drawn = {path.stem for path in (tmp_path / "run" / "figures").iterdir()}
    assert drawn == {"learning-curves", "latent"} | OF_A_TABLE


def test_listings_name_everything(capsys):
    assert call("datasets") == 0
    assert call("recipes") == 0
    words = capsys.readouterr().out.split()
    assert set(pv.list_datasets()) == set(DATASETS)
    assert set(pv.list_datasets()) | set(RECIPES) <= set(words)


@pytest.mark.parametrize("command", ["train", "evaluate", "sample", "plot", "datasets", "recipes"])
def test_every_command_has_help(command, capsys):
    assert call(command, "--help") == 0
    assert f"Usage: ppl-vae {command}" in capsys.readouterr().out


def test_no_arguments_show_the_help(capsys):
    assert call() == 0
    assert "Usage: ppl-vae" in capsys.readouterr().out


@pytest.mark.slow
def test_the_package_runs_as_a_module():
    done = subprocess.run([sys.executable, "-m", "ppl_vae", "recipe"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "ppl-vae: No such command 'recipe'. Did you mean 'recipes'?\n"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("train", "vea"), "unknown recipe 'vea'; did you mean 'vae'?"),
        (("train", "vae", "--data", "digit"), "unknown data set 'digit'; did you mean 'digits'?"),
        (("train", "vae", "--data", "no/such.npz"), "no/such.npz: expected an .npz archive, found no such file"),
        (("train", "vae", "--latent-dim", "0"), "latent_dim must be an integer of at least 1, got 0"),
        (("train", "vae", "--epochs", "two"), "Invalid value for '--epochs'"),
        (("train", "vae", "--epoch", "2"), "No such option: --epoch"),
        (("train", "vae", "--lr", "-1"), "lr must be positive"),
        (("train", "vae", "--validation", "tset"), "validation 'tset'"),
        (("train", "vae", "--binarize", "dynamo"), "Invalid value for '--binarize'"),
        (("train", "vae", "--binarize", "none"), "likelihood 'bernoulli' needs binary data"),
        (("train", "vae", "--batch-size", "5000"), "batch_size 5000 is larger than the 1617 data"),
        (("train", "vae", "--set", "beta=4"), "unknown option 'beta'"),
        (("train", "vae", "--set", "beta"), "--set: expected KEY=VALUE, found 'beta'"),
        (("train", "vae", "--network", "convv"), "did you mean 'conv'?"),
        (("train", "vae", "--device", "gpu"), "device 'gpu' is unknown"),
        (("train",), "Missing argument"),
    ],
)
def test_a_mistake_gets_one_line_and_nothing_is_written(tmp_path, monkeypatch, capsys, args, message):
    monkeypatch.chdir(tmp_path)
    assert call(*args) == 2
    assert message in _only_line(capsys)
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("command", ["evaluate", "sample", "plot"])
def test_a_missing_folder(tmp_path, capsys, command):
    assert call(command, tmp_path / "nothing") == 2
    assert f"{tmp_path / 'nothing'}: no such folder" in _only_line(capsys)
    assert call(command, tmp_path) == 2
    assert f"{tmp_path / 'config.json'}: no such file" in _only_line(capsys)


def test_corrupt_weights_are_named(plane, tmp_path, capsys):
    for path in plane.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    before = contents(tmp_path)
    assert call("evaluate", tmp_path) == 2
    assert f"{weights}: not a readable safetensors file" in _only_line(capsys)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("data.json", None, "the data of this run are unknown; name them with --data"),
        ("data.json", '{"name": 1}', "not the data of a run"),
        ("manifest.json", "{}", "not the manifest of a finished run"),
        ("history.csv", "", "not a readable history"),
    ],
)
def test_damaged_files_of_a_run_are_named(plane, tmp_path, capsys, name, content, message):
    for path in plane.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_text(content)
    assert call("plot", tmp_path) == 2
    line = _only_line(capsys)
    assert line.startswith(f"ppl-vae: {tmp_path / name}: ")
    assert message in line


@pytest.mark.slow
def test_another_run_is_not_overwritten(plane, capsys):
    before = contents(plane)
    assert call(*TRAIN, "--latent-dim", 2, "--out", plane) == 2
    assert f"{plane}: holds another run" in _only_line(capsys)
    assert call(*TRAIN, "--latent-dim", 3, "--out", plane, "--resume") == 2
    assert "latent_dim" in _only_line(capsys)
    assert contents(plane) == before


def test_an_unknown_kind_of_sample_file(plane, tmp_path, capsys):
    assert call("sample", plane, "--out", tmp_path / "x.gif") == 2
    assert "expected a file ending in .png, .npy, .npz" in _only_line(capsys)


@pytest.mark.slow
def test_an_interrupt_says_how_to_go_on(plane, tmp_path, monkeypatch, capsys):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(inference, "fit", interrupted)
    assert call(*TRAIN, "--out", plane) == 130
    assert _only_line(capsys) == f"ppl-vae: interrupted; {plane}: give the same command with --resume to continue"
    assert call(*TRAIN, "--out", tmp_path) == 130
    assert "before its first checkpoint" in _only_line(capsys)


def test_values_are_read_as_a_person_means_them():
    assert parse_value("0.5") == 0.5
    assert parse_value("none") == "none"
    assert [parse_value(text) for text in ("None", "null", "True", "False")] == [None, None, True, False]
    assert parse_pairs("--set", ["a-b=x=y", 'c={"d": [1]}']) == {"a_b": "x=y", "c": {"d": [1]}}


def test_every_kind_of_figure_has_a_name():
    assert OF_A_PLANE | OF_A_TABLE | {"arithmetic"} == set(KINDS)


def _only_line(capsys):
    """What stands on stderr, which is one line and no more."""
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1, captured.err
    return captured.err.rstrip("\n")


@pytest.mark.parametrize(
    "options",
    [
        ("--set", "beta=abc"),
        ("--set", "beta=null"),
        ("--likelihood", '{"name":["gaussian"]}'),
        ("--set", 'prior={"name":{}}'),
        ("--network", '{"name":"mlp","hidden":[16.5]}'),
        ("--network", '{"name":"conv","channels":[1]}'),
        ("--network", '{"name":"conv","channels":[0,0]}'),
        ("--set", "seed=3"),
        ("--seed", "99999999999999999999"),
        ("--device", "meta"),
    ],
)
def test_a_strange_value_is_one_line(tmp_path, capsys, options):
    assert call("train", "beta-vae", "--epochs", "1", "--quiet", *options, "--out", tmp_path / "run") == 2
    complaint = capsys.readouterr().err
    assert complaint.startswith("ppl-vae: ")
    assert complaint.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("content", ['{"data": 1}', '{"data": "digits", "options": 5}', "[]"])
def test_strange_data_of_a_run_are_one_line(plane, tmp_path, capsys, content):
    shutil.copytree(plane, tmp_path / "run")
    (tmp_path / "run" / "data.json").write_text(content)
    assert call("evaluate", tmp_path / "run") == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.fixture(scope="session")
def grades(tmp_path_factory):
    """A short run on a table of sixteen columns."""
    folder = tmp_path_factory.mktemp("runs") / "table"
    data = folder.parent / "table.npy"
    np.save(data, np.random.default_rng(0).normal(size=(80, 16)).astype(np.float32))
    options = ("--data-option", "value_range=null", "--likelihood", "gaussian", "--latent-dim", 2)
    assert call(*TRAIN, "--data", data, *options, "--out", folder) == 0
    return folder


@pytest.mark.slow
def test_a_table_gets_figures_of_its_columns(grades):
    drawn = {path.stem for path in (grades / "figures").iterdir()}
    assert drawn == {"learning-curves", "latent"} | OF_A_TABLE


@pytest.mark.slow
def test_samples_of_a_table_are_a_table(grades, capsys):
    assert call("sample", grades, "-n", 7, "--with-noise", "--seed", 3) == 0
    table = pd.read_csv(grades / "samples.csv")
    with seeded(3):
        expected = pv.load(grades).eval().sample(7, True)
    assert list(table.columns) == [f"x{i + 1}" for i in range(16)]
    assert np.allclose(table.to_numpy(), expected, rtol=1e-6)
    assert call("sample", grades, "--out", grades / "samples.png") == 2
    assert "a table of 16 columns; --out FILE.csv holds it" in capsys.readouterr().err


@pytest.mark.slow
def test_a_table_has_the_names_of_its_columns(grades, tmp_path):
    names = [f"grade {i}" for i in range(16)]
    shutil.copytree(grades, tmp_path / "named")
    source = json.loads((grades / "data.json").read_text())
    (tmp_path / "named" / "data.json").write_text(json.dumps({**source, "column_names": names}))
    assert call("sample", tmp_path / "named", "-n", 2) == 0
    assert list(pd.read_csv(tmp_path / "named" / "samples.csv").columns) == names


def test_images_are_no_table(plane, capsys):
    assert call("sample", plane, "--out", plane / "samples.csv") == 2
    assert "--out FILE.npy holds them" in capsys.readouterr().err
