import hashlib
import json
import platform

import pyro
import pytest
import torch

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.data import fingerprint
from ppl_vae.errors import CheckpointError
from ppl_vae.inference.training.manifest import require_same_run
from tests.inference.small_runs import BATCH, small_data, small_dataset, small_vae, train


def test_says_what_was_run(trained):
    manifest = trained.manifest
    assert manifest["model"] == trained.model.config
    assert manifest["seed"] == 0
    assert manifest["num_threads"] == 1
    assert manifest["compile"] == "eager"
    assert manifest["device"] == f"cpu: {platform.machine()}"
    assert (manifest["epochs_run"], manifest["best_epoch"]) == (3, 3)
    assert manifest["settings"]["batch_size"] == BATCH
    assert manifest["settings"]["elbo"] == "AnalyticKL(num_particles=1)"


def test_says_which_versions_computed(trained):
    versions = trained.manifest["versions"]
    assert versions["torch"] == torch.__version__.split("+")[0] or versions["torch"] == torch.__version__
    assert versions["pyro-ppl"] == pyro.__version__
    assert versions["ppl_vae"] == pv.__version__
    assert versions["python"] == platform.python_version()


def test_says_on_which_data_the_numbers_stand(trained):
    data, dataset = trained.manifest["data"], small_dataset()
    assert (data["name"], data["binarization"], data["validation"]) == ("small", "none", "none")
    assert (data["train_size"], data["test_size"]) == (50, 12)
    assert data["train_sha256"] == fingerprint(dataset.train.x)
    assert data["test_sha256"] == fingerprint(dataset.test.x)


def test_the_checksum_is_over_the_bytes():
    x = small_data()
    expected = hashlib.sha256(b"torch.float32 (50, 6) " + x.numpy().tobytes()).hexdigest()
    assert train(small_vae(), x, epochs=1).manifest["data"]["train_sha256"] == expected


def test_says_how_dynamic_data_were_binarised():
    data = pv.load_dataset("digits", binarize="dynamic")
    vae = pv.VAE((1, 8, 8), 2, network=pv.networks.MLP((8,)))
    manifest = train(vae, data, epochs=1, batch_size=500).manifest
    assert manifest["data"]["binarization"] == "dynamic"
    assert any("test split binarized once" in note for note in manifest["data"]["notes"])
    assert manifest["data"]["source"] == "embedded in scikit-learn"


def test_is_json(trained):
    assert json.loads(json.dumps(trained.manifest))["data"]["name"] == "small"


def test_a_users_pair_is_described_without_addresses():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", pyro.distributions.Normal(torch.zeros(6), 1.0).to_event(1))
            pyro.sample("x", pyro.distributions.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x):
        gain = pyro.param("gain", torch.tensor(0.5))
        with pyro.plate("data", len(x)):
            pyro.sample("z", pyro.distributions.Normal(gain * x, 1.0).to_event(1))

    described = json.dumps(train((model, guide), small_data(), epochs=1).manifest["model"])
    assert "model" in described
    assert "guide" in described
    assert " at 0x" not in described


def manifest_of(**changes):
    own = {
        "model": {"a": 1},
        "data": {"train_sha256": "x"},
        "seed": 0,
        "settings": {"lr": 1e-3, "epochs": 3, "patience": 2},
    }
    return {**own, **changes}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"settings": {"lr": 1e-3, "epochs": 9, "patience": None}},
        {"device": "cuda: other", "num_threads": 7, "versions": {"torch": "9"}},
        {"model": json.loads(json.dumps({"a": 1}))},
        {"data": {"train_sha256": "x", "name": "renamed.npz", "source": "elsewhere", "notes": ["of renamed.npz"]}},
    ],
)
def test_the_same_run_may_be_continued(changes):
    require_same_run(manifest_of(), manifest_of(**changes), "here")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"seed": 1}, "seed was 0, is now 1"),
        ({"model": {"a": 2}}, "model was {'a': 1}, is now {'a': 2}"),
        ({"data": {"train_sha256": "y"}}, "data was"),
        ({"settings": {"lr": 1e-2}}, "lr was 0.001, is now 0.01"),
        ({"settings": {"lr": 1e-3, "schedule": "cosine"}}, "schedule was None, is now 'cosine'"),
    ],
)
def test_another_run_is_refused_by_field(changes, field):
    with pytest.raises(CheckpointError, match=f"here: the checkpoint is of another run: {field}"):
        require_same_run(manifest_of(), manifest_of(**changes), "here")


def test_another_split_is_told_before_the_batch_size_that_follows_from_it():
    other = manifest_of(data={"train_sha256": "y"}, settings={"lr": 1e-3, "batch_size": 58})
    with pytest.raises(CheckpointError, match="another run: data was"):
        require_same_run(manifest_of(settings={"lr": 1e-3, "batch_size": 64}), other, "here")


def test_tuples_and_lists_are_alike():
    require_same_run(manifest_of(model={"shape": [1, 2]}), manifest_of(model={"shape": (1, 2)}), "here")


def test_the_objective_is_described_with_its_numbers():
    result = train(small_vae(), small_data(), elbo=inf.Beta(inf.AnalyticKL(num_particles=3), 0.5), epochs=1)
    assert "beta=0.5" in result.manifest["settings"]["elbo"]
    assert "num_particles=3" in result.manifest["settings"]["elbo"]
