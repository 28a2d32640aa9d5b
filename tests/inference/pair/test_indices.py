"""Parameters and constants of each datum: right in full batches, by indices in smaller ones, or refused by name."""

import functools

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import ppl_vae as pv
from ppl_vae.errors import ModelError
from ppl_vae.inference.pair.indices import takes_indices

N = 8
Y = torch.tensor([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0], dtype=torch.float64)
NOISE = torch.tensor([1.0, 10.0] * 4, dtype=torch.float64)
# theta ~ N(0, 10), y ~ N(theta, noise): the posterior and the evidence of each datum.
VARIANCE = 1 / (1 / 100 + 1 / NOISE**2)
MEAN = VARIANCE * Y / NOISE**2
EVIDENCE = dist.Normal(torch.zeros_like(Y), (100 + NOISE**2).sqrt()).log_prob(Y)


def likelihood(y, noise):
    with pyro.plate("data", len(y)):
        theta = pyro.sample("theta", dist.Normal(torch.zeros((), dtype=torch.float64), 10.0))
        pyro.sample("y", dist.Normal(theta, noise), obs=y)


def posterior(y, rows):
    loc = pyro.param("loc", torch.zeros(N, dtype=torch.float64))
    scale = pyro.param("scale", torch.ones(N, dtype=torch.float64), constraint=dist.constraints.positive)
    with pyro.plate("data", len(y)):
        pyro.sample("theta", dist.Normal(loc[rows], scale[rows]))


def whole_model(y):
    likelihood(y, NOISE)


def whole_guide(y):
    posterior(y, slice(None))


def model(y, indices):
    likelihood(y, NOISE[indices])


def guide(y, indices):
    posterior(y, indices)


def fit(pair, data=Y, **options):
    defaults = {"epochs": 600, "lr": 0.5, "schedule": lambda step: 0.994**step, "device": "cpu", "progress": False}
    return pv.fit(pair, data, **{**defaults, **options})


def require_the_posterior():
    """To what the draws of the last steps, at a rate of .01, leave: hundredths of a standard deviation."""
    deviation = VARIANCE.sqrt()
    assert ((pyro.param("loc").detach() - MEAN) / deviation).abs().max() < 0.4
    assert (pyro.param("scale").detach() / deviation - 1).abs().max() < 0.4


@pytest.mark.slow
def test_a_batch_of_all_data_keeps_their_order():
    fit((whole_model, whole_guide))
    require_the_posterior()


def test_programs_take_the_rows_of_their_batch():
    seen = []

    def watching(y, indices):
        assert torch.equal(y, Y[indices])
        seen.append(indices.tolist())
        model(y, indices)

    fit((watching, guide), epochs=2, batch_size=3, compile=False)
    first, second = ([row for rows in seen[-6:][part] for row in rows] for part in (slice(3), slice(3, 6)))
    assert sorted(first) == sorted(second) == list(range(N))
    assert first != second


@pytest.mark.slow
def test_traced_steps_take_the_same_rows(monkeypatch):
    eager = fit((model, guide), epochs=5, batch_size=3, compile=False).history.loss.tolist()
    pyro.clear_param_store()
    choice = pv.inference.compilation.step_choice.Choice("traced", "by the rule")
    monkeypatch.setattr("ppl_vae.inference.training.run_steps.choose", lambda *_: choice)
    traced = fit((model, guide), epochs=5, batch_size=3)
    assert traced.manifest["compile"] == "traced"
    assert traced.history.loss.tolist() == eager


@pytest.mark.slow
def test_rows_of_full_batches_reach_the_posterior():
    fit((model, guide), batch_size=N)
    require_the_posterior()


def test_evaluations_give_every_datum_its_own_row(monkeypatch):
    pyro.param("loc", MEAN.clone())
    pyro.param("scale", VARIANCE.sqrt(), constraint=dist.constraints.positive)
    found = pv.evaluate((model, guide), Y, num_particles=2000)
    exact = pv.evaluate((whole_model, whole_guide), Y, num_particles=2000)
    torch.testing.assert_close(found.elbo, exact.elbo)
    # At the exact posterior the bound is tight; the likelihood's draws have a standard deviation below one.
    assert (found.elbo - EVIDENCE).abs().max() < 5 / 2000**0.5
    evidence = pv.log_evidence((model, guide), Y, num_samples=64)
    torch.testing.assert_close(evidence.per_datum, EVIDENCE, rtol=0, atol=1e-10)
    monkeypatch.setattr("ppl_vae.inference.pair.evaluation.CHUNK_NUMBERS", 3 * 2000)
    assert (pv.evaluate((model, guide), Y, num_particles=2000).elbo - EVIDENCE).abs().max() < 5 / 2000**0.5
    with pytest.raises(ModelError, match=r"param 'loc' \[8\] has a row for each of 8 data, but meets 3"):
        pv.evaluate((whole_model, whole_guide), Y, num_particles=2000)


def sliced_guide(y):
    posterior(y, slice(0, len(y)))


def unit_model(y):
    likelihood(y, 1.0)


@pytest.mark.parametrize("of_each", [whole_guide, sliced_guide])
def test_a_parameter_of_each_datum_in_a_smaller_batch_is_refused(of_each):
    with pytest.raises(ModelError, match=r"param '(loc|scale)' \[8\] has a row for each of 8 data, but meets 4"):
        fit((unit_model, of_each), batch_size=4)


@pytest.mark.parametrize("constant", [NOISE, NOISE.numpy()])
def test_so_is_a_constant(constant):
    noise = constant

    def global_guide(y):
        loc = pyro.param("loc", torch.zeros((), dtype=torch.float64))
        with pyro.plate("data", len(y)):
            pyro.sample("theta", dist.Normal(loc, 1.0))

    with pytest.raises(ModelError, match=r"the closure's 'noise' \[8\] has a row for each of 8 data, but meets 4"):
        fit((lambda y: likelihood(y, torch.as_tensor(noise)), global_guide), batch_size=4)


def test_a_weight_that_happens_to_have_as_many_rows_trains():
    def global_guide(y):
        weight = pyro.param("weight", torch.zeros(N, dtype=torch.float64))
        with pyro.plate("data", len(y)):
            pyro.sample("theta", dist.Normal(weight.sum() * y, 1.0))

    assert fit((unit_model, global_guide), batch_size=4, epochs=1).epochs_run == 1


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: fit((model, guide), validation=0.5), "without validation"),
        (lambda: fit((model, guide), [Y, Y]), "data in one piece"),
        (lambda: pv.log_evidence((model, guide), Y, method="ais"), "takes the indices"),
        (lambda: pv.inference.trace_terms(model, guide, Y), "takes the indices"),
        (lambda: pv.inference.simulate(model, Y), "takes the indices"),
    ],
)
def test_where_there_are_no_indices_such_programs_are_refused(call, words):
    with pytest.raises(ModelError, match=words):
        call()


def test_the_primitive_takes_them_by_name():
    rows = torch.tensor([5, 2])
    terms = pv.inference.trace_terms(model, guide, Y[rows], indices=rows)
    torch.testing.assert_close(terms.observations["y"].p.scale.flatten(), NOISE[rows])


class Module(nn.Module):
    def forward(self, x, *, indices=None):
        return x

    def guide(self, x, indices):
        return x


def test_who_takes_indices():
    assert all(map(takes_indices, [model, Module(), Module().guide, functools.partial(model, 1)]))
    assert not any(map(takes_indices, [whole_model, functools.partial(model, indices=1), np.sum, nn.Linear(1, 1)]))
