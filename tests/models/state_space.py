r"""A linear-Gaussian state-space model inside a DeepMarkovModel, and its exact answers in float64.

z_1 ~ N(m, diag s^2), z_t | z_t-1 ~ N(A z_t-1 + a, diag q^2), x_t | z_t ~ N(C z_t + c, sigma^2 I). Two guides:

    linear   z_t = G z_t-1 + h_t(x) + v e_t, where h_t is what the package's RNN says: under it all is affine in
             the noise e, so that the ELBO is the expectation of a quadratic form
    exact    p(z_t | z_t-1, x_t:T), by a backward information filter

The evidence is a Kalman filter's, also of data with missing coordinates. Nothing here uses the package's densities.
"""

import math

import torch
from pyro import distributions as dist
from torch import nn

import ppl_vae as pv
from tests.models.hierarchies.test_hierarchies import Affine, fresh

T, D, L, SIGMA = 4, 3, 2, 0.6
GAUSSIAN = {"name": "gaussian", "sigma": SIGMA}


class Linear(nn.Module):
    """p(z_t | z_t-1), or with h the guide's q(z_t | z_t-1, x): one affine map and a constant scale."""

    def __init__(self, hidden=0):
        super().__init__()
        self.past = nn.Linear(L, L)
        self.future = nn.Linear(hidden, L, bias=False) if hidden else None
        self.log_scale = nn.Parameter(torch.zeros(L))

    def forward(self, z, h=None):
        loc = self.past(z) if self.future is None else self.past(z) + self.future(h)
        return dist.Normal(loc, self.log_scale.exp()).to_event(1)


def state_space(guide="linear", seed=0, likelihood=GAUSSIAN, frames=T):
    """The pair, with random parameters of moderate size."""
    network = (nn.Identity(), nn.Linear(L, D))
    vae = pv.models.DeepMarkovModel((frames, D), L, network=network, hidden=3, likelihood=likelihood)
    vae.model.transition = Linear()
    vae.guide.combiner = Linear(hidden=3)
    vae.double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    if guide == "exact":
        vae.guide.encoder, vae.guide.combiner = BackwardInformation(vae.model), Smoother()
    return vae


def constants(model):
    """m, s, A, a, q, C, c."""
    arrow, emission = model.transition, model.decoder.emission
    return (
        model.initial.loc,
        model.initial.log_scale.exp(),
        arrow.past.weight,
        arrow.past.bias,
        arrow.log_scale.exp(),
        emission.weight,
        emission.bias,
    )


def kalman(model, x):
    """log p(x) [N] of data [N, T, D] with NaN for what is missing; the filtered mean and covariance at the end."""
    found = [_kalman(constants(model), datum) for datum in x]
    return tuple(torch.stack(part) for part in zip(*found, strict=True))


def _kalman(numbers, x):
    m, s, a_matrix, a, q, c_matrix, c = numbers
    mean, covariance, total = m, torch.diag(s**2), torch.zeros((), dtype=x.dtype)
    for t, frame in enumerate(x):
        if t:
            mean = a_matrix @ mean + a
            covariance = a_matrix @ covariance @ a_matrix.mT + torch.diag(q**2)
        there = ~frame.isnan()
        if there.any():
            loading = c_matrix[there]
            innovation = frame[there] - loading @ mean - c[there]
            spread = loading @ covariance @ loading.mT + SIGMA**2 * torch.eye(len(innovation), dtype=x.dtype)
            gain = torch.linalg.solve(spread, loading @ covariance).mT
            quadratic = innovation @ torch.linalg.solve(spread, innovation)
            total = total - 0.5 * (quadratic + torch.logdet(2 * math.pi * spread))
            mean, covariance = mean + gain @ innovation, covariance - gain @ loading @ covariance
    return total, mean, covariance


def marginal(model, frames):
    """Mean [T D] and covariance [T D, T D] of x, written as one Gaussian: what the filter is held against."""
    m, s, a_matrix, a, q, c_matrix, c = (value.detach() for value in constants(model))
    total = frames * L
    z = Affine(m, fresh(s, 0, total))
    rows = []
    for t in range(frames):
        if t:
            z = Affine(a_matrix @ z.loc + a, a_matrix @ z.noise + fresh(q, t * L, total))
        rows.append(Affine(c_matrix @ z.loc + c, c_matrix @ z.noise))
    loading = torch.cat([row.noise for row in rows])
    eye = torch.eye(frames * D, dtype=m.dtype)
    return torch.cat([row.loc for row in rows]), loading @ loading.mT + SIGMA**2 * eye


def exact_elbo(vae, x):
    """[N], nats, of the linear guide; NaN in x is missing, and after the last frame the guide is the prior."""
    m, s, a_matrix, a, q, c_matrix, c = constants(vae.model)
    guide, total = vae.guide, x.shape[1] * L
    present = ~x.isnan().all(-1)
    states = guide.encoder(x.nan_to_num(), present)
    elbo = torch.zeros(len(x), dtype=x.dtype)
    for n in range(len(x)):
        past, last = None, present[n].nonzero().max()
        for t in range(last + 1):
            past = past or Affine(guide.start, torch.zeros(L, total, dtype=x.dtype))
            loc = guide.combiner.past(past.loc) + guide.combiner.future(states[t][n])
            noise = guide.combiner.past.weight @ past.noise + fresh(guide.combiner.log_scale.exp(), t * L, total)
            z = Affine(loc, noise)
            if t:
                step = z.minus(Affine(a_matrix @ past.loc + a, a_matrix @ past.noise))
                elbo[n] += step.expected_log_normal(q)
            else:
                elbo[n] += Affine(z.loc - m, z.noise).expected_log_normal(s)
            there = ~x[n, t].isnan()
            residual = Affine((x[n, t] - c_matrix @ z.loc - c)[there], (c_matrix @ z.noise)[there])
            elbo[n] += residual.expected_log_normal(torch.full((int(there.sum()),), SIGMA, dtype=x.dtype))
            elbo[n] += (guide.combiner.log_scale + 0.5 * math.log(2 * math.pi * math.e)).sum()
            past = z
    return elbo


class BackwardInformation(nn.Module):
    """x_t:T as a Gaussian factor exp(-z' K z / 2 + k' z) in z_t; from it q(z_t | z_t-1, x_t:T) = N(F z + f, R R').

    Each h_t holds F, f and R side by side, [N, L (2 L + 1)].
    """

    def __init__(self, model):
        super().__init__()
        self._model = (model,)

    def forward(self, x, present=None):
        m, s, a_matrix, a, q, c_matrix, c = (value.detach() for value in constants(self._model[0]))
        eye = torch.eye(L, dtype=x.dtype)
        information, pull, found = torch.zeros_like(eye), x.new_zeros(len(x), L), []
        for t in reversed(range(x.shape[1])):
            information = information + c_matrix.mT @ c_matrix / SIGMA**2
            pull = pull + (x[:, t] - c) @ c_matrix / SIGMA**2
            precision = torch.diag((q if t else s) ** -2)
            covariance = torch.linalg.inv(precision + information)
            slope = covariance @ precision
            offset = pull @ covariance + slope @ (a if t else m)
            parts = (slope @ a_matrix if t else 0 * eye, torch.linalg.cholesky(covariance))
            found.append(torch.cat([offset, *(part.flatten().expand(len(x), -1) for part in parts)], -1))
            if t:
                seen_through = precision - precision @ slope
                pull = (pull @ slope - seen_through @ a) @ a_matrix
                information = a_matrix.mT @ seen_through @ a_matrix
        return found[::-1]


class Smoother(nn.Module):
    """N(F z + f, R R') from z and what ``BackwardInformation`` holds."""

    def forward(self, z, h):
        offset, slope, root = h.split((L, L * L, L * L), -1)
        loc = offset + (slope.unflatten(-1, (L, L)) @ z.unsqueeze(-1)).squeeze(-1)
        return dist.MultivariateNormal(loc, scale_tril=root.unflatten(-1, (L, L)))
