"""What is true of every program with latents of its own, whatever they are."""

import copy
import pickle

import pyro
import pytest
import torch
from pyro import poutine

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.errors import DataError, ModelError
from ppl_vae.inference.pair.covariates import at_covariates
from tests.models.program_table import PROGRAMS, SHAPE, data

every_program = pytest.mark.parametrize("program", PROGRAMS, ids=str)
every_drawable = pytest.mark.parametrize("program", [p for p in PROGRAMS if not p.completes], ids=str)
every_objective = pytest.mark.parametrize(
    ("program", "name"),
    [(program, name) for program in PROGRAMS for name in program.objectives],
    ids=lambda value: str(value),
)


@every_objective
def test_every_parameter_receives_a_gradient_from_a_finite_bound(program, name):
    pair, x = program.pair(), data()
    bound = program.objectives[name].per_datum(pair.model, pair.guide, x, *program.labels(x))
    assert bound.shape == (4,)
    assert torch.isfinite(bound).all()
    program.objectives[name](pair.model, pair.guide)(x, *program.labels(x)).backward()
    for parameter_name, parameter in pair.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert torch.isfinite(parameter.grad).all(), parameter_name
        assert parameter.grad.abs().max() > 0, parameter_name


@every_program
def test_the_value_equals_stock_pyro_on_the_same_draws(program):
    """The Monte-Carlo bound under no_grad, where nothing needs to be reparameterised."""
    pair, x, losses = program.pair(), data(), []
    for elbo in (inf.MonteCarloKL(), pyro.infer.Trace_ELBO()):
        torch.manual_seed(3)
        losses.append(elbo.loss(pair.model, pair.guide, x, *program.labels(x)))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@every_program
def test_sites_stand_in_one_plate_in_the_declared_order(program):
    pair, x = program.pair(), data()
    guide = poutine.trace(pair.guide).get_trace(x, *program.labels(x))
    model = poutine.trace(poutine.replay(pair.model, trace=guide)).get_trace(x, *program.labels(x))
    assert guide.stochastic_nodes == ["data", *program.guide_sites]
    assert model.stochastic_nodes == ["data", *program.model_sites]
    assert model.observation_nodes == ["x"]
    for name in program.guide_sites:
        assert torch.equal(model.nodes[name]["value"], guide.nodes[name]["value"])
        (frame,) = model.nodes[name]["cond_indep_stack"]
        assert (frame.name, frame.dim, frame.size, frame.vectorized) == ("data", -1, 4, True)


@every_program
def test_a_datum_and_a_particle_are_each_for_itself(program):
    """The joint density of three particles of four data, and that of one particle of one datum alone."""
    pair, x = program.pair().double(), data().double()
    labels = program.labels(x)
    terms = inf.trace_terms(pair.model, pair.guide, x, *labels, num_particles=3, gradient="score")
    values = {name: site.value[1:2, 2:3] for name, site in terms.sites.items()}
    model, guide = (at_covariates(half, tuple(y[2:3] for y in labels)) for half in (pair.model, pair.guide))
    alone = inf.pair.joint.log_joint(model, x[2:3], values)
    torch.testing.assert_close(alone.log_prior[0, 0], terms.log_prior[1, 2])
    torch.testing.assert_close(alone.log_likelihood[0, 0], terms.log_likelihood[1, 2])
    guide_alone = inf.pair.joint.terms_at(model, guide, x[2:3], values).log_guide
    torch.testing.assert_close(guide_alone[0, 0], terms.log_guide[1, 2])


@every_drawable
def test_draws_are_data_of_the_likelihood_and_samples_their_means(program):
    pair = program.pair()
    x = pair.model(size=16)
    assert x.shape == (16, *SHAPE)
    pair.model.check_data(x)
    assert len(x.flatten(1).unique(dim=0)) > 1
    torch.manual_seed(5)
    means = pair.sample(200)
    torch.manual_seed(5)
    node = poutine.trace(pair.model).get_trace(size=200).nodes["x"]
    torch.testing.assert_close(means, node["fn"].mean.detach(), rtol=0, atol=1e-6)
    assert not means.requires_grad
    noisy = pair.sample(200, with_noise=True)
    assert set(noisy.unique().tolist()) == {0.0, 1.0}
    assert abs(noisy.mean() - means.mean()) < 4 * 0.5 / noisy.numel() ** 0.5


@every_program
def test_reconstructions_are_means_of_the_likelihood(program):
    pair, x = program.pair(), data()
    labels = program.labels(x)
    found = pair.reconstruct(x, *labels)
    assert found.shape == x.shape
    assert not found.requires_grad
    if program.completes:
        seen = ~pair.model.likelihood.hidden
        assert torch.equal(found[:, seen], x[:, seen])
        assert not torch.equal(found, x)
    else:
        assert 0 < found.min() < found.max() < 1
    assert torch.equal(pair.reconstruct(x, *labels), found)
    torch.testing.assert_close(pair.reconstruct(x[2:3], *(y[2:3] for y in labels)), found[2:3])


@every_program
def test_the_decoded_mean_of_the_code_is_the_reconstruction_or_refused_by_name(program):
    pair, x = program.pair(), data()
    labels = program.labels(x)

    def decoded():
        return pair.decode(pair.encode(x, *labels).mean).mean

    if program.decoding:
        with pytest.raises((ModelError, TypeError), match=program.decoding):
            decoded()
    else:
        assert torch.equal(decoded(), pair.reconstruct(x, *labels))


@pytest.mark.parametrize("program", [program for program in PROGRAMS if hasattr(program.pair(), "codes")], ids=str)
def test_codes_are_one_tensor_that_decode_takes(program):
    pair, x = program.pair(), data()
    codes = pair.codes(x)
    assert isinstance(codes, torch.Tensor)
    assert len(codes) == len(x)
    assert torch.equal(pair.decode(codes).mean, pair.reconstruct(x))


def test_a_ladder_of_equal_levels_decodes_the_level_next_to_the_data():
    """Where sizes agree, no shape could tell that the top level went to the bottom."""
    ladder, x = pv.models.LadderVAE(SHAPE, latent_dims=(3, 3, 3), hidden=(5,)), data()
    assert torch.equal(ladder.decode(ladder.encode(x).mean).mean, ladder.reconstruct(x))
    assert torch.equal(ladder.encode(x).mean, ladder.level_codes(x)[0])
    assert torch.equal(ladder.encode_top(x).mean, ladder.level_codes(x)[2])


@pytest.mark.slow
@every_program
def test_save_and_load_give_the_same_numbers_bit_for_bit(program, tmp_path):
    pair, x = program.pair(seed=1), data()
    with torch.no_grad():
        for parameter in pair.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    pair.save(tmp_path / "model")
    assert {p.name for p in (tmp_path / "model").iterdir()} == {"config.json", "weights.safetensors"}
    loaded = pv.load(tmp_path / "model")
    assert type(loaded) is type(pair)
    assert loaded.config == pair.config
    assert torch.equal(loaded.reconstruct(x, *program.labels(x)), pair.reconstruct(x, *program.labels(x)))
    assert torch.equal(elbo_of(program, loaded, x, seed=2), elbo_of(program, pair, x, seed=2))


@every_program
def test_a_seed_gives_the_same_weights_and_leaves_the_generator_alone(program):
    before = torch.get_rng_state()
    first, again, other = program.pair(seed=1), program.pair(seed=1), program.pair(seed=2)
    assert torch.equal(torch.get_rng_state(), before)
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    assert any(not torch.equal(value, other.state_dict()[name]) for name, value in first.state_dict().items())


@every_program
def test_nothing_is_left_in_the_store_and_stock_pyro_sees_every_parameter_once(program):
    pair, x = program.pair(), data()
    pair.model(x, *program.labels(x)), pair.guide(x, *program.labels(x)), elbo_of(program, pair, x)
    if not program.completes:
        pair.sample(2)
    assert len(pyro.get_param_store()) == 0
    found = list(pyro.infer.Trace_ELBO()(pair.model, pair.guide).parameters())
    assert {id(p) for p in found} == {id(p) for p in pair.parameters()}
    assert len(registered_names(program, pair, x)) == len(list(pair.parameters()))


@pytest.mark.slow
@every_program
@pytest.mark.parametrize("twin", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
def test_copies_have_numbers_and_a_registration_of_their_own(program, twin):
    pair, x = program.pair(), data()
    other = twin(pair)
    assert torch.equal(other.reconstruct(x, *program.labels(x)), pair.reconstruct(x, *program.labels(x)))
    assert registered_names(program, pair, x).isdisjoint(registered_names(program, other, x))
    before = elbo_of(program, pair, x)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    assert torch.equal(elbo_of(program, pair, x), before)
    assert not torch.equal(elbo_of(program, other, x), before)


@every_program
def test_data_of_another_kind_are_refused(program):
    pair = program.pair()
    with pytest.raises(ModelError, match=r"site 'x': expected data of shape \[N, 2, 3, 4\], got \[4, 24\]"):
        pair.reconstruct(data().flatten(1), *program.labels(data()))
    with pytest.raises(DataError, match="likelihood 'bernoulli'"):
        elbo_of(program, pair, data() * 0.5)
    with pytest.raises(DataError, match="empty"):
        elbo_of(program, pair, data()[:0])
    with pytest.raises(ModelError, match="model needs data x, or size="):
        pair.model()


@every_drawable
def test_missing_pixels_are_left_out_of_the_likelihood(program):
    """With NaN for a pixel the log likelihood is that of the others, at the same draws."""
    pair = program.pair(likelihood={"name": "missing-pixels", "of": "bernoulli"}).double()
    x = data().double()
    holes = x.clone()
    holes[:, 0, 1, 2] = float("nan")
    labels = program.labels(x)
    terms = inf.trace_terms(pair.model, pair.guide, holes, *labels, gradient="score")
    model = at_covariates(pair.model, labels)
    values = {name: site.value for name, site in terms.sites.items()}
    whole, rest = (inf.pair.joint.log_joint(model, given, values).log_likelihood for given in (x, holes))
    flipped = x.clone()
    flipped[:, 0, 1, 2] = 1 - x[:, 0, 1, 2]
    other = inf.pair.joint.log_joint(model, flipped, values).log_likelihood
    torch.testing.assert_close((whole - rest).exp() + (other - rest).exp(), torch.ones(1, 4, dtype=torch.float64))


def elbo_of(program, pair, x, seed=0):
    return pv.evaluate(pair, x, seed=seed, y=next(iter(program.labels(x)), None)).elbo


def registered_names(program, pair, x):
    """Under which names the parameters appear to a Pyro handler."""
    names = set()
    for half in (pair.model, pair.guide):
        names |= set(poutine.trace(half).get_trace(x, *program.labels(x)).param_nodes)
    return names
