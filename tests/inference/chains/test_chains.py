"""Chains for a whole data set at once against exact posteriors, and what they must not be."""

import numpy as np
import pyro
import pytest
import torch
from pyro import distributions as dist
from scipy import signal, stats

from ppl_vae.diagnostics.arviz.container import ess, rhat
from ppl_vae.inference.chains.metric import metric_of
from ppl_vae.inference.chains.recorded_gradient import RecordedGradient
from ppl_vae.inference.chains.trajectory_length import common_lengths
from ppl_vae.inference.chains.transition import Kernel, state_at, transition
from ppl_vae.inference.evidence.unconstrained import LatentVector
from tests.inference.chains.drawn import chains_on, draws_of, off, standard_errors_off
from tests.inference.chains.targets import TARGETS, coins, counts, funnel_model, gamma_poisson, linear
from tests.scenarios import linear_gaussian

# The banana takes as long as all others.
QUICK = [pytest.param(name, marks=pytest.mark.slow) if name == "banana" else name for name in TARGETS]


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_means_variances_and_quantiles_are_exact(name):
    target = TARGETS[name]()
    draws, drawn, _ = draws_of(target.model, target.x, num_samples=1000 if name == "banana" else 400)
    assert np.abs(standard_errors_off(draws, target)).max() < 4
    assert max(rhat(of_datum).max() for of_datum in draws) < 1.03
    assert 0.5 < drawn.acceptance.min() <= 1


@pytest.mark.slow
def test_a_centred_funnel_is_flagged():
    x = torch.zeros(1, dtype=torch.float64)
    draws, drawn, _ = draws_of(funnel_model(centred=True), x, num_samples=100, warmup=60)
    assert drawn.divergences.sum() > 0 or rhat(draws[0]).max() > 1.01
    assert ess(draws[0]).min() < 400


@pytest.mark.slow
def test_every_datum_has_a_step_and_a_metric_of_its_own():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(len(x), 2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z.sum(-1), x[:, 1]), obs=x[:, 0])

    x = torch.tensor([[0.0, 1.0], [0.0, 0.02]], dtype=torch.float64)
    draws, _, chains = draws_of(model, x, num_samples=200)
    # The posterior of z1 + z2 has the scales 0.82 and 0.02, that of z1 - z2 is the prior's.
    widths = draws.sum(-1).std((1, 2))
    assert widths == pytest.approx([(2 / 3) ** 0.5, 0.02], rel=0.15)
    assert (draws[..., 0] - draws[..., 1]).std((1, 2)) == pytest.approx(np.sqrt([2, 2]), rel=0.15)
    assert 0.05 < (chains._kernel.step_size[0] / chains._kernel.step_size[1]).item() < 20


@pytest.mark.slow
def test_a_seed_is_a_result_and_some_data_go_on_alone():
    target = linear()
    first, second = (draws_of(target.model, target.x, 20, warmup=30)[0] for _ in range(2))
    assert np.array_equal(first, second)
    chains = chains_on(target.model, target.x, warmup=30)
    before, spent = chains.position.clone(), chains.gradients.clone()
    drawn = chains.draw(3, torch.tensor([1, 3]))
    assert drawn.position.shape == (4, 3, 2, 3)
    assert torch.equal(chains.position[:, [0, 2]], before[:, [0, 2]])
    assert torch.equal(drawn.position[:, -1], chains.position[:, [1, 3]])
    more = chains.gradients - spent
    assert more[[0, 2]].tolist() == [0, 0]
    assert more[[1, 3]].tolist() == (12 * chains.lengths[[1, 3]]).tolist()


@pytest.mark.slow
def test_a_transition_leaves_its_target_invariant():
    """Exact draws stay exact under steps so long that a third of the proposals fail."""
    target = linear()
    posterior_mean, sd = torch.tensor(target.mean), torch.tensor(target.variance).sqrt()
    latents = LatentVector(target.model, target.x)
    generator = torch.Generator().manual_seed(0)
    root = linear_gaussian(seed=1).posterior(target.x).scale_tril.detach().expand(4, 3, 3)
    noise = torch.randn(4000, 4, 3, generator=generator, dtype=torch.float64)
    slope = RecordedGradient(latents.log_density)
    with pyro.validation_enabled(False), torch.random.fork_rng():
        torch.manual_seed(0)
        state = state_at(slope, posterior_mean + torch.einsum("nij,cnj->cni", root, noise))
        kernel = Kernel(torch.full((4,), 1.45, dtype=torch.float64), metric_of(state.position), 3)
        for _ in range(4):
            moved = transition(slope, state, kernel)
            state = moved.state
    assert 0.4 < moved.acceptance.mean() < 0.9
    scaled = ((state.position - posterior_mean) / sd).numpy()
    assert np.abs(scaled.mean(0)).max() < 4 / 4000**0.5
    assert np.abs((scaled**2).mean(0) - 1).max() < 4 * (2 / 4000) ** 0.5
    again = state_at(slope, state.position)
    torch.testing.assert_close(again.log_density, state.log_density)
    torch.testing.assert_close(again.gradient, state.gradient)


def test_the_metric_is_the_covariance_and_keeps_its_rank_without_one():
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(4000, 1, 2, generator=generator, dtype=torch.float64)
    true = torch.tensor([[2.0, 0.0], [1.5, 0.5]], dtype=torch.float64)
    metric = metric_of(noise @ true.mT)
    assert metric.full
    torch.testing.assert_close(metric.root[0], true, rtol=0.05, atol=0.05)
    there = metric.push(noise)
    torch.testing.assert_close(metric.whiten(there), noise)
    assert torch.allclose((metric.pull(noise) * noise).sum(-1), (noise * metric.push(noise)).sum(-1))
    still = metric_of(torch.ones(10, 1, 2, dtype=torch.float64))
    assert still.root.isfinite().all()
    assert (still.root.diagonal(0, -1, -2) > 0).all()
    assert not metric_of(torch.randn(50, 1, 30, generator=generator)).full


def test_weighted_draws_give_the_weighted_covariance():
    draws = torch.tensor([-1.0, 1.0, 5.0], dtype=torch.float64).reshape(3, 1, 1)
    weight = torch.tensor([0.5, 0.5, 0.0], dtype=torch.float64).reshape(3, 1)
    assert metric_of(draws, weight).root.item() == pytest.approx(1.0)


def test_few_lengths_serve_all_data():
    lengths = torch.arange(1, 9, dtype=torch.float64)[:, None]
    peaked = lambda at: torch.exp(-2 * (lengths / at).log().square())  # noqa: E731
    # The mean over all lies between; the one that it serves at less than half of its best has its own.
    chosen = common_lengths(torch.cat([peaked(2.0), peaked(2.4), peaked(2.0), peaked(8.0)], 1))
    assert chosen.tolist() == [3, 3, 3, 8]
    assert common_lengths(torch.cat([peaked(2.0), peaked(8.0)], 1), most_groups=1).unique().numel() == 1


def test_a_program_that_cannot_be_recorded_runs_as_it_is():
    def looking(position):
        return -position.square().sum(-1) * (1.0 if position.sum().item() > -1e9 else 0.0)

    slope = RecordedGradient(looking)
    u = torch.ones(2, 3, 1, dtype=torch.float64)
    log_density, gradient = slope(u)
    assert torch.equal(log_density, -torch.ones(2, 3, dtype=torch.float64))
    assert torch.equal(gradient, -2 * u)


def test_the_error_of_a_variance_is_by_the_size_of_its_squares():
    """300 times four autoregressive chains a, and b = a^2 + noise as in the banana."""
    rng, share = np.random.default_rng(0), 0.8
    noise = rng.standard_normal((4, 1000, 300))
    a = signal.lfilter([(1 - share**2) ** 0.5], [1, -share], noise, axis=1, zi=share * noise[:, :1])[0]
    b = a**2 + rng.standard_normal(a.shape)
    assert 0.85 < off((b - 1) ** 2, 3.0).std() < 1.25  # by the size of ranks 1.39


@pytest.mark.slow
def test_the_stated_errors_cover_the_truth_in_200_repeats():
    """The same datum 200 times: the error of a mean by ArviZ's ess covers it in 95 of 100."""
    target = gamma_poisson()
    x = target.x[2:3].expand(200, 1).contiguous()
    draws, _, _ = draws_of(target.model, x, num_samples=250)
    differences = np.array([off(of_datum, target.mean[2]) for of_datum in draws])
    covered = (np.abs(differences) < 1.96).sum()
    assert stats.binomtest(int(covered), 200, 0.95).pvalue > 1e-3


def bent(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(x.new_zeros(len(x), 2), 1.0).to_event(1))
        mean = torch.stack([z[..., 0] + z[..., 1].square(), 2 * z[..., 1]], -1)
        pyro.sample("x", dist.Normal(mean, 0.7).to_event(1), obs=x)


@pytest.mark.slow
@pytest.mark.parametrize(("model", "width"), [(counts, 1), (coins, 6), (bent, 2)])
def test_ranks_of_the_truth_are_uniform(model, width):
    """Simulation-based calibration of the sampler (Talts et al. 2018): 600 data, 4 chains, every tenth draw."""
    template = torch.zeros(600, width, dtype=torch.float64)
    with torch.random.fork_rng():
        torch.manual_seed(7)
        trace = pyro.poutine.trace(pyro.poutine.uncondition(model)).get_trace(template)
    x = trace.nodes["x"]["value"]
    latent = [n["value"] for n in trace.nodes.values() if n["type"] == "sample" and n["name"] in ("rate", "p", "z")]
    draws, _, _ = draws_of(model, x, num_samples=300)
    thinned = draws[:, :, ::10].reshape(600, -1, draws.shape[-1])
    ranks = (thinned < latent[0].numpy()[:, None]).sum(1)
    bins = np.floor(20 * (ranks + np.random.default_rng(0).random(ranks.shape)) / (thinned.shape[1] + 1))
    for column in bins.T:
        assert stats.chisquare(np.bincount(column.astype(int), minlength=20)).pvalue > 1e-3
