"""HMC leaves its target as it is, adapts to every datum, and its recorded gradient is the program's own."""

import math

import pyro
import pytest
import torch
from pyro import distributions as dist

from ppl_vae.errors import ModelError
from ppl_vae.inference.evidence.annealed import sigmoid_schedule
from ppl_vae.inference.evidence.hmc import HMC, pilot, state_at, trajectory
from ppl_vae.inference.evidence.slope import Slope
from ppl_vae.inference.evidence.unconstrained import LatentPath
from ppl_vae.recording import Recording
from tests.inference.evidence.exact_path import ExactPath
from tests.inference.oracles import assert_jointly
from tests.scenarios import all_binary, binary_mlp, draw_data, linear_gaussian

CHAINS = 4000


@pytest.fixture(autouse=True)
def _without_validation():
    """As inside every public function: Pyro's own looks at values would stop a recording."""
    with pyro.validation_enabled(False):
        yield


@pytest.mark.slow
@pytest.mark.parametrize("beta", [0.3, 1.0])
@pytest.mark.parametrize("step", [0.25, 0.6])
def test_a_trajectory_leaves_the_density_invariant(beta, step):
    """Also with steps so long that many proposals fail."""
    lg = linear_gaussian(seed=3, data_dim=3, latent_dim=2)
    x = draw_data(lg, 2)
    path, exact = LatentPath(lg.model, lg.guide, x), ExactPath(lg, x)
    generator, slope = torch.Generator().manual_seed(0), Slope(path)
    state = state_at(path, exact.draw(beta, CHAINS, generator))
    before = state.position
    for _ in range(5):
        state, acceptance = trajectory(slope, state, beta, torch.full((2,), step, dtype=torch.float64), 5)
    mean, covariance = exact.moments(beta)
    scale = covariance.diagonal().sqrt()
    assert 0.05 < acceptance.mean() < (0.999 if step < 0.5 else 0.95)
    assert_jointly(state.position.mean(0), scale.expand(2, 2) / math.sqrt(CHAINS), mean)
    centred = (state.position - mean) / scale
    second = centred.unsqueeze(-1) * centred.unsqueeze(-2)
    correlation = covariance / (scale[:, None] * scale)
    assert_jointly(second.mean(0), second.std(0) / math.sqrt(CHAINS), correlation.expand(2, 2, 2))
    moved = (state.position != before).any(-1).double().mean()
    assert moved > 0.2
    fresh = state_at(path, state.position)
    torch.testing.assert_close(state.log_start, fresh.log_start)
    torch.testing.assert_close(state.log_ratio, fresh.log_ratio)


def scaled_model(x):
    """x [N, 2]: the datum and the scale of its noise."""
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(x.new_zeros(len(x)), 1.0))
        pyro.sample("x", dist.Normal(z, x[:, 1]), obs=x[:, 0])


def scaled_guide(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(x[:, 0], 1.0))


@pytest.mark.slow
def test_the_pilot_gives_every_datum_a_step_of_its_own():
    x = torch.tensor([[0.0, 1.0], [0.0, 0.01]], dtype=torch.float64)
    path = LatentPath(scaled_model, scaled_guide, x)
    slope, betas = Slope(path), sigmoid_schedule(100)
    hmc = pilot(slope, state_at(path, path.draw(50)), betas, 10)
    assert isinstance(hmc, HMC)
    start, end = hmc.step_size(0.0), hmc.step_size(1.0)
    assert (start.log() - start.log().mean()).abs().max() < 0.5  # both start from the prior
    # At the end the posteriors' scales are 0.71 and 0.01.
    assert 20 < (end[0] / end[1]).item() < 250
    state = state_at(path, path.draw(200))
    for beta in betas[1:].tolist():
        state = hmc(state, beta)
    acceptance = torch.stack(hmc.acceptance).mean(0)
    assert ((acceptance - 0.65).abs() < 0.2).all()


def test_overflow_is_a_refused_proposal():
    lg = linear_gaussian(seed=3, data_dim=3, latent_dim=2)
    path = LatentPath(lg.model, lg.guide, draw_data(lg, 2))
    state = state_at(path, path.draw(4))
    reached, acceptance = trajectory(Slope(path), state, 1.0, torch.full((2,), 1e200, dtype=torch.float64), 5)
    assert torch.equal(acceptance, torch.zeros(4, 2, dtype=torch.float64))
    assert torch.equal(reached.position, state.position)


@pytest.mark.slow
@pytest.mark.parametrize("start", ["prior", "guide"])
def test_the_recorded_gradient_is_the_programs_own(start):
    vae = binary_mlp()
    path = LatentPath(vae.model, vae.guide, all_binary()[:5], start)
    recorded, plain = Slope(path), Slope(path, record=False)
    for _ in range(2):
        position = path.draw(7)
        for ours, expected in zip(recorded(position, 0.3), plain(position, 0.3), strict=True):
            torch.testing.assert_close(ours, expected)
        assert torch.equal(recorded.gradient(position, 0.3), recorded(position, 0.3)[2])
    (runs,) = recorded._all._known.values()
    assert all(isinstance(run, Recording) for run in runs)
    log_start, log_ratio, gradient = recorded(position, 0.3)
    step = 1e-6 * torch.randn_like(position)
    ahead, behind = ((a + 0.3 * r) for a, r in (path(position + step), path(position - step)))
    torch.testing.assert_close((ahead - behind) / 2, (gradient * step).sum(-1), rtol=1e-5, atol=1e-11)
    assert not log_start.requires_grad
    assert not log_ratio.requires_grad


def test_a_program_that_decides_by_its_values_runs_as_it_is():
    """A recording would keep the branch that it has seen."""

    def path(position):
        ratio = position.sum(-1) if position.sum() > 0 else -2 * position.sum(-1)
        return -0.5 * position.square().sum(-1), ratio

    slope = Slope(path)
    up, down = torch.full((2, 1, 1), 1.0), torch.full((2, 1, 1), -1.0)
    assert slope(up, 1.0)[2].flatten().tolist() == [0.0, 0.0]
    assert slope(down, 1.0)[2].flatten().tolist() == [-1.0, -1.0]


def dirichlet_model(x):
    with pyro.plate("data", len(x)):
        p = pyro.sample("p", dist.Dirichlet(torch.tensor([2.0, 3.0, 4.0], dtype=x.dtype)).expand([len(x)]))
        pyro.sample("x", dist.Normal(p[..., 0], 0.1), obs=x)


def dirichlet_guide(x):
    with pyro.plate("data", len(x)):
        pyro.sample("p", dist.Dirichlet(torch.ones(3, dtype=x.dtype)).expand([len(x)]))


@pytest.mark.parametrize("start", ["prior", "guide"])
def test_a_simplex_takes_two_coordinates_and_keeps_its_mass(start):
    """The density in R^2 integrates to one: the Jacobian is right."""
    path = LatentPath(dirichlet_model, dirichlet_guide, torch.full((1,), 0.2, dtype=torch.float64), start)
    assert path.dim == 2
    line = torch.linspace(-14, 14, 281, dtype=torch.float64)
    grid = torch.cartesian_prod(line, line).unsqueeze(1)
    log_start, _ = path(grid)
    mass = log_start.exp().sum().item() * (line[1] - line[0]).item() ** 2
    assert mass == pytest.approx(1.0, abs=2e-3)
    drawn = path.draw(5)
    values, _ = path.unpack(drawn)
    assert values["p"].shape == (5, 1, 3)
    torch.testing.assert_close(path.pack(values), drawn)
    with pytest.raises(ModelError, match="site 'p' was given no value"):
        path.pack({"q": values["p"]})
