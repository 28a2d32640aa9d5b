"""Laws of every multimodal VAE: sites, missing modalities, gradients, storage, and what is refused."""

import numpy as np
import pyro
import pytest
import torch
from pyro import poutine

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae import models
from ppl_vae.errors import DataError, ModelError

SHAPE = (1, 4, 3)
KINDS = {
    "product": {"fusion": "product"},
    "mixture": {"fusion": "mixture"},
    "mixture-of-products": {"fusion": "mixture-of-products"},
    "private": {"fusion": "mixture", "private_dim": 2},
    "private-products": {
        "fusion": "mixture-of-products", "private_dim": 1, "modalities": {"top": 1, "mid": 2, "low": 1},
    },
    "joint-flow": {"fusion": "joint-flow"},
}  # fmt: skip
EVERY = pytest.mark.parametrize("kind", KINDS)


def made(kind, **options):
    network = {"name": "mlp", "hidden": (8,)}
    return models.MultimodalVAE(SHAPE, **{"latent_dim": 3, "network": network, **KINDS[kind], **options})


def objective_of(vae):
    if vae.config["fusion"] == "joint-flow":
        return inf.DistilledConditionals("monte-carlo-kl", vae.blocks.proper_subsets)
    return inf.PartlyHidden("monte-carlo-kl", vae.blocks.single)


def data(n=5, seed=0):
    return torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(seed)).round()


@EVERY
def test_there_is_one_observed_site_for_each_modality(kind):
    vae, x = made(kind), data()
    model = poutine.trace(vae.model).get_trace(x)
    assert model.stochastic_nodes == ["data", "z"]
    assert model.observation_nodes == list(vae.blocks.names)
    assert torch.equal(torch.cat([model.nodes[n]["value"] for n in vae.blocks.names], -2), x)
    drawn = vae.model(size=6)
    assert drawn.shape == (6, *SHAPE)
    vae.model.check_data(drawn)


@EVERY
def test_every_parameter_receives_a_gradient(kind):
    vae = made(kind)
    objective_of(vae)(vae.model, vae.guide)(data(8)).backward()
    for name, parameter in vae.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


@EVERY
def test_a_datum_is_for_itself_whatever_is_missing_from_the_others(kind):
    vae, x = made(kind).double(), data(5).double()
    x[0] = torch.nan
    for row, name in enumerate(vae.blocks.names, 1):
        x[row] = vae.hide(x[row : row + 1], name)[0]
    z = torch.randn(1, vae.total_dim, dtype=torch.float64)
    together = vae.encode(x).log_prob(z)
    alone = torch.cat([vae.encode(x[n : n + 1]).log_prob(z) for n in range(5)])
    torch.testing.assert_close(together, alone)
    bound = inf.MonteCarloKL().per_datum(vae, x)
    assert bound.isfinite().all()
    if kind != "joint-flow":
        # Nothing is there: the guide is the prior, and the bound of nothing is 0.
        assert bound[0].item() == pytest.approx(0.0, abs=1e-9)


@EVERY
def test_what_is_hidden_has_no_part_in_guide_or_likelihood(kind):
    vae, x = made(kind).double(), data().double()
    name = vae.blocks.names[0]
    other = torch.where(vae.blocks.hidden((name,)), 1 - x, x)
    z = torch.randn(5, vae.total_dim, dtype=torch.float64)
    first, second = (vae.encode(vae.hide(given, name)).log_prob(z) for given in (x, other))
    assert torch.equal(first, second)
    whole = vae.decode(z).log_prob(x)
    rest = vae.decode(z).log_prob(vae.hide(x, name))
    part = vae.decode(z).log_prob(vae.hide(x, *vae.blocks.names[1:]))
    torch.testing.assert_close(whole, rest + part)


@pytest.mark.slow
@EVERY
def test_the_guide_integrates_to_one(kind):
    """By importance sampling from a wide Gaussian, in the few dimensions that there are."""
    # A flow bends two coordinates or more.
    sizes = {"latent_dim": 2 if kind == "joint-flow" else 1} | ({"private_dim": 1} if "private" in kind else {})
    vae = made(kind, **sizes).double()
    wide = torch.distributions.Independent(
        torch.distributions.Normal(torch.zeros(vae.total_dim, dtype=torch.float64), 2.5), 1
    )
    torch.manual_seed(0)
    z = wide.sample((40_000,))
    for given in (data(1).double(), vae.hide(data(1), vae.blocks.names[0])):
        q = vae.encode(given)
        weight = (q.expand((40_000,)).log_prob(z) - wide.log_prob(z)).exp().detach()
        assert abs(weight.mean() - 1) < 4 * weight.std() / 200 + 1e-3


@EVERY
def test_the_bound_lies_below_the_evidence_and_stock_pyro_agrees(kind):
    vae, x = made(kind), data()
    torch.manual_seed(0)
    with torch.no_grad():
        bound = inf.MonteCarloKL(400).per_datum(vae, x).mean()
    assert bound < pv.log_evidence(vae, x, num_samples=2000).mean + 0.05
    losses = []
    for elbo in (inf.MonteCarloKL(), pyro.infer.Trace_ELBO()):
        torch.manual_seed(3)
        losses.append(elbo.loss(vae.model, vae.guide, x))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.slow
@EVERY
def test_save_and_load_give_the_same_numbers(kind, tmp_path):
    vae, x = made(kind, seed=1), data()
    vae.save(tmp_path / "model")
    loaded = pv.load(tmp_path / "model")
    assert loaded.config == vae.config
    assert torch.equal(loaded.reconstruct(x), vae.reconstruct(x))
    assert torch.equal(pv.evaluate(loaded, x, seed=2).elbo, pv.evaluate(vae, x, seed=2).elbo)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:compile=True")
@pytest.mark.parametrize("kind", ["product", "private", "joint-flow"])
def test_captured_steps_are_the_eager_ones(kind):
    """A spline takes as many values as lie inside of it, so that the steps of one stay eager, with a word."""
    losses = []
    for compile in (False, True):
        vae = made(kind)
        result = pv.fit(
            vae, data(64), elbo=objective_of(vae), epochs=2, batch_size=16, compile=compile, device="cpu",
            progress=False,
        )  # fmt: skip
        losses.append(result.history["loss"].to_numpy())
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)


@pytest.mark.slow
@EVERY
def test_history_and_evaluation_are_of_the_data_as_they_came(kind):
    """Not of the copies with modalities missing, beside which they are trained."""
    vae, x = made(kind), data(400)
    result = pv.fit(
        vae, x, elbo=objective_of(vae), epochs=1, batch_size=400, lr=1e-9, compile=False, device="cpu",
        progress=False,
    )  # fmt: skip
    whole = pv.evaluate(vae, x).elbo
    error = 4 * whole.std().item() / 20 + 0.1
    assert abs(result.history["train_elbo"].iloc[0] - whole.mean().item()) < error


def test_draws_given_one_modality_and_given_none():
    vae, x = made("private"), data()
    torch.manual_seed(0)
    assert vae.complete(vae.hide(x, "x1"), 3).shape == (3, 5, *SHAPE)
    assert set(vae.complete(x, with_noise=True).unique().tolist()) <= {0.0, 1.0}
    assert vae.sample(4).shape == (4, *SHAPE)


def test_parts_are_joined_by_name_and_what_is_absent_is_missing():
    vae, x = made("product"), data()
    joined = vae.blocks.join({"x2": x[:, :, 2:]})
    assert joined[:, :, :2].isnan().all()
    assert torch.equal(joined[:, :, 2:], x[:, :, 2:])
    assert torch.equal(vae.blocks.present(joined), torch.tensor([[False, True]]).expand(5, 2))
    with pytest.raises(DataError, match=r"modality 'x2': expected \[5, 1, 2, 3\], found \[5, 1, 1, 3\]"):
        vae.blocks.join({"x1": x[:, :, :2], "x2": x[:, :, 3:]})
    with pytest.raises(DataError, match=r"modalities are 'x1', 'x2', found \['x3'\]"):
        vae.blocks.join({"x3": x})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fusion": "prodct"}, "unknown fusion 'prodct'; did you mean 'product'"),
        ({"modalities": 3}, "two or more whose sizes add up to the 4 rows"),
        ({"modalities": {"a": 1, "b": 1}}, "two or more whose sizes add up to the 4 rows"),
        ({"modalities": {"z": 2, "b": 2}}, "'z' is the name of the latent site"),
        ({"fusion": "joint-flow", "private_dim": 2}, "latents of one modality need experts"),
        ({"fusion": "joint-flow", "flow": "planar"}, "flow 'planar' has no density at draws of the joint guide"),
        ({"private_dim": -1}, "private_dim must be an integer of at least 0"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(options, message):
    with pytest.raises(ModelError, match=message):
        models.MultimodalVAE(SHAPE, 2, **options)


@pytest.mark.parametrize("extreme", [-60.0, 60.0])
@pytest.mark.parametrize("kind", ["product", "mixture", "mixture-of-products"])
def test_experts_of_extreme_width_have_finite_bounds_and_gradients_in_single_precision(kind, extreme):
    vae = made(kind)
    with torch.no_grad():
        vae.guide.heads[0].scale_head.bias.fill_(extreme)
    bound = inf.MonteCarloKL().per_datum(vae, data())
    bound.sum().backward()
    assert bound.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in vae.parameters())
