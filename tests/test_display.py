"""Summaries for notebooks: well-formed, with the numbers that matter, and nothing of a name taken for markup."""

import math
from dataclasses import replace
from itertools import pairwise
from xml.etree import ElementTree

import pandas as pd
import pyro
import pytest
import torch
from pyro import distributions as dist

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.diagnostics.verdict import Verdict, Verdicts
from ppl_vae.display import card, in_words, rows_card, with_error
from tests.inference.comparisons import made_table

HOSTILE = """<script>alert("x")</script>&'<img src=x onerror=alert(1)>"""
SMALL = {"network": {"name": "mlp", "hidden": (8,)}, "seed": 0}


@pytest.fixture(scope="module")
def digits():
    return pv.load_dataset("digits", binarize="dynamic")


@pytest.fixture(scope="module")
def trained(digits):
    vae = pv.VAE(digits.event_shape, latent_dim=3, **SMALL)
    return pv.fit(vae, digits, epochs=3, validation=0.1, device="cpu", progress=False)


def shown(thing):
    """The tree of a summary and its text by label. A card is XML too, so that a strict parser judges it."""
    tree = ElementTree.fromstring(thing._repr_html_())
    labels, values = ([e.text or "" for e in tree.iter(tag)] for tag in ("dt", "dd"))
    assert len(labels) == len(values) > 1
    return tree, dict(zip(labels, values, strict=True))


def heading(tree):
    return tree.find("strong").text


def test_a_vae_shows_its_parts_and_size():
    vae = pv.VAE((1, 28, 28), latent_dim=20, seed=0)
    tree, facts = shown(vae)
    assert heading(tree) == "VAE"
    assert facts["event shape"] == "1 x 28 x 28"
    assert facts["latent dim"] == "20"
    assert facts["likelihood"] == "bernoulli"
    model, guide = ((sum(p.numel() for p in half.parameters())) for half in (vae.model, vae.guide))
    assert facts["parameters"] == f"{model:,} of the model, {guide:,} of the guide"
    assert facts["on"] == "cpu, float32"


def test_a_part_of_the_users_own_is_called_so():
    own = pv.VAE((2,), latent_dim=1, likelihood=pv.models.MissingPixels(pv.models.BernoulliLikelihood()), seed=0)
    encoder, decoder = torch.nn.Linear(2, 2), torch.nn.Linear(1, 2)
    theirs = pv.VAE((2,), latent_dim=1, network=(encoder, decoder))
    assert "the user's own" not in shown(own)[1]["likelihood"]
    assert shown(theirs)[1]["network"] == "the user's own"


@pytest.mark.parametrize("name", pv.list_recipes())
def test_every_recipe_and_its_pair_have_a_summary(name):
    shape = {"tiny-conv-vae": (1, 3, 3), "conv-vae": (1, 8, 8), "ada-gvae": (2, 1, 4, 4)}.get(name, (1, 4, 4))
    recipe = pv.make(name, shape, **({"num_data": 9} if name == "beta-tc-vae" else {}))
    tree, facts = shown(recipe)
    assert heading(tree) == f"recipe {name}"
    assert type(recipe.elbo).__name__ in facts["objective"]
    assert shown(recipe.vae)[1]["event shape"] == facts["event shape"]


def test_the_oracle_has_a_summary():
    oracle = pv.LinearGaussianVAE(torch.ones(3, 2), torch.zeros(3), 0.5)
    assert heading(shown(oracle)[0]) == "LinearGaussianVAE"


def test_a_data_set_shows_what_a_reader_of_its_numbers_must_know(digits):
    tree, facts = shown(digits)
    assert heading(tree) == "data set digits"
    assert facts["training data"] == f"{len(digits.train):,}"
    assert facts["labels"] == "10 classes"
    assert facts["binarisation"] == "dynamic"
    assert "factors" not in facts


def test_a_fit_shows_the_plain_elbo_of_the_chosen_epoch_and_its_course(trained):
    tree, facts = shown(trained)
    chosen = trained.history.set_index("epoch").loc[trained.best_epoch]
    assert facts["validation ELBO"] == f"{chosen['validation_elbo']:.3f} nats per datum"
    assert facts["test ELBO"] == f"{chosen['test_elbo']:.3f} nats per datum"
    assert facts["objective"] == "AnalyticKL(num_particles=1)"
    (line,) = tree.iter("polyline")
    heights = [float(point.split(",")[1]) for point in line.get("points").split()]
    # Down the page is down in nats: the curve of a rising ELBO ends above where it began.
    elbo = trained.history["validation_elbo"].tolist()
    assert [a > b for a, b in pairwise(heights)] == [a < b for a, b in pairwise(elbo)]


def test_a_fit_of_a_tuple_is_shown_too():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        loc = pyro.param("loc", torch.tensor(0.0))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, 1.0))

    result = pv.fit((model, guide), torch.arange(4.0), epochs=1, device="cpu", progress=False)
    tree, facts = shown(result)
    assert facts["model"] == "(model, guide)"
    assert not list(tree.iter("polyline")), "one epoch is no curve"


def test_evidence_shows_both_errors():
    evidence = pv.Evidence(torch.tensor([-1.0, -3.0]), torch.tensor([0.3, 0.4]), "importance", 100)
    tree, facts = shown(evidence)
    assert heading(tree) == "evidence log p(x)"
    # sqrt(0.09 + 0.16) / 2, and the standard error sqrt(2 / 2) of two numbers that differ by 2.
    assert facts["mean"].startswith("-2.00 ± 0.25 nats")
    assert facts["over data"].startswith("-2.00 ± 1.00 nats")
    assert facts["draws per datum"] == "100"


def test_exact_evidence_has_neither_draws_nor_an_error():
    oracle = pv.LinearGaussianVAE(torch.ones(3, 2), torch.zeros(3), 0.5)
    _, facts = shown(pv.log_evidence(oracle, torch.zeros(2, 3), method="exact"))
    assert "±" not in facts["mean"]
    assert "draws per datum" not in facts


def test_an_evaluation_says_what_its_score_is(trained, digits):
    found = pv.evaluate(trained.model, digits.test.x, num_particles=2)
    assert shown(found)[1]["ELBO"].startswith(f"{found.summary()['elbo']:.2f}"[:5])
    assert "reconstruction log likelihood" in shown(replace(found, is_bound=False))[1]


def test_hostile_names_are_text(digits, trained):
    hostile = replace(digits, name=HOSTILE, source=HOSTILE, factor_names=(HOSTILE,), notes=(HOSTILE,))
    manifest = trained.manifest | {"device": HOSTILE}
    recipe = pv.make("vae", (1, 4, 4))
    for thing in (hostile, replace(trained, manifest=manifest), replace(recipe, name=HOSTILE)):
        tree, facts = shown(thing)
        assert {e.tag for e in tree.iter()} <= {"div", "strong", "dl", "dt", "dd", "svg", "polyline"}
        assert "<script" not in thing._repr_html_()
        assert HOSTILE in [*facts.values()] or HOSTILE in heading(tree)


def test_a_hostile_label_and_curve_name_are_text():
    tree = ElementTree.fromstring(card("a", {HOSTILE: 1}, [0.0, 1.0], HOSTILE))
    assert [e.text for e in tree.iter("dt")] == [HOSTILE, HOSTILE]
    (picture,) = tree.iter("svg")
    assert picture.get("aria-label").startswith(HOSTILE)


@pytest.mark.parametrize("curve", [[], [1.0], [math.nan, 1.0], [math.inf, -math.inf]])
def test_fewer_than_two_finite_numbers_are_no_curve(curve):
    assert "svg" not in card("a", {}, curve, "curve")


def test_a_flat_curve_and_gaps_are_drawn():
    points = ElementTree.fromstring(card("a", {}, [2.0, math.nan, 2.0], "curve")).find(".//polyline").get("points")
    first, last = points.split()
    assert first.split(",")[1] == last.split(",")[1]


def test_a_card_brings_no_colour_of_its_own():
    html = card("a", {"b": 1}, [0.0, 1.0], "c")
    assert "color:inherit" in html
    assert "background" not in html
    assert "<script" not in html
    assert "<style" not in html


@pytest.mark.parametrize(
    ("value", "words"),
    [(True, "True"), (1_000_000, "1,000,000"), (1e-3, "0.001"), ((1, 28, 28), "1 x 28 x 28"), ({}, ""), (None, "")],
)
def test_values_are_written_as_a_person_would(value, words):
    assert in_words(value) == words


@pytest.mark.parametrize(
    ("value", "stderr", "text"),
    [(1.5, 0.0, "1.500"), (2.5, math.inf, "2.500"), (123.4, 12.0, "123 ± 12"), (1.0, 1e-6, "1.000000 ± 0.000001")],
)
def test_digits_follow_the_error(value, stderr, text):
    assert with_error(value, stderr) == text


def test_the_history_of_a_long_run_stays_compact(trained):
    history = pd.concat([trained.history] * 500, ignore_index=True).assign(epoch=range(1, 1501))
    assert len(replace(trained, history=history)._repr_html_()) < 8_000


def test_inference_results_are_the_classes_that_have_a_summary():
    assert all(hasattr(kind, "_repr_html_") for kind in (pv.VAE, pv.data.Dataset, inf.FitResult, inf.Evidence))


VERDICTS = Verdicts(
    [
        Verdict("Gap", "bad", 0.61234, 0.021, "nats per datum", "0.125 nats", "The encoder costs it.", "Train."),
        Verdict(HOSTILE, "unknown", math.nan, words=f"Not run: {HOSTILE}."),
        Verdict("k-hat", "good", 0.3, threshold="0.5", words="All weights have a variance."),
    ]
)


def test_a_verdict_is_a_card():
    tree, facts = shown(VERDICTS[0])
    assert heading(tree) == "Gap"
    assert facts["verdict"] == "✗ bad"
    assert facts["figure"] == "0.612 ± 0.021 nats per datum"
    assert facts["what to try next"] == "Train."


def cells(thing):
    tree = ElementTree.fromstring(thing._repr_html_())
    return tree, [[cell.text or "" for cell in row] for row in tree.iter("tr")]


def test_verdicts_are_a_table_and_still_a_list():
    tree, rows = cells(VERDICTS)
    assert isinstance(VERDICTS, list)
    assert heading(tree) == "3 verdicts"
    assert rows == [
        ["verdict", "diagnostic", "figure"],
        ["✗\N{NO-BREAK SPACE}bad", "Gap", "0.612 ± 0.021 nats per datum"],
        ["Train."],
        ["?\N{NO-BREAK SPACE}unknown", HOSTILE, "none"],
        [f"Not run: {HOSTILE}."],
        ["✓\N{NO-BREAK SPACE}good", "k-hat", "0.3"],
    ]
    spans = [cell.get("colspan") for cell in tree.iter("td") if cell.get("colspan")]
    assert spans == ["3", "3"]
    assert len(VERDICTS._repr_html_()) < 4_000
    assert str(VERDICTS).splitlines() == [str(verdict) for verdict in VERDICTS]


def test_a_table_has_no_column_without_a_word():
    tree = ElementTree.fromstring(rows_card("a", ("b", "c"), [(1, ""), (2, None)]))
    assert [cell.text for cell in tree.iter("th")] == ["b"]


def test_a_diagnosis_and_a_ranking_are_tables():
    oracle = pv.LinearGaussianVAE(torch.ones(3, 1), torch.zeros(3), 1.0, guide="exact")
    diagnosis = pv.diagnose(oracle, torch.randn(20, 3), topics=["importance"], progress=False)
    tree, rows = cells(diagnosis)
    assert heading(tree) == "diagnosis of 20 data"
    assert [row[1] for row in rows[1:] if row[1:]] == [verdict.diagnostic for verdict in diagnosis.verdicts]
    assert isinstance(diagnosis.verdicts, Verdicts)
    ranking = inf.check_estimators(made_table())
    tree, rows = cells(ranking)
    assert [row[0] for row in rows[1:]] == list(ranking.table.index)
    assert ranking.sentence in "".join(tree.itertext())


@pytest.mark.parametrize("html", [card("a", {"b": 1}), VERDICTS._repr_html_()])
def test_every_cell_overrules_the_style_sheet_of_jupyter(html):
    """It floats and widens terms of lists, aligns cells to the right and stripes rows."""
    for element in ElementTree.fromstring(html).iter():
        style = element.get("style", "")
        if element.tag in ("dt", "dd"):
            assert {"float:none", "width:auto", "margin:0", "padding:0"} <= {*style.split(";")}
        if element.tag in ("td", "th"):
            assert {"text-align:left", "border:none", "background:none", "white-space:normal"} <= {
                *style.split(";")
            }
        if element.tag == "tr":
            assert "background:none" in style
