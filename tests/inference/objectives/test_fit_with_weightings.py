"""Weightings as fit sees them; the estimators' own numbers are tested beside the estimators."""

import numpy as np
import pytest
import torch

from ppl_vae import inference as inf
from ppl_vae.errors import ModelError
from tests.inference.small_runs import small_data, small_vae, train, weight_bytes
from tests.scenarios import draw_data, linear_gaussian

BETAS = (0.0, 0.25, 1.0, 4.0)


def loss_of(objective, lg, x, **options):
    torch.manual_seed(3)
    terms = inf.trace_terms(lg.model, lg.guide, x, num_particles=objective.num_draws, gradient=objective.gradient)
    return objective.forward(terms), terms


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("estimator", ["analytic-kl", "monte-carlo-kl", "sticking-the-landing", "entropy"])
def test_beta_multiplies_the_divergence_and_nothing_else(beta, estimator):
    lg = linear_gaussian()
    x = draw_data(lg)
    loss, terms = loss_of(inf.Beta(estimator, beta), lg, x)
    kl = inf.get_elbo(estimator).kl(terms)
    torch.testing.assert_close(loss, -(terms.log_likelihood - beta * kl).mean(), rtol=1e-10, atol=1e-12)


def test_beta_of_one_is_the_elbo_itself():
    runs = [train(small_vae(), small_data(), elbo=elbo) for elbo in ("analytic-kl", inf.Beta("analytic-kl", 1.0))]
    np.testing.assert_allclose(runs[0].history["loss"], runs[1].history["loss"], rtol=1e-6)


def test_beta_of_zero_leaves_the_likelihood():
    history = train(small_vae(), small_data(), elbo=inf.Beta("analytic-kl", 0.0)).history
    np.testing.assert_allclose(-history["loss"], history["train_log_likelihood"], rtol=1e-6)


@pytest.mark.slow
def test_a_larger_beta_leaves_a_smaller_divergence():
    def kl(beta):
        result = train(small_vae(), small_data(), elbo=inf.Beta("analytic-kl", beta), epochs=60)
        return result.history["train_kl"].iloc[-1]

    assert kl(0.1) > kl(1.0) > kl(10.0)


def test_weightings_nest_and_name_their_estimator():
    nested = inf.Beta(inf.Beta("iwae", 2.0), 3.0)
    assert isinstance(nested.estimator, inf.ImportanceWeighted)
    assert nested.num_draws == inf.get_elbo("iwae").num_draws
    lg = linear_gaussian()
    x = draw_data(lg)
    loss, terms = loss_of(inf.Beta(inf.Beta("analytic-kl", 2.0), 3.0), lg, x)
    torch.testing.assert_close(loss, -(terms.log_likelihood - 6 * terms.kl()).mean())


@pytest.mark.parametrize("beta", [-1.0, float("nan")])
def test_a_beta_below_zero_is_refused(beta):
    with pytest.raises(ModelError, match="beta must be at least 0"):
        inf.Beta("analytic-kl", beta)


class Penalty(inf.Objective):
    """A user's own objective with a parameter: minus the ELBO plus (strength - 3)^2."""

    def __init__(self):
        super().__init__()
        self.inner = inf.AnalyticKL()
        self.strength = torch.nn.Parameter(torch.tensor(0.0))
        self.steps = []

    def forward(self, terms, step=None):
        self.steps.append(None if step is None else int(step))
        return self.inner.forward(terms, step) + (self.strength - 3.0).square()

    @property
    def estimator(self):
        return self.inner


@pytest.mark.slow
def test_an_objective_with_parameters_is_trained_and_told_the_step():
    objective = Penalty()
    result = train(small_vae(), small_data(), elbo=objective, epochs=40, lr=0.1)
    assert objective.strength.item() == pytest.approx(3.0, abs=0.1)
    assert objective.steps == list(range(160))
    plain = result.history["train_log_likelihood"] - result.history["train_kl"]
    np.testing.assert_allclose(result.history["train_elbo"], plain, rtol=1e-5)
    assert not objective.training


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*no checkpoint holds")  # what the penalty writes down for this test
def test_an_objective_with_parameters_is_continued(tmp_path):
    straight, resumed = Penalty(), Penalty()
    expected = train(small_vae(), small_data(), elbo=straight, epochs=4)
    train(small_vae(), small_data(), elbo=Penalty(), epochs=2, out_dir=tmp_path)
    found = train(small_vae(), small_data(), elbo=resumed, epochs=4, out_dir=tmp_path, resume=True)
    assert weight_bytes(found.model) == weight_bytes(expected.model)
    assert resumed.strength.item() == straight.strength.item() != 0.0
