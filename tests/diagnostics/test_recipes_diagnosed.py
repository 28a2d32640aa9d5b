"""Every recipe, as it is made, comes to numbers or to a line that says why not: never to a traceback."""

import numpy as np
import pytest
import torch

import ppl_vae as pv
from ppl_vae.diagnostics import Effort, diagnose
from ppl_vae.diagnostics.topics import TOPICS
from ppl_vae.errors import PplVaeError

EFFORT = Effort(
    num_data=12,
    num_samples=40,
    annealed_data=2,
    annealed_chains=2,
    annealed_temperatures=10,
    num_simulations=16,
    num_draws=9,
    num_replicates=5,
    gap_data=2,
    gap_steps=3,
    gap_particles=2,
    gap_samples=40,
    reference_data=1,
    reference_samples=20,
    reference_warmup=20,
    reference_chains=2,
    worst_data=0,
)
WITHOUT_CHAINS = ["importance", "calibration", "coverage", "collapse", "predictive", "gaps"]
EVENT_SHAPES = {"tiny-conv-vae": (1, 3, 3), "ada-gvae": (2, 4, 8)}
# One of every kind of program, prior and guide; all others are slow together.
KINDS = (
    "autoencoder", "categorical-vae", "conditional-vae", "deep-markov-model", "hierarchical-vae", "iaf-vae",
    "semi-supervised-vae", "vae", "vamp-vae", "vq-vae",
)  # fmt: skip
RECIPES = [pytest.param(name, marks=() if name in KINDS else pytest.mark.slow) for name in pv.list_recipes()]
NEEDED = {"beta-tc-vae": {"num_data": 100}}


def untrained(name):
    """The pair of a recipe, 32 binary images that it takes, and their labels."""
    event_shape = EVENT_SHAPES.get(name, (1, 8, 8))
    vae = pv.make(name, event_shape, **NEEDED.get(name, {})).vae
    digits = pv.load_dataset("digits", binarize="threshold").test
    rows, columns = event_shape[1:]
    if name == "ada-gvae":
        # The upper half of a digit and the lower one, as a pair.
        return vae, digits.x[:32].reshape(-1, *event_shape), digits.y[:32]
    return vae, digits.x[:32, :, :rows, 2 : 2 + columns] if rows < 8 else digits.x[:32], digits.y[:32]


def asked(vae, x):
    """The data, with a source where the pair goes from one to them; that labels are missing is refused by name."""
    return (x, x.flip(0)) if getattr(vae.model, "covariates", ()) else x


def attempt(run):
    """What it returns; or None, and the one line of the refusal, such as of a pair that needs labels beside x."""
    try:
        return run(), None
    except PplVaeError as refusal:
        return None, str(refusal)


def assert_one_line_that_names_what(refusal):
    assert "\n" not in refusal
    assert "site" in refusal or "labels" in refusal


def assert_numbers_or_a_reason(name, topics):
    vae, x, _ = untrained(name)
    x = asked(vae, x)
    diagnosis, refusal = attempt(lambda: diagnose(vae, x, x, effort=EFFORT, topics=topics))
    if diagnosis is None:
        assert_one_line_that_names_what(refusal)
        return
    for topic in topics:
        finding = diagnosis.findings[topic]
        assert finding.verdicts
        for verdict in finding.verdicts:
            assert verdict.level in ("good", "doubtful", "bad", "unknown")
            assert verdict.words
            assert (verdict.level == "unknown") or np.isfinite(verdict.value)
        if finding.numbers is None:
            (verdict,) = finding.verdicts
            assert verdict.words.startswith("Not run: ")
            # What torch or Pyro says where it was not asked whether it can.
            assert not any(raw in verdict.words for raw in ("Constraint", "Trace Shapes", "positive definite"))


def test_kinds_are_recipes():
    assert set(KINDS) <= set(pv.list_recipes())


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_diagnosed_or_says_why_not(name):
    assert_numbers_or_a_reason(name, WITHOUT_CHAINS)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_becomes_an_arviz_object_or_is_refused_by_name(name):
    vae, x, _ = untrained(name)
    idata, refusal = attempt(lambda: pv.inference_data(vae, asked(vae, x[:8]), num_samples=30, num_predictive=3))
    if idata is None:
        assert_one_line_that_names_what(refusal)
        return
    assert idata["posterior"].sizes["datum"] == 8
    # Of several observed sites it is one of all of them.
    (told,) = idata["log_likelihood"].data_vars
    assert torch.isfinite(torch.as_tensor(idata["log_likelihood"][told].to_numpy())).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", pv.list_recipes())
def test_every_recipe_is_annealed_and_drawn_by_chains_or_says_why_not(name):
    assert_numbers_or_a_reason(name, [topic for topic in TOPICS if topic not in WITHOUT_CHAINS])
