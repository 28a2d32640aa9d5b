"""A page of every recipe, made of the record of its run on the digits (benchmarks/digits_recipes.py)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pages import RESULTS, add_copy, add_page, add_section, fact_table, plain, result, table, with_error

from ppl_vae import inference, models
from ppl_vae.recipes import RECIPES
from ppl_vae.recipes.autoencoders import AUTOENCODERS
from ppl_vae.recipes.bounds import BOUNDS
from ppl_vae.recipes.code_priors import CODE_PRIORS
from ppl_vae.recipes.generative_models import GENERATIVE_MODELS
from ppl_vae.recipes.multimodal import MULTIMODAL
from ppl_vae.recipes.programs import PROGRAMS
from ppl_vae.recipes.sequences import SEQUENCES
from ppl_vae.recipes.weightings import WEIGHTINGS

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

FAMILIES = {
    "Generative model and guide": GENERATIVE_MODELS,
    "Weights and penalties": WEIGHTINGS,
    "Bounds of several draws": BOUNDS,
    "Programs of their own": PROGRAMS,
    "Several modalities": MULTIMODAL,
    "Autoencoders": AUTOENCODERS,
    "Priors learned from codes": CODE_PRIORS,
    "Sequences": SEQUENCES,
}
COMMAND = "python benchmarks/digits_recipes.py"
HEADER = ("recipe", "what it is", "data", "ELBO", "rate", "log p(x) ≥")
# What samples are drawn for, where the recipe needs more than its prior.
GIVEN = {"x": ", each for the seen part of a held-out image", "y": ", for one class after another"}
BINARY, GREY = "digits with 0/1 pixels", "digits with grey pixels"
WIDEST_CALL = 60
SHORT = {BINARY: "0/1", GREY: "grey"}


def families() -> dict[str, list[str]]:
    """The recipes by family, in the order of their tables; those of a new table come last."""
    known = {family: [name for name in rows if name in RECIPES] for family, rows in FAMILIES.items()}
    placed = {name for names in known.values() for name in names}
    rest = [name for name in RECIPES if name not in placed]
    return known | ({"Others": rest} if rest else {})


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the pages into the navigation."""
    sections = [{family: [{name: f"recipes/{name}.md"} for name in names]} for family, names in families().items()]
    add_section(config, "Recipes", ["recipes/index.md", *sections])
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Write the pages, and bring the figures."""
    record = result("digits_recipes") or {"on": {}, "recipes": {}}
    add_page(files, config, "recipes/index.md", overview(record))
    for name in RECIPES:
        add_page(files, config, f"recipes/{name}.md", page(name, record["recipes"].get(name), record["on"]))
    for picture in sorted((RESULTS / "digits_recipes").glob("*.png")):
        add_copy(files, config, f"recipes/digits_recipes/{picture.name}", picture)
    return files


def overview(record: Mapping[str, Any]) -> str:
    """All recipes and what each reached."""
    on, runs = record["on"], record["recipes"]
    text = [
        "# Recipes\n",
        "A recipe is a named point on three axes: generative model, guide, objective. `pv.make(name, event_shape)` "
        "makes its model, its objective and its settings; `pv.fit(recipe, ds)` uses all of it.\n",
        f"The numbers are of held-out data, in nats per datum, from `{COMMAND}`"
        + (f" (torch {on['torch']}, {on['threads']} thread). " if on else ". ")
        + "They show what a recipe does on 1,617 training digits of 8x8 pixels with the settings of its row, but "
        "for what the call on its page adds, and one seed; they rank nothing. Recipes on 0/1 pixels and recipes on "
        "grey ones have different data, so that their numbers are not comparable; nor is a likelihood that is no "
        "density comparable with one that is. And not every objective is the ELBO: bounds of several draws are for "
        "log p(x), and where nothing holds the rate both numbers are loose. The pages have reconstructions and "
        "samples.\n",
    ]
    for family, names in families().items():
        rows = [(f"[`{name}`]({name}.md)", plain(RECIPES[name].summary), *scores(runs.get(name))) for name in names]
        text += [f"## {family}\n", table(HEADER, rows, "llrrrr")]
    return "\n".join(text)


def scores(run: Mapping[str, Any] | None) -> tuple[str, str, str, str]:
    """Data, ELBO, rate and the bound on log p(x) of a run, for a row."""
    if run is None or "elbo" not in run:
        return ("no run", "", "", "")
    data = SHORT.get(data_of(run), "its own")
    if run["score"] != "ELBO":
        return data, "has none", "", ""
    bound = f"{run['log_evidence']:.2f}" if "log_evidence" in run else ""
    return data, with_error(run["elbo"], run.get("elbo_stderr")), f"{run['kl']:.1f}", bound


def data_of(run: Mapping[str, Any]) -> str:
    """The data in a few words."""
    if run["data"] != "digits":
        return plain(run["data"])
    return BINARY if run["binarization"] == "dynamic" else GREY


def page(name: str, run: Mapping[str, Any] | None, on: Mapping[str, Any]) -> str:
    """One recipe."""
    row = RECIPES[name]
    head = [
        f"# {name}\n",
        f"{plain(sentence(row.summary))}.\n",
        f"**Source**: {plain(row.paper)}\n",
    ]
    if run is None or "no_run" in run:
        why = f"it could not run: {plain(run['no_run'])}" if run else f"run `{COMMAND} {name}`"
        return "\n".join([*head, f'!!! note "No run is recorded"\n    {why[0].upper() + why[1:]}\n'])
    return "\n".join([*head, call(run), numbers(run, on), pictures(name, run), parts(run)])


def sentence(words: str) -> str:
    """With a capital, unless it begins with a formula such as p(x)."""
    return words if words[1:2] == "(" else words[0].upper() + words[1:]


def call(run: Mapping[str, Any]) -> str:
    """What was run, as code."""
    arguments = f'"{run["data"]}"' + (', binarize="dynamic"' if run["binarization"] == "dynamic" else "")
    hidden = f"ds = pv.data.hide_labels(ds, {run['labelled']}, {run['seed']})\n" if run.get("labelled") else ""
    return (
        "```python\nimport ppl_vae as pv\n\n"
        f"ds = pv.load_dataset({arguments})\n{hidden}"
        f"recipe = pv.make({in_lines(run['call'])})\nresult = pv.fit(recipe, ds)\n```\n"
    )


def in_lines(arguments: str) -> str:
    """Arguments of a call, two to a line where they are too long for one."""
    if len(arguments) <= WIDEST_CALL:
        return arguments
    parts = arguments.split(", ")
    pairs = (", ".join(parts[start : start + 2]) for start in range(0, len(parts), 2))
    return "\n" + "".join(f"    {pair},\n" for pair in pairs)


def numbers(run: Mapping[str, Any], on: Mapping[str, Any]) -> str:
    """What it reached."""
    rows = [(run["score"], with_error(run["elbo"], run.get("elbo_stderr")))]
    if run["score"] == "ELBO":
        rows += [
            ("rate, KL(q(z\\|x) \\|\\| p(z))", f"{run['kl']:.3f}"),
            ("distortion, -E log p(x\\|z)", f"{-run['log_likelihood']:.3f}"),
        ]
    if "log_evidence" in run:
        bound = with_error(run["log_evidence"], run["log_evidence_stderr"])
        rows.append((f"log p(x), bound of {on['draws']} draws", bound))
    plainly = " The ELBO is the plain one." if run["score"] == "ELBO" else ""
    words = (
        f"On {run['num_data']:,} held-out data, nats per datum, ± one standard error over data and draws, after "
        f"{run['epochs_run']:,} epochs ({run['steps']:,} steps{time_of(run, on)}), seed {run['seed']}.{plainly}\n"
    )
    notes = [f"log p(x) was not estimated: {plain(run['no_log_evidence'])}\n"] if "no_log_evidence" in run else []
    return "\n".join([f"## On {data_of(run)}\n", words, table(("figure", "nats"), rows), *notes])


def time_of(run: Mapping[str, Any], on: Mapping[str, Any]) -> str:
    """What training cost, where it was measured."""
    return f", {run['cpu_seconds']:g} CPU seconds of an {on['machine']} processor" if "cpu_seconds" in run else ""


def pictures(name: str, run: Mapping[str, Any]) -> str:
    """The figures, or why there are none."""
    given = "".join(GIVEN[argument] for argument in run.get("samples_given", ()))
    text = []
    for kind, caption in (
        ("reconstructions", "Held-out data above the mean of p(x|z) at the guide's code."),
        ("samples", f"Means of p(x|z) at draws of the prior{given}."),
    ):
        if kind in run:
            caption = caption.replace("|", "&#124;")
            figure = f"![{kind} of {name}]({run[kind]}){{ loading=lazy }}"
            text.append(f"<figure markdown>\n{figure}\n<figcaption>{caption}</figcaption>\n</figure>\n")
        else:
            text.append(f"No {kind}: {plain(run[f'no_{kind}'])}.\n")
    return "\n".join(text)


def parts(run: Mapping[str, Any]) -> str:
    """Model, objective and settings as they were."""
    settings = {label.replace("_", " "): value for label, value in run["settings"].items() if label != "elbo"}
    return "\n".join(
        [
            "## Objective\n",
            f"```\n{run['objective']}\n```\n",
            f"{reference(run['objective_class'])} in the reference has its formula.\n",
            "## Model\n",
            f"{reference(run['model_class'])}\n",
            fact_table(run["facts"], "part"),
            "## Settings\n",
            fact_table(settings, "setting"),
        ]
    )


def reference(recorded: str) -> str:
    """A link to a class of the reference, wherever its module stood when the run was recorded."""
    name = recorded.rpartition(".")[2]
    for package in (inference, models):
        if name in package.__all__:
            return f"[`{name}`][{getattr(package, name).__module__}.{name}]"
    return f"`{name}`"
