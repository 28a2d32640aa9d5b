"""The three parts of the KL under a linear encoder have closed forms."""

import math

import numpy as np
import pyro
import pytest
import torch
import xarray as xr
from pyro import distributions as dist

import ppl_vae as pv
from ppl_vae.diagnostics import check_aggregate, run_aggregate
from ppl_vae.errors import DataError, ModelError
from tests.scenarios import draw_data, linear_gaussian


def closed_form(lg, covariance):
    """I, TC and the dimensions' KL of q(z) = N(m, C), C = V Cov(x) V' + S, from the guide's own numbers."""
    with torch.no_grad():
        q = lg.encode(torch.cat([torch.zeros(1, len(covariance)), torch.eye(len(covariance))]).double())
        base = getattr(q, "base_dist", q)
        weight, spread, mean = base.loc[1:] - base.loc[0], base.scale[0] ** 2, lg.encode(lg.bias[None]).mean[0]
    c = weight.mT.numpy() @ covariance @ weight.numpy() + np.diag(spread.numpy())
    log_det = np.linalg.slogdet(c)[1]
    information = 0.5 * (log_det - np.log(spread.numpy()).sum())
    correlation = 0.5 * (np.log(np.diag(c)).sum() - log_det)
    marginal = 0.5 * (np.diag(c) + mean.numpy() ** 2 - 1 - np.log(np.diag(c)))
    return information, correlation, marginal


def correlated(lg, n):
    """Data [n, D] of codes with a correlation of 0.9, three times as wide as the prior's."""
    generator = torch.Generator().manual_seed(0)
    codes = torch.randn(n, 2, generator=generator).double() @ torch.tensor([[1.0, 0.9], [0.0, 0.19**0.5]]).double()
    noise = lg.sigma * torch.randn(n, len(lg.bias), generator=generator).double()
    return (lg.bias + 3 * codes @ lg.weight.mT + noise).detach()


@pytest.mark.slow
def test_the_parts_of_the_population_are_the_closed_forms_within_a_hundredth():
    """Correlated codes whose aggregate is not the prior, so that no part is small: every part to 1% of itself.

    Those of the data alone are above and below by what a draw's own datum adds to its mixture.
    """
    lg = linear_gaussian(latent_dim=2)
    x = correlated(lg, 2500)
    numbers = run_aggregate(lg, x, num_samples=2)
    information, correlation, marginal = closed_form(lg, np.cov(x.numpy().T, bias=True))
    wanted = np.array([information, correlation, marginal.sum()])
    assert wanted.min() > 0.4
    names = ("mutual_information", "total_correlation", "dimension_wise_kl")
    np.testing.assert_allclose([numbers[f"{name}_population"].item() for name in names], wanted, rtol=0.01)
    assert numbers["own_share"] < 0.05
    assert numbers["mutual_information"] < information
    assert numbers["average_kl"].item() == pytest.approx(pv.evaluate(lg, x).kl.mean().item(), rel=1e-9)


def test_few_data_of_distinct_codes_have_no_population():
    """A draw's own datum is most of the mixture: the information is at most log N, and nothing more is told."""
    lg = linear_gaussian(latent_dim=2)
    numbers = run_aggregate(lg, correlated(lg, 20))
    assert np.isnan(numbers["mutual_information_population"])
    assert numbers["mutual_information"] <= np.log(20)


@pytest.fixture(scope="module")
def small():
    lg = linear_gaussian(latent_dim=2)
    return lg, draw_data(lg, 1500)


@pytest.mark.slow
def test_the_parts_add_up_exactly_and_lie_near_the_closed_forms(small):
    lg, x = small
    numbers = run_aggregate(lg, x, num_samples=2)
    parts = [numbers[name].item() for name in ("mutual_information", "total_correlation", "dimension_wise_kl")]
    assert numbers["average_kl"].item() == pytest.approx(sum(parts), abs=1e-10)
    assert numbers["kl"].sum().item() == pytest.approx(parts[2], abs=1e-10)
    information, correlation, marginal = closed_form(lg, np.cov(x.detach().numpy().T))
    errors = [numbers[f"{name}_stderr"].item() for name in ("mutual_information", "total_correlation")]
    # A mixture over N data knows a draw's own datum: a bias of about exp(I) / N.
    assert abs(parts[0] - information) < 4 * errors[0] + 2 * math.exp(information) / len(x)
    assert abs(parts[1] - correlation) < 4 * errors[1] + 0.05
    np.testing.assert_allclose(numbers["kl"], marginal, atol=0.05)


@pytest.mark.slow
def test_the_verdict_leans_the_right_way(small):
    """The exact model's aggregate is the prior; of data three times as wide it is not."""
    lg, x = small
    assert check_aggregate(run_aggregate(lg, x)).level in ("good", "unknown")
    wide = lg.bias + 4 * (x - lg.bias)
    assert check_aggregate(run_aggregate(lg, wide)).level in ("doubtful", "bad")
    assert check_aggregate(run_aggregate(lg, wide)).value > 0.3
    with pytest.raises(DataError, match="expected what run_aggregate returns"):
        check_aggregate(xr.Dataset())


class OfEachDatum:
    """z ~ N(c, 1) of a covariate c, x ~ N(z, 1), and q(z) = N(x / 2, 0.7); one number, or a vector of one."""

    def __init__(self, event, slope):
        self.event, self.slope = event, slope

    def model(self, x, c):
        loc = (self.slope * c).reshape(len(x), *self.event)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(loc, 1.0).to_event(len(self.event)))
            pyro.sample("x", dist.Normal(z.reshape(*z.shape[: z.dim() - len(self.event)]), 1.0), obs=x)

    def guide(self, x, c):
        loc = (0.5 * x).reshape(len(x), *self.event)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, 0.7).to_event(len(self.event)))


def test_a_prior_that_depends_on_covariates_has_no_aggregate():
    x, c = torch.randn(2, 30, generator=torch.Generator().manual_seed(0))
    pair = OfEachDatum((1,), 2.0)
    with pytest.raises(ModelError, match="site 'z': its prior is another for some data"):
        run_aggregate((pair.model, pair.guide), (x, c))


def test_a_latent_of_one_number_is_a_vector_of_one():
    x, c = torch.randn(2, 30, generator=torch.Generator().manual_seed(0))
    tables = []
    for event in ((), (1,)):
        pair = OfEachDatum(event, 0.0)
        tables.append(run_aggregate((pair.model, pair.guide), (x, c), num_samples=5))
    xr.testing.assert_allclose(*tables)
    # KL(N(x / 2, 0.49) || N(0, 1)) in closed form; sd(log q - log p) over draws is below 1.
    exact = (0.5 * (0.49 + 0.25 * x.square() - 1) - math.log(0.7)).mean().item()
    assert abs(tables[0]["average_kl"].item() - exact) < 4 / math.sqrt(5 * len(x))


def test_other_families_are_refused_by_name(small):
    _, x = small
    with pytest.raises(
        ModelError, match="site 'z': expected a diagonal Gaussian of a number or a vector in the guide"
    ):
        run_aggregate(pv.VAE((5,), 2, likelihood="gaussian", posterior="full-covariance"), x[:10])
    with pytest.raises(ModelError, match="in the prior"):
        run_aggregate(pv.VAE((5,), 2, likelihood="gaussian", prior="mixture"), x[:10])
    with pytest.raises(ModelError, match="one latent site, found"):
        run_aggregate(pv.models.HierarchicalVAE((5,), (2, 2), likelihood="gaussian"), x[:10])


def test_the_error_of_the_average_kl_is_the_spread_of_its_closed_form():
    """The draws' own spread made it a third too large."""
    lg = linear_gaussian(latent_dim=2)
    x = draw_data(lg, 60)
    kl = pv.evaluate(lg, x).kl
    numbers = run_aggregate(lg, x)
    assert numbers["average_kl"].item() == pytest.approx(kl.mean().item(), rel=1e-6)
    assert numbers["average_kl_stderr"].item() == pytest.approx(kl.std().item() / math.sqrt(60), rel=1e-6)


def test_the_errors_leave_out_what_control_variates_take_off():
    """The aggregate of a linear model is nearly Gaussian, so that one draw of a datum says what many say."""
    vae = pv.LinearGaussianVAE(torch.tensor([[0.7], [-0.5], [0.4]]), torch.zeros(3), 1.0, guide="mean-field")
    x = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
    one, many = (run_aggregate(vae, x, num_samples=count, seed=1) for count in (1, 100))
    for name in ("mutual_information", "dimension_wise_kl"):
        error = one[f"{name}_stderr"].item()
        assert error == pytest.approx(many[f"{name}_stderr"].item(), rel=0.15)
        assert one[name].item() == pytest.approx(many[name].item(), abs=error)
