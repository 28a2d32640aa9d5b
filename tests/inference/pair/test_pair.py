"""One door: whatever a pair comes as, every public function takes it and gives the same number."""

import numpy as np
import pytest
import torch
import xarray as xr

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.errors import DataError, ModelError
from ppl_vae.inference.pair.admission import admitted
from ppl_vae.inference.pair.pair import as_pair
from tests.diagnostics.small_effort import SMALL

X = torch.tensor([[0.3, -0.2, 0.5], [1.0, 0.1, -0.4], [-0.6, 0.9, 0.2], [0.0, 0.4, -1.1]])


class Holder:
    """An object of a user's own with two programs."""

    def __init__(self, model, guide):
        self.model, self.guide = model, guide


def vae():
    return pv.VAE((3,), latent_dim=1, network="linear", likelihood="gaussian", seed=3)


KINDS = {
    "VAE": lambda pair: pair,
    "Recipe": lambda pair: pv.Recipe("own", pair, inf.AnalyticKL(), {}),
    "tuple": lambda pair: (pair.model, pair.guide),
    "object": lambda pair: Holder(pair.model, pair.guide),
    "Pair": as_pair,
    "Pair of two programs": lambda pair: inf.Pair(pair.model, pair.guide),
}


FEW_KINDS = {kind: KINDS[kind] for kind in ("Recipe", "tuple")}
MANY = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
FACTORS = (torch.arange(100) % 3).unsqueeze(1)
COSTLY = (
    "infer", "run_typicality", "run_disentanglement", "run_density_ratio", "annealed", "bidirectional_evidence",
    "run_evidence", "run_reference", "collapse_history", "run_local_c2st",
)  # fmt: skip
FEW = {"num_simulations": 20, "num_samples": 9}
FUNCTIONS = {
    "evaluate": lambda pair: pv.evaluate(pair, X, num_particles=3).elbo,
    "fit": lambda pair: pv.fit(pair, X, epochs=2, progress=False, device="cpu").history["loss"],
    "log_evidence": lambda pair: pv.log_evidence(pair, X, num_samples=30).per_datum,
    "annealed": lambda pair: pv.log_evidence(pair, X, "ais", 2, num_temperatures=2, num_leapfrog=1).per_datum,
    "bidirectional_evidence": lambda pair: (
        inf.bidirectional_evidence(pair, X, 2, num_temperatures=2, num_leapfrog=1).lower
    ),
    "evidence_curve": lambda pair: inf.evidence_curve(pair, X, (2, 4))["importance"],
    "compare_estimators": lambda pair: inf.compare_estimators(pair, X, ["iwae"], 3, progress=False)["value"],
    "compare_over_particles": lambda pair: inf.compare_over_particles(
        pair, X, ["iwae"], [2], num_repeats=3, progress=False
    )["value"],
    "trace_terms": lambda pair: _seeded(lambda: inf.trace_terms(pair, X, num_particles=2).log_weight),
    "trace_terms by name": lambda pair: _seeded(lambda: inf.trace_terms(pair=pair, x=X).log_weight),
    "per_datum": lambda pair: _seeded(lambda: inf.ImportanceWeighted(4).per_datum(pair, X)),
    "per_datum of a weighting": lambda pair: _seeded(lambda: inf.Beta("monte-carlo-kl", 2.0).per_datum(pair, X)),
    "simulate": lambda pair: _seeded(lambda: inf.simulate(pair, X).x),
    "inference_data": lambda pair: pv.inference_data(pair, X, num_samples=30).posterior["z"],
    "run_calibration": lambda pair: pv.diagnostics.run_calibration(pair, X, **FEW),
    "run_collapse": lambda pair: pv.diagnostics.run_collapse(pair, X),
    "run_coverage": lambda pair: pv.diagnostics.run_coverage(pair, X, **FEW),
    "run_evidence": lambda pair: pv.diagnostics.run_evidence(
        pair, X, num_annealed=1, num_chains=2, num_temperatures=2
    ),
    "run_gaps": lambda pair: pv.diagnostics.run_gaps(pair, X, num_samples=30, num_steps=3),
    "run_importance": lambda pair: pv.diagnostics.run_importance(pair, X, num_samples=30),
    "run_predictive": lambda pair: pv.diagnostics.run_predictive(pair, X, num_samples=20),
    "run_reference": lambda pair: pv.diagnostics.run_reference(
        pair, X[:1], num_warmup=20, num_samples=20, num_chains=2
    ),
    "run_aggregate": lambda pair: pv.diagnostics.run_aggregate(pair, X),
    "run_density_ratio": lambda pair: pv.diagnostics.run_density_ratio(pair, MANY, 2),
    "run_disentanglement": lambda pair: pv.diagnostics.run_disentanglement(pair, MANY, FACTORS, metrics=["mig"])[
        "mean"
    ],
    "run_recovery": lambda pair: pv.diagnostics.run_recovery(pair, X, **FEW),
    "run_local_c2st": lambda pair: pv.diagnostics.run_local_c2st(pair, X, 40, 19),
    "run_posterior_calibration": lambda pair: pv.diagnostics.run_posterior_calibration(pair, X, 20, 50),
    "run_typicality": lambda pair: pv.diagnostics.run_typicality(pair, X, 40, 25),
    "run_interpolation": lambda pair: pv.diagnostics.run_interpolation(pair, torch.stack([X, X, X]), X, X, 25),
    "run_foreign": lambda pair: pv.diagnostics.run_foreign(pair, X, {"others": X}, num_samples=25),
    "infer": lambda pair: pv.infer(pair, X, num_draws=20, progress=False).posterior["z"],
    "collapse_history": lambda pair: pv.diagnostics.collapse_history(
        pair, X, X, (1, 2), progress=False, device="cpu"
    ),
    "diagnose": lambda pair: pv.diagnose(pair, X, effort=SMALL, topics=["importance"]).numbers["importance"],
    "resample_posterior": lambda pair: pv.diagnostics.resample_posterior(pair, X, 2, 30)["z"],
    "simulate_posteriors": lambda pair: pv.diagnostics.simulate_posteriors(pair, X, **FEW).log_likelihood,
}


def _seeded(work):
    with torch.random.fork_rng():
        torch.manual_seed(7)
        return work()


def _numbers(found):
    """All of a tensor, or of the first variable of a table."""
    if isinstance(found, xr.Dataset):
        found = next(iter(found.data_vars.values()))
    return np.asarray(found.detach() if isinstance(found, torch.Tensor) else found, dtype=float)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_kind_of_pair_gives_the_same_number(name):
    expected = _numbers(FUNCTIONS[name](vae()))
    assert expected.size
    for kind, made in KINDS.items() if name not in COSTLY else FEW_KINDS.items():
        np.testing.assert_array_equal(_numbers(FUNCTIONS[name](made(vae()))), expected, err_msg=kind)


def test_every_public_function_of_a_pair_stands_in_the_table():
    runs = {name for name in pv.diagnostics.__all__ if name.startswith("run_")}
    # These take images or codes, not a pair, or one with global sites or modalities; run_diagnosis is diagnose by
    # its old name.
    runs -= {"run_diagnosis", "run_arithmetic", "run_feature_probe", "run_latent_holes", "run_global_importance"}
    runs -= {"run_coherence", "run_class_structure"}
    assert runs <= set(FUNCTIONS)


@pytest.mark.parametrize("name", ["evaluate", "trace_terms", "per_datum", "run_collapse", "fit"])
def test_what_is_no_pair_is_refused(name):
    for given in (object(), (len,), (1, 2), "vae"):
        with pytest.raises(ModelError, match=r"expected an object with \.model and \.guide"):
            FUNCTIONS[name](given)


def test_a_pair_knows_where_it_is_and_what_it_takes():
    pair = as_pair(vae())
    assert (pair.device, pair.dtype) == (torch.device("cpu"), torch.float32)
    assert (pair.takes_labels, pair.needs_labels, pair.takes_indices) == (False, False, False)
    assert as_pair(vae().double()).dtype == torch.float64
    assert as_pair(pair) is pair
    bare = inf.Pair(lambda x: None, lambda x, indices: None)
    assert bare.device is None
    assert bare.takes_indices
    with pytest.raises(ModelError, match="expected two programs, got int"):
        inf.Pair(len, 3)


def test_exact_numbers_survive_every_way_round():
    exact = pv.LinearGaussianVAE(torch.ones(3, 1), torch.zeros(3), 1.0)
    expected = exact.log_evidence(X).double()
    for pair in (exact, as_pair(exact), pv.Recipe("own", exact, inf.AnalyticKL(), {})):
        assert torch.equal(pv.log_evidence(pair, X, "exact").per_datum, expected)
    with pytest.raises(ModelError, match="tuple has no log_evidence"):
        pv.log_evidence((exact.model, exact.guide), X, "exact")


def test_programs_that_are_modules_with_other_arguments_are_not_taken_for_a_pair():
    made = vae()
    by_programs = _seeded(lambda: inf.trace_terms(model=made.model, guide=made.guide, x=X).log_weight)
    assert torch.equal(by_programs, _seeded(lambda: inf.trace_terms(made, X).log_weight))
    with pytest.raises(TypeError, match="'x'"):
        inf.trace_terms(made.model, made.guide)


DOORS = {
    "admitted": lambda pair, x, y: admitted(pair, x, y),
    "evaluate": lambda pair, x, y: pv.evaluate(pair, x, y=y),
    "log_evidence": lambda pair, x, y: pv.log_evidence(pair, x, num_samples=25, y=y),
    "trace_terms": lambda pair, x, y: inf.trace_terms(pair, x, y),
    "per_datum": lambda pair, x, y: inf.MonteCarloKL().per_datum(pair, x, y),
    "loss": lambda pair, x, y: inf.MonteCarloKL()(pair.model, pair.guide)(x, y),
    "fit": lambda pair, x, y: pv.fit(pair, (x, y), epochs=2, batch_size=2, progress=False, device="cpu"),
}


@pytest.mark.parametrize("door", DOORS)
def test_data_and_labels_are_judged_once_a_call(door, monkeypatch):
    pair = pv.models.ConditionalVAE((4,), num_classes=3, latent_dim=2, likelihood="bernoulli")
    looks = []
    judge = type(pair.model).check_data
    monkeypatch.setattr(type(pair.model), "check_data", lambda self, x: looks.append(x) or judge(self, x))
    DOORS[door](pair, torch.ones(4, 4), torch.tensor([0, 1, 2, 0]))
    assert len(looks) == 1
    with pytest.raises(DataError, match=r"labels 0, \.\.\., 2"):
        DOORS[door](pair, torch.ones(4, 4), torch.tensor([0, 1, 3, 0]))
    with pytest.raises(DataError, match="bernoulli"):
        DOORS[door](_another(pair), torch.full((4, 4), 0.5), torch.tensor([0, 1, 2, 0]))


def _another(pair):
    """The same model anew: a loss judges the first batch of a model alone."""
    return type(pair)((4,), num_classes=3, latent_dim=2, likelihood="bernoulli")


def test_lazy_layers_are_refused_by_name_until_their_first_call():
    """They ended in torch's words about an uninitialized parameter."""
    network = torch.nn.LazyLinear(8), torch.nn.LazyLinear(4)
    vae, x = pv.VAE((4,), 2, network=network, likelihood="gaussian"), torch.zeros(3, 4)
    for ask in (lambda: pv.evaluate(vae, x), lambda: inf.trace_terms(vae.model, vae.guide, x)):
        with pytest.raises(
            ModelError, match=r"LazyLinear .*decoder' of .* has no parameters before its first call"
        ):
            ask()
    vae.guide(x), vae.model(x)
    assert pv.evaluate(vae, x).elbo.isfinite().all()
