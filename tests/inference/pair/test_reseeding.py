"""Programs that seed torch's generator are refused: their equal draws were told as independent ones.

z ~ Beta(2, 2) and three trials x | z have p(x) = B(2 + s, 5 - s) / B(2, 2) with s successes.
"""

import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy.special import betaln

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.diagnostics import run_calibration
from ppl_vae.errors import ModelError
from ppl_vae.inference.pair.simulation import simulate

X = (torch.rand(20, 3, generator=torch.Generator().manual_seed(0)) < 0.5).float()
SEEDING = {"torch": lambda: torch.manual_seed(7), "Pyro": lambda: pyro.set_rng_seed(7)}


def forked():
    with torch.random.fork_rng():
        torch.manual_seed(7)


def beta_bernoulli(in_model=lambda: None, in_guide=lambda: None):
    def model(x):
        in_model()
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Beta(x.new_full((1,), 2.0), x.new_full((1,), 2.0)).to_event(1))
            pyro.sample("x", dist.Bernoulli(z.expand(*z.shape[:-1], 3)).to_event(1), obs=x)

    def guide(x):
        in_guide()
        successes = x.sum(-1, keepdim=True)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Beta(1.5 + successes, 4.5 - successes).to_event(1))

    return model, guide


@pytest.mark.parametrize("side", ["model", "guide"])
@pytest.mark.parametrize("kind", SEEDING)
@pytest.mark.parametrize(
    "function",
    [
        lambda pair: pv.evaluate(pair, X),
        # In chunks of equal draws it was 82 standard errors off, though told as within one.
        lambda pair: pv.log_evidence(pair, X, num_samples=2000, memory_limit=20_000),
        lambda pair: run_calibration(pair, X, num_simulations=20),
        lambda pair: inf.trace_terms(*pair, X, num_particles=3),
    ],
)
def test_programs_that_seed_are_refused(side, kind, function):
    pair = beta_bernoulli(**{f"in_{side}": SEEDING[kind]})
    with pytest.raises(ModelError, match=r"seeds torch's generator"):
        function(pair)


def test_simulating_a_model_that_seeds_is_refused():
    with pytest.raises(ModelError, match="the model seeds torch's generator"):
        simulate(beta_bernoulli(in_model=SEEDING["torch"])[0], X)


def test_a_seed_inside_a_fork_is_taken_and_its_evidence_is_right():
    found = pv.log_evidence(beta_bernoulli(forked, forked), X, num_samples=1000, memory_limit=100_000)
    successes = X.sum(1).double().numpy()
    truth = betaln(2 + successes, 5 - successes) - betaln(2, 2)
    errors = (found.per_datum.numpy() - truth) / found.per_datum_stderr.numpy()
    # The largest of 20 data, of which those of equal counts are alike in law: 4 standard errors.
    assert abs(errors).max() < 4
