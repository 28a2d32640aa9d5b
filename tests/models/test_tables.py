"""Every part that the package knows by name stands in the table that the laws run over."""

import re
from pathlib import Path

import pytest

import ppl_vae as pv
from ppl_vae import models
from ppl_vae.errors import ModelError
from ppl_vae.models.likelihoods.likelihoods import LIKELIHOODS
from ppl_vae.models.posteriors.posteriors import POSTERIORS
from ppl_vae.models.priors.priors import PRIORS
from tests.models import program_table, table

# An autoencoder's are no densities: the laws of bounds are not theirs, tests/models/test_autoencoder.py is.
AUTOENCODERS = {"flat", "point"}


def _names(rows):
    return {row if isinstance(row, str) else row["name"] for row in rows.values()}


@pytest.mark.parametrize(
    ("ours", "tested"),
    [(PRIORS, table.PRIORS), (POSTERIORS, table.POSTERIORS), (LIKELIHOODS, table.LIKELIHOODS)],
    ids=["priors", "posteriors", "likelihoods"],
)
def test_every_part_has_a_row_of_its_own(ours, tested):
    assert set(ours) - AUTOENCODERS == _names(tested)


@pytest.mark.parametrize("table", [PRIORS, POSTERIORS, LIKELIHOODS], ids=["priors", "posteriors", "likelihoods"])
def test_the_readme_names_every_part(table):
    named = set(re.findall(r"[`\"]([\w-]+)[`\"]", (Path(__file__).parents[2] / "README.md").read_text()))
    assert set(table) <= named


@pytest.mark.parametrize(
    ("part", "table"), [("prior", PRIORS), ("posterior", POSTERIORS), ("likelihood", LIKELIHOODS)]
)
def test_an_unknown_name_is_answered_by_the_whole_table(part, table):
    """As the docstring of VAE and the help of the command line promise in the place of a list."""
    with pytest.raises(ModelError, match=f"unknown {part} 'none-such'.*Known: {', '.join(sorted(table))}$"):
        pv.VAE((4,), 2, **{part: "none-such"})


def test_every_row_stands_in_a_combination():
    axes = {"likelihood": table.LIKELIHOODS, "posterior": table.POSTERIORS, "network": table.NETWORKS}
    for axis, values in {**axes, "prior": table.PRIORS}.items():
        assert {getattr(row, axis) for row in table.ROWS} == set(values)


def test_every_program_of_ours_stands_in_the_table_of_programs():
    """But for those of tests/models/table.py, their ground, and the completion VAE's baseline without latents.

    Data of the VAE of covariates and of the encoder-decoder are tuples and dicts: see tests/models/labelled/.
    Those of global weights and of groups are in tests/models/global_parameters/, of topics in test_topic_vae.py.
    Those of several observed sites are in tests/models/multimodal/, of the very deep VAE in hierarchies/.
    """
    made = {type(program.pair()).__name__ for program in program_table.PROGRAMS}
    ours = {
        name
        for name in models.__all__
        if isinstance(kind := getattr(models, name), type) and issubclass(kind, models.ProgramPair)
    }
    elsewhere = {
        "ProgramPair",
        "VAE",
        "LinearGaussianVAE",
        "CompletionBaseline",
        "CovariateVAE",
        "EncoderDecoderVAE",
        "CountVAE",
        "BayesianDecoderVAE",
        "MultimodalVAE",
        "VeryDeepVAE",
        "ResidualVQVAE",
        "GroupsVAE",
        "TopicVAE",
    }
    assert ours - made <= elsewhere
