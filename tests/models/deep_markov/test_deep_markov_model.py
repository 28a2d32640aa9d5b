"""The deep Markov model: closed forms of a linear-Gaussian state space, quadrature, padding draw by draw."""

import math

import pytest
import torch
from torch.nn.functional import softplus

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.errors import DataError, ModelError
from ppl_vae.models import DeepMarkovModel
from ppl_vae.networks import MLP
from tests.inference.oracles import assert_gradient, assert_jointly, assert_mean, normal_nodes
from tests.models.state_space import GAUSSIAN, SIGMA, D, T, exact_elbo, kalman, marginal, state_space

MISSING_GAUSSIAN = {"name": "missing-pixels", "of": GAUSSIAN}
MISSING_BITS = {"name": "missing-pixels", "of": "bernoulli"}
REPEATS, PARTICLES = 60, 20


def sequences(n=3, seed=0):
    return torch.randn(n, T, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def holed():
    """A whole sequence, one that ends early, one without a first and a third frame and with single gaps."""
    x = sequences()
    x[1, 2:] = torch.nan
    x[2, [0, 2]] = torch.nan
    x[2, 1, 1] = x[0, 3, 0] = torch.nan
    return x


# A linear-Gaussian state space ------------------------------------------------------------------------------


def test_the_filter_is_the_marginal_gaussian():
    """The oracle against one Gaussian of all observed coordinates, of sequences whole and with holes."""
    vae = state_space()
    mean, covariance = marginal(vae.model, T)
    for x in (sequences(), holed()):
        for datum, found in zip(x, kalman(vae.model, x)[0].detach(), strict=True):
            there = ~datum.flatten().isnan()
            gaussian = torch.distributions.MultivariateNormal(mean[there], covariance[there][:, there])
            torch.testing.assert_close(found, gaussian.log_prob(datum.flatten()[there]))


ESTIMATORS = {
    "monte-carlo-kl": inf.MonteCarloKL,
    "sticking-the-landing": inf.StickingTheLanding,
    "entropy": inf.EntropyAnalytic,
    "analytic-kl": inf.AnalyticKL,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("make", [sequences, holed], ids=["whole", "with holes"])
def test_value_and_gradient_are_exact_on_a_linear_state_space(make, name):
    """Value within 4 standard errors of the exact ELBO; all gradients jointly, at the suite's false-alarm rate."""
    x = make()
    vae = state_space(likelihood=MISSING_GAUSSIAN if make is holed else GAUSSIAN)
    parameters, estimator = dict(vae.named_parameters()), ESTIMATORS[name](PARTICLES)
    values, draws = [], {n: [] for n in parameters}
    for _ in range(REPEATS):
        bound = estimator.per_datum(vae.model, vae.guide, x).sum()
        values.append(bound.detach())
        for n, gradient in zip(parameters, torch.autograd.grad(bound, list(parameters.values())), strict=True):
            draws[n].append(gradient)
    exact = exact_elbo(vae, x).sum()
    assert_mean(torch.stack(values), exact.item())
    wanted = dict(zip(parameters, torch.autograd.grad(exact, list(parameters.values())), strict=True))
    assert_gradient({n: torch.stack(found) for n, found in draws.items()}, wanted)


def test_under_the_exact_smoothing_guide_every_draw_gives_the_evidence():
    vae, x = state_space("exact"), sequences()
    evidence = kalman(vae.model, x)[0].detach()
    log_weight = inf.trace_terms(vae.model, vae.guide, x, num_particles=5).log_weight.detach()
    torch.testing.assert_close(log_weight, evidence.expand(5, -1), rtol=1e-10, atol=1e-9)
    terms = inf.trace_terms(vae.model, vae.guide, x, num_particles=4000)
    draws = (terms.log_likelihood - terms.kl()).detach()
    assert_jointly(draws.mean(0), draws.std(0) / math.sqrt(4000), evidence)


@pytest.mark.slow
def test_under_the_exact_guide_the_models_gradient_is_that_of_the_evidence():
    """Fisher's identity: the mean over draws of d log p(x, z) is d log p(x)."""
    vae, x = state_space("exact"), sequences()
    model = dict(vae.model.named_parameters())
    draws = {n: [] for n in model}
    for _ in range(REPEATS):
        bound = inf.StickingTheLanding(PARTICLES).per_datum(vae.model, vae.guide, x).sum()
        for n, gradient in zip(model, torch.autograd.grad(bound, list(model.values())), strict=True):
            draws[n].append(gradient)
    exact = torch.autograd.grad(kalman(vae.model, x)[0].sum(), list(model.values()))
    assert_gradient({n: torch.stack(found) for n, found in draws.items()}, dict(zip(model, exact, strict=True)))


@pytest.mark.slow
def test_the_elbo_is_below_the_evidence_and_the_importance_bound_between():
    vae, x = state_space(likelihood=MISSING_GAUSSIAN), holed()
    with torch.no_grad():
        elbo, evidence = exact_elbo(vae, x), kalman(vae.model, x)[0]
    assert (elbo < evidence - 0.1).all()
    iwae = inf.ImportanceWeighted(50)
    draws = torch.stack([iwae.per_datum(vae.model, vae.guide, x).detach() for _ in range(100)])
    assert (draws.mean(0) > elbo + 0.1).all()
    assert (draws.mean(0) < evidence + 4 * draws.std(0) / 10).all()


@pytest.mark.slow
def test_a_forecast_is_the_filters_prediction():
    """From the exact guide: the filtered state, moved on; each of 4000 copies is one path."""
    vae, x, copies = state_space("exact"), sequences(1), 4000
    _, mean, _ = kalman(vae.model, x)
    arrow, wanted, z = vae.model.transition.past, [], mean[0]
    for _ in range(3):
        z = arrow(z)
        wanted.append(vae.model.decoder.emission(z).detach())
    found = vae.forecast(x.expand(copies, -1, -1), 3, num_samples=1)
    assert found.shape == (copies, 3, D)
    assert_jointly(found.mean(0), found.std(0) / math.sqrt(copies), torch.stack(wanted))
    averaged = vae.forecast(x, 3, num_samples=50)
    assert ((averaged[0] - torch.stack(wanted)).abs() < 6 * found.std(0) / math.sqrt(50)).all()


def test_draws_have_the_moments_of_the_chain_at_any_length():
    vae, copies = state_space(), 20_000
    mean, covariance = marginal(vae.model, 6)
    x = vae.generate(copies, 6, with_noise=True).flatten(1)
    assert_jointly(x.mean(0), x.std(0) / math.sqrt(copies), mean)
    products = (x - mean)[:, :, None] * (x - mean)[:, None, :]
    assert_jointly(products.mean(0), products.std(0) / math.sqrt(copies), covariance)
    short = vae.sample(copies, with_noise=True).flatten(1)
    assert_jointly(short.mean(0), short.std(0) / math.sqrt(copies), mean[: T * D])


# The arrows, written out --------------------------------------------------------------------------------------


def small(frames=2, latent_dim=1, width=2, seed=0, **options):
    """A model of few bits with steep arrows, in float64."""
    options = {"hidden": 4, "transition_hidden": 3, "network": MLP((5,)), **options}
    vae = DeepMarkovModel((frames, width), latent_dim, seed=seed, **options).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter.add_(0.5 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return vae


def bits(n, frames=2, width=2, seed=0):
    return torch.rand(n, frames, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).round()


def gated(transition, z):
    """Mean and variance of the paper's transition, from its weights."""

    def layer(linear, value):
        return value @ linear.weight.mT + linear.bias

    gate = torch.sigmoid(layer(transition.gate[2], layer(transition.gate[0], z).clamp(min=0)))
    proposal = layer(transition.proposal[2], layer(transition.proposal[0], z).clamp(min=0))
    loc = (1 - gate) * layer(transition.linear, z) + gate * proposal
    return loc, softplus(layer(transition.variance_head, proposal.clamp(min=0)))


def test_the_transition_is_the_papers_and_starts_by_staying():
    vae, z = small(latent_dim=3), torch.randn(7, 3, dtype=torch.float64)
    p = vae.model.transition(z)
    loc, variance = gated(vae.model.transition, z)
    torch.testing.assert_close(p.mean, loc)
    torch.testing.assert_close(p.variance, variance)
    fresh = DeepMarkovModel((2, 2), 3).model.transition
    assert torch.equal(fresh.linear(z.float()), z.float())


def test_the_guide_is_the_papers_backward_rnn_and_combiner():
    vae, x = small(frames=3, latent_dim=2), bits(5, frames=3)
    reader, combiner = vae.guide.encoder, vae.guide.combiner
    h, states = reader.end, []
    for t in (2, 1, 0):
        h = torch.tanh(reader.inward(reader.encoder(x[:, t])) + reader.backward_step(h))
        states.append(h)
    z = vae.guide.start
    for t, q in enumerate(vae.guide.conditionals(x)):
        combined = 0.5 * (torch.tanh(combiner.past(z)) + states[2 - t])
        found = q(None if t == 0 else z)
        torch.testing.assert_close(found.mean, combiner.posterior.loc_head(combined))
        torch.testing.assert_close(found.variance, softplus(combiner.posterior.scale_head(combined)))
        z = found.mean.detach()
        torch.testing.assert_close(vae.codes(x)[:, t], found.mean)
    torch.testing.assert_close(vae.encode(x).mean, vae.codes(x)[:, 0])


def test_a_guide_knows_the_future_and_of_the_past_only_the_state():
    vae, x = small(frames=3, latent_dim=2), bits(1, frames=3)
    z = torch.zeros(1, 2, dtype=torch.float64)
    for t in range(3):
        for frame in range(3):
            changed = x.clone()
            changed[:, frame] = 1 - x[:, frame]
            same = torch.equal(vae.guide.conditionals(x)[t](z).mean, vae.guide.conditionals(changed)[t](z).mean)
            assert same == (frame < t)


def test_the_evidence_is_that_of_quadrature():
    """log p(x) of all 16 sequences of two frames of two bits: a double integral, against importance sampling."""
    vae = small()
    x = torch.tensor([[int(b) for b in f"{i:04b}"] for i in range(16)], dtype=torch.float64).view(16, 2, 2)
    model = vae.model
    nodes, mass = normal_nodes(60, 2)
    with torch.no_grad():
        first = model.initial.loc + model.initial.log_scale.exp() * nodes[:, :1]
        loc, variance = gated(model.transition, first)
        z = torch.stack([first, loc + variance.sqrt() * nodes[:, 1:]], 1)
        logits = model.decoder.emission(z)
    log_likelihood = (x[:, None] * logits - softplus(logits)).sum((-2, -1))
    exact = (mass.log() + log_likelihood).logsumexp(1)
    assert exact.logsumexp(0).item() == pytest.approx(0, abs=1e-8)
    found = pv.log_evidence(vae, x, num_samples=2000, seed=1)
    assert_jointly(found.per_datum, found.per_datum_stderr, exact)
    assert (inf.AnalyticKL(2000).per_datum(model, vae.guide, x) < exact).all()


# Sequences of differing length ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "estimator", [inf.AnalyticKL(2), inf.MonteCarloKL(2)], ids=["analytic-kl", "monte-carlo-kl"]
)
@pytest.mark.parametrize("length", [1, 3])
def test_a_padded_sequence_has_the_elbo_and_the_gradient_of_the_sequence(estimator, length):
    """On the same draws, by a model of ``length`` frames with the same weights."""
    options = {"latent_dim": 3, "width": 4, "likelihood": MISSING_BITS}
    padded, x = small(frames=5, **options), bits(6, frames=5, width=4)
    x[:, length:] = torch.nan
    short = small(frames=length, **options)
    short.load_state_dict(padded.state_dict())
    found = []
    for vae, data in ((padded, x), (short, x[:, :length])):
        torch.manual_seed(3)
        bound = estimator.per_datum(vae.model, vae.guide, data)
        gradients = torch.autograd.grad(bound.sum(), list(vae.parameters()), allow_unused=True)
        found.append((bound.detach(), [torch.zeros(()) if g is None else g for g in gradients]))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-12, atol=1e-12)
    for ours, theirs in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(ours, theirs.double().expand_as(ours), rtol=1e-9, atol=1e-9)


def test_in_a_batch_of_all_lengths_each_has_its_own_elbo():
    """At the same latent values, each datum alone in a model of as many frames as it has."""
    options = {"latent_dim": 2, "width": 3, "likelihood": MISSING_BITS}
    vae, x = small(frames=4, **options), bits(4, frames=4, width=3)
    for n in range(4):
        x[n, n + 1 :] = torch.nan
    terms = inf.trace_terms(vae.model, vae.guide, x, num_particles=3)
    for n in range(4):
        short = small(frames=n + 1, **options)
        short.load_state_dict(vae.state_dict())
        values = {f"z{t}": terms.sites[f"z{t}"].value[:, n : n + 1].detach() for t in range(1, n + 2)}
        alone = inf.pair.joint.terms_at(short.model, short.guide, x[n : n + 1, : n + 1], values)
        torch.testing.assert_close(alone.log_weight[:, 0], terms.log_weight[:, n])
        torch.testing.assert_close(alone.kl()[:, 0], terms.kl()[:, n])
        for t in range(n + 2, 5):
            assert (terms.kl(f"z{t}")[:, n] == 0).all()


def test_a_forecast_goes_on_where_each_sequence_ends():
    """In the linear state space: from the guide's mean at the last frame that there is, moved on by the model."""
    vae, copies = state_space(likelihood=MISSING_GAUSSIAN), 2000
    x, last = holed(), (3, 1, 3)
    vae.model.decoder.emission.weight.data.mul_(5)
    found = vae.forecast(x.repeat_interleave(copies, 0), 2, num_samples=1).unflatten(0, (3, copies))
    with torch.no_grad():
        for n in range(3):
            z = vae.codes(x)[n, last[n]]
            for t in range(2):
                z = vae.model.transition.past(z)
                stderr = found[n, :, t].std(0) / math.sqrt(copies)
                assert_jointly(found[n, :, t].mean(0), stderr, vae.model.decoder.emission(z))
    x[2] = torch.nan
    with pytest.raises(DataError, match="sequence 2 has no frame to continue: all are missing"):
        vae.forecast(x, 2)


def test_missing_frames_are_filled_in():
    vae, x = small(frames=3, likelihood=MISSING_BITS), bits(4, frames=3)
    x[:2, 1:] = torch.nan
    x[2:, 1] = torch.nan
    filled = vae.reconstruct(x)
    assert torch.isfinite(filled).all()
    assert ((filled > 0) & (filled < 1)).all()


@pytest.mark.slow
def test_fit_trains_on_sequences_of_differing_length():
    ds = pv.load_dataset("piano-rolls", n=120, num_frames=6, min_frames=2)
    recipe = pv.make("deep-markov-model", ds.event_shape, latent_dim=4, likelihood=MISSING_BITS, num_steps=10)
    result = pv.fit(recipe, ds, epochs=6, lr=1e-2, batch_size=20, device="cpu", progress=False)
    history = result.history["test_elbo"]
    assert history.iloc[-1] > history.iloc[0] + 10
    with pytest.raises(DataError, match="NaN or infinite values"):
        pv.fit(DeepMarkovModel(ds.event_shape, 4), ds, epochs=1, progress=False)


# Shapes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 4), (1, 3, 4), (2, 3, 4)])
def test_time_is_the_last_dimension_but_one(shape):
    """Frame t of an image is its row t of all channels; every method keeps the layout."""
    vae = DeepMarkovModel(shape, 2, network=MLP((5,)), hidden=4)
    z = torch.randn(3, 5, 2)
    p = vae.decode(z)
    assert p.event_shape == (*shape[:-2], 5, 4)
    for t in range(5):
        torch.testing.assert_close(vae.decode(z[:, t : t + 1]).mean[..., 0, :], p.mean[..., t, :])
    x = torch.rand(3, *shape).round()
    assert vae.reconstruct(x).shape == x.shape
    assert vae.codes(x).shape == (3, 3, 2)
    assert vae.generate(4, 7).shape == (4, *shape[:-2], 7, 4)
    assert vae.forecast(x, 2, num_samples=2).shape == (3, *shape[:-2], 2, 4)
    assert vae.encode(x).batch_shape == (3,)
    logits = vae.model.decoder(z.flatten(1))
    flat = vae.model.decoder.emission(z[:, 1]).view(3, *shape[:-2], 4)
    torch.testing.assert_close(logits[:, 0, ..., 1, :], flat)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"event_shape": (4,)}, r"event_shape must be that of a sequence: \(T, D\) .* got \(4,\)"),
        ({"event_shape": (0, 4)}, "event_shape must be positive integers"),
        ({"latent_dim": 0}, "latent_dim must be an integer of at least 1, got 0"),
        ({"hidden": 0}, "hidden must be an integer of at least 1, got 0"),
        ({"transition_hidden": -1}, "transition_hidden must be an integer of at least 1, got -1"),
        ({"network": "mlpp"}, "unknown network 'mlpp'; did you mean 'mlp'"),
        ({"network": "conv"}, r"network 'conv' needs images of event_shape \(C, H, W\), got \(4,\)"),
    ],
)
def test_what_cannot_be_meant_is_refused(options, message):
    with pytest.raises(ModelError, match=message):
        DeepMarkovModel(**{"event_shape": (3, 4), **options})


def test_wrong_shapes_of_data_codes_and_counts_are_refused():
    vae = DeepMarkovModel((3, 4), 2, network=MLP((5,)))
    with pytest.raises(ModelError, match=r"expected data of shape \[N, 3, 4\], got \[2, 5, 4\]"):
        vae.reconstruct(torch.zeros(2, 5, 4))
    with pytest.raises(ModelError, match=r"expected codes of shape \[N, T, 2\], got \[2, 3, 5\]"):
        vae.decode(torch.zeros(2, 3, 5))
    with pytest.raises(ModelError, match="num_frames must be an integer of at least 1, got 0"):
        vae.generate(2, 0)
    with pytest.raises(ModelError, match="num_samples must be an integer of at least 1, got 0"):
        vae.forecast(torch.zeros(2, 3, 4), 1, num_samples=0)
    network = (torch.nn.Flatten(), torch.nn.Linear(2, 7))
    with pytest.raises(
        ModelError, match=r"the decoder gave \(12, 7\) for codes \(12, 2\).* needs 1 x \(4,\) per frame"
    ):
        DeepMarkovModel((3, 4), 2, network=network).sample(4)


def test_a_user_gives_networks_of_a_frame_again_on_load(tmp_path):
    network = (torch.nn.Flatten(), torch.nn.Linear(2, 4))
    vae = DeepMarkovModel((3, 4), 2, network=network, likelihood={"name": "gaussian", "sigma": SIGMA})
    vae.save(tmp_path)
    x = torch.randn(2, 3, 4)
    again = pv.load(tmp_path, network=(torch.nn.Flatten(), torch.nn.Linear(2, 4)))
    assert torch.equal(again.reconstruct(x), vae.reconstruct(x))
