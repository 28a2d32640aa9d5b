"""The Gaussian-process VAE under a linear decoder: one Gaussian of all observed cells is the judge."""

import math
import time

import numpy as np
import pytest
import torch
from pyro import distributions as dist
from torch import nn

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.errors import ModelError
from ppl_vae.models import GPVAE
from ppl_vae.models.deep_markov.gaussian_process import BandedHead, diagonal_blocks
from tests.inference.oracles import assert_jointly

T, D, SIGMA = 5, 2, 0.4
MISSING = {"name": "missing-pixels", "of": {"name": "gaussian", "sigma": SIGMA}}


def linear(kernel="cauchy", channels=2, frames=T):
    """A model with a linear emission, in float64."""
    torch.manual_seed(0)
    network = nn.Linear(D, 3), nn.Linear(channels, D)
    return GPVAE((frames, D), channels, network=network, kernel=kernel, hidden=4, likelihood=MISSING).double()


def marginal(vae, frames=T):
    """Mean [T * D] and covariance of whole sequences, frame after frame."""
    emission = vae.model.decoder.frames.emission
    weight, bias = emission.weight.detach(), emission.bias.detach()
    covariance = sum(
        torch.kron(k, torch.outer(w, w))
        for k, w in zip(vae.model.prior.covariance(frames).detach(), weight.T, strict=True)
    )
    return bias.repeat(frames), covariance + SIGMA**2 * torch.eye(frames * D, dtype=torch.float64)


def holed(n=3):
    x = torch.randn(n, T, D, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    x[1, 2] = torch.nan
    x[2, 3:] = torch.nan
    x[2, 0, 1] = torch.nan
    return x


def evidence(vae, x):
    """The exact log p of the cells that are there: [N]."""
    mean, covariance = marginal(vae)
    found = []
    for datum in x.flatten(1):
        there = ~datum.isnan()
        gaussian = torch.distributions.MultivariateNormal(mean[there], covariance[there][:, there])
        found.append(gaussian.log_prob(datum[there]))
    return torch.stack(found)


class ExactGuide(nn.Module):
    """The posterior q(z|x) in closed form, of a linear model."""

    def __init__(self, vae):
        super().__init__()
        self.vae = (vae,)

    def forward(self, features):
        vae, x = self.vae[0], self.x.flatten(1)
        weight = vae.model.decoder.frames.emission.weight.detach()
        # From codes, channel after channel, to cells, frame after frame.
        into = torch.cat([torch.kron(torch.eye(T, dtype=x.dtype), w[:, None]) for w in weight.T], 1)
        there = (~x.isnan()).to(x.dtype)
        inverse = torch.linalg.inv(diagonal_blocks(vae.model.prior.covariance(T).detach()))
        precision = inverse + (into.T[None] * there[:, None] / SIGMA**2) @ into
        rest = torch.where(x.isnan(), 0.0, x - marginal(vae)[0])
        loc = torch.linalg.solve(precision, (rest / SIGMA**2 @ into).unsqueeze(-1)).squeeze(-1)
        return dist.MultivariateNormal(loc, precision_matrix=precision)


def with_exact_guide(vae, x):
    vae.guide.posterior = ExactGuide(vae)
    vae.guide.posterior.x = x
    return vae


def test_under_the_exact_guide_every_draw_gives_the_evidence_of_what_is_there():
    x = holed()
    vae = with_exact_guide(linear(), x)
    log_weight = inf.trace_terms(vae.model, vae.guide, x, num_particles=5).log_weight.detach()
    torch.testing.assert_close(log_weight, evidence(vae, x).expand(5, -1), rtol=1e-8, atol=1e-7)


def test_the_elbo_is_exact_and_below_the_evidence():
    """E log p(x|z) and KL of the banded guide in closed form, beside 400 draws of it."""
    vae, x = linear(), holed()
    q = vae.guide.encode(x)
    p = vae.model.prior()
    kl = torch.distributions.kl_divergence(
        torch.distributions.MultivariateNormal(q.loc, scale_tril=q.scale_tril),
        torch.distributions.MultivariateNormal(p.loc, scale_tril=p.scale_tril),
    )
    emission = vae.model.decoder.frames.emission
    into = torch.cat([torch.kron(torch.eye(T, dtype=x.dtype), w[:, None]) for w in emission.weight.T], 1)
    mean, covariance = q.loc @ into.T + emission.bias.repeat(T), into @ q.covariance_matrix @ into.T
    cells = torch.distributions.Normal(mean, SIGMA).log_prob(x.flatten(1).nan_to_num())
    cells = cells - 0.5 * covariance.diagonal(dim1=-2, dim2=-1) / SIGMA**2
    exact = (torch.where(x.flatten(1).isnan(), 0.0, cells).sum(1) - kl).detach()
    terms = inf.trace_terms(vae.model, vae.guide, x, num_particles=400)
    draws = (terms.log_likelihood - terms.kl()).detach()
    assert_jointly(draws.mean(0), draws.std(0) / math.sqrt(400), exact)
    assert (exact < evidence(vae, x)).all()


def test_the_precision_of_the_guide_is_tridiagonal_and_its_channels_are_independent():
    head = BandedHead(3, T, 2).double()
    q = head(torch.randn(1, T * 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    precision = torch.linalg.inv(q.covariance_matrix[0])
    row, column = torch.meshgrid(torch.arange(2 * T), torch.arange(2 * T), indexing="ij")
    inside = ((row - column).abs() <= 1) & (row // T == column // T)
    assert precision[~inside].abs().max() < 1e-9
    assert precision[inside].abs().min() > 1e-6


def test_forecasts_are_the_conditional_gaussian_and_their_intervals_cover():
    """Of sequences drawn from the model: moments beside the closed form, and 80% intervals over 400 futures."""
    vae, later, n = linear(), 2, 400
    mean, covariance = marginal(vae, T + later)
    seen = T * D
    torch.manual_seed(3)
    whole = torch.distributions.MultivariateNormal(mean, covariance).sample((n,))
    x = whole[:, :seen].unflatten(1, (T, D))
    draws = with_exact_guide(vae, x).forecast(x, later, 200).flatten(2)
    gain = covariance[seen:, :seen] @ torch.linalg.inv(covariance[:seen, :seen])
    wanted = mean[seen:] + (whole[:, :seen] - mean[:seen]) @ gain.T
    spread = (covariance[seen:, seen:] - gain @ covariance[:seen, seen:]).diagonal().sqrt()
    off = (draws.mean(0) - wanted) / spread * math.sqrt(200)
    assert_jointly(off.mean(0), torch.full((later * D,), 1 / math.sqrt(n), dtype=x.dtype), torch.zeros(later * D))
    low, high = draws.quantile(torch.tensor([0.1, 0.9], dtype=x.dtype), 0)
    inside = ((low < whole[:, seen:]) & (whole[:, seen:] < high)).double()
    assert (inside.mean(0) - 0.8).abs().max() < 4 * math.sqrt(0.8 * 0.2 / n) + 0.01


def test_it_is_stored_loaded_and_refuses_what_it_cannot_be(tmp_path):
    vae = GPVAE((T, D), 2, hidden=4)
    vae.save(tmp_path)
    x = torch.rand(3, T, D).round()
    assert torch.equal(pv.load(tmp_path).reconstruct(x), vae.reconstruct(x))
    assert vae.sample(4).shape == (4, T, D)
    assert vae.forecast(x, 2, 6).shape == (6, 3, 2, D)
    with pytest.raises(ModelError, match="unknown kernel 'gauss'"):
        GPVAE((T, D), kernel="gauss")
    with pytest.raises(ModelError, match="must be that of a sequence"):
        GPVAE((D,))


def bumps(number, seed):
    """Frames of ten pixels, three lit around a place that is a smooth process; and with a fifth of them missing."""
    g = torch.Generator().manual_seed(seed)
    apart = (torch.arange(10)[:, None] - torch.arange(10)) / 3
    path = (
        torch.randn(number, 10, generator=g) @ torch.linalg.cholesky(1 / (1 + apart**2) + 1e-4 * torch.eye(10)).mT
    )
    x = ((torch.arange(10) - 4.5 - 2.5 * path[..., None]).abs() < 1.5).float()
    return x, torch.where(torch.rand(number, 10, 1, generator=g) < 0.2, torch.nan, x)


def between(x):
    """Missing frames by linear interpolation of those next to them, or the nearest one at an end."""
    filled = x.numpy().copy()
    for frames in filled:
        missing = np.isnan(frames[:, 0])
        for pixel in frames.T:
            pixel[missing] = np.interp(missing.nonzero()[0], (~missing).nonzero()[0], pixel[~missing])
    return torch.from_numpy(filled)


@pytest.mark.slow
def test_the_recipe_fills_in_missing_frames_better_than_the_mean_of_the_data_and_than_a_line_between_neighbours():
    """By a third of the squared error of the mean, and a tenth of that of the line."""
    (x, train), (y, test) = bumps(800, 0), bumps(200, 1)
    recipe = pv.make("gp-vae", (10, 10))
    start = time.process_time()
    pv.fit(recipe, train, epochs=15, lr=5e-3, batch_size=64, device="cpu", compile=False, progress=False)
    assert time.process_time() - start < 60
    hidden = test.isnan()
    of_model, of_mean, of_line = (
        (guess.expand_as(y) - y)[hidden].square().mean()
        for guess in (recipe.vae.reconstruct(test), x.mean((0, 1)), between(test))
    )
    assert of_model < 0.67 * of_mean
    assert of_model < 0.9 * of_line


@pytest.mark.slow
def test_the_recipe_beats_itself_untrained_on_digits_row_by_row_with_a_fifth_of_the_rows_missing():
    """By more than 10 nats; at its full weight from the first step the KL leaves it 14 nats worse."""
    ds = pv.load_dataset("digits", binarize="threshold")
    g = torch.Generator().manual_seed(0)
    train, test = (
        torch.where(torch.rand(len(x), 1, 8, 1, generator=g) < 0.2, torch.nan, x) for x in (ds.train.x, ds.test.x)
    )
    recipe, at_once = (pv.make("gp-vae", ds.event_shape, num_steps=steps) for steps in (100, 1))
    before = pv.evaluate(recipe.vae, test).elbo.mean()
    for each in (recipe, at_once):
        pv.fit(each, train, epochs=15, lr=5e-3, device="cpu", compile=False, progress=False)
    after = pv.evaluate(recipe.vae, test).elbo.mean()
    assert after > before + 10
    assert after > pv.evaluate(at_once.vae, test).elbo.mean() + 5
