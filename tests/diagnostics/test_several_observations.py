"""Models that observe several things of a datum, each of which may be missing: exact answers and every diagnostic.

z ~ N(0, 1)    x | z ~ N(z + c, 1)    y | z ~ N(2 z, 1)    so that (x - c, y) is Gaussian with moments known
"""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.diagnostics import (
    QUICK,
    check_calibration,
    check_predictive,
    run_calibration,
    run_gaps,
    run_importance,
    run_predictive,
)
from ppl_vae.errors import DataError, ModelError

N = 60


def model(x, y, c):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        with poutine.mask(mask=~x.isnan()):
            pyro.sample("x", dist.Normal(z + c, 1.0), obs=x.nan_to_num())
        with poutine.mask(mask=~y.isnan()):
            pyro.sample("y", dist.Normal(2 * z, 1.0), obs=y.nan_to_num())


# NaN in x and y stands for what is missing.
model.allows_missing = True


def guide(x, y, c, of_y=1.0):
    has_x, has_y = (~x.isnan()).to(x), of_y * (~y.isnan()).to(x)
    precision = 1 + has_x + 4 * has_y
    loc = (has_x * (x.nan_to_num() - c) + 2 * has_y * y.nan_to_num()) / precision
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(loc, precision.rsqrt()))


def data(seed=0):
    generator = torch.Generator().manual_seed(seed)
    z, c, e, f = torch.randn(4, N, generator=generator, dtype=torch.float64)
    x, y = z + c + e, 2 * z + f
    x[::5], y[1::5] = torch.nan, torch.nan
    return x, y, c


def exact_evidence(x, y, c):
    both = dist.MultivariateNormal(torch.zeros(2, dtype=x.dtype), torch.tensor([[2.0, 2.0], [2.0, 5.0]]).to(x))
    of_both = both.log_prob(torch.stack([x - c, y], -1).nan_to_num())
    of_x, of_y = dist.Normal(c, 2**0.5).log_prob(x.nan_to_num()), dist.Normal(0.0, 5**0.5).log_prob(y.nan_to_num())
    return torch.where(x.isnan(), of_y, torch.where(y.isnan(), of_x, of_both))


def test_the_exact_guide_has_constant_weights_and_the_evidence_of_what_is_there():
    numbers = run_importance((model, guide), data(), 50)
    assert numbers["exact"].all()
    torch.testing.assert_close(torch.from_numpy(numbers["log_evidence"].to_numpy()), exact_evidence(*data()))
    found = pv.log_evidence((model, guide), data(), num_samples=10)
    torch.testing.assert_close(found.per_datum, exact_evidence(*data()))


def test_an_observed_argument_beside_x_is_none_that_the_program_holds():
    def plain(x, y, c):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z + c, 1.0), obs=x)
            pyro.sample("y", dist.Normal(2 * z, 1.0), obs=y)

    batch = tuple(part[2:5] for part in data())
    gaps = run_gaps((plain, guide), batch, num_samples=20, num_steps=2, num_particles=2, progress=False)
    off = torch.from_numpy(gaps["log_evidence"].to_numpy()) - exact_evidence(*batch)
    assert (off.abs() < 4 * torch.from_numpy(gaps["log_evidence_stderr"].to_numpy()) + 1e-6).all()


def test_simulated_data_have_the_holes_of_each_site_and_the_models_moments():
    x, y, c = (part.repeat(400) for part in data())
    drawn = inf.simulate((model, guide), x, y, c)
    new_x, new_y, same = drawn.batch
    assert (new_x.isnan() == x.isnan()).all()
    assert (new_y.isnan() == y.isnan()).all()
    assert (same == c).all()
    there = ~(new_x.isnan() | new_y.isnan())
    covariance = torch.cov(torch.stack([new_x - c, new_y])[:, there])
    torch.testing.assert_close(covariance, torch.tensor([[2.0, 2.0], [2.0, 5.0]]).to(x), rtol=0.06, atol=0.06)


def test_calibration_is_uniform_and_finds_a_guide_that_forgets_one_of_the_two():
    assert check_calibration(run_calibration((model, guide), data(), 500, 49)).level == "good"
    forgets = model, lambda x, y, c: guide(x, y, c, of_y=0.0)
    assert check_calibration(run_calibration(forgets, data(), 500, 49)).level == "bad"


@pytest.mark.slow
def test_predictive_checks_tell_the_site_that_does_not_fit():
    numbers = run_predictive((model, guide), data(), num_samples=100)
    assert {"x: mean", "y: mean", "x: spread of sums", "y: spread of sums"} == set(numbers["statistic"].to_numpy())
    assert check_predictive(numbers).level == "good"
    x, y, c = data()
    off = run_predictive((model, guide), (x, 3 * y, c), num_samples=100)
    assert check_predictive(off).level == "bad"
    assert float(off["p_value"].sel(kind="population", statistic="y: spread of sums")) < 0.03
    assert float(off["p_value"].sel(kind="population", statistic="x: spread of sums")) > 0.03
    own = {"agreement": lambda sites: (sites["x"] * sites["y"]).nan_to_num()}
    assert run_predictive((model, guide), data(), own, num_samples=50)["datum_p_value"].shape == (1, N)


def labelled(x, y):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.sample(
            "image", dist.Bernoulli(logits=z.sum(-1, keepdim=True).expand(*z.shape[:-1], 4)).to_event(1), obs=x
        )
        with poutine.mask(mask=y >= 0):
            pyro.sample("digit", dist.Categorical(logits=torch.cat([z, -z[..., :1]], -1)), obs=y.clamp(min=0))


def labelled_guide(x, y):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(0.2 * x[:, :2], 1.0).to_event(1))


@pytest.mark.slow
def test_an_image_and_a_label_go_through_a_diagnosis_and_its_report(tmp_path):
    x = torch.bernoulli(torch.full((24, 4), 0.5))
    y = torch.arange(24) % 3
    y[::4] = -1
    drawn = inf.simulate((labelled, labelled_guide), x, y)
    assert (drawn.batch[1][::4] == -1).all()
    assert (drawn.batch[1][1::4] >= 0).all()
    diagnosis = pv.diagnose((labelled, labelled_guide), (x, y), effort=QUICK)
    told = [f"{verdict.diagnostic}: {verdict.words}" for verdict in diagnosis.verdicts]
    assert not [words for words in told if "Not run" in words]
    assert "digit: mean" in diagnosis.numbers["predictive"]["statistic"].to_numpy()
    assert diagnosis.inference_data is not None, diagnosis.why_no_inference_data
    assert set(diagnosis.inference_data.posterior_predictive.data_vars) == {"image", "digit"}
    assert diagnosis.report(tmp_path / "report.html").exists()


def test_what_is_missing_is_missing_in_arviz_too():
    found = pv.inference_data((model, guide), data(), 20).observed_data
    x, y, _ = data()
    assert (found["x"].isnull().to_numpy() == x.isnan().numpy()).all()
    assert (found["y"].isnull().to_numpy() == y.isnan().numpy()).all()


def test_what_cannot_be_put_back_says_why():
    def made_of_x(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)
            pyro.sample("sign", dist.Bernoulli(logits=z), obs=(x > 0.3).float())

    with pytest.raises(ModelError, match="site 'sign' observes no argument as it is"):
        inf.simulate(made_of_x, torch.randn(5))
    plain = lambda x, y: model(x, y, torch.zeros(len(x)))  # noqa: E731
    x, y, _ = data()
    with pytest.raises(DataError, match=r"y: NaN or infinite values.*allows_missing = True"):
        pv.evaluate((plain, lambda x, y: guide(x, y, torch.zeros(len(x)))), (x.nan_to_num(), y))
