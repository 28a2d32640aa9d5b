"""The checkpoint's file, and that a run continued from it is the run that was never stopped."""

import functools
import json
import math
import pickle

import pytest
import torch

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.errors import CheckpointError, ModelError
from ppl_vae.files import write_tensors
from ppl_vae.inference.training import loop
from ppl_vae.inference.training.checkpoint import read_checkpoint, write_checkpoint
from ppl_vae.inference.training.run_files import CHECKPOINT
from ppl_vae.networks import MLP
from tests.inference.small_runs import (
    BATCH,
    D,
    files,
    require_same,
    small_data,
    small_dataset,
    small_vae,
    train,
    weight_bytes,
)

# The file ------------------------------------------------------------------------------------------


def require_equal_trees(a, b):
    assert type(a) is type(b)
    if isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        assert torch.equal(
            a.contiguous().view(torch.uint8) if a.dim() else a, b.view(torch.uint8) if b.dim() else b
        )
    elif isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            require_equal_trees(a[key], b[key])
    elif isinstance(a, list):
        assert len(a) == len(b)
        for left, right in zip(a, b, strict=True):
            require_equal_trees(left, right)
    elif isinstance(a, float) and math.isnan(a):
        assert math.isnan(b)
    else:
        assert a == b


DTYPES = (
    torch.float64, torch.float32, torch.float16, torch.bfloat16,
    torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool,
)  # fmt: skip

TREES = {
    "plain values": {"a": 1, "b": None, "c": True, "d": "text", "e": [1, [2, []], {}]},
    "floats exactly": [0.1, 1 / 3, 5e-324, 1.7976931348623157e308, -0.0, math.inf, -math.inf, math.nan],
    "keys that are whole numbers": {"state": {0: {"step": 1}, 1: {"step": 2}}, "0": "a name", 0: "a number"},
    "tensors of all dtypes": {str(dtype): torch.arange(6).reshape(2, 3).to(dtype) for dtype in DTYPES},
    "tensors of odd shapes": [torch.tensor(1.5), torch.zeros(0, 3), torch.arange(12).reshape(3, 4)],
    "tensors that are not finite": [torch.tensor([math.nan, math.inf, -math.inf])],
    "names that look like ours": {"__tensor__": "state.x", "__pairs__": [1], "x.y": {"z": torch.ones(1)}},
    "names that meet when joined": {"a": {"b.c": torch.ones(1)}, "a.b": {"c": torch.zeros(1)}},
}


@pytest.mark.parametrize("name", TREES)
def test_a_tree_comes_back_as_it_was(name, tmp_path):
    path = tmp_path / CHECKPOINT
    write_checkpoint(path, TREES[name])
    require_equal_trees(TREES[name], read_checkpoint(path))


def test_views_and_shared_storage_come_back_apart(tmp_path):
    base = torch.arange(12.0).reshape(3, 4)
    write_checkpoint(tmp_path / CHECKPOINT, {"base": base, "view": base.T, "again": base})
    tree = read_checkpoint(tmp_path / CHECKPOINT)
    assert torch.equal(tree["view"], base.T)
    tree["base"].zero_()
    assert torch.equal(tree["again"], base)


def test_optimiser_states_come_back(tmp_path):
    parameter = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.Adam([parameter], lr=0.1, fused=True)
    parameter.grad = torch.ones(3)
    optimizer.step()
    write_checkpoint(tmp_path / CHECKPOINT, optimizer.state_dict())
    other = torch.optim.Adam([torch.nn.Parameter(parameter.detach().clone())], lr=0.1, fused=True)
    other.load_state_dict(read_checkpoint(tmp_path / CHECKPOINT))
    for key, value in optimizer.state[parameter].items():
        assert torch.equal(next(iter(other.state.values()))[key], value)


def trained_in(folder, **options):
    return train(small_vae(), small_data(), out_dir=folder, **options)


@pytest.mark.slow
@pytest.mark.parametrize(
    "damage", ["truncated", "empty", "header", "noise", "metadata", "other tree", "missing keys"]
)
def test_a_damaged_checkpoint_is_named_and_left_alone(damage, tmp_path):
    trained_in(tmp_path, epochs=1)
    path = tmp_path / CHECKPOINT
    content = path.read_bytes()
    if damage == "metadata":
        write_tensors(path, {"x": torch.ones(2)})
    elif damage == "other tree":
        write_tensors(path, {}, {"tree": json.dumps(3)})
    elif damage == "missing keys":
        write_checkpoint(path, {"state": {"epoch": 1}})
    else:
        damaged = {
            "truncated": content[: len(content) // 2],
            "empty": b"",
            "header": b"\xff" * 8 + content[8:],
            "noise": bytes(range(256)) * 20,
        }
        path.write_bytes(damaged[damage])
    before = files(tmp_path)
    with pytest.raises(CheckpointError, match=CHECKPOINT):
        trained_in(tmp_path, epochs=2, resume=True)
    assert files(tmp_path) == before


class Bomb:
    """Unpickling it leaves a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_pickle_is_never_opened(tmp_path):
    folder, bomb = tmp_path / "run", tmp_path / "exploded"
    folder.mkdir()
    (folder / CHECKPOINT).write_bytes(pickle.dumps(Bomb(bomb)))
    with pytest.raises(CheckpointError, match="not a readable checkpoint"):
        trained_in(folder, resume=True)
    torch.save({"state": Bomb(bomb)}, folder / CHECKPOINT)
    with pytest.raises(CheckpointError, match="not a readable checkpoint"):
        trained_in(folder, resume=True)
    assert not bomb.exists()


# Continuing -----------------------------------------------------------------------------------------


def binary_vae():
    return small_vae(likelihood="bernoulli")


def normed_vae():
    encoder = torch.nn.Sequential(torch.nn.Linear(D, 8), torch.nn.BatchNorm1d(8), torch.nn.Dropout(0.3))
    torch.manual_seed(0)
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter)
    decoder = torch.nn.Linear(2, D)
    return pv.VAE((D,), 2, network=(encoder, decoder), likelihood="gaussian")


MOMENTUM = functools.partial(torch.optim.SGD, momentum=0.9)
RUNS = {
    "plain": (small_vae, small_data, {}),
    "validation and patience": (small_vae, small_data, {"validation": 0.2, "patience": 5}),
    "best epoch before the stop": (small_vae, small_data, {"validation": 0.2, "lr": 0.3}),
    "test split": (small_vae, small_dataset, {"validation": "test"}),
    "schedule": (small_vae, small_data, {"schedule": inf.schedules.cosine(24)}),
    "momentum": (small_vae, small_data, {"optimizer": MOMENTUM, "lr": 1e-3}),
    "clipping": (small_vae, small_data, {"max_grad_norm": 0.5}),
    "dynamic binarisation": (binary_vae, lambda: small_dataset("dynamic"), {"validation": 0.2}),
    "batches": (small_vae, lambda: list(small_data().split(BATCH)), {}),
    "batch norm and dropout": (normed_vae, small_data, {"batch_size": 25}),
    "lazy threads": (small_vae, small_data, {"num_threads": None}),
    "beta": (small_vae, small_data, {"elbo": lambda: inf.Beta("monte-carlo-kl", 3.0)}),
    "running baseline": (
        small_vae, small_data, {"elbo": lambda: inf.ScoreFunction(num_particles=2, baseline="running"), "lr": 1e-3},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RUNS)
def test_stopped_and_resumed_is_the_run_that_was_never_stopped(name, tmp_path):
    make, data, options = RUNS[name]

    def go(**more):
        made = {key: value() if key == "elbo" else value for key, value in options.items()}
        return train(make(), data(), **{**made, **more})

    straight = go(epochs=6)
    go(epochs=3, out_dir=tmp_path)
    torch.manual_seed(1234)
    resumed = go(epochs=6, out_dir=tmp_path, resume=True)
    require_same(resumed, straight)
    assert len(resumed.history) == 6


@pytest.mark.slow
def test_stopping_after_every_epoch_is_the_same_run_too(tmp_path):
    for epochs in range(1, 6):
        resumed = trained_in(tmp_path, epochs=epochs, resume=True, validation=0.2)
    require_same(resumed, train(small_vae(), small_data(), epochs=5, validation=0.2))


@pytest.mark.slow
def test_resume_without_a_checkpoint_starts_afresh(tmp_path):
    require_same(trained_in(tmp_path / "new" / "folder", resume=True), train(small_vae(), small_data()))


@pytest.mark.slow
def test_resume_without_a_folder_starts_afresh():
    require_same(train(small_vae(), small_data(), resume=True), train(small_vae(), small_data()))


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"validation": 0.2, "patience": 1, "lr": 0.2, "epochs": 40}])
def test_a_finished_run_returns_at_once_with_the_same_result(options, tmp_path):
    first = trained_in(tmp_path, **options)
    before = files(tmp_path)

    class Untouchable(inf.AnalyticKL):
        def forward(self, terms, step=None):
            raise AssertionError("a step was taken")

    Untouchable.__name__ = "AnalyticKL"
    again = trained_in(tmp_path, resume=True, elbo=Untouchable(), **options)
    require_same(again, first)
    assert again.history["seconds"].tolist() == first.history["seconds"].tolist()
    assert {path: content for path, content in files(tmp_path).items() if path.name != CHECKPOINT} == {
        path: content for path, content in before.items() if path.name != CHECKPOINT
    }


@pytest.mark.slow
def test_asking_for_fewer_epochs_than_were_run_returns_what_there_is(tmp_path):
    first = trained_in(tmp_path, epochs=4)
    with pytest.warns(UserWarning, match="has 4 epochs already, more than epochs=2; nothing is trained"):
        assert trained_in(tmp_path, epochs=2, resume=True).epochs_run == first.epochs_run == 4


def test_a_folder_with_another_run_is_not_touched(tmp_path):
    trained_in(tmp_path)
    before = files(tmp_path)
    with pytest.raises(CheckpointError, match=r"holds another run .*resume=True"):
        trained_in(tmp_path)
    assert files(tmp_path) == before


@pytest.mark.parametrize("name", ["config.json", "manifest.json", "history.csv", "weights.safetensors"])
def test_any_file_of_a_run_protects_its_folder(name, tmp_path):
    (tmp_path / name).write_text("{}")
    with pytest.raises(CheckpointError, match=name):
        trained_in(tmp_path)
    assert files(tmp_path) == {(tmp_path / name).relative_to(tmp_path): b"{}"}


def test_a_folder_with_files_of_somebody_elses_is_refused(tmp_path):
    (tmp_path / "data.json").write_text("mine")
    for resume in (False, True):
        with pytest.raises(CheckpointError, match=r"holds 'data\.json', which no run wrote; nothing was touched"):
            trained_in(tmp_path, resume=resume)
    assert files(tmp_path) == {(tmp_path / "data.json").relative_to(tmp_path): b"mine"}


@pytest.mark.slow
def test_other_files_in_the_folder_of_a_run_stay(tmp_path):
    (tmp_path / ".gitignore").write_text("mine")
    trained_in(tmp_path, epochs=1)
    (tmp_path / "notes.txt").write_text("mine")
    trained_in(tmp_path, epochs=2, resume=True)
    assert [(tmp_path / name).read_text() for name in (".gitignore", "notes.txt")] == ["mine"] * 2


def test_a_finished_run_leaves_a_loadable_folder(tmp_path):
    result = trained_in(tmp_path, validation=0.2)
    names = {"checkpoint.safetensors", "config.json", "weights.safetensors", "history.csv", "manifest.json"}
    assert {path.name for path in files(tmp_path)} == names
    assert weight_bytes(pv.load(tmp_path)) == weight_bytes(result.model)
    assert json.loads((tmp_path / "manifest.json").read_text()) == json.loads(json.dumps(result.manifest))
    assert result.out_dir == tmp_path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"seed": 1}, "seed was 0, is now 1"),
        ({"batch_size": 20}, "batch_size was 16, is now 20"),
        ({"lr": 0.5}, "lr was 0.01, is now 0.5"),
        ({"elbo": "monte-carlo-kl"}, "elbo was .*Analytic.*MonteCarlo"),
        ({"elbo": inf.Beta("analytic-kl", 2.0)}, "elbo was .*Beta"),
        ({"optimizer": torch.optim.SGD}, "optimizer was 'Adam', is now 'SGD'"),
        ({"schedule": inf.schedules.cosine(9)}, "schedule was None, is now"),
        ({"max_grad_norm": 1.0}, "max_grad_norm was None, is now 1.0"),
        ({"validation": 0.2}, "data was"),
    ],
)
def test_another_setting_is_another_run(options, field, tmp_path):
    trained_in(tmp_path)
    before = files(tmp_path)
    with pytest.raises(CheckpointError, match=field):
        trained_in(tmp_path, epochs=5, resume=True, **options)
    assert files(tmp_path) == before


def test_other_options_of_an_optimiser_are_another_run(tmp_path):
    trained_in(tmp_path, optimizer=MOMENTUM)
    with pytest.raises(CheckpointError, match=r"optimizer was .*0\.9.*0\.5"):
        trained_in(tmp_path, resume=True, optimizer=functools.partial(torch.optim.SGD, momentum=0.5))


@pytest.mark.slow
@pytest.mark.parametrize("data", [small_data(seed=3), small_data(49)])
def test_other_data_are_another_run(data, tmp_path):
    trained_in(tmp_path)
    with pytest.raises(CheckpointError, match="another run: data was"):
        train(small_vae(), data, out_dir=tmp_path, resume=True)


def test_another_architecture_is_another_run(tmp_path):
    trained_in(tmp_path)
    before = files(tmp_path)
    wider = pv.VAE((D,), 2, network=MLP((9,)), likelihood="gaussian")
    with pytest.raises(CheckpointError, match="model was"):
        train(wider, small_data(), out_dir=tmp_path, resume=True)
    assert files(tmp_path) == before


def test_another_architecture_of_the_users_own_modules_is_named_by_its_weights(tmp_path):
    def vae(units):
        encoder = torch.nn.Linear(D, units)
        return pv.VAE((D,), 2, network=(encoder, torch.nn.Linear(2, D)), likelihood="gaussian")

    train(vae(4), small_data(), out_dir=tmp_path)
    before = files(tmp_path)
    other = vae(5)
    weights = weight_bytes(other)
    with pytest.raises(
        ModelError, match=r"another architecture: 'guide.encoder.weight' is \[4, 6\], expected \[5, 6\]"
    ):
        train(other, small_data(), out_dir=tmp_path, resume=True)
    assert weight_bytes(other) == weights
    assert files(tmp_path) == before


@pytest.mark.slow
def test_epochs_and_patience_may_change(tmp_path):
    trained_in(tmp_path, epochs=2, validation=0.2)
    assert trained_in(tmp_path, epochs=4, validation=0.2, patience=9, resume=True).epochs_run == 4


@pytest.mark.slow
def test_the_number_of_threads_is_restored(tmp_path):
    trained_in(tmp_path, epochs=1, num_threads=2)
    assert trained_in(tmp_path, epochs=2, num_threads=None, resume=True).manifest["num_threads"] == 2


@pytest.mark.slow
def test_a_checkpoint_is_written_as_the_run_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    seen = []

    class Looking(inf.AnalyticKL):
        def forward(self, terms, step=None):
            path = tmp_path / CHECKPOINT
            seen.append(read_checkpoint(path)["state"]["epoch"] if path.exists() else None)
            return super().forward(terms, step)

    trained_in(tmp_path, elbo=Looking())
    assert seen == [None] * 4 + [1] * 4 + [2] * 4
    assert read_checkpoint(tmp_path / CHECKPOINT)["state"]["epoch"] == 3


@pytest.mark.slow
def test_a_run_stopped_by_hand_continues_from_its_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)

    class Interrupted(inf.AnalyticKL):
        stop = True

        def forward(self, terms, step=None):
            if self.stop and step == 10:
                raise KeyboardInterrupt
            return super().forward(terms, step)

    with pytest.raises(KeyboardInterrupt):
        trained_in(tmp_path, epochs=4, elbo=Interrupted())
    Interrupted.stop = False
    resumed = trained_in(tmp_path, epochs=4, elbo=Interrupted(), resume=True)
    require_same(resumed, train(small_vae(), small_data(), epochs=4))


@pytest.mark.slow
def test_a_full_disk_leaves_the_checkpoint_that_was_there(tmp_path, monkeypatch):
    trained_in(tmp_path, epochs=1)
    before = files(tmp_path)

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(CheckpointError, match=f"{CHECKPOINT}.*No space left"):
            trained_in(tmp_path, epochs=2, resume=True)
    assert files(tmp_path) == before
    require_same(trained_in(tmp_path, epochs=2, resume=True), train(small_vae(), small_data(), epochs=2))
