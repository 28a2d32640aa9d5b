"""Whatever happens to a stored model, loading gives the model that was saved or one error of ours."""

import contextlib
import json
import shutil

import pytest
import torch

import ppl_vae as pv
from ppl_vae.errors import CheckpointError, ModelError, PplVaeError
from ppl_vae.networks import MLP
from tests.damage import damaged_bytes, damaged_header, damaged_tree, sealed_anew, streams, unsealed

MODELS = {
    "vae": lambda: pv.VAE(
        (1, 3, 4),
        2,
        network=MLP((6,)),
        prior={"name": "flow", "num_transforms": 1, "hidden": 4},
        likelihood={"name": "gaussian", "sigma": "learned"},
    ),
    "linear-gaussian": lambda: pv.LinearGaussianVAE(torch.ones(3, 1), torch.zeros(3), 1.0),
    "hierarchical": lambda: pv.models.HierarchicalVAE((4,), (3, 2), hidden=(5,), network=MLP((4,))),
}
FILES = ("config.json", "weights.safetensors")


@pytest.fixture
def saved(tmp_path, request):
    model = MODELS[request.param]()
    model.save(tmp_path / "good")
    return model, tmp_path / "good"


def damage(folder, rng, believable):
    """One of the two files damaged; ``believable`` takes the checksums along, or away as in version 0.1.0."""
    config, weights = (folder / name for name in FILES)
    kind = rng.randrange(4)
    if kind == 0:
        path = rng.choice((config, weights))
        path.write_bytes(damaged_bytes(path.read_bytes(), rng))
        return
    old = json.loads(config.read_text())
    content = weights.read_bytes()
    if believable == "old":
        old.pop("weights_sha256")
        content = unsealed(content)
    if kind == 1:
        content = damaged_header(content, rng)
    elif kind == 2 and believable != "old":
        content = damaged_header(content, rng, "config")
    else:
        old = damaged_tree(old, rng)
    if believable == "resealed":
        with contextlib.suppress(ValueError, KeyError):
            content = sealed_anew(content)
            if isinstance(old, dict):
                old["weights_sha256"] = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])[
                    "__metadata__"
                ]["sha256"]
    config.write_text(json.dumps(old))
    weights.write_bytes(content)


def require_law(model, good, number, seed):
    refused = 0
    for rng in streams(number, seed):
        folder = good.with_name("bad")
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(good, folder)
        believable = rng.choice(("", "", "resealed", "old"))
        damage(folder, rng, believable)
        try:
            loaded = pv.load(folder)
        except PplVaeError:
            refused += 1
            continue
        if believable:
            # Somebody made it so; it is a model all the same.
            assert all(p.isfinite().all() for p in loaded.parameters())
            continue
        assert loaded.config == model.config
        found, expected = loaded.state_dict(), model.state_dict()
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert refused > number / 2


@pytest.mark.slow
@pytest.mark.parametrize("saved", MODELS, indirect=True)
def test_a_damaged_folder_is_refused_or_was_not_damaged(saved):
    require_law(*saved, number=40, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("saved", MODELS, indirect=True)
def test_many_damaged_folders_are_refused_or_were_not_damaged(saved):
    require_law(*saved, number=500, seed=1)


HUGE = {
    "latent dimensions": {"latent_dim": 10**9, "prior": {"name": "standard"}},
    "hidden units": {"network": {"name": "mlp", "hidden": [30000, 30000]}},
    "pixels": {"event_shape": [1, 4, 10**9]},
    "more than a tensor can have": {"event_shape": [1, 10**15, 10**15]},
    "transforms": {"prior": {"name": "flow", "num_transforms": 10**9, "hidden": 4}},
    "hidden units of a flow": {"prior": {"name": "flow", "num_transforms": 1, "hidden": 10**6}},
}


@pytest.mark.parametrize("saved", ["vae"], indirect=True)
@pytest.mark.parametrize("change", HUGE)
def test_a_configuration_that_asks_for_the_machine_is_refused_before_it_gets_it(saved, change, monkeypatch):
    _, folder = saved
    stored = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(stored | HUGE[change]))
    # Nothing real may be built: whatever is not on the meta device would be the machine's memory.
    uniform = torch.Tensor.uniform_
    monkeypatch.setattr(
        torch.Tensor,
        "uniform_",
        lambda t, *a, **k: uniform(t, *a, **k) if t.is_meta or t.numel() < 10**6 else 1 / 0,
    )
    with pytest.raises(
        (CheckpointError, ModelError), match=r"another architecture|not the weights of|not the configuration"
    ):
        pv.load(folder)


@pytest.mark.parametrize("name", ["x", "load", "nn", "int8", "complex64", 3, None])
def test_the_type_of_a_linear_gaussian_model_is_no_name_of_torch(name, tmp_path):
    MODELS["linear-gaussian"]().save(tmp_path)
    stored = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(stored | {"dtype": name}))
    with pytest.raises(ModelError, match=r"config\.json: expected event_shape"):
        pv.load(tmp_path)
