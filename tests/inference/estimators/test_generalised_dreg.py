"""GDReG against quadrature on a chain of Gaussians with a learned prior, and where it lowers the variance."""

import pyro
import pytest
import torch
from pyro import distributions as dist

from ppl_vae import inference as inf
from ppl_vae import models
from ppl_vae.errors import ModelError
from tests.inference.hierarchy import PHI, THETA, Chain, chain_workbench, expected
from tests.inference.oracles import assert_gradient, assert_mean, estimate, gradient_of, log_mean_exp, repeated

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("num_particles", [1, 2])
def test_value_and_gradient_are_those_of_the_bound_in_a_hierarchy(num_particles):
    """The slope of p(z2 | z1) is a prior's parameter."""
    p, x = chain_workbench("top-down")
    bound = lambda p: expected(p, x, log_mean_exp, num_particles, "top-down")  # noqa: E731
    value, gradient = repeated(inf.GDReG(num_particles), lambda: Chain(p, x, 20_000, "top-down"), chunks=1)
    assert_mean(value, bound(p))
    assert_gradient(gradient, gradient_of(bound, p, (*THETA, *PHI)))


def test_a_guide_in_another_order_than_the_models_is_refused():
    p, x = chain_workbench("bottom-up")
    with pytest.raises(ModelError, match=r"guide draws sites \['z2', 'z1'\] and model \['z1', 'z2'\]: gdreg needs"):
        estimate(inf.GDReG(2), Chain(p, x, 3, "bottom-up"))


def test_the_guides_gradient_is_dregs_draw_by_draw():
    p, x = chain_workbench("top-down")
    torch.manual_seed(0)
    _, ours = estimate(inf.GDReG(3), Chain(p, x, 20, "top-down"))
    torch.manual_seed(0)
    _, dreg = estimate(inf.DReG(3), Chain(p, x, 20, "top-down"))
    for name in (*PHI, "weight"):
        torch.testing.assert_close(ours[name], dreg[name], rtol=1e-9, atol=1e-9)
    assert not torch.allclose(ours["slope"], dreg["slope"])


def test_the_priors_gradient_loses_its_variance_at_the_exact_posterior():
    """There log w is constant, and what is left of the score's variance is none: p's share of it cancels q's."""
    p, x = chain_workbench("top-down", off=0.05)
    _, ours = repeated(inf.GDReG(8), lambda: Chain(p, x, 4000, "top-down"), chunks=1)
    _, dreg = repeated(inf.DReG(8), lambda: Chain(p, x, 4000, "top-down"), chunks=1)
    assert ours["slope"].var() < 0.8 * dreg["slope"].var()


def test_a_model_without_learned_priors_has_dregs_gradient_and_a_hierarchy_of_ours_trains_all_parameters():
    vae = models.LadderVAE((6,), latent_dims=(3, 2), hidden=(5,), seed=0)
    x = torch.ones(4, 6)
    inf.GDReG(3)(vae.model, vae.guide)(x).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.abs().max() > 0 for p in vae.parameters())


def test_a_learned_prior_that_is_no_diagonal_gaussian_is_refused_by_name():
    loc = torch.zeros(2, requires_grad=True)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Laplace(loc, 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x * loc.detach().clone().requires_grad_(), 1.0).to_event(1))

    with pytest.raises(ModelError, match="site 'z': gdreg reparameterises priors that are diagonal Gaussians"):
        inf.GDReG(2)(model, guide)(torch.ones(3, 2))


def test_a_data_plate_elsewhere_gives_dregs_bound_and_gradient():
    """x in columns, the data plate at dim -2: the prior's density at [K, N] was a raw error of shapes."""
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))

    def model(x):
        with pyro.plate("rows", len(x), dim=-2):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            with pyro.plate("columns", 3, dim=-1):
                pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    class Guide(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.slope = torch.nn.Parameter(torch.tensor(0.2))

        def forward(self, x):
            with pyro.plate("rows", len(x), dim=-2):
                pyro.sample("z", dist.Normal(self.slope * x.sum(-1, keepdim=True), 0.6))

    guide, found = Guide(), []
    for name in ("gdreg", "dreg"):
        torch.manual_seed(1)
        estimator = inf.get_elbo(name, num_particles=7)
        loss = estimator.forward(estimator.run(model, guide, x))
        found.append((loss.detach(), *torch.autograd.grad(loss, guide.parameters())))
    assert torch.allclose(torch.stack(found[0]), torch.stack(found[1]))
