"""The split of the gap against the linear-Gaussian model's closed forms, and planted faults."""

import math
from functools import partial
from types import SimpleNamespace

import numpy as np
import pyro
import pytest
import torch
import xarray as xr
from pyro import distributions as dist
from torch import nn

import ppl_vae as pv
from ppl_vae.diagnostics import check_gaps, run_gaps
from ppl_vae.errors import DataError, ModelError
from ppl_vae.models.posteriors.posteriors import (
    DiagonalPosterior,
    FlowPosterior,
    LowRankPosterior,
    MixturePosterior,
)
from tests.diagnostics.faulty_guides import planted
from tests.scenarios import all_binary, binary_mlp, draw_data, linear_gaussian, quadrature_evidence

# The two latents have a posterior correlation of -0.42, of -0.80, or of 0 where the columns are orthogonal.
WEIGHT = torch.tensor([[1.5, 0.8], [-0.4, 1.2], [0.9, 0.3], [0.2, -0.5], [1.0, 1.0]], dtype=torch.float64)
ALONG = torch.tensor([[1.5, 1.3], [-0.4, 0.3], [0.9, 1.1], [0.2, -0.1], [1.0, 1.2]], dtype=torch.float64)
ORTHOGONAL = torch.linalg.qr(WEIGHT)[0] * torch.tensor([1.5, 0.9], dtype=torch.float64)
BIAS = torch.tensor([0.5, -1.0, 0.0, 2.0, 0.3], dtype=torch.float64)
SIGMA = 0.8
LIGHT = {"num_samples": 1000, "num_steps": 300}


def precision(lg):
    return lg.weight.mT @ lg.weight / lg.sigma**2 + torch.eye(lg.weight.shape[1], dtype=lg.weight.dtype)


@torch.no_grad()
def closed_forms(lg, x):
    """Approximation gap (a number) and amortisation gap [N] of a diagonal guide (KNOWLEDGE 4.5)."""
    m, q = precision(lg), lg.encode(x)
    off = q.mean - lg.posterior(x).mean
    scaled = m.diagonal() * q.variance
    approximation = 0.5 * (m.diagonal().log().sum() - torch.logdet(m))
    return approximation.item(), 0.5 * ((off @ m * off).sum(-1) + (scaled - 1 - scaled.log()).sum(-1))


@torch.no_grad()
def kl_to_posterior(lg, x):
    return torch.distributions.kl_divergence(lg.encode(x), lg.posterior(x))


def levels(table):
    return [verdict.level for verdict in check_gaps(table)]


def agrees(table, name, exact, floor=1e-3, k=4.5):
    """Every datum's number within k of its own standard errors and a floor, in nats."""
    off = np.abs(table[name].to_numpy() - np.asarray(exact))
    return bool((off < k * table[f"{name}_stderr"].to_numpy() + floor).all())


@pytest.mark.parametrize("dtype", [torch.float64, pytest.param(torch.float32, marks=pytest.mark.slow)])
def test_the_exact_posterior_has_no_gap(dtype):
    lg = linear_gaussian(guide="exact")
    x = draw_data(lg, 10)
    lg.to(dtype).reset_guide()
    table = run_gaps(lg, x, num_samples=200, num_steps=600)
    for name in ("approximation_gap", "amortisation_gap"):
        assert np.abs(table[name]).max() < 1e-3
    assert levels(table) == ["good", "good"]
    words = "The family costs 0.00 of a gap of 0.00 nats, the encoder 0.00"
    assert all(words in verdict.words for verdict in check_gaps(table))


@pytest.mark.slow
def test_a_rotated_posterior_costs_the_family_its_exact_kl_within_two_per_cent():
    """A correlated posterior under the best diagonal guide. 150 data of 4000 draws: a standard error of 0.2 %."""
    lg = pv.LinearGaussianVAE(ALONG, BIAS, SIGMA)
    x = draw_data(lg, 150)
    exact, _ = closed_forms(lg, x)
    table = run_gaps(lg, x, num_samples=4000, num_steps=250, log_evidence=lg.log_evidence(x))
    assert exact > 0.4
    assert abs(table["mean_approximation_gap"].item() / exact - 1) < 0.02
    assert agrees(table, "approximation_gap", exact)
    assert abs(table["mean_amortisation_gap"].item()) < 1e-3
    family, encoder = check_gaps(table)
    assert family.level in ("doubtful", "bad")
    assert "the family dominates" in family.words
    assert encoder.level == "good"


@pytest.mark.slow
def test_the_importance_bound_of_the_best_member_stands_for_the_evidence():
    """With a correlation of 0.42 the weights have a finite variance, so the error is honest."""
    lg = pv.LinearGaussianVAE(WEIGHT, BIAS, SIGMA)
    x = draw_data(lg, 40)
    table = run_gaps(lg, x, num_samples=2000, num_steps=100)
    assert agrees(table, "log_evidence", lg.log_evidence(x).detach())
    assert agrees(table, "approximation_gap", closed_forms(lg, x)[0])


class ThreeFaults(nn.Module):
    """The best diagonal q, but too far off, too narrow and too wide on every first, second and third datum."""

    def __init__(self, best):
        super().__init__()
        self.best = best

    def forward(self, features):
        q, which = self.best(features), (torch.arange(len(features)) % 3)[:, None]
        scale = q.stddev * torch.tensor([1.0, 0.4, 1.9], dtype=features.dtype)[which]
        return dist.Normal(q.mean + torch.where(which == 0, 0.6, 0.0), scale).to_event(1)


@pytest.mark.slow
def test_a_diagonal_guide_that_is_shifted_narrow_or_wide_costs_the_encoder():
    """With orthogonal columns the posterior is diagonal, so the family is not to blame."""
    lg = pv.LinearGaussianVAE(ORTHOGONAL, BIAS, SIGMA)
    x = draw_data(lg, 21)
    lg.guide.posterior = ThreeFaults(lg.guide.posterior)
    _, amortisation = closed_forms(lg, x)
    table = run_gaps(lg, x, **LIGHT)
    assert amortisation.min() > 0.3
    assert np.abs(table["approximation_gap"]).max() < 2e-3
    assert agrees(table, "amortisation_gap", amortisation, floor=2e-3)
    assert levels(table) == ["good", "bad"]


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["shifted", "narrow", "wide", "mean-field"])
def test_in_a_family_that_holds_the_posterior_every_fault_is_the_encoders(fault):
    """A full covariance: also the diagonal shape is then a fault of the encoder."""
    lg = planted(fault)
    x = draw_data(lg, 20)
    table = run_gaps(lg, x, **LIGHT)
    assert np.abs(table["approximation_gap"]).max() < 2e-3
    assert agrees(table, "amortisation_gap", kl_to_posterior(lg, x), floor=2e-3)
    assert levels(table)[0] == "good"


@pytest.mark.slow
def test_an_encoder_that_was_never_trained_costs_its_closed_form():
    lg = linear_gaussian(guide=DiagonalPosterior())
    x = draw_data(lg, 20)
    approximation, amortisation = closed_forms(lg, x)
    table = run_gaps(lg, x, num_samples=1000, num_steps=600, log_evidence=lg.log_evidence(x))
    assert agrees(table, "approximation_gap", approximation, floor=5e-3)
    assert agrees(table, "amortisation_gap", amortisation, floor=5e-3)
    assert levels(table) == ["doubtful", "bad"]
    assert "the encoder dominates" in check_gaps(table)[1].words
    assert table.attrs["evidence"] == "given"


class Memory(nn.Module):
    """The best diagonal q on data it has seen; elsewhere its mean is a deviation off in every dimension."""

    def __init__(self, lg, seen):
        super().__init__()
        self.best, self.seen = lg.guide.posterior, seen

    def forward(self, features):
        q = self.best(features)
        known = torch.cdist(features, self.seen).min(-1).values < 1e-9
        return dist.Normal(q.mean + torch.where(known, 0.0, 1.0)[:, None] * q.stddev, q.stddev).to_event(1)


@pytest.mark.slow
def test_an_encoder_that_has_learnt_its_data_by_heart_has_a_generalisation_gap():
    """Off by a deviation in each of 2 dimensions costs 1 nat in the mean-field scales, 1/2 of each M_jj s_j^2."""
    lg = pv.LinearGaussianVAE(ORTHOGONAL, BIAS, SIGMA)
    seen, unseen = draw_data(lg, 25), draw_data(lg, 25, seed=9)
    lg.guide.posterior = Memory(lg, seen)
    table = run_gaps(lg, unseen, seen, **LIGHT)
    assert list(table["split"].to_numpy()) == ["test", "train"]
    assert abs(float(table["generalisation_gap"]) - 1.0) < 4 * float(table["generalisation_gap_stderr"]) + 2e-3
    family, encoder, generalisation = check_gaps(table)
    assert family.level == "good"
    assert generalisation.level == encoder.level == "bad"
    assert "early stopping" in generalisation.advice
    difference = table["mean_elbo"].sel(split="train") - table["mean_elbo"].sel(split="test")
    assert math.isclose(float(table["elbo_generalisation_gap"]), float(difference))


@pytest.mark.slow
def test_an_encoder_that_has_not_has_none():
    lg = pv.LinearGaussianVAE(ORTHOGONAL, BIAS, SIGMA)
    table = run_gaps(lg, draw_data(lg, 15), draw_data(lg, 15, seed=9), **LIGHT)
    assert levels(table) == ["good"] * 3


@pytest.mark.slow
def test_an_encoder_fitted_to_eight_data_generalises_badly():
    """A wide network on a fixed decoder: its amortisation gap is small on its data and large on others."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(5, 128), nn.Tanh(), nn.Linear(128, 128), nn.Tanh()).double()

    with torch.no_grad():
        # Steep units, which learn data by heart.
        network[0].weight.mul_(6)
        network[2].weight.mul_(3)

    class Wide(nn.Module):
        def __init__(self):
            super().__init__()
            self.network, self.head = network, DiagonalPosterior()
            self.head.build(128, 2)

        def forward(self, features):
            return self.head(self.network(features))

    lg = pv.LinearGaussianVAE(ORTHOGONAL, BIAS, SIGMA, guide=Wide())
    lg.model.requires_grad_(False)
    seen, unseen = draw_data(lg, 8), draw_data(lg, 60, seed=9)
    pv.fit(lg, seen, epochs=1500, lr=1e-3, batch_size=8, device="cpu", progress=False)
    table = run_gaps(lg, unseen, seen, log_evidence=lambda pair, x: pair.log_evidence(x))
    _, on_seen = closed_forms(lg, seen)
    _, on_unseen = closed_forms(lg, unseen)
    exact = (on_unseen.mean() - on_seen.mean()).item()
    assert abs(float(table["generalisation_gap"]) - exact) < 0.02 * exact + 0.01
    assert exact > 0.8
    assert levels(table) == ["good", "bad", "bad"]


def two_modes(x):
    """x = z^2 + noise: at x = 1 the posterior has a mode on either side."""
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(1, dtype=x.dtype), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z.square(), 0.1).to_event(1), obs=x)


def on_one_side(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(x.sqrt(), torch.full_like(x, 0.06)).to_event(1))


@pytest.mark.slow
def test_a_posterior_with_two_modes_costs_a_gaussian_family_log_two():
    """By symmetry the best Gaussian on one mode misses half of the mass: a gap of log 2 and the mode's own skew."""
    x = torch.full((5, 1), 1.0, dtype=torch.float64)
    nodes = torch.linspace(-3, 3, 20001, dtype=torch.float64)
    log_joint = dist.Normal(0.0, 1.0).log_prob(nodes) + dist.Normal(nodes.square(), 0.1).log_prob(torch.tensor(1.0))
    evidence = (log_joint.logsumexp(0) + math.log(6 / 20000)).expand(5)
    table = run_gaps((two_modes, on_one_side), x, log_evidence=evidence, **LIGHT)
    assert 0 < table["mean_approximation_gap"].item() - math.log(2) < 0.02
    assert levels(table) == ["bad", "good"]


# Families --------------------------------------------------------------------------------------------------


FAMILIES = {
    "low-rank": partial(LowRankPosterior, 1),
    "mixture": partial(MixturePosterior, 2),
    "iaf": partial(FlowPosterior, "iaf", 1, 8),
    "spline": partial(FlowPosterior, "spline", 1, 8),
    "planar": partial(FlowPosterior, "planar", 1, 8),
}


@pytest.mark.parametrize(
    "family",
    [pytest.param(name, marks=() if name in ("mixture", "iaf") else pytest.mark.slow) for name in FAMILIES],
)
def test_other_families_of_the_house_get_no_worse_and_stay_below_the_evidence(family):
    lg = linear_gaussian(guide=FAMILIES[family](), latent_dim=2)
    x = draw_data(lg, 5)
    table = run_gaps(lg, x, num_samples=400, num_steps=200, log_evidence=lg.log_evidence(x))
    gained, error = table["amortisation_gap"].to_numpy(), table["amortisation_gap_stderr"].to_numpy()
    left, left_error = table["approximation_gap"].to_numpy(), table["approximation_gap_stderr"].to_numpy()
    assert (gained > -4.5 * error - 1e-3).all()
    assert gained.mean() > 0.1
    assert (left > -4.5 * left_error).all()
    kept = table.attrs["held_fixed"]
    assert bool(kept) == (family in ("iaf", "spline", "planar"))
    assert ("The encoder's values were kept for" in check_gaps(table)[0].words) == bool(kept)


@pytest.mark.slow
def test_a_low_rank_family_that_holds_the_posterior_reaches_it():
    """Two dimensions and a factor of one column make any covariance."""
    lg = linear_gaussian(guide=LowRankPosterior(1), latent_dim=2)
    x = draw_data(lg, 5)
    table = run_gaps(lg, x, num_samples=1000, num_steps=1000, log_evidence=lg.log_evidence(x))
    assert np.abs(table["approximation_gap"]).max() < 0.01


# Pairs of other kinds --------------------------------------------------------------------------------------


def halves(weight):
    """The linear-Gaussian pair with its two latents as two sites; ``chained`` lets one lean on the other."""

    def model(x):
        with pyro.plate("data", len(x)):
            z = [
                pyro.sample(name, dist.Normal(torch.zeros(1, dtype=x.dtype), 1).to_event(1)) for name in ("a", "b")
            ]
            loc = torch.cat(z, -1) @ weight.mT + BIAS
            pyro.sample("x", dist.Normal(loc, SIGMA).to_event(1), obs=x)

    def guide(x, chained=False, auxiliary=False):
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Normal(0.1 * x[:, :1], 0.5).to_event(1))
            lean = 0.3 * a if chained else 0.0
            pyro.sample("b", dist.Normal(0.1 * x[:, 1:2] + lean, 0.5).to_event(1))
            if auxiliary:
                pyro.sample("extra", dist.Normal(x[:, :1], 1.0).to_event(1), infer={"is_auxiliary": True})

    return model, guide


@pytest.mark.slow
def test_two_sites_that_do_not_lean_on_each_other_reach_the_closed_form():
    lg = pv.LinearGaussianVAE(WEIGHT, BIAS, SIGMA)
    x = draw_data(lg, 12)
    exact, _ = closed_forms(lg, x)
    table = run_gaps(halves(WEIGHT), x, num_samples=1000, num_steps=400, log_evidence=lg.log_evidence(x))
    assert agrees(table, "approximation_gap", exact, floor=5e-3)


def discrete(x):
    with pyro.plate("data", len(x)):
        pyro.sample("b", dist.Bernoulli(torch.full((len(x), 1), 0.5)).to_event(1))


def point(x):
    with pyro.plate("data", len(x)):
        pyro.sample("b", dist.Delta(x[:, :1]).to_event(1))


def only_b(x):
    with pyro.plate("data", len(x)):
        b = pyro.sample("b", dist.Normal(torch.zeros(1), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(b, 1.0).to_event(1), obs=x[:, :1])


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (
            (halves(WEIGHT)[0], partial(halves(WEIGHT)[1], chained=True)),
            "site 'b': its distribution in the guide dep",
        ),
        ((halves(WEIGHT)[0], partial(halves(WEIGHT)[1], auxiliary=True)), "site 'extra' is auxiliary"),
        ((only_b, discrete), "site 'b'.*no reparameterised draws"),
        ((only_b, point), "site 'b'.*Delta cannot be made again"),
    ],
)
def test_what_has_no_free_parameters_is_refused_by_name(pair, message):
    with pytest.raises(ModelError, match=message):
        run_gaps(pair, torch.zeros(3, 5, dtype=torch.float64), **LIGHT)


@pytest.mark.slow
def test_an_mlp_bernoulli_pair_against_quadrature():
    """The evidence, and both gaps adding up to what quadrature leaves below it."""
    vae, x = binary_mlp(), all_binary()[:6]
    exact = quadrature_evidence(vae, x)
    table = run_gaps(vae, x, num_samples=2000, num_steps=150)
    assert agrees(table, "log_evidence", exact, floor=2e-3)
    total = table["approximation_gap"] + table["amortisation_gap"]
    assert np.allclose(total, table["log_evidence"] - table["elbo"])


# Manners ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_nothing_is_left_behind_and_a_seed_is_a_result():
    lg = linear_gaussian(guide=DiagonalPosterior())
    x, state = draw_data(lg, 4), torch.get_rng_state()
    before = {name: value.clone() for name, value in lg.state_dict().items()}
    first, second = (run_gaps(lg, x, num_samples=50, num_steps=60, seed=3) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in lg.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in lg.parameters())
    assert not pyro.get_param_store().keys()
    assert first.identical(second)
    assert not first.attrs["converged"]
    family, encoder, *_ = (verdict.words for verdict in check_gaps(first))
    assert "had not settled, so this is an upper bound, and its error leaves out" in family
    assert "had not settled, so this is a lower bound, and its error leaves out" in encoder
    assert "might still have gained" in first.attrs["errors"]


@pytest.mark.slow
def test_chunks_change_no_more_than_the_draws(monkeypatch):
    lg = pv.LinearGaussianVAE(WEIGHT, BIAS, SIGMA)
    x = draw_data(lg, 6)
    monkeypatch.setattr("ppl_vae.inference.pair.evaluation.CHUNK_NUMBERS", 200)
    table = run_gaps(lg, x, num_samples=400, num_steps=100)
    assert agrees(table, "elbo", lg.elbo(x).detach())
    assert len(table["datum"]) == 6


@pytest.mark.slow
def test_evidence_may_come_with_its_own_error_or_as_a_function():
    lg = pv.LinearGaussianVAE(WEIGHT, BIAS, SIGMA)
    x, work = draw_data(lg, 4), {"num_samples": 100, "num_steps": 50}
    known = SimpleNamespace(per_datum=lg.log_evidence(x).detach(), per_datum_stderr=torch.full((4,), 0.25))
    table = run_gaps(lg, x, log_evidence=known, **work)
    assert np.allclose(table["log_evidence_stderr"], 0.25)
    assert (table["approximation_gap_stderr"] > 0.25).all()
    asked = run_gaps(lg, x, x[:2], log_evidence=lambda pair, data: pair.log_evidence(data), **work)
    assert np.allclose(asked["mean_log_evidence"].sel(split="train"), lg.log_evidence(x[:2]).mean().item())
    with pytest.raises(DataError, match=r"one number per datum, \[4\], found \[3\]"):
        run_gaps(lg, x, log_evidence=torch.zeros(3), **work)
    with pytest.raises(DataError, match="one number per datum, found str"):
        run_gaps(lg, x, log_evidence="ais", **work)
    with pytest.raises(DataError, match="expected what run_gaps returns"):
        check_gaps(table.drop_vars("mean_amortisation_gap"))


@pytest.mark.slow
def test_a_verdict_is_withheld_where_the_error_is_too_wide():
    lg = pv.LinearGaussianVAE(WEIGHT, BIAS, SIGMA)
    x = draw_data(lg, 1)
    vague = SimpleNamespace(per_datum=lg.log_evidence(x).detach(), per_datum_stderr=torch.ones(1))
    table = run_gaps(lg, x, log_evidence=vague, num_samples=100, num_steps=50)
    assert levels(table)[0] == "unknown"


def test_an_encoder_that_sees_no_mask_is_shown_it_and_not_made_wider():
    """Of a planted amortisation gap of one nat, whose cause the table's attributes tell."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(12, 4, generator=generator)
    x = x.masked_fill(torch.rand(x.shape, generator=generator) < 0.25, torch.nan)
    for sees, advice in ((False, "encoder_sees_mask"), (True, "wider")):
        likelihood = {"name": "missing-pixels", "of": "gaussian", "encoder_sees_mask": sees}
        vae = pv.VAE((4,), 1, network="linear", likelihood=likelihood)
        table = run_gaps(vae, x, num_samples=20, num_steps=3, num_particles=2)
        assert table.attrs["missing"] == pytest.approx(x.isnan().double().mean().item())
        table["mean_amortisation_gap"][:], table["mean_amortisation_gap_stderr"][:] = 1.0, 0.01
        assert advice in check_gaps(table)[1].advice


def _gaps_of(value, error):
    """What run_gaps says of one split, of our choice: the family costs so much, the encoder nothing."""
    names = {"approximation_gap": (value, error), "amortisation_gap": (0.0, 0.001)}
    columns = {f"mean_{name}": ("split", [figure]) for name, (figure, _) in names.items()}
    errors = {f"mean_{name}_stderr": ("split", [wide]) for name, (_, wide) in names.items()}
    attributes = {"held_fixed": "", "converged": 1}
    return xr.Dataset({**columns, **errors}, {"split": ["test"]}, attributes)


@pytest.mark.parametrize(
    ("value", "error", "level"),
    [
        (0.05, 0.02, "good"), (0.12, 0.12, "unknown"), (0.12, 0.01, "unknown"), (0.0, np.nan, "unknown"),
        (5.0, 4.0, "unknown"), (0.3, 0.05, "doubtful"), (0.6, 0.08, "doubtful"), (0.6, 0.02, "bad"),
    ],
)  # fmt: skip
def test_a_gap_is_good_where_it_is_known_to_be(value, error, level):
    verdict = check_gaps(_gaps_of(value, error))[0]
    assert verdict.level == level
    assert ("too wide for a verdict" in verdict.advice) == (level == "unknown")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_gap_that_is_no_number_is_refused(value):
    with pytest.raises(DataError, match="'mean_approximation_gap' are NaN or infinite"):
        check_gaps(_gaps_of(value, 0.1))
