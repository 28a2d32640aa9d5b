"""The conditional VAE of covariates of any kind: its code, its bound, its draws, and what it learns."""

import pytest
import torch
from torch import nn

import ppl_vae as pv
from ppl_vae import models
from ppl_vae.errors import DataError, ModelError
from ppl_vae.models.labelled.covariate_code import CovariateCode

D, N = 3, 90
KINDS = {"age": "continuous", "site": 3, "stage": 4, "spectrum": {"continuous": 2}}


def covariates(n=N, seed=0):
    generator = torch.Generator().manual_seed(seed)
    age = 40 + 15 * torch.randn(n, generator=generator)
    spectrum = 1000 * torch.randn(n, 2, generator=generator)
    return (
        age,
        torch.randint(3, (n,), generator=generator),
        torch.randint(4, (n,), generator=generator),
        spectrum,
    )


def data(n=N, seed=0):
    """Data whose mean is a function of every covariate, with noise of 0.5."""
    age, site, stage, spectrum = c = covariates(n, seed)
    mean = (age - 40) / 15 + site + stage / 2 + spectrum[:, 0] / 1000
    generator = torch.Generator().manual_seed(seed + 1)
    return (mean[:, None] + 0.5 * torch.randn(n, D, generator=generator), *c)


def vae(**options):
    settings = {"network": "linear", "likelihood": "gaussian", "hidden": (8,)}
    return models.CovariateVAE((D,), 1, KINDS, **{**settings, **options})


def test_the_code_is_one_hot_and_standardised():
    code, c = CovariateCode(KINDS), covariates()
    code.start(*c)
    found = code(*c)
    assert found.shape == (N, 1 + 3 + 4 + 2)
    torch.testing.assert_close(found[:, 0], (c[0] - c[0].mean()) / c[0].std(correction=0))
    assert torch.equal(found[:, 1:4], nn.functional.one_hot(c[1], 3).float())
    assert torch.equal(found[:, 4:8], nn.functional.one_hot(c[2], 4).float())
    torch.testing.assert_close(found[:, 8:].std(0, correction=0), torch.ones(2))
    again = found.clone()
    code.start(*covariates(seed=5))
    assert torch.equal(code(*c), again)


def test_the_bound_is_that_of_the_programs_own_densities():
    pair, (x, *c) = vae(), data()
    pair.start_covariates(*c)
    evaluation = pv.evaluate(pair, (x, *c), num_particles=2000)
    q = pair.encode(x, *c)
    kl = 0.5 * (q.mean.square() + q.variance - 1 - q.variance.log()).sum(-1)
    torch.testing.assert_close(evaluation.kl, kl.detach(), rtol=1e-4, atol=1e-5)
    torch.manual_seed(0)
    draws = pair.decode(q.sample((2000,)), *c).log_prob(x)
    error = draws.std(0) / 2000**0.5
    assert ((evaluation.log_likelihood - draws.mean(0)).abs() < 6 * 2**0.5 * error + 1e-4).all()


@pytest.mark.parametrize("prior", ["standard", "conditional"])
def test_a_named_covariate_is_that_at_its_place(prior):
    pair, (x, age, site, stage, spectrum) = vae(prior=prior), data()
    named = {"spectrum": spectrum, "stage": stage, "x": x, "age": age, "site": site}
    assert torch.equal(pv.evaluate(pair, named).elbo, pv.evaluate(pair, (x, age, site, stage, spectrum)).elbo)


@pytest.mark.slow
def test_it_learns_what_covariates_say():
    """Given c the data are noise of variance 0.25 under a unit Gaussian; without it they vary by 3 and more."""
    held_out = data(seed=7)
    recipe = pv.make("conditional-vae", (D,), covariates=KINDS, likelihood="gaussian", latent_dim=1)
    result = pv.fit(recipe, data(400), epochs=25, lr=1e-2, batch_size=50, progress=False, device="cpu")
    noise_alone = -D * (0.919 + 0.25 / 2)
    fitted = pv.evaluate(result.model, held_out, num_particles=10).elbo.mean()
    blind = pv.evaluate(result.model, (held_out[0], *(c.roll(1, 0) for c in held_out[1:]))).elbo.mean()
    assert fitted > noise_alone - 0.3
    assert blind < fitted - 0.5


def test_a_stored_one_has_the_same_numbers_and_scales(tmp_path):
    given = data()
    result = pv.fit(vae(prior="conditional"), given, epochs=1, batch_size=30, progress=False, device="cpu")
    result.model.save(tmp_path)
    loaded = pv.load(tmp_path)
    assert torch.equal(loaded.model.code.centre, given[1].new_tensor(loaded.model.code.centre.tolist()))
    assert float(loaded.model.code.spread[0]) == pytest.approx(float(given[1].std(correction=0)), rel=1e-5)
    assert torch.equal(pv.evaluate(loaded, given).elbo, pv.evaluate(result.model, given).elbo)
    # In evaluation mode codes and means have no history, as those of every model.
    codes = loaded.encode(*given).mean
    assert not codes.requires_grad
    assert not loaded.decode(codes, *given[1:]).mean.requires_grad


def test_draws_are_given_their_covariates():
    pair, (x, *c) = vae(), data()
    assert pair.sample(N, *c).shape == x.shape
    assert pair.reconstruct(x, *c).shape == x.shape
    with pytest.raises(
        ModelError, match="needs the covariates 'age', 'site', 'stage', 'spectrum' beside x, found 0"
    ):
        pair.sample(2)
    with pytest.raises(ModelError, match="expected 2 of each, found 90"):
        pair.sample(2, *c)


AGE, SITE, STAGE, SPECTRUM = covariates()
REFUSED = {
    "another class": (
        (AGE, SITE + 1, STAGE, SPECTRUM),
        DataError,
        "'site': expected classes 0, ..., 2, found values",
    ),
    "no class": ((AGE, SITE.float(), STAGE, SPECTRUM), ModelError, "'site': expected classes, integers"),
    "another width": ((AGE, SITE, STAGE, AGE), ModelError, r"'spectrum': expected numbers \[N, 2\], got \[90\]"),
    "one less": ((AGE, SITE, STAGE), ModelError, "the model needs 'spectrum' beside x"),
}


@pytest.mark.parametrize(("given", "kind", "words"), REFUSED.values(), ids=REFUSED)
def test_covariates_that_do_not_fit_are_refused_by_name(given, kind, words):
    x = data()[0]
    for ask in (pv.evaluate, pv.log_evidence, pv.diagnostics.run_importance):
        with pytest.raises(kind, match=words):
            ask(vae(), (x, *given))
    with pytest.raises(kind, match=words):
        pv.fit(vae(), (x, *given), epochs=1, progress=False)


@pytest.mark.parametrize("kind", [1, 0, True, "categorical", {"continuous": 0}, {"continuous": True}, None])
def test_kinds_that_there_are_not_are_refused(kind):
    with pytest.raises(ModelError, match="covariate 'age': expected 'continuous'"):
        models.CovariateVAE((D,), 1, {"age": kind})


def test_no_covariates_are_refused():
    with pytest.raises(ModelError, match="expected kinds by name"):
        models.CovariateVAE((D,), 1, {})
