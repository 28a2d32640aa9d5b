"""A continued run: whatever would change its bytes is refused by name, or told."""

import json
import random

import numpy as np
import pyro
import pytest
import torch
from pyro import distributions as dist
from torch.utils.data import DataLoader, TensorDataset

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.errors import CheckpointError
from ppl_vae.inference.compilation import step_choice
from ppl_vae.inference.training.checkpoint import read_checkpoint, write_checkpoint
from ppl_vae.inference.training.run_files import CHECKPOINT
from tests.inference.small_runs import D, files, require_same, small_data, small_vae, train


def pair(scale, offset=0.0):
    """A user's own programs; the store starts anew."""
    pyro.clear_param_store()

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(D), scale).to_event(1))
            pyro.sample("x", dist.Normal(z + offset, 1.0).to_event(1), obs=x)

    def guide(x):
        gain = pyro.param("gain", torch.tensor(0.5))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(gain * x, 1.0).to_event(1))

    return model, guide


def with_dropout(share):
    torch.manual_seed(0)
    encoder = torch.nn.Sequential(torch.nn.Linear(D, 4), torch.nn.Dropout(share))
    return pv.VAE((D,), 2, network=(encoder, torch.nn.Linear(2, D)), likelihood="gaussian")


BATCHES = list(small_data().split(16))
CHANGES = {
    "schedule": ({"schedule": lambda s: 0.9**s}, {"schedule": lambda s: 0.8**s}, "code of schedule was changed"),
    "objective": (
        {"elbo": inf.Annealed("analytic-kl", lambda s: s * 0 + 1.0)},
        {"elbo": inf.Annealed("analytic-kl", lambda s: s * 0 + 0.5)},
        "the code of elbo.schedule was changed",
    ),
    "optimizer": (
        {"optimizer": lambda p: torch.optim.SGD(p, lr=1e-3)},
        {"optimizer": lambda p: torch.optim.SGD(p, lr=1e-6)},
        "the code of optimizer was changed",
    ),
    "prior": ({"pair": lambda: pair(1.0)}, {"pair": lambda: pair(5.0)}, r"scale was 1\.0, is now 5\.0"),
    "closure": ({"pair": lambda: pair(1.0)}, {"pair": lambda: pair(1.0, 2.0)}, r"offset was 0\.0, is now 2\.0"),
    "dropout": (
        {"pair": lambda: with_dropout(0.1)}, {"pair": lambda: with_dropout(0.9)}, "layers of .* have other options",
    ),
    "batches": ({"data": BATCHES}, {"data": [1 - x for x in BATCHES]}, "data was {'first_batch_sha256'"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", CHANGES)
def test_what_changes_the_numbers_is_another_run(name, tmp_path):
    first, then, message = CHANGES[name]

    def go(pair=small_vae, data=None, **options):
        return train(pair(), small_data() if data is None else data, out_dir=tmp_path, **options)

    go(**first, epochs=1)
    before = files(tmp_path)
    with pytest.raises(CheckpointError, match=message):
        go(**then, epochs=2, resume=True)
    assert files(tmp_path) == before
    assert go(**first, epochs=2, resume=True).epochs_run == 2


class Shuffled:
    """Batches in an order that a generator draws."""

    def __init__(self, generator, permutation):
        self.generator = generator
        self.permutation = permutation

    def __iter__(self):
        return iter(small_data()[torch.as_tensor(self.permutation(self.generator))].split(16))


N = len(small_data())
LOADERS = {
    "torch": lambda: DataLoader(
        TensorDataset(small_data()), 16, shuffle=True, generator=torch.Generator().manual_seed(0)
    ),
    "torch, global": lambda: DataLoader(TensorDataset(small_data()), 16, shuffle=True),
    "numpy": lambda: Shuffled(np.random.default_rng(0), lambda g: g.permutation(N)),
    "numpy, Mersenne": lambda: Shuffled(np.random.Generator(np.random.MT19937(0)), lambda g: g.permutation(N)),
    "numpy, legacy": lambda: Shuffled(np.random.RandomState(0), lambda g: g.permutation(N)),
    "python": lambda: Shuffled(random.Random(0), lambda g: g.sample(range(N), N)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LOADERS)
def test_generators_of_a_loader_go_on(name, tmp_path):
    straight = train(small_vae(), LOADERS[name](), epochs=5)
    train(small_vae(), LOADERS[name](), epochs=2, out_dir=tmp_path)
    require_same(train(small_vae(), LOADERS[name](), epochs=5, out_dir=tmp_path, resume=True), straight)


@pytest.mark.slow
def test_a_loader_whose_generator_has_moved_is_the_same_run(tmp_path):
    loader = LOADERS["torch"]()
    train(small_vae(), loader, epochs=2, out_dir=tmp_path)
    next(iter(loader))
    assert train(small_vae(), loader, epochs=3, out_dir=tmp_path, resume=True).epochs_run == 3


def test_randomness_that_cannot_be_seen_is_told(tmp_path):
    class Hidden:
        def __iter__(self):
            return iter([torch.from_numpy(np.random.default_rng().normal(size=(16, D))).float()])

    train(small_vae(), Hidden(), epochs=1, out_dir=tmp_path)
    with pytest.warns(UserWarning, match="randomness that cannot be restored"):
        train(small_vae(), Hidden(), epochs=2, out_dir=tmp_path, resume=True)


def changed_checkpoint(folder, change):
    """Edit the manifest in a checkpoint, as another machine or build would have written it."""
    tree = read_checkpoint(folder / CHECKPOINT)
    change(tree)
    write_checkpoint(folder / CHECKPOINT, tree)


@pytest.mark.slow
def test_a_checkpoint_without_fingerprints_goes_on(tmp_path):
    """As builds wrote it that knew no code, no first batch, no generators and no schedules."""
    straight = train(small_vae(), BATCHES, epochs=4)
    train(small_vae(), BATCHES, epochs=2, out_dir=tmp_path)

    def older(tree):
        del tree["state"]["loader"], tree["manifest"]["code"], tree["manifest"]["learning_rates"]
        del tree["manifest"]["data"]["first_batch_sha256"]
        tree["manifest"]["settings"]["batch_size"] = 128

    changed_checkpoint(tmp_path, older)
    require_same(train(small_vae(), BATCHES, epochs=4, out_dir=tmp_path, resume=True), straight)


@pytest.mark.slow
def test_a_generator_without_a_stored_state_is_told(tmp_path):
    train(small_vae(), LOADERS["torch"](), epochs=1, out_dir=tmp_path)
    changed_checkpoint(tmp_path, lambda tree: tree["state"].pop("loader"))
    with pytest.warns(UserWarning, match="the checkpoint has no state of DataLoader"):
        train(small_vae(), LOADERS["torch"](), epochs=2, out_dir=tmp_path, resume=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m["versions"].update(torch="0.1"), r"continued under torch \S+ \(begun under 0\.1\)"),
        (lambda m: m.update(device="cuda: other"), "continued on cpu: .*, begun on cuda: other"),
        (lambda m: m.update(num_threads=7), "continued with 1 threads, begun with 7"),
        (lambda m: m.update(compile="traced"), "continued with eager steps, begun with traced ones"),
    ],
)
def test_what_cannot_be_kept_is_told(change, message, tmp_path):
    train(small_vae(), small_data(), epochs=1, out_dir=tmp_path, compile=False)
    changed_checkpoint(tmp_path, lambda tree: change(tree["manifest"]))
    with pytest.warns(UserWarning, match=message + ".*numbers may differ"):
        train(small_vae(), small_data(), epochs=2, out_dir=tmp_path, resume=True, compile=False)


@pytest.mark.slow
def test_another_version_makes_a_change_of_code_a_warning(tmp_path):
    """Bytecode of another Python says nothing of the source."""
    train(small_vae(), small_data(), epochs=1, out_dir=tmp_path, schedule=lambda s: 1.0)
    changed_checkpoint(tmp_path, lambda tree: tree["manifest"]["versions"].update(python="3.0"))
    with pytest.warns(UserWarning, match=r"begun under 3\.0\), and the code of schedule was changed"):
        train(small_vae(), small_data(), epochs=2, out_dir=tmp_path, resume=True, schedule=lambda s: 0.5)


def test_a_missing_compiler_is_told(tmp_path, monkeypatch):
    train(small_vae(), small_data(), epochs=1, out_dir=tmp_path)
    changed_checkpoint(tmp_path, lambda tree: tree["manifest"].update(compile="compiled"))
    monkeypatch.setattr(step_choice, "missing_compiler", lambda: "there is no C++ compiler")
    with pytest.warns(UserWarning, match="begun with compiled ones .*there is no C.. compiler"):
        result = train(small_vae(), small_data(), epochs=2, out_dir=tmp_path, resume=True)
    assert result.manifest["compile"] == "traced"
    assert json.loads((tmp_path / "manifest.json").read_text())["compile"] == "traced"


class CountingItsSteps(torch.nn.Module):
    """A pair that cools by a counter of its own."""

    def __init__(self):
        super().__init__()
        self.encoder, self.calls = torch.nn.Linear(D, 2), 0

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z.expand(x.shape), 1.0 + 1.0 / (1 + self.calls)).to_event(1), obs=x)

    def guide(self, x):
        self.calls += 1
        loc, log_scale = self.encoder(x).chunk(2, -1)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))


def test_a_counter_that_begins_anew_is_told(tmp_path):
    train(CountingItsSteps(), small_data(), epochs=1, out_dir=tmp_path, compile=False)
    message = r"moves from call to call \(CountingItsSteps.calls\), which no checkpoint holds"
    with pytest.warns(UserWarning, match=message):
        train(CountingItsSteps(), small_data(), epochs=2, out_dir=tmp_path, resume=True, compile=False)
