"""Objectives of data with coordinates missing: values against the bounds of each part, and what they refuse."""

import pytest
import torch

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae import models
from ppl_vae.errors import DataError, ModelError

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def pair():
    network = {"name": "mlp", "hidden": (6,)}
    return models.MultimodalVAE((4,), 2, network=network, likelihood="gaussian").double()


def test_the_value_is_the_weighted_mean_of_the_bounds(pair):
    """The KL is in closed form and the draws are many: each bound by itself, and the objective, agree."""
    x = torch.randn(3, 4, dtype=torch.float64)
    objective = inf.PartlyHidden(inf.AnalyticKL(6000), pair.blocks.single, weight=0.5)
    with torch.no_grad():
        bounds = [
            inf.AnalyticKL(6000).per_datum(pair, given).mean()
            for given in (x, pair.hide(x, "x2"), pair.hide(x, "x1"))
        ]
        loss = objective(pair.model, pair.guide)(x) / 3
    wanted = (bounds[0] + 0.5 * (bounds[1] + bounds[2])) / 2
    assert loss.item() == pytest.approx(-wanted.item(), abs=0.05)


@pytest.mark.parametrize("beta", [0.0, 0.3])
def test_a_kl_weight_on_top_is_one_on_the_data_and_on_every_copy(pair, beta):
    """In value and gradient, on the same draws, against the three bounds written out."""
    x = torch.randn(3, 4, dtype=torch.float64)
    objective = inf.Beta(inf.PartlyHidden("analytic-kl", pair.blocks.single, weight=0.5), beta)
    torch.manual_seed(0)
    terms = objective.run(pair.model, pair.guide, x)
    assert terms.copies == 3
    loss = objective.forward(terms)
    whole, *parts = (terms.log_likelihood.mean(0) - beta * terms.kl("z").mean(0)).unflatten(0, (3, 3)).mean(1)
    wanted = -(whole + 0.5 * sum(parts)) / 2
    assert loss.item() == pytest.approx(wanted.item())
    parameters = list(pair.parameters())
    found, expected = (
        torch.autograd.grad(v, parameters, retain_graph=True, allow_unused=True) for v in (loss, wanted)
    )
    for ours, written_out in zip(found, expected, strict=True):
        assert (ours is None) == (written_out is None)
        if ours is not None:
            torch.testing.assert_close(ours, written_out)


def test_what_is_distilled_is_the_density_of_the_parts_guide_at_draws_of_the_whole(pair):
    x = torch.randn(3, 4, dtype=torch.float64)
    objective = inf.DistilledConditionals("monte-carlo-kl", pair.blocks.proper_subsets)
    torch.manual_seed(0)
    terms = objective.run(pair.model, pair.guide, x)
    z = terms.sites["z"].value[0, :3]
    wanted = [pair.encode(pair.hide(x, name)).log_prob(z) for name in ("x2", "x1")]
    torch.testing.assert_close(objective.conditional_log_density(terms)[0], torch.stack(wanted))
    whole = terms.log_weight[0, :3].mean()
    assert objective.forward(terms).item() == pytest.approx(-(whole + sum(w.mean() for w in wanted) / 2).item())


def test_the_joint_guide_does_not_follow_what_is_distilled():
    vae = models.MultimodalVAE((4,), 2, fusion="joint-flow", likelihood="gaussian")
    x = torch.randn(8, 4)
    objective = inf.DistilledConditionals("monte-carlo-kl", vae.blocks.proper_subsets)
    terms = objective.run(vae.model, vae.guide, x)
    density = objective.conditional_log_density(terms).sum()
    joint = [*vae.guide.joint.parameters(), *vae.guide.encoder.parameters(), *vae.model.parameters()]
    found = torch.autograd.grad(density, joint, allow_unused=True, retain_graph=True)
    assert all(g is None or g.abs().max() == 0 for g in found)
    flows = torch.autograd.grad(density, list(vae.guide.conditional.parameters()), allow_unused=True)
    assert any(g is not None and g.abs().max() > 0 for g in flows)


def test_what_they_cannot_be_is_refused(pair):
    x = torch.randn(3, 4, dtype=torch.float64)
    objective = inf.PartlyHidden("monte-carlo-kl", pair.blocks.single)
    with pytest.raises(ModelError, match=r"PartlyHidden needs terms of its own run\(\)"):
        objective.forward(inf.trace_terms(pair, x))
    plain = pv.VAE((4,), 2)
    with pytest.raises(ModelError, match="the model does not say allows_missing"):
        objective.run(plain.model, plain.guide, x)
    with pytest.raises(ModelError, match=r"hidden is for data of shape \[4\], got \[3\]"):
        objective.run(pair.model, pair.guide, x[:, :3])
    with pytest.raises(ModelError, match="hidden must be a tensor of booleans"):
        inf.PartlyHidden("monte-carlo-kl", torch.ones(1, 4))
    with pytest.raises(ModelError, match="needs an estimator of draws that are all alike, not Enumeration"):
        inf.PartlyHidden(inf.Enumeration(2), pair.blocks.single)
    with pytest.raises(DataError, match="hidden: expected booleans"):
        inf.conditional_evidence(pair, x, torch.zeros(4, dtype=torch.bool), 10)
    with pytest.raises(ModelError, match="conditional evidence hides coordinates"):
        inf.conditional_evidence(pv.VAE((4,), 2), x, torch.ones(4, dtype=torch.bool), 10)
