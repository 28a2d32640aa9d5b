"""One law over public functions and pair shapes: a result, or one line that names what stands in the way."""

import re

import pyro
import pytest
import torch

import ppl_vae as pv
from ppl_vae import diagnostics as dg
from ppl_vae import inference as inf
from ppl_vae.errors import PplVaeError
from tests.inference.pair.two_level_programs import TWO_LEVELS

FEW = {"num_simulations": 24, "num_samples": 9}
WALK = {"num_temperatures": 2, "num_leapfrog": 1}
# The right numbers of the others are in test_user_programs.py and in tests/diagnostics/test_two_levels.py.
FUNCTIONS = {
    "run_calibration": lambda pair, x: dg.run_calibration(pair, x, **FEW),
    "run_coverage": lambda pair, x: dg.run_coverage(pair, x, **FEW),
    "run_recovery": lambda pair, x: dg.run_recovery(pair, x, **FEW),
    "run_collapse": dg.run_collapse,
    "run_aggregate": dg.run_aggregate,
    "run_gaps": lambda pair, x: dg.run_gaps(pair, x, num_samples=30, num_steps=2),
    "resample_posterior": lambda pair, x: dg.resample_posterior(pair, x, 2, 30),
    "run_importance": lambda pair, x: dg.run_importance(pair, x, 30, num_global=2),
    "run_predictive": lambda pair, x: dg.run_predictive(pair, x, num_samples=4),
    "run_local_c2st": lambda pair, x: dg.run_local_c2st(pair, x, 20, 19),
    "run_posterior_calibration": lambda pair, x: dg.run_posterior_calibration(pair, x, 12, 25),
    "run_typicality": lambda pair, x: dg.run_typicality(pair, x, 40, 25),
    "run_evidence": lambda pair, x: dg.run_evidence(pair, x, num_annealed=1, num_chains=2, num_temperatures=2),
    "infer": lambda pair, x: pv.infer(pair, x, num_draws=20, progress=False),
    "evidence_curve": lambda pair, x: inf.evidence_curve(pair, x, (2, 4)),
    "bidirectional_evidence": lambda pair, x: inf.bidirectional_evidence(pair, x, 2, **WALK),
    "simulate": inf.simulate,
    "run_disentanglement": lambda pair, x: dg.run_disentanglement(
        pair, x, (torch.arange(len(x)) % 3).unsqueeze(1), metrics=["mig"]
    ),
}
# A site, a plate or the guide by its name; or that programs mean their own data in their places.
NAMES_IT = re.compile(
    r"site '|latent site, found \['|sites stand in|plates '|"
    r"Auto\w+ was first called|depends on its place|is a factor"
)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_pair_shape_gets_a_result_or_one_line_with_the_reason(name):
    assert len(TWO_LEVELS) >= 15
    refusals = {}
    for shape, row in TWO_LEVELS.items():
        pyro.clear_param_store()
        torch.manual_seed(0)
        try:
            assert FUNCTIONS[name](row.make(), row.x) is not None, shape
        except PplVaeError as refusal:
            refusals[shape] = str(refusal)
    pyro.clear_param_store()
    for shape, words in refusals.items():
        assert "\n" not in words, shape
        assert NAMES_IT.search(words), (shape, words)
