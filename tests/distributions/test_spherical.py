"""Laws on spheres, circles and balls against mpmath and quadrature: densities, KL, gradients of draws."""

import math

import mpmath as mp
import pytest
import torch
from torch.distributions import biject_to

from ppl_vae.distributions import PowerSpherical, SphericalUniform, VonMises, VonMisesFisher, WrappedNormal
from ppl_vae.distributions.bessel import moments
from ppl_vae.distributions.colatitude import COSINE, LOG_COSINE, angle_slope
from ppl_vae.distributions.wrapped_normal import from_tangent, open_ball, to_tangent
from ppl_vae.kl import kl_divergence

DIMS = (2, 3, 5, 20)
CONCENTRATIONS = (1e-2, 1.0, 30.0, 1e4)
FLOATS = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
LAWS = pytest.mark.parametrize("kind", [VonMisesFisher, PowerSpherical], ids=lambda kind: kind.__name__)


def log_moment(k, dim):
    """log E[exp(k mu'x)] under the uniform law on the sphere in R^dim, by mpmath."""
    order, k = mp.mpf(dim) / 2 - 1, mp.mpf(k)
    return mp.log(mp.gamma(order + 1) * (2 / k) ** order * mp.besseli(order, k))


def log_area(dim):
    return mp.log(2 * mp.pi ** (mp.mpf(dim) / 2) / mp.gamma(mp.mpf(dim) / 2))


def exact_log_prob(kind, k, dim, cosine):
    k, cosine, b = mp.mpf(k), mp.mpf(cosine), mp.mpf(dim - 1) / 2
    if kind is VonMisesFisher:
        return k * cosine - log_moment(k, dim) - log_area(dim)
    normaliser = (2 * b + k) * mp.log(2) + b * mp.log(mp.pi) + mp.loggamma(b + k) - mp.loggamma(2 * b + k)
    return k * mp.log1p(cosine) - normaliser


def exact_kl(kind, k, dim):
    k, b = mp.mpf(k), mp.mpf(dim - 1) / 2
    if kind is VonMisesFisher:
        order = mp.mpf(dim) / 2 - 1
        return k * mp.besseli(order + 1, k) / mp.besseli(order, k) - log_moment(k, dim)
    mean = mp.log(2) + mp.digamma(b + k) - mp.digamma(2 * b + k)
    normaliser = (2 * b + k) * mp.log(2) + b * mp.log(mp.pi) + mp.loggamma(b + k) - mp.loggamma(2 * b + k)
    return k * mean - normaliser + log_area(dim)


def at_angle(angle, dim, dtype):
    """The first axis of R^dim, and the point at an angle from it."""
    mu, x = torch.zeros(dim, dtype=torch.float64), torch.zeros(dim, dtype=torch.float64)
    mu[0], x[0], x[1] = 1, math.cos(angle), math.sin(angle)
    return mu.to(dtype), x.to(dtype)


@FLOATS
@LAWS
@pytest.mark.parametrize("dim", DIMS)
def test_density_divergence_and_their_gradients_are_those_of_mpmath(kind, dim, dtype):
    value, slope = ((1e-5, 1e-4), (1e-3, 1e-6)) if dtype == torch.float32 else ((1e-9, 1e-9), (1e-6, 1e-9))
    with mp.workdps(50):
        for number in CONCENTRATIONS:
            k = torch.tensor(number, dtype=dtype, requires_grad=True)
            exact_k = mp.mpf(k.item())
            spread = min(1.0, math.sqrt(dim / number))
            for angle in (0.0, 0.5 * spread, 3.0 * spread, 3.1):
                mu, x = at_angle(angle, dim, dtype)
                cosine = mp.cos(mp.atan2(mp.mpf(x[1].item()), mp.mpf(x[0].item())))
                found = kind(mu, k).log_prob(x)
                exact = exact_log_prob(kind, exact_k, dim, cosine)
                # Rounding of x itself moves the density by k sin(angle) eps.
                rounding = number * max(angle, 1e-8) * torch.finfo(dtype).eps
                assert found.item() == pytest.approx(float(exact), rel=value[0], abs=value[1] + rounding)
                (gradient,) = torch.autograd.grad(found, k)
                exact = mp.diff(lambda t, c=cosine: exact_log_prob(kind, t, dim, c), exact_k)
                assert gradient.item() == pytest.approx(float(exact), rel=slope[0], abs=slope[1])
            divergence = kl_divergence(kind(mu, k), SphericalUniform(mu))
            assert divergence.item() == pytest.approx(float(exact_kl(kind, exact_k, dim)), rel=value[0], abs=1e-9)
            (gradient,) = torch.autograd.grad(divergence, k)
            exact = mp.diff(lambda t: exact_kl(kind, t, dim), exact_k)
            assert gradient.item() == pytest.approx(float(exact), rel=slope[0], abs=1e-10)
            entropy = kind(mu, k).entropy().item()
            assert entropy == pytest.approx(float(log_area(dim) - exact_kl(kind, exact_k, dim)), rel=1e-5, abs=1e-4)


@pytest.mark.parametrize("dim", [2, 3, 20, 150])
def test_the_bessel_functions_keep_their_digits_from_1e_8_to_1e6(dim):
    with mp.workdps(60):
        for number in (1e-8, 1e-3, 0.7, 19.0, 300.0, 1e4, 1e6):
            k = torch.tensor(number, dtype=torch.float64, requires_grad=True)
            order, exact_k = mp.mpf(dim) / 2 - 1, mp.mpf(number)
            mean = mp.besseli(order + 1, exact_k) / mp.besseli(order, exact_k)
            f, cosine = moments(k, dim)
            assert f.item() == pytest.approx(float(log_moment(exact_k, dim)), rel=1e-9, abs=1e-15)
            assert cosine.item() == pytest.approx(float(mean), rel=1e-12)
            assert torch.autograd.grad(f, k, retain_graph=True)[0].item() == pytest.approx(float(mean), rel=1e-12)
            slope = 1 - mean**2 - (dim - 1) * mean / exact_k
            assert torch.autograd.grad(cosine, k)[0].item() == pytest.approx(float(slope), rel=1e-3)
        zero = torch.zeros((), dtype=torch.float64, requires_grad=True)
        assert moments(zero, dim)[0].item() == 0
        assert torch.autograd.grad(moments(zero, dim)[1], zero)[0].item() == pytest.approx(1 / dim)


@pytest.mark.slow
@pytest.mark.parametrize(("family", "name"), [(COSINE, "cosine"), (LOG_COSINE, "log cosine")])
@pytest.mark.parametrize("dim", DIMS)
def test_a_draw_moves_with_the_concentration_as_its_distribution_function_says(family, name, dim):
    """The derivative dt/dk = -(dF/dk) / p(t), the integral by mpmath from the side on which nothing cancels."""
    with mp.workdps(20):
        for number in CONCENTRATIONS:
            k, b = torch.tensor(number, dtype=torch.float64), (dim - 1) / 2
            if name == "cosine":
                mean, d = 1 - moments(k, dim)[1], lambda t: 1 - mp.cos(t)
            else:
                mean, d = (k + 2 * b).digamma() - (k + b).digamma(), lambda t: -2 * mp.log(mp.cos(t / 2))
            spread = min(1.5, math.sqrt(dim / number))
            for angle in (0.3 * spread, 1.5 * spread):
                m = mp.mpf(mean.item())

                def weight(t, k=number, here=angle, d=d):
                    return mp.exp(-k * (d(t) - d(here)) + (dim - 2) * mp.log(mp.sin(t) / mp.sin(here)))

                inner = d(angle) < m
                reach = min(mp.pi * (1 - mp.mpf(10) ** -15), angle + 12 * mp.mpf(spread))
                # Bits of the interval, since the density is narrow.
                ends = mp.linspace(mp.mpf(10) ** -15, angle, 5) if inner else mp.linspace(angle, reach, 9)
                exact = -mp.quad(lambda t, w=weight, m=m, d=d: abs(m - d(t)) * w(t), ends)
                found = angle_slope(torch.tensor(angle, dtype=torch.float64), k, mean, dim, family)
                assert found.item() == pytest.approx(float(exact), rel=2e-5), (number, angle)


@LAWS
@pytest.mark.parametrize(("dim", "number"), [(2, 0.5), (3, 1e-2), (5, 20.0), (20, 300.0), (4, 1e4)])
def test_draws_follow_the_density_and_have_its_gradient(kind, dim, number):
    """Of E[mu'x] and E[(a'x)^2], value and derivative by k and mu, within 4 standard errors."""
    torch.manual_seed(0)
    num_draws = 10_000
    k = torch.tensor(number, dtype=torch.float64, requires_grad=True)
    start = torch.linspace(1, 2, dim, dtype=torch.float64).requires_grad_()
    mu = start / start.norm()
    x = kind(mu, k.expand(num_draws)).rsample()
    torch.testing.assert_close(x.norm(dim=-1), torch.ones(num_draws, dtype=torch.float64))
    cosine = x @ mu.detach()
    with mp.workdps(30):
        if kind is VonMisesFisher:
            order, t = mp.mpf(dim) / 2 - 1, mp.mpf(number)
            mean = mp.besseli(order + 1, t) / mp.besseli(order, t)
            slope = 1 - mean**2 - (dim - 1) * mean / t
        else:
            mean = mp.mpf(number) / (number + dim - 1)
            slope = mp.mpf(dim - 1) / mp.mpf(number + dim - 1) ** 2
    assert_mean(cosine.detach(), float(mean))
    # The derivative of every draw by its own concentration: k was expanded.
    own = kind(mu.detach(), (each := k.detach().expand(num_draws).clone().requires_grad_()))
    moved = torch.autograd.grad((own.rsample() @ mu.detach()).sum(), each)[0]
    assert_mean(moved, float(slope))
    # E[x] = A mu: with a the axis of the first coordinate, d E[x_1] / d start_1 = A (1 - mu_1^2) / |start|.
    rows = start.detach().expand(num_draws, dim).clone().requires_grad_()
    drawn = kind(rows / rows.norm(dim=-1, keepdim=True), k.detach()).rsample()
    by_start = torch.autograd.grad(drawn[:, 0].sum(), rows)[0][:, 0]
    exact = float(mean) * (1 - mu[0].item() ** 2) / start.detach().norm().item()
    assert_mean(by_start, exact)


def assert_mean(values, exact):
    error = values.std().item() / len(values) ** 0.5
    assert abs(values.mean().item() - exact) < 4 * error + 1e-9


@LAWS
@pytest.mark.parametrize("number", [1e-2, 3.0, 1e4])
def test_densities_integrate_to_one_on_the_sphere_of_three_dimensions(kind, number):
    t = torch.linspace(0, min(math.pi, 20 / math.sqrt(number)), 20_001, dtype=torch.float64)
    x = torch.stack([t.cos(), t.sin(), 0 * t], -1)
    p = kind(x[0], torch.tensor(number, dtype=torch.float64)).log_prob(x).exp()
    assert torch.trapezoid(2 * math.pi * t.sin() * p, t).item() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("number", [0.0, 1e-2, 2.0, 1e4])
def test_an_angle_has_the_density_of_scipy_and_draws_with_its_gradient(number):
    from scipy.stats import vonmises

    torch.manual_seed(1)
    k = torch.tensor(number, dtype=torch.float64)
    x = torch.linspace(-3.1, 3.1, 21, dtype=torch.float64)
    p = VonMises(torch.tensor(2.9, dtype=torch.float64), k)
    expected = vonmises.logpdf(x.numpy(), max(number, 1e-12), loc=2.9)
    assert p.log_prob(x).numpy() == pytest.approx(expected, rel=1e-9, abs=1e-9)
    loc = torch.full((10_000,), 2.9, dtype=torch.float64, requires_grad=True)
    each = k.expand(len(loc)).clone().requires_grad_()
    drawn = VonMises(loc, each).rsample()
    assert drawn.abs().max() <= math.pi
    mean = float(mp.besseli(1, number) / mp.besseli(0, number))
    assert_mean((drawn - 2.9).cos().detach(), mean)
    by_loc, by_k = torch.autograd.grad((drawn - 2.9).cos().sum() + (drawn - 2.9).sin().sum(), (loc, each))
    # d E[cos + sin of (x - 2.9)] by loc is E[cos - sin], by k is A'(k).
    assert_mean(by_loc, mean)
    assert_mean(by_k, float(1 - mean**2 - (mean / number if number else 0.5)))


@pytest.mark.slow
def test_divergences_of_angles_and_directions_are_those_of_quadrature():
    one, other = VonMises(torch.tensor(0.3), torch.tensor(4.0)), VonMises(torch.tensor(-2.0), torch.tensor(0.7))
    grid = torch.linspace(-math.pi, math.pi, 20_001, dtype=torch.float64)[:-1]
    p, q = (each.log_prob(grid) for each in (one, other))
    exact = (p.exp() * (p - q)).mean() * 2 * math.pi
    assert kl_divergence(one, other).item() == pytest.approx(exact.item(), rel=1e-5)
    flat = VonMises(torch.tensor(0.0), torch.tensor(0.0))
    assert kl_divergence(one, flat).item() == pytest.approx(float(exact_kl(VonMisesFisher, 4.0, 2)), rel=1e-5)
    torch.manual_seed(0)
    mu = torch.nn.functional.normalize(torch.randn(2, 5, dtype=torch.float64), dim=-1)
    a, b = VonMisesFisher(mu[0], torch.tensor(9.0).double()), VonMisesFisher(mu[1], torch.tensor(2.0).double())
    x = a.sample((100_000,))
    assert_mean(a.log_prob(x) - b.log_prob(x), kl_divergence(a, b).item())


@pytest.mark.slow
@pytest.mark.parametrize("norm", [0.0, 0.6, 0.9])
def test_the_wrapped_normal_integrates_to_one_and_its_draws_follow_it(norm):
    """In two dimensions, over polar coordinates of the ball at steps of equal distance."""
    loc = torch.tensor([norm, 0.0], dtype=torch.float64)
    p = WrappedNormal(loc, torch.tensor([0.5, 0.8], dtype=torch.float64))
    r = torch.linspace(1e-6, 10, 801, dtype=torch.float64)
    turn = torch.linspace(0, 2 * math.pi, 1001, dtype=torch.float64)[:-1]
    radius, slope = (r / 2).tanh(), 0.5 / (r / 2).cosh().square()
    z = radius[:, None, None] * torch.stack([turn.cos(), turn.sin()], -1)
    mass = p.log_prob(z).exp().mean(1) * 2 * math.pi * radius * slope
    assert torch.trapezoid(mass, r).item() == pytest.approx(1, abs=1e-4)
    torch.manual_seed(0)
    z = p.sample((20_000,))
    # E[|z|^2] by the same quadrature.
    exact = torch.trapezoid(mass * radius.square(), r).item()
    assert_mean(z.square().sum(-1), exact)


@FLOATS
def test_the_wrapped_normal_is_that_of_mpmath_up_to_the_edge(dtype):
    """A point at distance r of the ball's centre is known to eps exp(r), and so is its density."""
    torch.manual_seed(0)
    with mp.workdps(40):
        for near, far in ((0.0, 1e-3), (1.0, 3.0), (5.0, 2.0), (3.0, 8.0)):
            directions = torch.nn.functional.normalize(torch.randn(2, 3, dtype=torch.float64), dim=-1)
            loc, z = (from_tangent(r * v).to(dtype) for r, v in zip((near, far), directions, strict=True))
            scale = torch.tensor([0.3, 1.0, 1.5], dtype=dtype)
            found = WrappedNormal(loc, scale).log_prob(z).item()
            exact = float(exact_wrapped(loc.tolist(), scale.tolist(), z.tolist()))
            assert found == pytest.approx(exact, rel=1e-6 if dtype == torch.float32 else 1e-9, abs=1e-5)


def exact_wrapped(loc, scale, z):
    x, y = mp.matrix(loc), mp.matrix(z)
    dot = lambda a, b: sum(i * j for i, j in zip(a, b, strict=True))  # noqa: E731
    xx, yy, xy = dot(x, x), dot(y, y), dot(x, y)
    bottom = 1 - 2 * xy + xx * yy
    w = (-(1 - 2 * xy + yy) * x + (1 - xx) * y) / bottom
    norm = mp.sqrt(dot(w, w))
    r = 2 * mp.atanh(norm)
    gaussian = sum(
        -((r * w[i] / norm / s) ** 2) / 2 - mp.log(s) - mp.log(2 * mp.pi) / 2 for i, s in enumerate(scale)
    )
    return gaussian + (len(z) - 1) * mp.log(r / mp.sinh(r)) + len(z) * mp.log(2 / (1 - yy))


def test_the_wrapped_normals_draws_have_a_gradient_by_place_and_scale():
    """Of the squared distance from the centre: around it, E[r^2] = sum of squared scales."""
    torch.manual_seed(0)
    scale = torch.tensor([0.5, 0.8], dtype=torch.float64).expand(40_000, 2).clone().requires_grad_()
    z = WrappedNormal(torch.zeros(2, dtype=torch.float64), scale).rsample()
    squared = to_tangent(z).square().sum(-1)
    assert_mean(squared.detach(), 0.5**2 + 0.8**2)
    by_scale = torch.autograd.grad(squared.sum(), scale)[0]
    assert_mean(by_scale[:, 0], 2 * 0.5)


def test_the_map_from_the_tangent_space_has_the_volume_of_its_jacobian():
    transform = biject_to(open_ball)
    for v in torch.tensor([[1e-3, 0.0, 0.0], [0.5, -1.0, 2.0], [3.0, 3.0, -3.0]], dtype=torch.float64):
        jacobian = torch.autograd.functional.jacobian(transform, v)
        z = transform(v)
        found = transform.log_abs_det_jacobian(v, z)
        torch.testing.assert_close(found, torch.linalg.slogdet(jacobian).logabsdet, rtol=1e-8, atol=1e-8)
        torch.testing.assert_close(transform.inv(z), v, rtol=1e-6, atol=1e-9)
