"""What the encoder is told of missing cells: by default which they are; a stored model says which it was."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import ppl_vae as pv
from ppl_vae import models
from ppl_vae.errors import ModelError

D = 6
MISSING = {"name": "missing-pixels", "of": "gaussian"}
UNSEEN = MISSING | {"encoder_sees_mask": False}
SEQUENCE = (4, 3)
KINDS = {
    "vae": lambda likelihood: pv.VAE((D,), 2, likelihood=likelihood),
    "image": lambda likelihood: pv.VAE((1, 8, 8), 2, network="conv", likelihood=likelihood),
    "vamp": lambda likelihood: pv.VAE((D,), 2, likelihood=likelihood, prior="vamp"),
    "denoising": lambda likelihood: pv.VAE((D,), 2, network="denoising", likelihood=likelihood),
    "hierarchical": lambda likelihood: models.HierarchicalVAE((D,), (2, 1), likelihood=likelihood),
    "ladder": lambda likelihood: models.LadderVAE((D,), (2, 1), likelihood=likelihood),
    "semi-supervised": lambda likelihood: models.SemiSupervisedVAE(
        (D,), 2, num_classes=3, likelihood=likelihood, classifier="mlp"
    ),
    "deep Markov": lambda likelihood: models.DeepMarkovModel(SEQUENCE, 2, likelihood=likelihood),
}


def holed(event_shape):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(9, *event_shape, generator=generator)
    return x.masked_fill(torch.rand(x.shape, generator=generator) < 0.3, torch.nan)


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_cell_is_told_from_an_observed_zero(kind):
    """Unless the likelihood says that the encoder sees no mask: then, as ever, it has one answer for both."""
    for likelihood, differs in ((MISSING, True), (UNSEEN, False)):
        model = KINDS[kind](likelihood).eval()
        x = holed(model.event_shape)
        with_holes, with_zeros = (
            (model.guide.features(data) for data in (x, x.nan_to_num()))
            if (kind != "deep Markov")
            else (torch.stack(model.guide.encoder(model.guide.seen(data))) for data in (x, x.nan_to_num()))
        )
        assert with_holes.isfinite().all()
        assert torch.equal(with_holes, with_zeros) is not differs
        assert pv.evaluate(model, x).elbo.isfinite().all()


def test_the_classifier_of_its_own_sees_the_mask_too():
    model = KINDS["semi-supervised"](MISSING)
    x = holed((D,))
    assert not torch.equal(model.guide.label_logits(x), model.guide.label_logits(x.nan_to_num()))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("likelihood", [MISSING, UNSEEN], ids=["mask", "no mask"])
def test_stored_and_loaded_it_gives_the_same_numbers(kind, likelihood, tmp_path):
    model = KINDS[kind](likelihood).eval()
    model.save(tmp_path)
    x = holed(model.event_shape)
    assert torch.equal(pv.evaluate(pv.load(tmp_path), x).elbo, pv.evaluate(model, x).elbo)


def test_a_model_stored_before_encoders_saw_the_mask_sees_none(tmp_path):
    """Its configuration has no word on it, and its first layer is as wide as the data."""
    model = KINDS["vae"](UNSEEN).eval()
    model.save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["likelihood"].pop("encoder_sees_mask") is False
    del config["weights_sha256"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    # Such folders have no checksum in their weights either.
    save_file(load_file(tmp_path / "weights.safetensors"), tmp_path / "weights.safetensors")
    x = holed((D,))
    assert torch.equal(pv.evaluate(pv.load(tmp_path), x).elbo, pv.evaluate(model, x).elbo)


class Asking(nn.Module):
    """A user's own encoder that looks for NaN by itself."""

    takes_missing = True

    def __init__(self):
        super().__init__()
        self.inward = nn.Linear(D, 4)

    def forward(self, x):
        return self.inward(torch.where(x.isnan(), -3.0, x))


@pytest.mark.parametrize(
    "encoder", [Asking(), models.MissingnessEncoder(nn.Linear(2 * D, 4))], ids=["attribute", "wrapped"]
)
def test_a_users_own_encoder_can_ask_for_the_mask(encoder):
    vae, x = pv.VAE((D,), 1, network=(encoder, nn.Linear(1, D)), likelihood=MISSING), holed((D,))
    assert vae.guide.sees_missing
    assert not torch.equal(vae.encode(x).mean, vae.encode(x.nan_to_num()).mean)
    pv.fit(vae, x, epochs=1, progress=False)


def test_the_indicator_stands_beside_the_values():
    encoder = models.MissingnessEncoder(nn.Flatten())
    x = torch.tensor([[1.0, torch.nan]])
    assert encoder(x).tolist() == [[1.0, 0.0, 0.0, 1.0]]


def test_the_name_alone_is_told_what_it_needs():
    for name in ("missing-pixels", {"name": "missing-pixels"}):
        with pytest.raises(ModelError, match=r"'of': 'gaussian'") as refusal:
            pv.VAE((D,), 1, likelihood=name)
        assert "__init__" not in str(refusal.value)
    with pytest.raises(ModelError, match="encoder_sees_mask must be True or False"):
        pv.VAE((D,), 1, likelihood=MISSING | {"encoder_sees_mask": "no"})


@pytest.mark.parametrize("name", ["gaussian", "bernoulli", "poisson", "student-t", "categorical"])
def test_the_refusal_of_nan_names_the_likelihood_that_takes_it(name):
    vae = pv.VAE((D,), 1, likelihood=name)
    x = torch.zeros(4, D)
    x[1, 2] = torch.nan
    for door in (vae.encode, vae.reconstruct, lambda data: pv.evaluate(vae, data), lambda data: pv.fit(vae, data)):
        with pytest.raises(pv.errors.DataError, match="missing-pixels"):
            door(x)
