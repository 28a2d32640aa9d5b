"""Counts of any scale: what the encoder sees of them, where the decoder starts, and what old folders keep."""

import copy
import json
import math

import pytest
import torch
from safetensors.torch import load_file, save_file

import ppl_vae as pv
from ppl_vae.errors import DataError, ModelError
from ppl_vae.models.likelihoods.count_networks import LogCounts
from ppl_vae.networks import Conv

COUNTS = ("poisson", "negative-binomial")


def table_of_counts(rows, columns):
    """Counts as of genes: rates of columns over five orders of magnitude, sizes of rows, four hidden causes."""
    generator = torch.Generator().manual_seed(0)
    normal = [torch.randn(shape, generator=generator) for shape in ((columns,), (4, columns), (rows, 4), (rows, 1))]
    base, effect, cause, size = normal
    rate = (2 * base + cause @ (0.7 * effect) + 0.5 * size).exp() * 2
    return torch.poisson(rate, generator=generator).clamp(max=28_000)


@pytest.mark.slow
@pytest.mark.parametrize("likelihood", COUNTS)
def test_counts_of_genes_train(likelihood):
    x = table_of_counts(400, 100)
    assert x.max() == 28_000
    vae = pv.VAE((100,), 5, likelihood=likelihood)
    started = pv.VAE((100,), 5, likelihood=likelihood)
    started.initialise(x)
    before = pv.evaluate(started, x).elbo.mean()
    history = pv.fit(vae, x, epochs=5, batch_size=50, progress=False, compile=False).history
    # A quarter of a nat a gene is the least that the causes explain.
    assert history.train_elbo.iloc[-1] > before + 0.25 * 100


@pytest.mark.parametrize("likelihood", COUNTS)
@pytest.mark.parametrize("mean", [5, 100, 1000])
def test_plain_models_of_counts_of_any_mean_train_from_the_first_step(mean, likelihood):
    x = torch.poisson(2 * mean * torch.rand(128, 30))
    history = pv.fit(pv.VAE((30,), 3, likelihood=likelihood), x, epochs=3, progress=False, compile=False).history
    assert torch.isfinite(torch.tensor(history.train_elbo.to_numpy())).all()
    assert history.train_elbo.iloc[-1] > history.train_elbo.iloc[0]


def test_fit_starts_a_decoder_at_the_rates_unless_somebody_trained_or_loaded_it(tmp_path):
    x = table_of_counts(60, 12)
    rates = ((x.sum(0) + 0.5) / len(x)).log()

    def bias_after_no_step(vae):
        pv.fit(vae, x, epochs=1, lr=1e-12, progress=False, compile=False)
        return list(vae.model.decoder.parameters())[-1].detach()

    vae = pv.VAE((12,), 2, likelihood="poisson")
    torch.testing.assert_close(bias_after_no_step(vae), rates)
    torch.testing.assert_close(bias_after_no_step(copy.deepcopy(vae)), rates)
    with torch.no_grad():
        list(vae.model.decoder.parameters())[-1].zero_()
    assert bias_after_no_step(vae).abs().max() < 1e-6
    vae.save(tmp_path)
    assert bias_after_no_step(pv.load(tmp_path)).abs().max() < 1e-6
    other = pv.VAE((12,), 2, likelihood="gaussian")
    before = list(other.model.decoder.parameters())[-1].clone()
    torch.testing.assert_close(bias_after_no_step(other), before)


def test_an_encoder_of_ours_sees_the_logarithm_and_one_of_the_users_the_counts():
    x = torch.tensor([[0.0, 1.0, 28_000.0]])
    torch.testing.assert_close(LogCounts()(x), x.log1p())
    assert isinstance(pv.VAE((3,), 2, likelihood="poisson").guide.encoder[0], LogCounts)
    encoder = torch.nn.Linear(3, 4)
    own = pv.VAE((3,), 2, network=(encoder, torch.nn.Linear(2, 3)), likelihood="poisson")
    assert own.guide.encoder is encoder
    of_holes = pv.VAE((3,), 2, likelihood={"name": "missing-pixels", "of": "poisson"})
    assert isinstance(of_holes.guide.encoder.encoder[0], LogCounts)
    with pytest.raises(ModelError, match="encoder_sees"):
        pv.VAE((3,), 2, likelihood={"name": "poisson", "encoder_sees": "square root"})


def test_a_pseudo_input_below_zero_keeps_its_gradient():
    u = torch.tensor([-3.0, 0.0, 2.0], requires_grad=True)
    LogCounts()(u).sum().backward()
    torch.testing.assert_close(u.grad, torch.tensor([1.0, 1.0, 1 / 3]))


@pytest.mark.slow
@pytest.mark.parametrize("likelihood", [*COUNTS, {"name": "missing-pixels", "of": "poisson"}], ids=str)
def test_folders_from_before_give_the_same_numbers(likelihood, tmp_path):
    """Their configuration says nothing of what the encoder sees: it saw the counts."""
    name = likelihood if isinstance(likelihood, str) else likelihood["of"]
    spec = {"name": name, "encoder_sees": "x"}
    vae = pv.VAE((3,), 2, likelihood=spec if isinstance(likelihood, str) else {**likelihood, "of": spec})
    x = torch.poisson(3 * torch.rand(4, 3))
    vae.save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    part = config["likelihood"] if isinstance(likelihood, str) else config["likelihood"]["of"]
    assert part.pop("encoder_sees") == "x"
    del config["weights_sha256"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    # Such folders have no checksum in their weights either.
    save_file(load_file(tmp_path / "weights.safetensors"), tmp_path / "weights.safetensors")
    loaded = pv.load(tmp_path)
    assert torch.equal(pv.evaluate(loaded, x).elbo, pv.evaluate(vae, x).elbo)
    new = pv.VAE((3,), 2, likelihood=likelihood)
    new.save(tmp_path / "new")
    assert torch.equal(pv.evaluate(pv.load(tmp_path / "new"), x).elbo, pv.evaluate(new, x).elbo)


@pytest.mark.parametrize(("network", "shape"), [("mlp", (6,)), ("linear", (6,)), (Conv((3, 4), 5), (2, 4, 4))])
def test_the_decoder_starts_at_the_rates_of_the_data(network, shape):
    rate = torch.tensor([3.0, 500.0]).repeat_interleave(math.prod(shape) // 2).reshape(shape)
    x = torch.poisson(rate.expand(50, *shape))
    vae = pv.VAE(shape, 2, network=network, likelihood="poisson")
    vae.initialise(x)
    # At z = 0 an MLP still adds what its hidden units give: a factor, and no order of magnitude.
    ratio = vae.decode(torch.zeros(1, 2)).mean[0] / x.mean(0)
    assert (ratio.log().abs() < 1.0).all()


def test_missing_counts_are_left_out_of_the_rates():
    x = torch.tensor([[4.0, float("nan")], [6.0, float("nan")]])
    vae = pv.VAE((2,), 1, network="linear", likelihood={"name": "missing-pixels", "of": "poisson"})
    vae.initialise(x)
    found = vae.model.decoder.bias.exp()
    assert found[0].item() == pytest.approx(10.5 / 2)
    assert torch.isfinite(found).all()


@pytest.mark.parametrize(("dtype", "most"), [(torch.bfloat16, 256), (torch.float16, 2048)])
def test_counts_that_the_precision_cannot_hold_are_refused(dtype, most):
    vae = pv.VAE((2,), 1, likelihood="poisson").to(dtype)
    assert torch.isfinite(pv.evaluate(vae, torch.full((3, 2), float(most))).elbo).all()
    with pytest.raises(DataError, match=f"holds every whole number to {most} only: convert the model to float32"):
        pv.evaluate(vae, torch.full((3, 2), 4.0 * most))
