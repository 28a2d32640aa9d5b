"""The reference: every public name of an area under the module that defines it, where the mathematics is.

The pages are written from the ``__all__`` of the packages, so that no public name can be left out.
"""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from pages import add_page, plain, prose, table

import ppl_vae
from ppl_vae.cli.app import app


@dataclass(frozen=True)
class Area:
    """A page of the reference.

    Attributes:
        title: of the page.
        words: that open it.
        packages: whose public names stand on it.
        rooms: the rooms of inference that belong here; empty takes all that no other page takes.
    """

    title: str
    words: str
    packages: Sequence[str]
    rooms: Sequence[str] = ()


INFERENCE = ("ppl_vae.inference",)
AREAS: Mapping[str, Area] = {
    "data": Area(
        "Data", "Data sets as whole tensors, with labels and factors where they have them.", ("ppl_vae.data",)
    ),
    "models": Area(
        "Models",
        "Pairs of Pyro programs, and the priors, likelihoods and posteriors they are made of.",
        ("ppl_vae.models",),
    ),
    "inference": Area(
        "Training and evaluation",
        "`fit`, `evaluate`, and the primitive that all stands on, `trace_terms`.",
        INFERENCE,
    ),
    "estimators": Area(
        "Estimators",
        "Terms in, a bound per datum out. Each is a drop-in `pyro.infer.ELBO`, as every `Objective` is. "
        "[Which one?](../guides/estimators.md)",
        INFERENCE,
        ("estimators",),
    ),
    "objectives": Area(
        "Objectives",
        "What weights an estimator's terms, or adds one of its own. The history of a run has the plain ELBO beside "
        "all of them.",
        INFERENCE,
        ("objectives",),
    ),
    "laboratory": Area(
        "Estimator laboratory",
        "Bias, variance, signal to noise and cost of estimators, on one model with the same noise.",
        INFERENCE,
        ("laboratory",),
    ),
    "evidence": Area(
        "Evidence",
        "log p(x) of every datum with its error.",
        INFERENCE,
        ("evidence",),
    ),
    "recipes": Area(
        "Recipes",
        "Named points on the three axes. Each has [a page of its own](../recipes/index.md).",
        ("ppl_vae.recipes", "ppl_vae.recipe_comparison"),
    ),
    "diagnostics": Area(
        "Diagnostics",
        "`run_...` returns numbers, `check_...` a verdict in words. [Which one when?](../guides/diagnostics.md)",
        ("ppl_vae.diagnostics",),
    ),
    "compression": Area(
        "Compression", "A VAE as a lossless coder of binary images: bits-back coding.", ("ppl_vae.compression",)
    ),
    "sweep": Area(
        "Sweeps", "A recipe over a grid or an Optuna space. [How?](../guides/processes.md)", ("ppl_vae.sweep",)
    ),
    "hub": Area("Hub", "Models on the Hugging Face Hub, with a card, without pickle.", ("ppl_vae.hub",)),
    "sklearn": Area("scikit-learn", "A VAE as a transformer and density estimator.", ("ppl_vae.sklearn",)),
    "plots": Area(
        "Plots", "Each takes numbers, returns a matplotlib `Figure`, and computes nothing.", ("ppl_vae.plots",)
    ),
    "report": Area("Report", "A diagnosis as one HTML file that fetches nothing.", ("ppl_vae.diagnostics.report",)),
    "distributions": Area(
        "Distributions", "What Pyro and torch lack, or have over a smaller range.", ("ppl_vae.distributions",)
    ),
    "networks": Area("Networks", "Encoders and decoders: torch alone.", ("ppl_vae.networks",)),
    "kl": Area("Gaussian KL", "The divergence between Gaussians in closed form.", ("ppl_vae.kl",)),
    "errors": Area(
        "Errors",
        "Each names the file, field or site, what was expected and what was found.",
        ("ppl_vae.errors",),
    ),
}
COMMAND_LINE = "command_line"
# What a user calls, in the order of a first day; the rest of the reference goes by area.
EVERYDAY = (
    "load_dataset", "VAE", "sample", "fit", "evaluate", "log_evidence", "diagnose", "load", "compare_estimators",
    "make", "compare_recipes", "inference_data", "Evidence",
)  # fmt: skip
RESULTS = {"fit": "FitResult", "evaluate": "Evaluation", "diagnose": "Diagnosis"}
# Of a class that every pair of ours has them from.
INHERITED = {"VAE": ("sample", "save")}
EVERYDAY_PAGE = "everyday"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the pages into the navigation."""
    pages = [{area.title: f"api/{name}.md"} for name, area in AREAS.items()]
    everyday = {"Everyday calls": f"api/{EVERYDAY_PAGE}.md"}
    config.nav.append({"Reference": ["api/index.md", everyday, *pages, {"Command line": f"api/{COMMAND_LINE}.md"}]})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Write the pages."""
    add_page(files, config, "api/index.md", contents())
    add_page(files, config, f"api/{EVERYDAY_PAGE}.md", everyday())
    for name, area in AREAS.items():
        add_page(files, config, f"api/{name}.md", page(name, area))
    add_page(files, config, f"api/{COMMAND_LINE}.md", command_line())
    return files


def defined(package: str) -> Iterator[tuple[str, str]]:
    """The public names of a package, each after the module that defines it."""
    module = importlib.import_module(package)
    for name in getattr(module, "__all__", None) or own_names(module):
        thing = getattr(module, name)
        if isinstance(thing, ModuleType):
            yield from ((thing.__name__, own) for own in getattr(thing, "__all__", None) or own_names(thing))
        elif inspect.isclass(thing) or inspect.isfunction(thing):
            yield thing.__module__, name
        elif home := imported_from(module, name):
            yield home, name


def imported_from(package: ModuleType, name: str) -> str | None:
    """The module that a package has a constant from: the object itself does not know."""
    for node in ast.walk(ast.parse(inspect.getsource(package))):
        if isinstance(node, ast.ImportFrom) and any(alias.name == name for alias in node.names):
            return node.module
    return None


def own_names(module: ModuleType) -> list[str]:
    """What a module without ``__all__`` defines in public."""
    return [
        name
        for name, thing in vars(module).items()
        if not name.startswith("_")
        and (inspect.isclass(thing) or inspect.isfunction(thing))
        and thing.__module__ == module.__name__
    ]


def belongs(module: str, name: str) -> bool:
    """Tell whether a module stands on this page."""
    taken = {room for area in AREAS.values() for room in area.rooms}
    room = module.removeprefix("ppl_vae.inference.").partition(".")[0]
    if AREAS[name].rooms:
        return room in AREAS[name].rooms
    return not (AREAS[name].packages == INFERENCE and room in taken)


def everyday_names() -> dict[tuple[str, str], tuple[str, ...]]:
    """What stands on the page of everyday calls: (module, name) in order, with the inherited members it shows."""
    found = {}
    for name in EVERYDAY:
        thing = getattr(ppl_vae, name)
        found[thing.__module__, name] = INHERITED.get(name, ())
        if name in RESULTS:
            result = getattr(importlib.import_module(thing.__module__), RESULTS[name])
            found[result.__module__, RESULTS[name]] = ()
    return found


def everyday() -> str:
    """Write the page of what a user calls first."""
    sections = []
    for (module, name), inherited in everyday_names().items():
        options = f"    options:\n      inherited_members: [{', '.join(inherited)}]\n" if inherited else ""
        sections.append(f"::: {module}.{name}\n{options}")
    intro = (
        "# Everyday calls\n\nIn the order of a first day: data, a model with `sample` and `save`, `fit`, "
        "`evaluate`, `log_evidence`, `diagnose`. All come with `import ppl_vae as pv`.\n"
    )
    return "\n".join([intro, *sections])


def page(name: str, area: Area) -> str:
    """Write one area, one section per module."""
    elsewhere = everyday_names()
    modules: dict[str, list[str]] = {}
    for package in area.packages:
        for module, member in defined(package):
            if belongs(module, name) and (module, member) not in elsewhere:
                modules.setdefault(module, []).append(member)
    sections = [
        f"::: {module}\n    options:\n      members: [{', '.join(dict.fromkeys(members))}]\n"
        for module, members in modules.items()
    ]
    return "\n".join([f"# {area.title}\n", area.words + "\n", *sections])


def contents() -> str:
    """The names that `import ppl_vae as pv` brings, with what each is."""
    rows = []
    for name in (*EVERYDAY, *(other for other in ppl_vae.__all__ if other not in EVERYDAY)):
        thing = getattr(ppl_vae, name)
        rows.append((f"[`pv.{name}`]({target(thing, name)})", prose(inspect.getdoc(thing) or "")))
    intro = (
        "# Reference\n\nShapes are in brackets, [K, N, D]; values are nats per datum unless a name says otherwise; "
        "every formula names its source. These names come with `import ppl_vae as pv`; everything else lies in its "
        "area.\n\n"
    )
    return intro + table(("name", "what it is"), rows, "ll")


def target(thing: Any, name: str) -> str:
    """The page and place of a public name."""
    if isinstance(thing, ModuleType):
        return f"{thing.__name__.rpartition('.')[2]}.md"
    if (thing.__module__, name) in everyday_names():
        return f"{EVERYDAY_PAGE}.md#{thing.__module__}.{name}"
    for area in AREAS:
        packages = AREAS[area].packages
        if any(thing.__module__.startswith(package) for package in packages) and belongs(thing.__module__, area):
            return f"{area}.md#{thing.__module__}.{name}"
    raise LookupError(f"no page of the reference has {thing.__module__}.{name}")


def command_line() -> str:
    """The commands with their arguments and options, as the program itself declares them."""
    program = typer.main.get_command(app)
    text = ["# Command line\n", plain(program.help) + "\n", "`python -m ppl_vae` is the same program.\n"]
    for name, command in program.commands.items():
        text += [f"## ppl-vae {name}\n", (command.help or "").replace("\b", "").strip() + "\n"]
        rows = [row for parameter in command.params if (row := explained(parameter))]
        text += [table(("", "", "default"), rows, "lll")] if rows else []
        if command.epilog:
            examples = command.epilog.removeprefix("Examples:").strip().replace("\n\n", "\n")
            text.append(f"```bash\n{examples}\n```\n")
    return "\n".join(text)


def explained(parameter: Any) -> tuple[str, str, str] | None:
    """An argument or option as a row; None for what is hidden."""
    if getattr(parameter, "hidden", False):
        return None
    names = parameter.opts if parameter.opts[0].startswith("-") else [parameter.name.upper()]
    default = parameter.default
    shown = "" if default in (None, False, ()) or callable(default) else str(getattr(default, "value", default))
    words = " ".join((getattr(parameter, "help", "") or "").split())
    return ", ".join(f"`{name}`" for name in names), plain(words), plain(shown)
