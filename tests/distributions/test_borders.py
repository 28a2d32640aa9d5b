"""Where a density changes from one form to another its gradient is that of its neighbours, at the border too.

From torch 2.14 on the gradient of clamp at its limit is 0, where it was 1.
"""

import math

import pytest
import torch

from ppl_vae.distributions import beta, censored_normal, continuous_bernoulli, grey_levels, power_spherical

BERNOULLI, SHIFT = continuous_bernoulli.SERIES_BELOW, float(beta.SHIFT)


def of_continuous_bernoulli(moment):
    def function(logits):
        p = continuous_bernoulli.ContinuousBernoulli(logits, validate_args=False)
        return getattr(p, moment)

    return function


def width(log_scale):
    p = grey_levels.DiscretisedLogistic(torch.zeros_like(log_scale), log_scale, 256)
    return p.log_prob(torch.full_like(log_scale, 128 / 255))


def on_the_sphere(angle):
    mu = torch.tensor([1.0, 0.0], dtype=torch.float64)
    x = torch.stack([angle.cos(), angle.sin()], -1)
    return power_spherical.PowerSpherical(mu, torch.tensor(3.0).double(), validate_args=False).log_prob(x)


CASES = {
    "censored normal": (censored_normal.log_tail, [0.0]),
    "continuous Bernoulli": (continuous_bernoulli.log_normaliser, [BERNOULLI, -BERNOULLI]),
    "its mean": (of_continuous_bernoulli("mean"), [BERNOULLI, -BERNOULLI]),
    "its variance": (of_continuous_bernoulli("variance"), [BERNOULLI]),
    "Stirling's rest": (lambda n: beta._rest(n, n.log()), [SHIFT]),
    "a coin's divergence": (lambda d: beta._divergence(torch.full_like(d, -2.0), -2.0 - d), [1.0, -1.0]),
    "a logistic grey level": (width, [math.log(1 / 255 / 0.01)]),
    "power spherical": (on_the_sphere, [math.pi / 2]),
}


@pytest.mark.parametrize("name", CASES)
def test_the_gradient_at_a_border_is_that_beside_it(name):
    function, borders = CASES[name]
    for border in borders:
        beside = [border * (1 - 1e-9) - 1e-12, border, border * (1 + 1e-9) + 1e-12]
        points = torch.tensor(beside, dtype=torch.float64)
        points.requires_grad_()
        (slope,) = torch.autograd.grad(function(points).sum(), points)
        assert slope.isfinite().all()
        torch.testing.assert_close(slope[1], slope[0], rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(slope[1], slope[2], rtol=1e-6, atol=1e-9)
