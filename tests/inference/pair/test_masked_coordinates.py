"""Sequences of other lengths: padding that is masked inside an event, or in a plate of time.

z_nt ~ N(0, 1) and x_nt | z_nt ~ N(z_nt, s^2) for t below the length of n: log p(x), ELBO and posterior are closed
forms, sums over what is there.
"""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine

import ppl_vae as pv
from ppl_vae import diagnostics as dg
from ppl_vae.errors import DataError, ModelError

STEPS, NOISE = 6, 0.7
LENGTHS = torch.tensor([1, 6, 3, 4, 2, 5, 6, 1, 2, 3])
KEPT = torch.arange(STEPS) < LENGTHS[:, None]
# Padding that nobody must look at.
PADDING = 5.0
X = torch.where(KEPT, 1.2 * torch.randn(10, STEPS, generator=torch.Generator().manual_seed(0)), PADDING)
WHOLE = ("model", "guide")


def in_event(masked=WHOLE, decoder=lambda z: z, slope=0.5, scale=0.6):
    def model(x, lengths):
        kept = torch.arange(STEPS) < lengths[:, None]
        with pyro.plate("data", len(x)):
            prior = dist.Normal(torch.zeros(kept.shape), 1.0)
            z = pyro.sample("z", (prior.mask(kept) if "model" in masked else prior).to_event(1))
            pyro.sample("x", dist.Normal(decoder(z), NOISE).mask(kept).to_event(1), obs=x)

    def guide(x, lengths):
        kept = torch.arange(STEPS) < lengths[:, None]
        with pyro.plate("data", len(x)):
            q = dist.Normal(slope * x, scale)
            pyro.sample("z", (q.mask(kept) if "guide" in masked else q).to_event(1))

    return model, guide


def in_plate(slope=0.5, scale=0.6):
    def model(x, lengths):
        kept = torch.arange(STEPS)[:, None] < lengths
        with pyro.plate("data", len(x), dim=-1), pyro.plate("time", STEPS, dim=-2), poutine.mask(mask=kept):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, NOISE), obs=x.T)

    def guide(x, lengths):
        kept = torch.arange(STEPS)[:, None] < lengths
        with pyro.plate("data", len(x), dim=-1), pyro.plate("time", STEPS, dim=-2), poutine.mask(mask=kept):
            pyro.sample("z", dist.Normal(slope * x.T, scale))

    return model, guide


BOTH = {"event": in_event, "plate": in_plate}
EXACT = {"slope": 1 / (1 + NOISE**2), "scale": NOISE / math.sqrt(1 + NOISE**2)}


def log_evidence():
    return (dist.Normal(0.0, math.sqrt(1 + NOISE**2)).log_prob(X) * KEPT).sum(1)


def elbo(slope=0.5, scale=0.6):
    mean = slope * X
    expected = dist.Normal(mean, NOISE).log_prob(X) - 0.5 * (scale / NOISE) ** 2
    kl = 0.5 * (mean**2 + scale**2 - 1) - math.log(scale)
    return ((expected - kl) * KEPT).sum(1)


@pytest.mark.parametrize("kind", BOTH)
def test_what_is_padded_is_in_no_bound(kind):
    found = pv.evaluate(BOTH[kind](), (X, LENGTHS), num_particles=500)
    assert (found.elbo - elbo()).abs().max() < 4 * 6**0.5 / 500**0.5
    evidence = pv.log_evidence(BOTH[kind](), (X, LENGTHS), num_samples=500)
    assert ((evidence.per_datum - log_evidence()).abs() < 4 * evidence.per_datum_stderr + 1e-3).all()
    exact = pv.log_evidence(BOTH[kind](**EXACT), (X, LENGTHS), num_samples=50)
    torch.testing.assert_close(exact.per_datum.float(), log_evidence(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("masked", [("model",), ("guide",)])
def test_a_mask_of_coordinates_on_one_side_is_refused(masked):
    with pytest.raises(ModelError, match="'z' is masked differently in the guide and in the model"):
        pv.evaluate(in_event(masked), (X, LENGTHS))


def test_a_masked_latent_that_data_depend_on_is_refused_and_the_site_named():
    with pytest.raises(ModelError, match="'z' is masked for data whose 'x' is not, and depends on it"):
        pv.evaluate(in_event(decoder=lambda z: z.cumsum(-1).flip(-1)), (X, LENGTHS))
    # A running sum reaches no further back than it has come.
    assert pv.evaluate(in_event(decoder=lambda z: z.cumsum(-1)), (X, LENGTHS)).elbo.isfinite().all()


@pytest.mark.slow
@pytest.mark.parametrize("kind", BOTH)
def test_an_exact_guide_is_calibrated_whatever_it_says_of_padding(kind):
    simulated = dg.simulate_posteriors(BOTH[kind](**EXACT), (X, LENGTHS), 1000)
    assert dg.check_calibration(dg.run_calibration(simulated)).level == "good"
    assert dg.check_coverage(dg.run_coverage(simulated)).level == "good"
    assert abs(dg.run_recovery(simulated)["rms_z"] - 1).max() < 0.15
    # The simulated data have the padding that was given.
    padded = ~KEPT[simulated.datum]
    assert (simulated.x[padded] == PADDING).all()
    wrong = dg.simulate_posteriors(BOTH[kind](slope=0.4, scale=0.4), (X, LENGTHS), 1000)
    assert dg.check_calibration(dg.run_calibration(wrong)).level == "bad"


@pytest.mark.slow
def test_replicates_are_compared_with_what_is_there():
    by_datum = torch.where(KEPT, X, torch.nan).nanmean(1)
    table = dg.run_predictive(in_event(**EXACT), (X, LENGTHS), num_samples=100)
    assert float(table["observed"].sel(statistic="mean")) == pytest.approx(by_datum.mean().item(), abs=1e-4)
    data = pv.inference_data(in_event(**EXACT), (X, LENGTHS), num_samples=100).observed_data["x"].to_numpy()
    assert (torch.from_numpy(data).isnan() == ~KEPT).all()


def test_posteriors_of_other_values_have_no_average():
    with pytest.raises(ModelError, match="'z' is masked for some data: its posteriors are of different values"):
        dg.run_collapse(in_event(), (X, LENGTHS))


def test_a_value_outside_the_support_is_found_beside_a_missing_one():
    counts = torch.tensor([[1.0, 2.0], [0.0, math.nan], [3.0, 1.0]])

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            seen = dist.Poisson(z.exp().unsqueeze(-1).expand(*z.shape, 2), validate_args=False)
            pyro.sample("x", seen.mask(~x.isnan()).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x.nan_to_num(0.0).mean(-1), 0.5))

    with pytest.raises(DataError, match=r"'x'.*outside the support of its Poisson"):
        pv.evaluate((model, guide), counts - torch.tensor([1.0, 0.0]))


@pytest.mark.parametrize("slope", [EXACT["slope"], 0.3])
def test_the_weights_of_a_datum_of_which_nothing_is_there_are_constant(slope):
    """log w is 0 in every draw, without a rounding: its posterior is known, whatever the guide says of others."""
    lengths = torch.tensor([0, *LENGTHS[1:]])
    pair = in_event(**EXACT | {"slope": slope})
    numbers = dg.run_importance(pair, (X, lengths), 200)
    assert bool(numbers["exact"][0])
    assert float(numbers["log_evidence"][0]) == 0
    draws = pv.infer(pair, (X[:1], lengths[:1]), num_draws=20)
    assert int(draws.sample_stats["rung"][0]) == 1
    assert bool(pv.inference_data(pair, (X, lengths), 50).sample_stats["exact"][0])


def test_padding_is_no_place_that_an_exact_guide_has_missed():
    """The guide's draws of it are at 34 +- 0.6 and the model's at 0 +- 1: a climb from there is no other mode."""
    draws = pv.infer(in_event(**EXACT), (torch.where(KEPT, X, 10 * PADDING), LENGTHS), num_draws=20)
    assert (draws.sample_stats["rung"].values == 1).all()


@pytest.mark.slow
def test_sequences_of_other_lengths_are_annealed():
    """Refused before, as if x depended on the padding."""
    found = pv.log_evidence(in_event(), (X, LENGTHS), method="ais", num_samples=32, num_temperatures=100)
    assert ((found.per_datum - log_evidence()).abs() < 4.5 * found.per_datum_stderr).all()


def test_a_reference_posterior_of_padding_is_refused_by_site():
    with pytest.raises(ModelError, match="'z' is masked for some data: its posteriors are of different values"):
        dg.run_reference(in_event(), (X[:2], LENGTHS[:2]))
