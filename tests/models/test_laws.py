"""What is true of every VAE, whatever its likelihood, posterior and network."""

import copy
import pickle

import pyro
import pytest
import torch
from pyro import poutine

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.errors import ModelError
from tests.models.table import CHAINS, CURVED, LATENT_DIM, ROWS

ESTIMATORS = ("monte-carlo-kl", "analytic-kl")
every_row = pytest.mark.parametrize("row", ROWS, ids=str)


@every_row
def test_encode_and_decode_give_distributions_of_the_declared_shapes(row):
    vae, x = row.vae(), row.data(4)
    q = vae.encode(x)
    assert (q.batch_shape, q.event_shape) == ((4,), (LATENT_DIM,))
    for batch in [(4,), (3, 4)]:
        p = vae.decode(row.codes(*batch))
        assert (p.batch_shape, p.event_shape) == (batch, row.event_shape)
        assert p.log_prob(x).shape == batch
    assert vae.reconstruct(x).shape == x.shape


@every_row
def test_particles_are_decoded_each_for_itself(row):
    vae, z = row.vae(), row.codes(3, 4)
    together = vae.decode(z).mean
    for k in range(3):
        torch.testing.assert_close(together[k], vae.decode(z[k]).mean, rtol=1e-4, atol=1e-6)


@every_row
def test_a_datum_does_not_touch_another(row):
    vae, x = row.vae(), row.data(4)
    torch.testing.assert_close(vae.encode(x).mean[2:3], vae.encode(x[2:3]).mean, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(vae.reconstruct(x)[2:3], vae.reconstruct(x[2:3]), rtol=1e-4, atol=1e-6)


@every_row
@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_parameter_receives_a_gradient_from_a_finite_elbo(row, name):
    vae, x = row.vae(), row.data(4)
    estimator = inf.get_elbo(name, num_particles=2)
    if name == "analytic-kl" and not row.closed_form_kl:
        with pytest.raises(ModelError, match="site 'z': no closed-form KL"):
            estimator.per_datum(vae.model, vae.guide, x)
        return
    elbo = estimator.per_datum(vae.model, vae.guide, x)
    assert elbo.shape == (4,)
    assert torch.isfinite(elbo).all()
    elbo.sum().backward()
    for parameter_name, parameter in vae.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert torch.isfinite(parameter.grad).all(), parameter_name
        assert parameter.grad.abs().max() > 0, parameter_name


@every_row
def test_log_likelihood_gradient_equals_finite_differences(row):
    """In float64, along a random direction through all of the decoder's and likelihood's parameters."""
    vae = row.vae().double()
    x, z = row.data(4).double(), row.codes(4).double()
    parameters = [*vae.model.decoder.parameters(), *vae.model.likelihood.parameters()]
    with torch.no_grad():
        for p in parameters:  # away from the kinks of rectifiers whose biases start at zero
            p.add_(torch.randn_like(p), alpha=0.1)
    direction = [torch.randn_like(p) for p in parameters]
    gradient = torch.autograd.grad(vae.decode(z).log_prob(x).sum(), parameters)
    slope = sum((g * d).sum() for g, d in zip(gradient, direction, strict=True))
    h, values = 1e-6, []
    with torch.no_grad():
        for sign in (1, -2):
            for p, d in zip(parameters, direction, strict=True):
                p.add_(d, alpha=sign * h)
            values.append(vae.decode(z).log_prob(x).sum())
    assert torch.isclose(slope, (values[0] - values[1]) / (2 * h), rtol=1e-4, atol=1e-5)


@every_row
def test_values_equal_stock_pyro_on_the_same_draws(row):
    vae, x = row.vae(), row.data(4)
    elbos = [(inf.MonteCarloKL(), pyro.infer.Trace_ELBO())]
    # Elsewhere Pyro falls back to Monte Carlo.
    if row.posterior not in ("full-covariance", "low-rank") and row.closed_form_kl:
        elbos.append((inf.AnalyticKL(), pyro.infer.TraceMeanField_ELBO()))
    for ours, stock in elbos:
        losses = []
        for elbo in (ours, stock):
            torch.manual_seed(3)
            losses.append(elbo.loss(vae.model, vae.guide, x))
        assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@every_row
def test_model_and_guide_have_the_same_latent_site_in_one_plate(row):
    vae, x = row.vae(), row.data(4)
    guide = poutine.trace(vae.guide).get_trace(x)
    model = poutine.trace(poutine.replay(vae.model, trace=guide)).get_trace(x)
    assert guide.stochastic_nodes == model.stochastic_nodes == ["data", "z"]
    assert model.observation_nodes == ["x"]
    for trace, name in ((guide, "z"), (model, "z"), (model, "x")):
        (frame,) = trace.nodes[name]["cond_indep_stack"]
        assert (frame.name, frame.dim, frame.size, frame.vectorized) == ("data", -1, 4, True)
    assert torch.equal(model.nodes["z"]["value"], guide.nodes["z"]["value"])


@every_row
def test_draws_from_the_prior_predictive_are_data_of_the_likelihood(row):
    vae = row.vae()
    x = vae.model(size=16)
    assert x.shape == (16, *row.event_shape)
    vae.model.check_data(x)
    assert len(x.flatten(1).unique(dim=0)) > 1


@every_row
def test_sample_decodes_the_programs_own_prior_draws(row):
    vae = row.vae()
    torch.manual_seed(5)
    samples = vae.sample(6)
    torch.manual_seed(5)
    z = poutine.trace(vae.model).get_trace(size=6).nodes["z"]["value"]
    torch.testing.assert_close(samples, vae.decode(z).mean.detach())
    noisy = vae.sample(6, with_noise=True)
    assert noisy.shape == (6, *row.event_shape)
    vae.model.check_data(noisy)
    assert not samples.requires_grad


@every_row
def test_interpolation_runs_from_reconstruction_to_reconstruction(row):
    vae = row.vae()
    x1, x2 = row.data(3, seed=1), row.data(3, seed=2)
    path = vae.interpolate(x1, x2, num_steps=5)
    assert path.shape == (5, 3, *row.event_shape)
    torch.testing.assert_close(path[0], vae.reconstruct(x1), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(path[-1], vae.reconstruct(x2), rtol=1e-4, atol=1e-6)
    if row.prior in CURVED:
        return
    middle = 0.5 * (vae.encode(x1).mean + vae.encode(x2).mean)
    torch.testing.assert_close(path[2], vae.decode(middle).mean.detach(), rtol=1e-4, atol=1e-6)


@every_row
def test_save_and_load_give_the_same_numbers_bit_for_bit(row, tmp_path):
    vae, x = row.vae(seed=1), row.data(4)
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    vae.save(tmp_path / "model")
    assert {p.name for p in (tmp_path / "model").iterdir()} == {"config.json", "weights.safetensors"}
    loaded = pv.load(tmp_path / "model")
    assert loaded.config == vae.config
    assert torch.equal(loaded.reconstruct(x), vae.reconstruct(x))
    z = row.codes(4)
    assert torch.equal(loaded.decode(z).log_prob(x), vae.decode(z).log_prob(x))
    if row.posterior in CHAINS:
        assert torch.equal(pv.evaluate(loaded, x).elbo, pv.evaluate(vae, x).elbo)
    else:
        assert torch.equal(loaded.encode(x).log_prob(z), vae.encode(x).log_prob(z))


@every_row
def test_a_seed_gives_the_same_initial_weights_and_another_seed_others(row):
    first, again, other = row.vae(seed=1), row.vae(seed=1), row.vae(seed=2)
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    assert any(not torch.equal(value, other.state_dict()[name]) for name, value in first.state_dict().items())


@every_row
def test_construction_leaves_the_global_generator_alone(row):
    before = torch.get_rng_state()
    row.vae(seed=7)
    assert torch.equal(torch.get_rng_state(), before)


@every_row
def test_nothing_is_left_in_the_parameter_store(row):
    vae, x = row.vae(), row.data(4)
    vae.model(x), vae.guide(x), vae.model(size=2)
    inf.trace_terms(vae.model, vae.guide, x, num_particles=2)
    inf.MonteCarloKL().per_datum(vae.model, vae.guide, x)
    assert len(pyro.get_param_store()) == 0


@every_row
def test_stock_elbo_module_has_the_whole_vae_as_parameters(row):
    vae = row.vae()
    found = list(pyro.infer.Trace_ELBO()(vae.model, vae.guide).parameters())
    assert {id(p) for p in found} == {id(p) for p in vae.parameters()}
    assert len(found) == len(list(vae.parameters()))


@every_row
@pytest.mark.parametrize("twin", [copy.deepcopy, lambda vae: pickle.loads(pickle.dumps(vae))])
def test_copies_have_the_same_numbers_and_a_registration_of_their_own(row, twin):
    vae, x = row.vae(), row.data(4)
    other = twin(vae)
    assert torch.equal(other.reconstruct(x), vae.reconstruct(x))
    assert registered_names(vae, x).isdisjoint(registered_names(other, x))
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    assert vae.reconstruct(x).ne(other.reconstruct(x)).any()


def registered_names(vae, x):
    """Under which names the parameters appear to a Pyro handler."""
    names = set()
    for program in (vae.model, vae.guide):
        names |= set(poutine.trace(program).get_trace(x).param_nodes)
    assert len(names) == len(list(vae.parameters()))
    return names
