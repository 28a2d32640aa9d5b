"""report.html: whole, alone, and honest about what was not run."""

import math
import re
from datetime import UTC, datetime
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import ppl_vae as pv
from ppl_vae.diagnostics import Verdict, diagnose
from ppl_vae.diagnostics.report import Subject, render_report, write_report
from ppl_vae.diagnostics.report.captions import REFERENCES
from ppl_vae.diagnostics.report.html import EFFORT_NAMES, figure_text, headline
from ppl_vae.diagnostics.topics import TOPICS
from ppl_vae.diagnostics.topics.figures import distances
from tests.diagnostics.small_effort import SMALL

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Tags balanced, and what a reader sees."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.seen = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("style", "title"):
            self.seen.append(data)

    @property
    def words(self):
        return " ".join(" ".join(self.seen).split())


SUBJECT = Subject(
    name="<digits> & co",
    model="vae with 2 latent dimensions",
    data="digits, test split",
    facts={"Model": [("likelihood", "bernoulli"), ("note", "a < b")]},
    command="ppl-vae diagnose digits",
)


@pytest.fixture(scope="module")
def diagnosis():
    """Of an untrained model, NUTS left out."""
    ds = pv.load_dataset("digits", binarize="dynamic")
    vae = pv.VAE((1, 8, 8), 2, network={"name": "mlp", "hidden": [16]}, seed=0)
    topics = [name for name, topic in TOPICS.items() if name != "reference" and not topic.of_global]
    return diagnose(vae, ds.test.x, ds.test.x, ds.test.y, effort=SMALL, topics=topics)


@pytest.fixture(scope="module")
def text(diagnosis):
    return render_report(diagnosis, SUBJECT, datetime(2026, 3, 1, 12, 30, tzinfo=UTC))


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


@pytest.mark.slow
def test_the_page_is_whole(page):
    assert page.open == []
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in page.tags
    ids = {attrs["id"] for _, attrs in page.tags if "id" in attrs}
    assert {attrs["href"].removeprefix("#") for tag, attrs in page.tags if tag == "a"} <= ids


@pytest.mark.slow
def test_nothing_is_fetched(text):
    assert not re.search(r"(src|href)\s*=\s*[\"'](?!data:|#)", text)
    assert "<script" not in text
    assert "@import" not in text
    assert "url(" not in text


@pytest.mark.slow
def test_every_verdict_is_on_it(page, diagnosis):
    for verdict in diagnosis.verdicts:
        for part in (verdict.diagnostic, verdict.words, verdict.advice, verdict.threshold, figure_text(verdict)):
            assert " ".join(part.split()) in page.words


def test_every_topic_says_what_it_cannot_prove(page, diagnosis):
    for name, finding in diagnosis.findings.items():
        assert finding.numbers is not None, finding.verdicts
        assert TOPICS[name].explanation.cannot in page.words
    pictures = [attrs for tag, attrs in page.tags if tag == "img"]
    assert len(pictures) >= 6
    assert all(attrs["src"].startswith("data:image/png;base64,") and attrs["alt"] for attrs in pictures)


def test_facts_and_settings_are_there(page, diagnosis):
    assert "a < b" in page.words
    assert "<digits> & co" in page.words
    assert "01 March 2026, 12:30 UTC" in page.words
    assert "ppl-vae diagnose digits" in page.words
    assert "loo" in page.words
    assert set(EFFORT_NAMES) == set(vars(diagnosis.effort))


def test_who_is_cited_is_in_the_references(diagnosis):
    """Every author and year of a threshold."""
    for verdict in diagnosis.verdicts:
        for name, year in re.findall(r"([A-Z]\w+)(?:,? [\w&. ]+?)? (\d{4})", verdict.threshold):
            assert any(name in entry and f"({year})" in entry for entry in REFERENCES), (name, year)


def test_a_topic_that_was_not_run_says_why(tmp_path):
    grey = pv.load_dataset("digits").test.x[:20]
    vae = pv.VAE((1, 8, 8), 2, network={"name": "mlp", "hidden": [8]}, likelihood="bernoulli-relaxed", seed=0)
    diagnosis = diagnose(vae, grey, effort=SMALL, topics=["calibration"])
    write_report(diagnosis, SUBJECT, tmp_path / "deep" / "report.html")
    page = Page((tmp_path / "deep" / "report.html").read_text(encoding="utf-8"))
    assert "Not run: " in page.words
    assert "expected data that the model can draw" in page.words
    assert "No diagnostic came to a verdict." in page.words


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        (["good", "bad", "doubtful"], "Faults were found: B. In doubt: C."),
        (["bad", "bad", "bad"], "Faults were found: A, B and C."),
        (["good", "doubtful", "unknown"], "No clear fault was found; in doubt: B."),
        (["good", "good", "unknown"], "No fault was found by the diagnostics that came to a verdict."),
        (["unknown"] * 3, "No diagnostic came to a verdict."),
    ],
)
def test_the_headline_names_the_faults(levels, expected):
    assert headline([Verdict(name, level, 1.0) for name, level in zip("ABC", levels, strict=True)]) == expected


@pytest.mark.parametrize(
    ("value", "error", "expected"),
    [
        (-88.12345, 0.514, "-88.12 ± 0.51 nats"),
        (0.00012345, math.nan, "0.000123 nats"),
        (123.4, 20.0, "123 ± 20 nats"),
        (1.0, 0.0, "1 ± 0 nats"),
        (math.nan, 0.1, "none"),
        (math.inf, math.nan, "inf nats"),
    ],
)
def test_figures_have_the_digits_that_their_error_bears(value, error, expected):
    assert figure_text(Verdict("A", "good", value, error, "nats")) == expected


def test_the_pair_plot_shows_the_latent_dimensions_that_differ_most():
    draws = np.random.default_rng(0).normal(size=(2, 200, 6))
    guide = draws.reshape(400, 6) + np.array([0.0, 3.0, 0.0, 0.0, 0.0, -2.0])
    guide[:, 3] *= 5.0
    sites = {"z": (("chain", "draw", "latent"), draws), "guide_z": (("guide_draw", "latent"), guide)}
    apart = distances(xr.Dataset(sites))
    np.testing.assert_allclose(apart[[0, 2, 4]], 0.0, atol=1e-12)
    np.testing.assert_allclose(apart[1] * draws[..., 1].std(), 3.0)
    assert set(np.argsort(-apart)[:3]) == {1, 3, 5}


@pytest.mark.slow
def test_the_worst_rows_of_a_table_are_drawn_with_their_names():
    vae = pv.VAE((3,), 1, likelihood="gaussian", network={"name": "mlp", "hidden": [16]}, seed=0)
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(20, 3)), list(range(100, 120)), ["a", "b", "c"])
    found = diagnose(vae, frame, topics=["importance"], effort=SMALL, progress=False)
    assert found.column_names == ["a", "b", "c"]
    words = Page(render_report(found, SUBJECT)).words
    assert "The rows with the largest k-hat, worst first" in words
    drawn = [figure for figure, _ in TOPICS["importance"].figures(found.numbers["importance"], found)][1].axes[0]
    assert [text.get_text() for text in drawn.get_xticklabels()] == ["a", "b", "c"]
    assert all(100 <= int(text.get_text().split()[0]) < 120 for text in drawn.get_yticklabels())


def test_the_table_beside_hmc_holds_the_data_that_differ_most():
    values = np.linspace(0.5, 0.9, 30)
    per_datum = {
        "c2st": values,
        "c2st_stderr": 0 * values,
        "rhat": values,
        "ess": values,
        "divergences": 0 * values,
    }
    numbers = xr.Dataset(
        {name: ("datum", v) for name, v in per_datum.items()}, {"datum": [f"p{i}" for i in range(30)]}
    )
    table = TOPICS["reference"].table(numbers, None)
    assert [row[0] for row in table.rows] == [f"p{i}" for i in range(29, 9, -1)]
    assert table.caption.startswith("The 20 of 30 data that differ most.")
