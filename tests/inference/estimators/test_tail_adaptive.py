"""Weights by rank: the formula, its extremes, and a guide that covers what the ELBO's leaves out."""

import pyro
import pytest
import torch
from pyro import distributions as dist

from ppl_vae import inference as inf
from ppl_vae.errors import ModelError
from ppl_vae.inference.estimators.tail_adaptive import tail_weights
from tests.inference.oracles import (
    PHI,
    THETA,
    Copies,
    assert_gradient,
    estimate,
    expect,
    expected_bound,
    gradient_of,
    log_densities,
    log_mean_exp,
    repeated,
    workbench,
)

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_weights_are_the_papers():
    """The largest of K has rank 1 / K, the smallest 1: before they are normalised K / 1, K / 2, ..., K / K."""
    log_weight = torch.tensor([[3.0], [-500.0], [1.0], [2.0]], dtype=torch.float64)
    harmonic = 1 + 1 / 2 + 1 / 3 + 1 / 4
    wanted = torch.tensor([[1.0], [1 / 4], [1 / 3], [1 / 2]], dtype=torch.float64) / harmonic
    torch.testing.assert_close(tail_weights(log_weight), wanted)
    ties = tail_weights(torch.zeros(5, 2))
    torch.testing.assert_close(ties, torch.full((5, 2), 0.2))


def test_thetas_gradient_is_iwaes_and_phis_the_weighted_paths():
    p, x = workbench(3, 4, 1)
    bound = lambda p: expected_bound(p, x, log_mean_exp, 2)  # noqa: E731
    _, gradient = repeated(inf.TailAdaptive(2), lambda: Copies(p, x, 200, 50), chunks=2)
    assert_gradient({name: gradient[name] for name in THETA}, gradient_of(bound, p, THETA))

    live = {name: p[name].clone().requires_grad_() for name in PHI}

    def path(eps):
        """The weighted log weights, along z alone: log q has its parameters stopped."""
        z = live["loc"] + live["log_scale"].exp() * eps
        log_likelihood, log_prior, log_guide = log_densities(p, x, z)
        w = log_likelihood + log_prior - log_guide
        return (tail_weights(w.detach()) * w).sum(0)

    exact = dict(zip(PHI, torch.autograd.grad(expect(path, 2, 1, 120), list(live.values())), strict=True))
    found = {name: gradient[name].mean(0) for name in PHI}
    for name in PHI:
        error = gradient[name].std(0) / len(gradient[name]) ** 0.5
        # The ranks jump where two weights are equal, which a sum over nodes sees to a part in a hundred.
        assert ((found[name] - exact[name]).abs() < 4 * error + 0.02 * exact[name].abs() + 0.01).all()


def test_at_power_0_the_guide_follows_sticking_the_landing_draw_by_draw():
    p, x = workbench(3, 6, 3)
    torch.manual_seed(0)
    ours = estimate(inf.TailAdaptive(4, power=0.0), Copies(p, x, 20))[1]
    torch.manual_seed(0)
    wanted = estimate(inf.StickingTheLanding(4), Copies(p, x, 20))[1]
    for name in PHI:
        torch.testing.assert_close(ours[name], wanted[name], rtol=1e-9, atol=1e-9)


@pytest.mark.slow
def test_it_covers_two_modes_where_the_elbo_sits_in_one():
    """The target is a mixture at -2 and 2; the guide is one Gaussian that starts at the right one."""

    class TwoModes(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.loc = torch.nn.Parameter(torch.tensor(1.0))
            self.log_scale = torch.nn.Parameter(torch.tensor(0.0))

        def model(self, x):
            with pyro.plate("data", len(x)):
                parts = dist.Normal(torch.tensor([-2.0, 2.0]), 0.6)
                even = dist.Categorical(torch.ones(2))
                pyro.sample("z", dist.MixtureSameFamily(even, parts).expand([len(x)]))
                pyro.sample("x", dist.Normal(torch.zeros(len(x)), 1.0), obs=x)

        def guide(self, x):
            with pyro.plate("data", len(x)):
                pyro.sample("z", dist.Normal(self.loc, self.log_scale.exp()).expand([len(x)]))

    scales = {}
    for name in ("tail-adaptive", "monte-carlo-kl"):
        torch.manual_seed(0)
        pair, objective = TwoModes(), inf.get_elbo(name, num_particles=20)
        optimizer = torch.optim.Adam(pair.parameters(), lr=0.1)
        for _ in range(120):
            optimizer.zero_grad()
            objective(pair.model, pair.guide)(torch.zeros(8)).backward()
            optimizer.step()
        scales[name] = pair.log_scale.exp().item()
    # The target's own standard deviation is sqrt(4 + 0.36) = 2.09.
    assert scales["monte-carlo-kl"] < 1.0
    assert scales["tail-adaptive"] > 1.6


def test_what_is_no_covering_weight_is_refused():
    for options in ({"num_particles": 1}, {"power": 0.5}):
        with pytest.raises(ModelError, match="tail-adaptive needs num_particles >= 2 and power <= 0"):
            inf.TailAdaptive(**options)
