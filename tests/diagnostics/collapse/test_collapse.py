"""Active units, KL per dimension and the surgery of the average KL against closed forms; planted collapses."""

import math

import numpy as np
import pyro
import pytest
import torch
from pyro import distributions as dist
from torch.distributions.transforms import CorrCholeskyTransform

import ppl_vae as pv
from ppl_vae.diagnostics import check_collapse, run_collapse
from ppl_vae.diagnostics.collapse import collapse_history
from ppl_vae.errors import DataError, ModelError
from ppl_vae.models.posteriors.posteriors import DiagonalPosterior, FlowPosterior, FullCovariancePosterior
from tests.diagnostics.faulty_guides import planted
from tests.scenarios import draw_data, linear_gaussian


@pytest.fixture(scope="module")
def lg():
    return linear_gaussian(data_dim=6, latent_dim=2)


@pytest.fixture(scope="module")
def data(lg):
    return draw_data(lg, 700)


@pytest.fixture(scope="module")
def table(lg, data):
    return run_collapse(lg, data)


@torch.no_grad()
def aggregate(lg, x):
    """Mean and covariance of q(z) over these data, and the covariance of a linear guide's own noise."""
    q = lg.encode(x)
    noise = torch.diag(q.variance[0])
    return q.mean.mean(0), q.mean.T.cov(correction=0) + noise, noise


@pytest.mark.slow
def test_active_units_are_the_variance_of_the_means(lg, data, table):
    variance = lg.encode(data).mean.detach().var(0)
    assert np.allclose(table["posterior_mean_variance"], variance)
    assert table["active_units"].item() == 2
    assert list(table["latent_site"].values) == ["z", "z"]
    # Of normal data the variance's own error is sqrt(2 / N) of it.
    assert np.allclose(table["posterior_mean_variance_stderr"], math.sqrt(2 / 700) * variance, rtol=0.3)


@pytest.mark.slow
def test_the_kl_of_single_dimensions_is_the_closed_form(lg, data, table):
    q = lg.encode(data)
    kl = 0.5 * (q.mean**2 + q.variance - 1 - q.variance.log()).detach()
    assert np.allclose(table["kl"], kl.mean(0))
    assert np.allclose(table["site_kl"], kl.sum(-1).mean())
    assert np.allclose(table["collapsed_share"], (kl < 0.01).double().mean(0))


def test_the_surgery_is_an_identity_on_the_same_draws(table):
    parts = table["mutual_information"] + table["marginal_kl"]
    assert math.isclose(parts.item(), table["average_kl"].item(), rel_tol=1e-9)
    assert abs((table["average_kl"] - table["site_kl"].sum()).item()) < 4 * table["average_kl_stderr"].item()


def test_mutual_information_and_marginal_kl_of_the_linear_model(lg, data, table):
    """I = (log det S_z - log det S) / 2, and KL(N(m, S_z) || N(0, I)); q(z), a mixture of 700, is nearly normal."""
    mean, covariance, noise = aggregate(lg, data)
    information = 0.5 * (torch.logdet(covariance) - torch.logdet(noise)).item()
    marginal = 0.5 * (covariance.trace() + mean @ mean - 2 - torch.logdet(covariance)).item()
    assert abs(table["mutual_information"].item() - information) < 4 * table["mutual_information_stderr"].item()
    # N components leave about e^I / 2N of a normal density unmade.
    assert abs(table["marginal_kl"].item() - marginal) < 4 * table["marginal_kl_stderr"].item() + 0.01
    assert table["mutual_information"].item() < table["log_num_data"].item()


def test_mutual_information_cannot_pass_log_n():
    """Codes that tell every datum from every other: I = log N, whatever the average KL is."""
    sharp = pv.LinearGaussianVAE(30 * torch.eye(2, dtype=torch.float64), torch.zeros(2), 0.01)
    table = run_collapse(sharp, draw_data(sharp, 40))
    assert math.isclose(table["mutual_information"].item(), math.log(40), abs_tol=1e-6)
    assert table["average_kl"].item() > 2 * math.log(40)
    assert "all that N data can show" in check_collapse(table).words


def test_a_collapsed_unit_is_pointed_at_and_no_other():
    """The second column of W is 0: the best guide of that unit is the prior."""
    weight = torch.tensor([[1.5, 0.0], [-0.4, 0.0], [0.9, 0.0]], dtype=torch.float64)
    lg = pv.LinearGaussianVAE(weight, torch.zeros(3), 0.8)
    table = run_collapse(lg, draw_data(lg, 200))
    assert list(table["active"].values) == [True, False]
    assert table["collapsed_share"].values[1] == 1
    assert table["kl"].values[1] == pytest.approx(0, abs=1e-12)
    verdict = check_collapse(table)
    assert (verdict.level, verdict.value) == ("doubtful", 1.0)
    assert "idle: z2." in verdict.words


def test_idle_dimensions_of_several_sites_are_named_with_their_site():
    """A pair of the sites "a" and "w" was told of an idle "z3", which it does not have."""

    def model(x):
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Normal(torch.zeros(len(x)), 1.0))
            pyro.sample("w", dist.Normal(torch.zeros(len(x), 2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(a, 0.3), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("a", dist.Normal(0.9 * x, 0.3))
            pyro.sample("w", dist.Normal(torch.zeros(len(x), 2), 1.0).to_event(1))

    x = torch.randn(100, generator=torch.Generator().manual_seed(0))
    assert "; idle: latent 1 (w), latent 2 (w)." in check_collapse(run_collapse((model, guide), x)).words


def test_a_fully_collapsed_guide_tells_nothing():
    lg = planted("collapsed")
    table = run_collapse(lg, draw_data(lg, 100))
    assert table["mutual_information"].item() == pytest.approx(0, abs=1e-9)
    assert table["marginal_kl"].item() == pytest.approx(0, abs=1e-9)
    assert check_collapse(table).level == "bad"


@pytest.mark.parametrize("fault", ["narrow", "wide", "shifted", "mean-field"])
def test_other_faults_are_no_collapse(fault):
    lg = planted(fault)
    assert check_collapse(run_collapse(lg, draw_data(lg, 100), num_samples=2)).level == "good"


def test_a_full_covariance_has_no_kl_of_single_dimensions():
    lg = linear_gaussian(guide=FullCovariancePosterior(), latent_dim=2)
    x = draw_data(lg, 60)
    table = run_collapse(lg, x)
    prior = dist.MultivariateNormal(torch.zeros(2).double(), torch.eye(2).double())
    exact = torch.distributions.kl_divergence(lg.encode(x), prior)
    assert np.isnan(table["kl"]).all()
    assert np.isnan(table["collapsed_share"]).all()
    assert table["site_kl"].item() == pytest.approx(exact.mean().item())
    assert table.attrs["closed_form"] == "z"


def test_a_flow_without_an_inverse_leaves_the_information_unknown():
    lg = linear_gaussian(guide=FlowPosterior("planar", 1, 8), latent_dim=2)
    table = run_collapse(lg, draw_data(lg, 30))
    assert math.isnan(table["mutual_information"].item())
    assert table["average_kl"].item() > 0
    assert table.attrs["closed_form"] == ""
    assert "nats about" not in check_collapse(table).words


def chain(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("top", dist.Normal(torch.zeros(1, dtype=x.dtype), 1).to_event(1))
        w = pyro.sample("low", dist.Laplace(0.5 * z, 1.0).to_event(1))
        pyro.sample("x", dist.Normal(w, 1.0).to_event(1), obs=x)


def chain_guide(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("top", dist.Normal(0.4 * x, 0.6).to_event(1))
        pyro.sample("low", dist.Laplace(0.5 * x + 0.5 * z, 0.5).to_event(1))


@pytest.mark.slow
def test_two_sites_of_which_one_leans_on_the_other():
    """E[low | x] = 0.7 x. The KL of the second is closed given the draws of the first."""
    x = torch.randn(400, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    table = run_collapse((chain, chain_guide), x, num_samples=60)
    assert list(table["latent_site"].values) == ["top", "low"]
    expected = np.array([0.16, 0.49]) * x.var().item()
    assert np.allclose(table["posterior_mean_variance"], expected, rtol=0.02)
    kl = 0.5 * (0.16 * x.square().mean() + 0.36 - 1 - math.log(0.36))
    assert table["kl"].values[0] == pytest.approx(kl.item())
    # With a mean d apart KL(Laplace(d, 1/2) || Laplace(0, 1)) = log 2 - 1 + d + exp(-2 d) / 2 for d > 0.
    distance = 0.5 * x.abs()
    exact = (math.log(2) - 1 + distance + 0.5 * (-2 * distance).exp()).mean().item()
    assert table["kl"].values[1] == pytest.approx(exact, abs=0.02)
    assert table["site_kl"].values[1] == pytest.approx(table["kl"].values[1])
    assert table.attrs["closed_form"] == "top; low"


def test_sites_that_the_guide_draws_in_another_order_share_the_kl_of_the_joint():
    """low ~ N(x / 2, 0.9), top | low ~ N(low / 2, 3/4) for top ~ N(0, 1), low | top ~ N(top, 1)."""

    def model(x):
        with pyro.plate("data", len(x)):
            top = pyro.sample("top", dist.Normal(x.new_zeros(()), 1.0))
            low = pyro.sample("low", dist.Normal(top, 1.0))
            pyro.sample("x", dist.Normal(low, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            low = pyro.sample("low", dist.Normal(0.5 * x, 0.9))
            pyro.sample("top", dist.Normal(0.5 * low, 0.75))

    x = torch.linspace(-2, 2, 100, dtype=torch.float64)
    table = run_collapse((model, guide), x, num_samples=80)
    of_low = 0.25 * x.square().mean().item() + 0.81
    # E log q(low|x) - log p(low|top), where low - top has the mean square of low / 4 and 9/16.
    low = -math.log(0.9) - 0.5 + 0.5 * (0.25 * of_low + 0.5625)
    top = -math.log(0.75) - 0.5 + 0.5 * (0.25 * of_low + 0.5625)
    error = 4 / math.sqrt(100 * 80)
    assert table["site_kl"].values == pytest.approx([low, top], abs=error)
    assert table["kl"].values == pytest.approx([low, top], abs=error)
    assert table["site_kl"].values.sum() == pytest.approx(float(table["average_kl"]))
    assert np.isnan(table["collapsed_share"]).all()
    assert table.attrs["closed_form"] == ""


def scalars(x):
    with pyro.plate("data", len(x)):
        scale = pyro.sample("scale", dist.LogNormal(x.new_zeros(()), 1.0))
        place = pyro.sample("place", dist.Normal(x.new_zeros(()), 1.0))
        pyro.sample("x", dist.Normal(place * scale, 1.0), obs=x)


def scalars_guide(x):
    with pyro.plate("data", len(x)):
        pyro.sample("scale", dist.LogNormal(0.3 * x, 0.5))
        pyro.sample("place", dist.Normal(0.4 * x, 0.6))


@pytest.mark.slow
def test_sites_whose_event_is_a_single_number():
    """KL of log-normals is that of the normals below them; Var E[scale] = e^{s^2} Var e^{0.3 x}."""
    x = torch.linspace(-1.5, 1.5, 301, dtype=torch.float64)
    table = run_collapse((scalars, scalars_guide), x, num_samples=400)
    assert list(table["latent_site"].values) == ["scale", "place"]
    moved = np.array([math.exp(0.25) * (0.3 * x).exp().var().item(), 0.16 * x.var().item()])
    assert np.allclose(table["posterior_mean_variance"], moved, rtol=0.05)
    square = x.square().mean().item()
    kl = [0.5 * (w * square + s * s - 1 - 2 * math.log(s)) for w, s in ((0.09, 0.5), (0.16, 0.6))]
    assert np.allclose(table["kl"], kl)
    assert np.allclose(table["site_kl"], kl)


def factor(x):
    with pyro.plate("data", len(x)):
        lower = pyro.sample("L", dist.LKJCholesky(2, x.new_ones(())))
        pyro.sample("x", dist.Normal(lower[..., 1, 0], 1.0), obs=x)


def factor_guide(x):
    with pyro.plate("data", len(x)):
        free = dist.Normal(x.unsqueeze(-1), 0.3).to_event(1)
        pyro.sample("L", dist.TransformedDistribution(free, [CorrCholeskyTransform()]))


def test_the_zeros_of_a_triangular_latent_are_no_idle_dimensions():
    table = run_collapse((factor, factor_guide), torch.linspace(-1.5, 1.5, 20))
    assert table["latent"].values.tolist() == [2, 3]
    assert table["active_units"] == 2
    assert "2 of 2" in check_collapse(table).words


@pytest.mark.slow
def test_chunks_change_no_more_than_the_draws(lg, data, monkeypatch):
    x = data[:50]
    before = run_collapse(lg, x)
    monkeypatch.setattr("ppl_vae.diagnostics.collapse.aggregate_density.BLOCK_NUMBERS", 300)
    blocks = run_collapse(lg, x)
    assert np.allclose(blocks["mutual_information"], before["mutual_information"])
    monkeypatch.setattr("ppl_vae.diagnostics.collapse.aggregate_density.MOST_ENCODED", 7)
    encoded = run_collapse(lg, x)
    assert np.allclose(encoded["mutual_information"], before["mutual_information"])
    monkeypatch.setattr("ppl_vae.inference.pair.evaluation.CHUNK_NUMBERS", 500)
    assert np.allclose(run_collapse(lg, x)["posterior_mean_variance"], before["posterior_mean_variance"])


def test_nothing_is_left_behind_and_a_seed_is_a_result(lg, data):
    state = torch.get_rng_state()
    first, second = (run_collapse(lg, data[:30], seed=4) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert first.identical(second)
    assert not pyro.get_param_store().keys()


@pytest.mark.slow
def test_the_history_of_a_run_ends_where_an_uninterrupted_run_ends(tmp_path):
    def fresh():
        return linear_gaussian(guide=DiagonalPosterior(), latent_dim=2)

    x = draw_data(fresh(), 64)
    options = {"batch_size": 32, "lr": 0.01, "device": "cpu", "progress": False}
    watched, plain = fresh(), fresh()
    looks = collapse_history(watched, x, x, [1, 3], seed=2, **options)
    pv.fit(plain, x, epochs=3, seed=2, **options)
    assert list(looks["epoch"].values) == [1, 3]
    assert looks["kl"].dims == ("epoch", "latent")
    assert all(torch.equal(a, b) for a, b in zip(watched.parameters(), plain.parameters(), strict=True))
    assert np.array_equal(looks["kl"].sel(epoch=3), run_collapse(plain, x, seed=2)["kl"])
    assert not np.array_equal(looks["kl"].sel(epoch=1), looks["kl"].sel(epoch=3))


def test_epochs_that_do_not_increase_are_refused(lg, data):
    with pytest.raises(ModelError, match=r"epochs: expected increasing integers, at least one, got \[3, 1\]"):
        collapse_history(lg, data, data, [3, 1])


def test_a_single_datum_has_no_aggregate(lg, data):
    with pytest.raises(DataError, match=r"expected at least 2, found shape \[1, 6\]"):
        run_collapse(lg, data[:1])


def test_a_verdict_needs_numbers_of_run_collapse(table):
    with pytest.raises(DataError, match="expected what run_collapse returns"):
        check_collapse(table.drop_vars("active"))


def test_two_data_show_no_error_of_a_variance(lg, data):
    """It was 0, and every dimension of any two data was active beyond doubt."""
    two = run_collapse(lg, data[:2], num_samples=50)
    assert two["posterior_mean_variance_stderr"].isnull().all()
    verdict = check_collapse(two)
    assert verdict.level == "unknown"
    assert "2 of them are not known to be so: of so few data a variance has no error" in verdict.words
    assert run_collapse(lg, data[:3], num_samples=50)["posterior_mean_variance_stderr"].notnull().all()


def test_an_index_of_categories_has_an_expectation():
    """Var_x E_q[c] from the probabilities; torch states no mean of a Categorical, and z was lost with it."""
    loc, weight = torch.tensor([-3.0, 0.0, 4.0]), torch.tensor([0.2, 0.5, 0.3])
    x = torch.randn(200, generator=torch.Generator().manual_seed(0)) * 3

    def logits(x):
        return dist.Normal(loc, 1.25**0.5).log_prob(x.unsqueeze(-1)) + weight.log()

    def model(x):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Categorical(weight.expand(len(x), 3)))
            z = pyro.sample("z", dist.Normal(loc[c], 1.0))
            pyro.sample("x", dist.Normal(z, 0.5), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Categorical(logits=logits(x)))
            pyro.sample("z", dist.Normal((loc[c] + 4 * x) / 5, 0.2**0.5))

    table = run_collapse((model, guide), x)
    expected = logits(x).softmax(-1) @ torch.arange(3.0)
    assert table["posterior_mean_variance"].values[0] == pytest.approx(expected.var().item(), rel=1e-4)
    z = (logits(x).softmax(-1) @ loc + 4 * x) / 5
    assert table["posterior_mean_variance"].values[1] == pytest.approx(z.var().item(), rel=0.02)
    assert check_collapse(table).level == "good"
