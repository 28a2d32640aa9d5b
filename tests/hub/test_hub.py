"""Models go to a local fake of the Hub and come back the same, without pickle; the card tells the run's numbers."""

import pickle

import pytest
import torch

import ppl_vae as pv
from ppl_vae.diagnostics.topics import QUICK
from ppl_vae.errors import CheckpointError, ModelError
from tests.inference.small_runs import small_data, small_vae, train, weight_bytes

pytest.importorskip("huggingface_hub")
from tests.hub.fake_hub import FakeHub

NAME = "somebody/small"


@pytest.fixture
def hub():
    server = FakeHub()
    yield server
    server.shutdown()
    server.server_close()


def pushed(hub, model, **options):
    return pv.push_to_hub(model, NAME, token="hf_secret", endpoint=hub.url, **options)


def loaded(hub, cache, name=NAME, **options):
    return pv.from_hub(name, endpoint=hub.url, token=False, cache_dir=cache, **options)


@pytest.mark.slow
def test_a_model_comes_back_the_same_with_its_manifest_and_card(hub, tmp_path):
    result = train(small_vae(), small_data(), epochs=2, validation=0.2, out_dir=tmp_path / "run")
    diagnosis = pv.diagnose(result.model, small_data(), topics="collapse", effort=QUICK, progress=False)
    address = pushed(hub, result, diagnosis=diagnosis, license="mit")
    assert address.startswith(f"{hub.url}/{NAME}/commit/")
    assert "Bearer hf_secret" in hub.tokens
    files = hub.repositories[NAME]
    assert set(files) == {"config.json", "weights.safetensors", "manifest.json", "README.md"}
    again = loaded(hub, tmp_path / "cache")
    assert weight_bytes(again) == weight_bytes(result.model)
    card = files["README.md"].decode()
    row = result.history.iloc[result.best_epoch - 1]
    assert f"| validation elbo | {row.validation_elbo:.4g} |" in card
    assert 'license: "mit"' in card
    assert f"pv.from_hub('{NAME}')" in card
    assert result.manifest["data"]["train_sha256"] in card
    assert diagnosis.verdicts[0].words.split(".")[0][:30] in card.replace("\\", "")
    # The folder of the run says the same.
    pushed(hub, tmp_path / "run", diagnosis=diagnosis, license="mit")
    assert hub.repositories[NAME]["README.md"].decode() == card


@pytest.mark.slow
def test_nothing_but_two_files_is_fetched_and_nothing_is_unpickled(hub, tmp_path):
    pushed(hub, small_vae())
    hub.repositories[NAME] |= {"pytorch_model.bin": pickle.dumps(print), "modeling.py": b"raise SystemExit"}
    hub.asked.clear()
    loaded(hub, tmp_path)
    fetched = {path.rpartition("/")[2] for kind, path in hub.asked if "/resolve/" in path}
    assert fetched == {"config.json", "weights.safetensors"}
    assert not list(tmp_path.rglob("*.bin"))


@pytest.mark.slow
def test_what_is_damaged_missing_or_no_model_of_ours_is_said(hub, tmp_path):
    with pytest.raises(CheckpointError, match="nobody/nothing: the Hub could not be used"):
        loaded(hub, tmp_path, "nobody/nothing")
    with pytest.raises(CheckpointError, match="the Hub could not be used"):
        loaded(hub, tmp_path, "no name/of a/repository")
    hub.repositories["somebody/other"] = {"config.json": b"{}"}
    with pytest.raises(CheckpointError, match=r"somebody/other: holds no model of ppl_vae \(weights"):
        loaded(hub, tmp_path, "somebody/other")
    pushed(hub, small_vae())
    content = bytearray(hub.repositories[NAME]["weights.safetensors"])
    content[-3] ^= 1
    hub.repositories[NAME]["weights.safetensors"] = bytes(content)
    with pytest.raises(CheckpointError, match=r"weights\.safetensors"):
        loaded(hub, tmp_path)
    with pytest.raises(ModelError, match="cannot be saved"):
        pushed(hub, (lambda x: None, lambda x: None))


@pytest.mark.slow
def test_a_network_of_the_authors_own_is_asked_for(hub, tmp_path):
    def network():
        return torch.nn.Linear(6, 4), torch.nn.Linear(2, 12)

    vae = pv.VAE((6,), 2, network=network(), likelihood="gaussian")
    pushed(hub, vae)
    assert "network=..." in hub.repositories[NAME]["README.md"].decode()
    with pytest.raises(ModelError, match="network"):
        loaded(hub, tmp_path)
    assert weight_bytes(loaded(hub, tmp_path, network=network())) == weight_bytes(vae)


@pytest.mark.slow
def test_the_card_tells_nothing_of_folders_and_no_name_is_markup(hub, tmp_path):
    result = train(small_vae(), small_data(), epochs=1)
    result.manifest["data"] |= {"source": "/home/me/secret.csv", "name": "a|b\n<script>"}
    pushed(hub, result)
    files = hub.repositories[NAME]
    assert not any(b"secret" in content for content in files.values())
    assert "a\\|b \\<script\\>" in files["README.md"].decode()
