"""log p(x) without bias, against its closed form, and the random number of terms, over which sums are exact."""

import pytest
import torch

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.errors import ModelError
from ppl_vae.inference.estimators import randomised_truncation
from ppl_vae.inference.estimators.randomised_truncation import draw_num_terms, survival
from tests.inference.estimators.test_elbo import library_model
from tests.inference.oracles import assert_mean, log_evidence, log_mean_exp, workbench

pytestmark = pytest.mark.usefixtures("one_thread")

SERIES = pytest.mark.parametrize("series", ["sumo", "multilevel"])


@SERIES
def test_the_number_of_terms_has_the_stated_law(series):
    torch.manual_seed(0)
    drawn = torch.tensor([draw_num_terms(series) for _ in range(20_000)], dtype=torch.float64)
    for j in (1, 2, 3, 5):
        assert_mean((drawn >= j).double(), survival(series, j))


@pytest.mark.slow
@SERIES
def test_the_mean_is_log_p_of_x_and_its_gradient_that_of_log_p_of_x(series):
    p, x = workbench(10, 4, 1)
    lg = library_model(p, x)
    objective = inf.RandomisedTruncation(2, series)
    torch.manual_seed(0)
    means, slopes = [], []
    for _ in range(500):
        value = objective.per_datum(lg.model, lg.guide, x.expand(20, 4)).mean()
        slopes.append(torch.autograd.grad(value, lg.guide.posterior.offset)[0])
        means.append(value.detach())
    assert_mean(torch.stack(means), log_evidence(p, x))
    # log p(x) does not depend on the guide, whose gradient is noise of mean zero.
    assert_mean(torch.stack(slopes).flatten(), 0.0)


@SERIES
def test_the_mean_over_the_number_of_terms_telescopes_to_the_bound_of_all_draws(series):
    """Exactly, at fixed draws: sum_J P(J) estimate_J = L of all, once no further term is allowed."""
    most = 6
    log_weight = torch.randn(2**most, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    objective = inf.RandomisedTruncation(1, series)
    estimates = [_bound(objective, log_weight[: objective.draws_of(j)]) for j in range(most + 1)]
    chance = [1.0] + [survival(series, j) for j in range(1, most + 1)]
    mean = estimates[most] * chance[most] + sum(estimates[j] * (chance[j] - chance[j + 1]) for j in range(most))
    if series == "sumo":
        torch.testing.assert_close(mean, log_mean_exp(log_weight[: 1 + most]))
    else:
        level = [log_mean_exp(log_weight[: 2**j]) for j in range(most + 1)]
        halves = [sum(log_mean_exp(half) for half in log_weight[: 2**j].chunk(2)) / 2 for j in range(1, most + 1)]
        torch.testing.assert_close(mean, level[0] + sum(a - b for a, b in zip(level[1:], halves, strict=True)))


def _bound(objective, log_weight):
    series = objective._sumo if objective.series == "sumo" else None
    if series is not None:
        return series(log_weight)
    return objective._multilevel(log_weight, (len(log_weight)).bit_length() - 1)


def test_a_captured_step_is_refused_aloud():
    vae = pv.VAE((6,), 2, likelihood="gaussian", seed=0)
    with pytest.warns(UserWarning, match="num_truncations"):
        result = pv.fit(
            vae, torch.randn(32, 6), elbo=inf.RandomisedTruncation(), epochs=1, batch_size=8, compile=True,
            device="cpu", progress=False,
        )  # fmt: skip
    assert result.history["loss"].notna().all()


def test_what_no_series_has_is_refused(monkeypatch):
    with pytest.raises(ModelError, match="unknown series 'summo'; did you mean 'sumo'"):
        inf.RandomisedTruncation(series="summo")
    p, x = workbench(10, 4, 1)
    lg = library_model(p, x)
    terms = inf.trace_terms(lg.model, lg.guide, x.expand(2, 4), num_particles=3)
    with pytest.raises(ModelError, match="multilevel needs 2 x 2\\^j draws, got 3"):
        inf.RandomisedTruncation(2, "multilevel").bound(terms)
    monkeypatch.setattr(randomised_truncation, "draw_num_terms", lambda series: 0)
    assert torch.isfinite(inf.RandomisedTruncation(2).per_datum(lg.model, lg.guide, x.expand(2, 4))).all()
