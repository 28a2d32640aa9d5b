"""Whatever happens to a checkpoint, a run goes on as it would have or is refused with the model as it was."""

import json
import shutil
import warnings

import pytest
import torch

import ppl_vae as pv
from ppl_vae.errors import CheckpointError, PplVaeError
from ppl_vae.inference.training.checkpoint import read_checkpoint, write_checkpoint
from ppl_vae.inference.training.run_files import CHECKPOINT
from ppl_vae.networks import MLP
from tests.damage import damaged_bytes, damaged_header, sealed_anew, streams, unsealed
from tests.inference.small_runs import weight_bytes

X = torch.arange(48.0).reshape(12, 4) % 7 / 7


def new():
    return pv.VAE((4,), 1, network=MLP((3,)), likelihood="gaussian", seed=1)


def fit(vae, folder, epochs=2, **options):
    settings = {"batch_size": 6, "device": "cpu", "num_threads": 1, "compile": False, "progress": False}
    return pv.fit(vae, X, epochs=epochs, out_dir=folder, **{**settings, **options})


@pytest.fixture
def run(tmp_path):
    fit(new(), tmp_path / "good")
    return tmp_path / "good"


def damage(path, rng, believable):
    content = path.read_bytes()
    if believable == "old":
        content = unsealed(content)
    kind = rng.randrange(4)
    content = (
        damaged_header(content, rng, None if kind == 0 else "tree") if kind < 3 else damaged_bytes(content, rng)
    )
    try:
        path.write_bytes(sealed_anew(content) if believable == "resealed" else content)
    except (ValueError, KeyError, AttributeError):
        path.write_bytes(content)


def require_law(good, number, seed):
    expected = weight_bytes(pv.load(good))
    refused = 0
    for rng in streams(number, seed):
        folder = good.with_name("bad")
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(good, folder)
        believable = rng.choice(("", "", "resealed", "old"))
        damage(folder / CHECKPOINT, rng, believable)
        vae = new()
        before = weight_bytes(vae)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                fit(vae, folder, resume=True)
        except PplVaeError:
            refused += 1
            assert weight_bytes(vae) == before
            continue
        if not believable:
            assert weight_bytes(vae) == expected
    assert refused > number / 2


@pytest.mark.slow
def test_a_damaged_checkpoint_is_refused_or_was_not_damaged(run):
    require_law(run, number=60, seed=0)


@pytest.mark.slow
def test_many_damaged_checkpoints_are_refused_or_were_not_damaged(run):
    require_law(run, number=600, seed=1)


CHANGES = {
    "no random state": lambda s: s["state"].pop("random"),
    "an empty random state": lambda s: s["state"].update(random={}),
    "a random state of another kind": lambda s: s["state"].update(random={"cpu": torch.zeros(3)}),
    "no optimiser": lambda s: s["state"]["optimizer"].update(param_groups=[]),
    "moments of another shape": lambda s: s["state"]["optimizer"]["state"][0].update(exp_avg=torch.zeros(7)),
    "another learning rate's type": lambda s: s["state"]["optimizer"]["param_groups"][0].update(lr="fast"),
    "NaN in a weight": lambda s: next(iter(s["state"]["weights"].values())).fill_(float("nan")),
    "weights of another type": lambda s: s["state"].update(
        weights={name: value.double() for name, value in s["state"]["weights"].items()}
    ),
    "an epoch too many": lambda s: s["state"].update(epoch=10**9),
    "another step": lambda s: s["state"].update(step=7),
    "an epoch in words": lambda s: s["state"].update(epoch="2"),
    "rows of numbers": lambda s: s["state"].update(rows=[1, 2]),
    "no settings": lambda s: s["manifest"].pop("settings"),
    "threads below one": lambda s: s["manifest"].update(num_threads=-3),
    "an unknown mode": lambda s: s["manifest"].update(compile="fast"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CHANGES)
def test_a_state_that_nobody_could_go_on_from_is_refused_before_anything_is_changed(name, run):
    """Checksums are right here: the state is another, not damaged."""
    stored = read_checkpoint(run / CHECKPOINT)
    CHANGES[name](stored)
    write_checkpoint(run / CHECKPOINT, stored)
    vae = new()
    before = weight_bytes(vae)
    with pytest.raises(CheckpointError, match="checkpoint"):
        fit(vae, run, epochs=3, resume=True)
    assert weight_bytes(vae) == before


def test_a_tree_nested_too_deep_is_refused(run):
    content = (run / CHECKPOINT).read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] = {"tree": "[" * 100_000}
    text = json.dumps(header).encode()
    (run / CHECKPOINT).write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])
    with pytest.raises(CheckpointError, match="not a readable checkpoint"):
        fit(new(), run, resume=True)


def test_a_run_of_version_0_1_0_goes_on(tmp_path):
    """Its checkpoint has no checksum; three epochs, one of them here, give what that version gave for three."""
    from tests.models.stored.test_old_folders import OLD, SETTINGS
    from tests.models.stored.test_old_folders import X as OLD_X
    from tests.models.stored.test_old_folders import new as old_model

    shutil.copytree(OLD / "run", tmp_path / "run")
    with warnings.catch_warnings():
        # Under other versions of Python or torch than it was begun with it goes on with a warning.
        warnings.filterwarnings("ignore", "(?s).*begun under")
        result = pv.fit(old_model(), OLD_X, epochs=3, out_dir=tmp_path / "run", resume=True, **SETTINGS)
    assert pv.evaluate(result.model, OLD_X).summary()["elbo"] == pytest.approx(-3.10224986076355, abs=1e-4)
