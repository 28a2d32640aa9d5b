"""What the documentation makes of records: every recipe has a page, numbers come from files, nothing is markup."""

import ast
import importlib
import importlib.util
import json
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.recipes import RECIPES

HOOKS = Path(__file__).parents[1] / "docs" / "hooks"
HOSTILE = "<script>alert(1)</script> | `x` [y](z) **b**"
RUN = {
    "summary": "a model", "paper": "A 2020", "call": '"vae", ds.event_shape', "data": "digits",
    "binarization": "dynamic", "num_data": 180, "likelihood": "bernoulli",
    "objective": "AnalyticKL(num_particles=1)", "objective_class": "ppl_vae.inference.estimators.elbo.AnalyticKL",
    "model_class": "ppl_vae.models.vae.VAE",
    "facts": {"latent dim": "20"}, "seed": 0, "elbo": -23.456, "elbo_stderr": 0.012, "log_likelihood": -20.0,
    "kl": 3.456, "score": "ELBO", "closed_form": True, "log_evidence": -23.1, "log_evidence_stderr": 0.1,
    "epochs_run": 50, "best_epoch": 50, "steps": 650, "cpu_seconds": 3.5, "compile": "eager",
    "settings": {"elbo": "AnalyticKL(num_particles=1)", "lr": 0.001}, "reconstructions": "r.png",
    "no_samples": HOSTILE,
}  # fmt: skip
# One that Markdown would take for HTML.
BARE_TAG = re.compile(r"(?<!\\)<script")
ON = {"torch": "2", "python": "3", "machine": "x86_64", "threads": 1, "particles": 16, "draws": 100}

# What builds the site is installed by ``make docs``, which runs these.
needs_docs = pytest.mark.skipif(importlib.util.find_spec("mkdocs") is None, reason="needs the extra docs")


@pytest.fixture
def hook(monkeypatch):
    """Imports a hook as the site's builder does, and forgets it afterwards."""
    monkeypatch.syspath_prepend(str(HOOKS))
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if name in {path.stem for path in HOOKS.glob("*.py")}:
            del sys.modules[name]


@pytest.mark.parametrize("listed", [pv.list_recipes, pv.list_datasets, inf.list_estimators])
def test_the_readme_names_everything_that_has_a_name(listed):
    named = set(re.findall(r"[`\"]([\w-]+)[`\"]", (HOOKS.parents[1] / "README.md").read_text()))
    assert set(listed()) <= named


def test_every_recipe_stands_in_one_family(hook):
    placed = [name for names in hook("recipe_pages").families().values() for name in names]
    assert sorted(placed) == sorted(pv.list_recipes())


def test_a_recipe_without_a_run_says_so_and_how_to_get_one(hook):
    page = hook("recipe_pages").page("vae", None, {})
    assert "No run is recorded" in page
    assert "digits_recipes.py vae" in page


def test_a_recipe_that_could_not_run_says_why(hook):
    page = hook("recipe_pages").page("vae", {"no_run": "expected labels, found none"}, ON)
    assert "It could not run: expected labels, found none" in page


def test_a_page_has_the_numbers_of_its_run(hook):
    page = hook("recipe_pages").page("vae", RUN, ON)
    assert "-23.456 ± 0.012" in page
    assert "650 steps, 3.5 CPU seconds" in page
    assert "3.456" in page
    assert "distortion, -E log p(x\\|z) | 20.000" in page
    assert 'pv.make("vae", ds.event_shape)' in page
    assert 'binarize="dynamic"' in page
    assert RECIPES["vae"].paper.split(";")[0] in page


def test_a_long_call_is_broken_between_its_arguments(hook):
    in_lines, arguments = hook("recipe_pages").in_lines, '"vae", (1, 8, 8)'
    assert in_lines(arguments) == arguments
    assert in_lines('"annealed-beta-vae", ds.event_shape, data=ds.train.x, steps=1300, gamma=10.0') == (
        '\n    "annealed-beta-vae", ds.event_shape,\n    data=ds.train.x, steps=1300,\n    gamma=10.0,\n'
    )


def test_a_summary_begins_with_a_capital_but_a_density_does_not(hook):
    sentence = hook("recipe_pages").sentence
    assert [sentence("p(x|y) of a class"), sentence("a weight")] == ["p(x|y) of a class", "A weight"]


def test_samples_say_what_they_were_drawn_for(hook):
    run = RUN | {"samples": "s.png", "samples_given": ["y"]}
    assert "at draws of the prior, for one class after another." in hook("recipe_pages").page("vae", run, ON)


def test_an_autoencoder_has_no_elbo_on_its_page(hook):
    run = RUN | {"score": "reconstruction log likelihood", "kl": 0.0}
    page = hook("recipe_pages").page("autoencoder", run, ON)
    assert "ELBO is the plain one" not in page
    assert "| ELBO |" not in page
    assert "rate, KL" not in page
    assert hook("recipe_pages").scores(run)[1] == "has none"


def test_reasons_and_names_are_text(hook):
    page = hook("recipe_pages").page("vae", RUN, ON)
    assert not BARE_TAG.search(page)
    assert "&lt;script\\>" in page


def test_a_record_becomes_tables(hook):
    rendered = hook("measured_pages").rendered
    text = rendered(
        {"seconds": 1.25, "runs": {"a": {"x": 1.0}, "b": {"x": 2.5}}, "by": {"e": [1, 2], "y": [3, 4]}}, 2
    )
    assert "| seconds | 1.25 |" in text
    assert "| b | 2.5 |" in text
    assert "## Runs" in text
    assert "| 2 | 4 |" in text
    assert not BARE_TAG.search(rendered({HOSTILE: HOSTILE}, 2))
    speeds = {"median": 2.0, "lower": 1.5, "upper": 2.5}
    text = rendered({"a": {"speed": speeds, "seen": ["x", "y"]}, "b": {"speed": speeds, "seen": ["z"]}}, 2)
    assert "| a | 2 (1.5 to 2.5) | x, y |" in text


@pytest.mark.slow
def test_every_record_of_the_repository_can_be_shown(hook):
    pages = hook("measured_pages")
    for name in pages.records():
        assert pages.page(name, []).startswith("# ")
        assert pages.words(name), f"benchmarks/{name}.py says nothing of itself"


@pytest.mark.slow
def test_no_table_of_a_record_shows_a_key_as_a_program_writes_it(hook):
    """Heads of tables, names of rows and headings have no underscore, and no cell is a dict."""
    pages = hook("measured_pages")
    for name in pages.records():
        lines = pages.page(name, []).partition("\n|")[2].splitlines()
        for line, below in zip(lines, [*lines[1:], ""], strict=True):
            cells = line.strip("| ").split(" | ")
            told = cells if below.startswith("| ---") else cells[:1] if line.startswith(("|", "#")) else []
            assert not any("_" in cell or "{" in cell for cell in told), (name, line)


def test_rows_of_a_record_are_one_table(hook):
    rendered = hook("measured_pages").rendered
    text = rendered({"laws": [{"law": "normal", "rule": 0.25}, {"law": "Student t", "rule": 0.5}]}, 2)
    assert "| law | rule |" in text
    assert "| Student t | 0.5 |" in text
    rivals = dict.fromkeys(["a batch", "a loop over all data, one at a time"], 2.0)
    text = rendered({"wall_ratio": rivals, "cpu_ratio": rivals}, 2)
    assert "|  | wall ratio | CPU ratio |" in text
    text = rendered({"1 draw": {"seconds": {"batched": 1.0}}, "2 draws": {"seconds": {"batched": 2.0}}}, 2)
    assert "| 2 draws | 2 |" in text
    assert "seconds: batched" in text


def test_numbers_in_prose_are_keys_of_records():
    pattern = re.compile(r"\[\[([\w-]+)\.([^\]|]+?)\s*(?:\|\s*([^\]]*))?\]\]")
    index = (HOOKS.parent / "index.md").read_text()
    record = json.loads((HOOKS.parents[1] / "benchmarks" / "results" / "first_page.json").read_text())
    found = pattern.findall(index)
    assert len(found) >= 5
    assert all(name == "first_page" and key in record for name, key, _ in found)


def test_a_notebook_becomes_a_page_with_its_outputs(hook):
    notebooks = hook("notebook_pages")
    cell = {
        "cell_type": "code",
        "source": ["print('```')"],
        "outputs": [
            {"output_type": "stream", "name": "stdout", "text": ["one\n"]},
            {"output_type": "display_data", "data": {"image/png": "aGk=", "text/plain": ["<Figure>"]}},
            {"output_type": "execute_result", "data": {"text/html": ["<b>bold</b>"], "text/plain": ["bold"]}},
        ],
    }
    notebook = {"cells": [{"cell_type": "markdown", "source": ["# What?\n", "See [that](02_b.ipynb)."]}, cell]}
    figures = {}
    page = notebooks.page("01_a", notebook, figures)
    assert notebooks.title("01_a", notebook) == "What?"
    assert "](02_b.md)" in page
    assert "````python" in page
    assert "```text\none\n```" in page
    assert figures == {"figures/01_a-1-1.png": b"hi"}
    assert "<Figure>" not in page
    (mark,) = re.findall(r'<div data-output="[^"]+"></div>', page)
    assert "<b>bold</b>" in notebooks.on_page_content(mark)


def test_the_guides_name_every_estimator_and_diagnostic(hook):
    tables = hook("guide_tables")
    assert all(f"`{name}`" in tables.estimators() for name in pv.inference.list_estimators())
    assert tables.diagnostics().count("**It cannot prove**") == len(tables.TOPICS)


def test_the_first_page_shows_a_script_that_is_python_and_short():
    source = (HOOKS.parent / "first_steps.py").read_text()
    compile(source, "first_steps.py", "exec")
    assert len([line for line in source.splitlines() if line]) <= 11
    assert 'docs/first_steps.py"' in (HOOKS.parent / "index.md").read_text()


@needs_docs
def test_stars_of_shapes_survive_markdown(hook):
    as_markdown = hook("docstring_examples").as_markdown
    assert as_markdown("values [*batch, L] of [K, *event]") == r"values [\*batch, L] of [K, \*event]"
    kept = "``[*batch]`` and `[*x]`\n\nArgs:\n    *args: all.\n    **options: of [N]."
    assert as_markdown(kept) == kept
    assert as_markdown(">>> f(*x)[*y]") == "\n```pycon\n>>> f(*x)[*y]\n```\n"


@pytest.mark.slow
@needs_docs
def test_no_docstring_of_a_shape_loses_its_star(hook):
    """Every docstring of the package that Markdown would make slanted between two shapes."""
    as_markdown = hook("docstring_examples").as_markdown
    shapes = 0
    for path in Path(pv.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and (text := ast.get_docstring(node)):
                prose = re.sub(r"```.*?```|``.*?``|`[^`]*`", "", as_markdown(text), flags=re.DOTALL)
                assert not re.search(r"\[[^\]\n]*(?<!\\)\*[a-z]", prose), (path.name, text[:60])
                shapes += prose.count("\\*")
    assert shapes > 100


@needs_docs
def test_everyday_calls_stand_first_and_once(hook):
    reference = hook("reference_pages")
    page = reference.everyday()
    order = [page.index(f"::: {module}.{name}\n") for module, name in reference.everyday_names()]
    assert order == sorted(order)
    assert "inherited_members: [sample, save]" in page
    for area in reference.AREAS.items():
        members = re.findall(r"::: (\S+)\n    options:\n      members: \[(.*)\]", reference.page(*area))
        told = {(module, name) for module, names in members for name in names.split(", ")}
        assert not told & set(reference.everyday_names())
    assert reference.contents().index("pv.load_dataset") < reference.contents().index("pv.VAE")


def test_a_record_has_errors_beside_values(hook):
    rendered = hook("measured_pages").rendered
    text = rendered({"elbo": -1.23456, "elbo_stderr": 0.012, "num_data": 5}, 2)
    assert "-1.235 ± 0.012" in text
    assert "stderr" not in text
    assert "number of data" in text


GUIDES = HOOKS.parent / "guides"


@pytest.mark.slow
@pytest.mark.parametrize("guide", ["own_data"])
def test_the_code_of_the_guide_runs_as_it_stands(guide, tmp_path, monkeypatch):
    """On small tables and few epochs: names, arguments and the order of the calls are what is tested."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(60, 4)) * [1, 10, 100, 5], columns=["a", "b", "c", "d"])
    table.to_csv("wine.csv", index=False)
    table.assign(stage=["low", "mid", "high"] * 20).to_csv("patients.csv", index=False)
    table.assign(stage=["mid", "high"] * 30).to_csv("later.csv", index=False)
    space = {"counts": rng.poisson(3, size=(60, 4))}
    fit = pv.fit
    monkeypatch.setattr(pv, "fit", lambda *args, **options: fit(*args, **options | {"epochs": 2, "device": "cpu"}))
    for block in re.findall(r"```python\n(.*?)```", (GUIDES / f"{guide}.md").read_text(), re.DOTALL):
        exec(compile(block, guide, "exec"), space)
    assert space["codes"].shape == (12, 4)
    assert isinstance(space["vae"], pv.VAE)
    assert set(space["later"].train.x[:, 4].tolist()) == {1, 2}
