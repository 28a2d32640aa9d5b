"""Training a quantised pair: the straight-through gradient by hand, the codebook's step, and resumed runs."""

import pytest
import torch
from torch import nn

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.errors import ModelError
from ppl_vae.inference.compilation.step_choice import Choice
from ppl_vae.models import VQVAE
from ppl_vae.networks import MLP

SHAPE, CELLS, CODES, DIM = (5,), 2, 3, 2
BETA = 0.4

# What fit asks for a way to take its steps.
LOOP_CHOICE = "ppl_vae.inference.training.run_steps.choose"


def small(learning="ema", prior="uniform", seed=0):
    codebook = {"learning": learning, "decay": 0.9, "revive_below": 0.0}
    vae = VQVAE(SHAPE, CELLS, CODES, DIM, network=MLP((4,), "tanh"), prior=prior, codebook=codebook, seed=seed)
    return vae.double()


def binary(n=8):
    return torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(1)).round().double()


def by_hand(vae, x):
    """The loss and its gradient by the names of parameters, with no operation of the library's."""
    encoder = nn.Sequential(vae.guide.encoder, vae.guide.head)
    code = vae.codebook.code.detach()
    encoded = encoder(x).reshape(len(x), CELLS, DIM)
    k = ((encoded[:, :, None] - code) ** 2).sum(-1).argmin(-1)
    word = code[k].clone().requires_grad_()
    logits = vae.model.decoder(word.flatten(1))
    distortion = nn.functional.binary_cross_entropy_with_logits(logits, x, reduction="sum") / len(x)
    decoder = dict(vae.model.decoder.named_parameters(prefix="model.decoder"))
    at_word, *of_decoder = torch.autograd.grad(distortion, [word, *decoder.values()])
    apart = encoded.detach() - code[k]
    # d/dz of beta mean over data and cells of |z - e|^2; what the decoder says of its input is passed on.
    at_encoded = at_word + BETA * 2 * apart / (len(x) * CELLS)
    named = dict(vae.guide.named_parameters(prefix="guide"))
    gradients = dict(zip(named, torch.autograd.grad(encoded, list(named.values()), at_encoded), strict=True))
    gradients |= dict(zip(decoder, of_decoder, strict=True))
    squared = (apart**2).sum() / (len(x) * CELLS)
    if vae.codebook.learning == "gradient":
        of_code = torch.zeros_like(code)
        for row, index in zip(-2 * apart.flatten(0, 1) / (len(x) * CELLS), k.flatten(), strict=True):
            of_code[index] += row
        gradients["model.codebook.code"] = of_code
    weight = BETA + (vae.codebook.learning == "gradient")
    return distortion + CELLS * torch.tensor(CODES).double().log() + weight * squared, gradients, encoded, k


@pytest.mark.parametrize("learning", ["ema", "gradient"])
def test_value_and_gradient_are_those_written_out(learning):
    """The encoder takes the decoder's gradient as it is, and beta of the commitment; codes take their own term."""
    vae, x = small(learning), binary()
    wanted, gradients, *_ = by_hand(vae, x)
    loss = inf.VectorQuantisation("analytic-kl", BETA)(vae.model, vae.guide)(x)
    assert loss.item() == pytest.approx(len(x) * wanted.item(), rel=1e-12)
    loss.backward()
    named = dict(vae.named_parameters())
    assert named.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(named[name].grad, len(x) * gradient, rtol=1e-10, atol=1e-12)
        assert gradient.abs().max() > 1e-6, name


@pytest.mark.parametrize("estimator", [inf.MonteCarloKL(3), inf.ImportanceWeighted(4), inf.EntropyAnalytic()])
def test_any_bound_with_draws_of_the_guide_has_the_same_gradient_for_networks(estimator):
    """All draws are one point, so all of these bounds are one bound."""
    found = []
    for elbo in ("analytic-kl", estimator):
        vae = small(prior="autoregressive").eval()
        loss = inf.VectorQuantisation(elbo, BETA)(vae.model, vae.guide)(binary())
        loss.backward()
        found.append([loss.detach(), *(p.grad for p in vae.parameters())])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_the_learned_prior_gets_its_gradient_from_the_bound_and_gives_none_to_the_encoder():
    """At a uniform prior d/d(bias) of -log p(k) is 1/K less the share of the code in its cell."""
    x, found = binary(), {}
    for prior in ("uniform", "autoregressive"):
        vae = small(prior=prior).eval()
        found[prior] = vae
        # Networks are drawn in another order where the prior has its own.
        vae.guide.load_state_dict(found["uniform"].guide.state_dict())
        vae.model.decoder.load_state_dict(found["uniform"].model.decoder.state_dict())
        vae.codebook.load_state_dict(found["uniform"].codebook.state_dict())
        if prior == "autoregressive":
            nn.init.zeros_(vae.model.prior.head.weight)
        inf.VectorQuantisation()(vae.model, vae.guide)(x).backward()
    for ours, theirs in zip(*(vae.guide.parameters() for vae in found.values()), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-10, atol=1e-12)
    prior = found["autoregressive"].model.prior
    share = found["autoregressive"].codes(x)
    at_uniform = torch.full((CELLS, CODES), 1 / CODES).double()
    used = torch.stack([share[:, m].bincount(minlength=CODES) / len(x) for m in range(CELLS)])
    torch.testing.assert_close(prior.bias.grad, len(x) * (at_uniform - used))


def test_codes_follow_in_a_training_step_and_at_no_other_time():
    """After one step they are the means of what they stand for; evaluation and values leave them as they were."""
    vae, x = small(), binary()
    objective = inf.VectorQuantisation()
    before = vae.codebook.code.clone()
    pv.evaluate(vae, x), vae.reconstruct(x), vae.codes(x), vae.sample(3), inf.trace_terms(vae.model, vae.guide, x)
    objective.loss(vae.model, vae.guide, x)
    vae.eval()
    objective.loss_and_grads(vae.model, vae.guide, x)
    assert torch.equal(vae.codebook.code, before)
    assert vae.codebook.count.sum() == 0
    vae.train()
    _, _, encoded, k = by_hand(vae, x)
    objective.loss_and_grads(vae.model, vae.guide, x)
    used = k.unique()
    assert len(used) > 1
    for i in used:
        torch.testing.assert_close(vae.codebook.code[i], encoded[k == i].mean(0).detach())
    assert vae.codebook.count.sum().item() == pytest.approx(0.1 * k.numel())


def fitted(vae, x, **options):
    options = {"elbo": inf.VectorQuantisation(), "batch_size": 16, "lr": 5e-3, **options}
    return pv.fit(vae, x, device="cpu", progress=False, **options)


def float_pair(learning):
    codebook = {"learning": learning, "decay": 0.9}
    return VQVAE(SHAPE, CELLS, 6, DIM, network=MLP((8,)), codebook=codebook)


@pytest.mark.slow
@pytest.mark.parametrize("learning", ["ema", "gradient"])
def test_a_resumed_run_has_the_same_codes_bit_for_bit(learning, tmp_path):
    """Codes, counts and sums are in the checkpoint; revival draws from the run's own stream."""
    x = binary(40).float()
    fitted(float_pair(learning), x, epochs=4, out_dir=tmp_path / "whole")
    fitted(float_pair(learning), x, epochs=2, out_dir=tmp_path / "parts")
    resumed = float_pair(learning)
    fitted(resumed, x, epochs=4, out_dir=tmp_path / "parts", resume=True)
    weights = [(tmp_path / run / "weights.safetensors").read_bytes() for run in ("whole", "parts")]
    assert weights[0] == weights[1]
    loaded = pv.load(tmp_path / "parts")
    assert torch.equal(loaded.codebook.code, resumed.codebook.code)
    assert loaded.codebook.count.sum() > 0
    torch.testing.assert_close(loaded.reconstruct(x), resumed.reconstruct(x), rtol=0, atol=0)


@pytest.mark.parametrize("learning", ["ema", pytest.param("gradient", marks=pytest.mark.slow)])
def test_traced_steps_move_the_codes_as_eager_ones_do_bit_for_bit(learning, monkeypatch):
    x, found = binary(40).float(), []
    for mode in ("eager", "traced"):
        monkeypatch.setattr(LOOP_CHOICE, lambda *_, mode=mode: Choice(mode, "asked for"))
        vae = float_pair(learning)
        assert fitted(vae, x, epochs=3).manifest["compile"] == mode
        found.append(vae.state_dict())
    for name, value in found[0].items():
        assert torch.equal(value, found[1][name]), name


@pytest.mark.slow
def test_compiled_steps_move_the_codes_as_eager_ones_do():
    x, found = binary(40).float(), []
    for compile_ in (False, True):
        vae = float_pair("ema")
        fitted(vae, x, epochs=3, compile=compile_)
        found.append(vae.state_dict())
    for name, value in found[0].items():
        ours, theirs = value, found[1][name]
        if name.endswith("read.bias"):
            # No softmax sees the bias of its keys: that gradient is rounding, of which Adam makes whole steps.
            ours, theirs = (torch.cat([bias.chunk(3)[0], bias.chunk(3)[2]]) for bias in (ours, theirs))
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_the_second_stage_trains_the_prior_alone():
    """As the paper does: everything else, codes and counts too, stays bit for bit, and the bound rises."""
    vae, x = float_pair("ema"), binary(40).float()
    fitted(vae, x, epochs=3)
    before, elbo = {n: v.clone() for n, v in vae.state_dict().items()}, pv.evaluate(vae, x).elbo.mean()
    with vae.only_prior():
        fitted(vae, x, elbo="analytic-kl", epochs=10)
    changed = {name for name, value in vae.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {f"model.prior.{name}" for name, _ in vae.model.prior.named_parameters()}
    assert pv.evaluate(vae, x).elbo.mean() > elbo + 0.1
    assert all(p.requires_grad for p in vae.parameters())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: inf.VectorQuantisation(commitment=-1.0), "commitment must be at least 0"),
        (lambda: inf.VectorQuantisation("rloo"), "straight-through gradient, which RLOO does not use"),
    ],
)
def test_what_cannot_be_meant_is_refused(make, message):
    with pytest.raises(ModelError, match=message):
        make()


def test_a_guide_that_is_not_quantised_is_refused():
    vae = pv.VAE(SHAPE, 2, network=MLP((4,)))
    with pytest.raises(ModelError, match=r"nearest codes of a codebook; this guide draws \['z'\] in another way"):
        inf.VectorQuantisation()(vae.model, vae.guide)(binary().float())
