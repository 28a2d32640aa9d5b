"""Two levels of Gaussian latents against closed forms: a hierarchy whose every arrow is linear.

z2 ~ N(0, I), z1 | z2 ~ N(A z2 + a, diag s^2), x | z1 ~ N(W z1 + b, sigma^2 I), and a guide that is a chain of
linear Gaussians in either order. Under the guide both latents are affine in its standard normal noise e, so that
every term of the ELBO is the expectation of a quadratic form. Nothing of that uses the package's densities.
"""

import math

import pytest
import torch
from torch import nn

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.errors import ModelError
from ppl_vae.models import DiagonalPosterior, HierarchicalVAE, LadderVAE
from ppl_vae.models.hierarchies.conditional import Conditional
from ppl_vae.models.hierarchies.ladder_vae import gaussian_product
from ppl_vae.networks import MLP
from tests.inference.oracles import assert_gradient, assert_mean

SIGMA, DIMS, DATA_DIM = 0.7, (2, 3), 4
REPEATS, PARTICLES = 100, 40


def linear_pair(kind, seed=0):
    """A hierarchy in float64 whose networks are the identity and whose scales are constants."""
    vae = kind(
        (DATA_DIM,),
        DIMS,
        network=(nn.Identity(), nn.Linear(DIMS[0], DATA_DIM)),
        likelihood={"name": "gaussian", "sigma": SIGMA},
        seed=seed,
    )
    low, high = DIMS
    vae.model.downward[0] = Conditional(nn.Identity(), DiagonalPosterior(), high, low)
    if kind is HierarchicalVAE:
        vae.guide.upward[0] = Conditional(nn.Identity(), DiagonalPosterior(), low, high)
    else:
        vae.guide.upward[0] = nn.Identity()
        vae.guide.evidence[1] = DiagonalPosterior()
        vae.guide.evidence[1].build(DATA_DIM, high)
    vae.double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    for name, parameter in vae.named_parameters():
        if name.endswith("scale_head.weight"):
            parameter.requires_grad_(False).zero_()
    return vae


def scale(head):
    return (0.5 * head.scale_head.bias).exp()


class Affine:
    """loc + noise @ e for standard normal e: loc [N, d], noise [d, E]."""

    def __init__(self, loc, noise):
        self.loc, self.noise = loc, noise

    def map(self, layer):
        return Affine(layer(self.loc), layer.weight @ self.noise)

    def minus(self, other):
        return Affine(self.loc - other.loc, self.noise - other.noise)

    def expected_log_normal(self, sd):
        """E log N(self; 0, diag sd^2): [N]."""
        second = self.loc.square() + self.noise.square().sum(-1)
        return -0.5 * (second / sd**2 + 2 * torch.as_tensor(sd).log() + math.log(2 * math.pi)).sum(-1)


def fresh(sd, first, size):
    """Noise of its own: sd on the diagonal from column ``first`` of ``size``."""
    return nn.functional.pad(torch.diag(sd), (first, size - first - len(sd)))


def guide_draws(vae, x):
    """z1 and z2 as affine functions of the noise, and the scales that they were drawn with."""
    (low, high), guide, total = DIMS, vae.guide, sum(DIMS)
    if isinstance(vae, HierarchicalVAE):
        first, then = guide.posterior, guide.upward[0].family
        z1 = Affine(first.loc_head(x), fresh(scale(first), 0, total))
        z2 = z1.map(then.loc_head)
        z2.noise = z2.noise + fresh(scale(then), low, total)
        return z1, z2, (scale(first), scale(then))
    bottom, top = guide.evidence
    arrow = vae.model.downward[0].family
    z2 = Affine(top.loc_head(x), fresh(scale(top), 0, total))
    precision, prior_precision = scale(bottom) ** -2, scale(arrow) ** -2
    sd = (precision + prior_precision) ** -0.5
    from_above = z2.map(arrow.loc_head)
    loc = sd**2 * (precision * bottom.loc_head(x) + prior_precision * from_above.loc)
    noise = (sd**2 * prior_precision)[:, None] * from_above.noise + fresh(sd, high, total)
    return Affine(loc, noise), z2, (sd, scale(top))


def exact_elbo(vae, x):
    """[N], nats."""
    z1, z2, scales = guide_draws(vae, x)
    arrow, decoder = vae.model.downward[0].family, vae.model.decoder
    explained = z1.map(decoder)
    residual = Affine(x - explained.loc, -explained.noise)
    log_joint = (
        z2.expected_log_normal(torch.ones(DIMS[1], dtype=x.dtype))
        + z1.minus(z2.map(arrow.loc_head)).expected_log_normal(scale(arrow))
        + residual.expected_log_normal(torch.full((DATA_DIM,), SIGMA, dtype=x.dtype))
    )
    entropy = sum((sd.log() + 0.5 * math.log(2 * math.pi * math.e)).sum() for sd in scales)
    return log_joint + entropy


def log_evidence(vae, x):
    """[N], from the marginal N(W a + b, W (A A' + diag s^2) W' + sigma^2 I)."""
    arrow, decoder = vae.model.downward[0].family, vae.model.decoder
    inner = arrow.loc_head.weight @ arrow.loc_head.weight.mT + torch.diag(scale(arrow) ** 2)
    covariance = decoder.weight @ inner @ decoder.weight.mT + SIGMA**2 * torch.eye(DATA_DIM, dtype=x.dtype)
    return torch.distributions.MultivariateNormal(decoder(arrow.loc_head.bias), covariance).log_prob(x)


ESTIMATORS = {
    "monte-carlo-kl": inf.MonteCarloKL,
    "sticking-the-landing": inf.StickingTheLanding,
    "rloo": inf.RLOO,
    "entropy": inf.EntropyAnalytic,
    "analytic-kl": inf.AnalyticKL,
}
CASES = [(HierarchicalVAE, name) for name in ESTIMATORS if name != "analytic-kl"]
CASES += [(LadderVAE, name) for name in ESTIMATORS]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "name"), CASES, ids=lambda value: getattr(value, "__name__", value))
def test_value_and_gradient_are_exact_on_a_linear_hierarchy(kind, name):
    """Value within 4 standard errors of the exact ELBO; all gradients jointly, at the suite's false-alarm rate."""
    vae = linear_pair(kind)
    x = torch.randn(3, DATA_DIM, dtype=torch.float64)
    named = {n: p for n, p in vae.named_parameters() if p.requires_grad}
    estimator, values, draws = ESTIMATORS[name](PARTICLES), [], {n: [] for n in named}
    for _ in range(REPEATS):
        loss = estimator(vae.model, vae.guide)(x)
        values.append(-loss.detach())
        for n, gradient in zip(named, torch.autograd.grad(-loss, list(named.values())), strict=True):
            draws[n].append(gradient)
    exact = exact_elbo(vae, x).sum()
    assert_mean(torch.stack(values), exact.item())
    wanted = dict(zip(named, torch.autograd.grad(exact, list(named.values())), strict=True))
    assert_gradient({n: torch.stack(found) for n, found in draws.items()}, wanted)


@pytest.mark.parametrize("kind", [HierarchicalVAE, LadderVAE])
def test_the_importance_bound_lies_between_the_exact_elbo_and_the_exact_evidence(kind):
    vae, x = linear_pair(kind, seed=1), torch.randn(3, DATA_DIM, dtype=torch.float64)
    with torch.no_grad():
        evidence, elbo = log_evidence(vae, x), exact_elbo(vae, x)
        assert (elbo < evidence).all()
    found = pv.log_evidence(vae, x, num_samples=5000, seed=3).per_datum
    # Its mean is below the evidence; 5000 draws spread by less than 0.1 around it.
    assert (found < evidence + 0.1).all()
    assert (found > elbo + 0.5).all()


def test_a_bottom_up_guide_under_the_closed_form_is_refused_by_name():
    """The sum of conditional KLs is another number here, by 0.3 nats or more; so it is never given."""
    vae, x = linear_pair(HierarchicalVAE), torch.randn(3, DATA_DIM, dtype=torch.float64)
    with pytest.raises(ModelError, match=r"guide draws sites \['z1', 'z2'\] and model \['z2', 'z1'\]: in another"):
        inf.AnalyticKL().per_datum(vae.model, vae.guide, x)
    with pytest.raises(ModelError, match="in another order"):
        inf.Capacity("analytic-kl", 1.0, 1.0)(vae.model, vae.guide)(x)
    with torch.no_grad():
        terms = inf.trace_terms(vae.model, vae.guide, x, num_particles=20_000)
        naive = (terms.log_likelihood - terms.kl("z1") - terms.kl("z2")).mean(0)
    assert (naive - exact_elbo(vae, x)).abs().max() > 0.3
    assert not pv.evaluate(vae, x).closed_form


def test_a_top_down_guides_evaluation_has_a_closed_form():
    vae, x = linear_pair(LadderVAE), torch.randn(3, DATA_DIM, dtype=torch.float64)
    found = pv.evaluate(vae, x, num_particles=20_000)
    assert found.closed_form
    # The draws of this datum spread by up to 6 nats: the tolerance is 6 standard errors.
    torch.testing.assert_close(found.elbo, exact_elbo(vae, x).detach(), rtol=0, atol=0.25)


def test_one_level_is_the_vae():
    """With the same weights and draws, number by number."""
    x = torch.rand(5, 1, 3, 4).round()
    vae = pv.VAE((1, 3, 4), 3, seed=4)
    for kind, renamed in ((HierarchicalVAE, {}), (LadderVAE, {"guide.posterior.": "guide.evidence.0."})):
        one = kind((1, 3, 4), (3,), seed=5)
        state = vae.state_dict()
        for old, new in renamed.items():
            state = {name.replace(old, new): value for name, value in state.items()}
        one.load_state_dict(state)
        torch.testing.assert_close(pv.evaluate(one, x, seed=1).elbo, pv.evaluate(vae, x, seed=1).elbo)
        torch.testing.assert_close(one.reconstruct(x), vae.reconstruct(x))
        torch.testing.assert_close(one.encode(x).mean, vae.encode(x).mean)


def test_the_ladders_product_of_gaussians_is_the_normalised_product():
    normal = torch.distributions.Normal
    a, b = normal(torch.tensor([[0.3, -2.0]]), 0.7), normal(torch.tensor([[1.5, 2.0]]), torch.tensor([[0.2, 3.0]]))
    product = gaussian_product(
        torch.distributions.Independent(a, 1), torch.distributions.Independent(b, 1)
    ).base_dist
    grid = torch.linspace(-30, 30, 200_001, dtype=torch.float64)[:, None]
    log_density = a.log_prob(grid) + b.log_prob(grid)
    share = log_density.softmax(0)
    mean = (share * grid).sum(0)
    torch.testing.assert_close(product.mean[0].double(), mean, rtol=1e-5, atol=1e-6)
    spread = (share * (grid - mean).square()).sum(0).sqrt()
    torch.testing.assert_close(product.stddev[0].double(), spread, rtol=1e-4, atol=1e-6)
    wide = gaussian_product(
        torch.distributions.Independent(a, 1), torch.distributions.Independent(normal(b.loc, 1e18), 1)
    )
    torch.testing.assert_close(wide.mean, a.mean)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"latent_dims": ()}, r"latent_dims must be the dimensions of z1, ..., zL such as \(20, 10\), got \(\)"),
        ({"latent_dims": 3}, "latent_dims must be the dimensions"),
        ({"latent_dims": (3, 0)}, "latent_dims must be an integer of at least 1, got 0"),
        ({"hidden": ()}, r"hidden must be one or more sizes, got \(\)"),
        ({"network": "mlpp"}, "unknown network 'mlpp'; did you mean 'mlp'"),
        ({"event_shape": (0,)}, "event_shape must be positive integers"),
    ],
)
@pytest.mark.parametrize("kind", [HierarchicalVAE, LadderVAE])
def test_what_cannot_be_meant_is_refused(kind, options, message):
    with pytest.raises(ModelError, match=message):
        kind(**{"event_shape": (4,), **options})


def test_a_family_that_needs_the_whole_model_is_refused():
    with pytest.raises(ModelError, match="posterior 'semi-amortised' needs a model with one latent site"):
        HierarchicalVAE((4,), (2, 2), posterior="semi-amortised")
    with pytest.raises(ModelError, match=r"site 'z1': expected codes of shape \[N, 2\], got \[3, 5\]"):
        HierarchicalVAE((4,), (2, 3)).decode(torch.zeros(3, 5))


def test_one_module_for_the_conditionals_of_all_levels_is_refused():
    """Levels of one size would share its heads without a word."""
    with pytest.raises(ModelError, match="every level makes its own, got a DiagonalPosterior"):
        HierarchicalVAE((4,), (2, 2), posterior=DiagonalPosterior())


@pytest.mark.parametrize("kind", [HierarchicalVAE, LadderVAE])
@pytest.mark.parametrize("named", [True, False])
def test_an_architecture_between_levels_is_stored_and_told_by_running_statistics(kind, named, tmp_path):
    options = {"hidden": (6,), "batch_norm": True}
    hidden = {"name": "mlp", **options} if named else MLP(**options)
    vae = kind((4,), (3, 2), network=hidden, hidden=hidden, likelihood="gaussian", seed=0)
    layers = [module for module in vae.modules() if isinstance(module, nn.BatchNorm1d)]
    assert len(layers) == 4
    x = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    pv.fit(vae, 3 + 2 * x, elbo="monte-carlo-kl", epochs=2, batch_size=20, device="cpu", progress=False)
    assert all(layer.num_batches_tracked > 0 for layer in layers)
    vae.save(tmp_path / "model")
    again = pv.load(tmp_path / "model")
    together = vae.encode(x).mean
    torch.testing.assert_close(again.encode(x).mean, together, rtol=0, atol=0)
    torch.testing.assert_close(vae.encode(x[:1]).mean, together[:1])


def clusters(n, seed):
    """Five round clusters of standard deviation 0.3 on a circle of radius 4: [n, 2]."""
    generator = torch.Generator().manual_seed(seed)
    angle = torch.arange(5) * (2 * math.pi / 5)
    centres = 4 * torch.stack([angle.cos(), angle.sin()], dim=1)
    return centres[torch.randint(5, (n,), generator=generator)] + 0.3 * torch.randn(n, 2, generator=generator)


@pytest.mark.slow
def test_two_levels_beat_one_where_the_prior_of_one_level_cannot_fit():
    """The decoder is linear, so that one level is a Gaussian; a second level bends p(z1) to the five clusters.

    One level cannot pass the expected log density of the best Gaussian, which is known; two levels beat one by more
    than half a nat on held-out data, by more than 4 standard errors of the paired difference.
    """
    x, held_out = clusters(600, 0), clusters(600, 1)
    options = {
        "network": {"name": "linear"},
        "likelihood": {"name": "gaussian", "sigma": 0.3},
        "hidden": (32,),
        "seed": 1,
    }
    elbos = {}
    for dims in ((2,), (2, 2)):
        vae = LadderVAE((2,), dims, **options)
        elbo = inf.Annealed("analytic-kl", inf.schedules.linear(100))
        schedule = inf.schedules.cosine(300)
        pv.fit(
            vae, x, elbo=elbo, epochs=60, lr=2e-2, schedule=schedule, batch_size=120, device="cpu", progress=False
        )
        elbos[dims] = pv.evaluate(vae, held_out, num_particles=50).elbo
    best_gaussian = torch.distributions.MultivariateNormal(x.mean(0), x.T.cov()).log_prob(held_out)
    assert elbos[2,].mean() < best_gaussian.mean() + 0.05
    gain = elbos[2, 2] - elbos[2,]
    assert gain.mean() > 0.5
    assert gain.mean() > 4 * gain.std() / len(gain) ** 0.5
