"""Guides with a Markov chain inside, on the linear-Gaussian oracle: unbiased weights, a rising bound."""

import itertools
import math

import pytest
import torch

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.errors import ModelError
from ppl_vae.models import DAISPosterior, HamiltonianPosterior
from ppl_vae.models.posteriors.posteriors import DiagonalPosterior
from tests.scenarios import draw_data, linear_gaussian

KINDS = pytest.mark.parametrize("kind", [DAISPosterior, HamiltonianPosterior], ids=["dais", "hamiltonian"])


def oracle(posterior, width=1.0, share=1.0):
    """The oracle, and the same model whose chain starts from the best diagonal guide; data [10, 5].

    Its standard deviations are ``width`` times as large, and its means a ``share`` of the best.
    """
    lg = linear_gaussian(0)
    vae = pv.LinearGaussianVAE(lg.weight, lg.bias, lg.sigma, guide=posterior)
    start, best = getattr(posterior, "of", posterior), lg.guide.posterior
    with torch.no_grad():
        start.loc_head.weight.copy_(share * best.gain)
        start.loc_head.bias.copy_(share * best.offset)
        start.scale_head.weight.zero_()
        start.scale_head.bias.copy_(2 * (best.log_scale + math.log(width)))
    return lg, vae, draw_data(lg, 10)


def tuned(vae, x, num_steps=80):
    """Learn what belongs to the chain alone, on draws of their own."""
    own = [p for name, p in vae.guide.posterior.named_parameters() if not name.startswith("of.")]
    optimizer = torch.optim.Adam(own, lr=0.05)
    torch.manual_seed(7)
    for _ in range(num_steps):
        optimizer.zero_grad()
        inf.MonteCarloKL(num_particles=20)(vae.model, vae.guide)(x).backward()
        optimizer.step()
    return vae


def weights(vae, x, num_particles):
    """Log weights [K, N]."""
    torch.manual_seed(1)
    with torch.no_grad():
        return inf.trace_terms(vae.model, vae.guide, x, num_particles=num_particles).log_weight


def gap(posterior, num_particles=400, learn=True, share=1.0):
    """The mean of log p(x) - bound over data, and its standard error."""
    lg, vae, x = oracle(posterior, share=share)
    if learn:
        tuned(vae, x)
    gaps = lg.log_evidence(x).detach() - weights(vae, x, num_particles)
    rows = gaps.mean(1)
    return rows.mean().item(), rows.std().item() / num_particles**0.5


@KINDS
def test_weights_are_unbiased_estimates_of_the_evidence(kind):
    # From a start that is wider than the posterior, whose weights have a variance.
    lg, vae, x = oracle(kind(num_steps=3, step_size=0.2), width=2.5)
    ratio = (weights(vae, x, 4000) - lg.log_evidence(x).detach()).exp()
    error = ratio.std(0) / len(ratio) ** 0.5
    assert ((ratio.mean(0) - 1).abs() < 4 * error).all()
    assert error.max() < 0.1


@pytest.mark.slow
def test_the_bound_rises_with_the_steps_and_reaches_the_evidence():
    """The gap at 0, 1, 4 and 16 steps falls within error, and at 128 it is below 0.05 nat; 0.29 without a chain."""
    found = [gap(DiagonalPosterior(), learn=False), *(gap(DAISPosterior(num_steps=k)) for k in (1, 4, 16))]
    for (before, error_before), (after, error_after) in itertools.pairwise(found):
        assert after < before + 4 * (error_before**2 + error_after**2) ** 0.5
    assert found[3][0] < 0.5 * found[0][0]
    last, error = gap(DAISPosterior(num_steps=128, step_size=0.1), 100, learn=False)
    assert 0 - 4 * error < last < 0.05


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "left"), [(DAISPosterior, 0.5), (HamiltonianPosterior, 1.0)])
def test_a_chain_carries_a_guide_that_lags_behind_towards_the_posterior(kind, left):
    """From means that are 0.7 of the best: four annealed steps close half of the gap, a trajectory some of it."""
    before, error = gap(DiagonalPosterior(), learn=False, share=0.7)
    after, error_after = gap(kind(num_steps=4), share=0.7)
    assert after < left * before - 4 * (error**2 + error_after**2) ** 0.5


@pytest.mark.slow
def test_the_laboratory_takes_the_oracle_with_a_chain_whose_elbo_has_no_closed_form():
    """The bound is below the evidence, which is exact as without a chain, by less than the wide start's."""
    lg, vae, x = oracle(DAISPosterior(num_steps=2), width=1.5)
    table = inf.compare_estimators(vae, x, ["monte-carlo-kl"], 20, progress=False)
    assert table.attrs["elbo_reference"] == "average of 20 repeats of MonteCarloKL(num_particles=8)"
    evidence = lg.log_evidence(x).mean().item()
    assert (table.attrs["evidence"], table.attrs["evidence_reference"]) == (pytest.approx(evidence), "closed form")
    assert table.attrs["evidence_stderr"] == 0
    assert evidence - 3 < table["value"].item() < evidence + 4 * table["value_stderr"].item()


@KINDS
def test_the_oracle_refuses_an_elbo_that_has_no_closed_form_with_the_reason(kind):
    _, vae, x = oracle(kind(num_steps=2))
    with pytest.raises(
        ModelError, match=f"posterior '{kind.name}': the ELBO has a closed form under a Gaussian alone"
    ):
        vae.elbo(x)


@KINDS
def test_the_gradient_is_that_of_the_bound_on_the_same_draws(kind):
    """By finite differences in double precision, of every parameter of the guide along a random direction."""
    _, vae, x = oracle(kind(num_steps=3, step_size=0.2))
    vae.double()
    parameters = list(vae.parameters())
    direction = [torch.randn_like(p) for p in parameters]

    def bound():
        torch.manual_seed(3)
        return inf.MonteCarloKL(num_particles=4).per_datum(vae.model, vae.guide, x).sum()

    slope = sum((g * d).sum() for g, d in zip(torch.autograd.grad(bound(), parameters), direction, strict=True))
    values = []
    with torch.no_grad():
        for sign in (1, -2):
            for p, d in zip(parameters, direction, strict=True):
                p.add_(d, alpha=sign * 1e-6)
            values.append(bound())
    torch.testing.assert_close(slope, (values[0] - values[1]) / 2e-6, rtol=1e-5, atol=1e-5)


@KINDS
def test_constant_forces_leave_the_value_and_change_the_gradient(kind):
    values, slopes = [], []
    for second_order in (True, False):
        _, vae, x = oracle(kind(num_steps=3, step_size=0.2, second_order=second_order))
        torch.manual_seed(3)
        bound = inf.MonteCarloKL(num_particles=4).per_datum(vae.model, vae.guide, x).sum()
        values.append(bound.detach())
        slopes.append(torch.autograd.grad(bound, vae.guide.posterior.log_step)[0])
    torch.testing.assert_close(*values)
    assert not torch.allclose(*slopes, rtol=1e-3)


def test_what_has_no_density_to_move_in_is_refused_by_name():
    for of in ({"name": "flow", "kind": "planar"}, "dais", "semi-amortised", "point", "von-mises"):
        with pytest.raises(ModelError, match=r"posterior 'dais' moves draws by gradients.*choose another of="):
            pv.VAE((4,), 3, posterior={"name": "dais", "of": of})
    vae, x = pv.VAE((4,), 3, posterior="hamiltonian"), torch.rand(5, 4).round()
    with pytest.raises(ModelError, match=r"site 'z'.*at its own draws"):
        inf.StickingTheLanding().per_datum(vae.model, vae.guide, x)
    with pytest.raises(ModelError, match="prior 'vamp'"):
        pv.VAE((4,), 3, prior="vamp", posterior="dais")
