"""The arrows between the rooms go down one list; single rooms keep single libraries."""

import ast
import functools
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "ppl_vae"
FILES = sorted(PACKAGE.rglob("*.py"))

# Each room, and all that it may import of ours. The package's own __init__ gathers them and is in no room.
GROUND = {"errors", "checks"}
ROOMS = {
    "errors": set(),
    "checks": {"errors"},
    "extras": {"errors"},
    "display": set(),
    "lazy": set(),
    "version": set(),
    "progress": set(),
    "allocator": set(),
    "files": GROUND,
    "executors": {*GROUND, "extras"},
    "registration": GROUND,
    "unloaded": set(),
    "recording": {"unloaded"},
    "folded": {"recording"},
    "replayed": {"recording", "folded"},
    "exclusive": {"registration"},
    "randomness": {*GROUND, "exclusive"},
    "own_law": set(),
    "kl": {*GROUND, "own_law"},
    "declared": set(),
    "renamed": set(),
    "precision": GROUND,
    "corruption": GROUND,
    "networks": {*GROUND, "corruption"},
    "distributions": GROUND,
    "spaces": {"distributions"},
    "arrays": {*GROUND, "declared"},
    "containers": {*GROUND, "declared", "extras"},
    "data": {*GROUND, "arrays", "containers", "display", "renamed"},
    "models": {
        "arrays",
        "containers",
        "renamed",
        "errors",
        "checks",
        "display",
        "files",
        "declared",
        "kl",
        "networks",
        "distributions",
        "spaces",
        "precision",
        "exclusive",
        "randomness",
        "registration",
    },
    "plots": {"errors", "renamed"},
    # It draws what training tells, so that it stands below.
    "explore": {"errors", "plots", "progress"},
    "inference": {
        "allocator",
        "explore",
        "extras",
        "arrays",
        "renamed",
        "containers",
        "errors",
        "checks",
        "display",
        "declared",
        "files",
        "kl",
        "own_law",
        "precision",
        "exclusive",
        "randomness",
        "registration",
        "data",
        "progress",
        "recording",
        "replayed",
        "unloaded",
    },
    "recipes": {"errors", "checks", "display", "renamed", "models", "inference"},
    "sklearn": {"errors", "checks", "randomness", "networks", "models", "inference", "recipes", "renamed"},
    "compression": {
        "arrays",
        "containers",
        "errors",
        "extras",
        "checks",
        "files",
        "kl",
        "renamed",
        "models",
        "inference",
    },
    "recipe_comparison": {
        "renamed",
        "errors",
        "checks",
        "exclusive",
        "randomness",
        "registration",
        "data",
        "models",
        "inference",
        "recipes",
        "progress",
    },
    "sweep": {
        "arrays",
        "checks",
        "containers",
        "data",
        "errors",
        "executors",
        "extras",
        "files",
        "inference",
        "progress",
        "randomness",
        "recipes",
    },
    "diagnostics": {
        "executors",
        "extras",
        "arrays",
        "renamed",
        "containers",
        "errors",
        "declared",
        "checks",
        "display",
        "files",
        "kl",
        "exclusive",
        "randomness",
        "registration",
        "inference",
        "unloaded",
        "plots",
        "explore",
        "progress",
    },
    "hub": {"errors", "extras", "files", "inference", "models", "diagnostics"},
}
# The command's own door, python -m ppl_vae, stands outside every room.
ENTRY = {"cli", "__main__"}
LIBRARIES = {
    "matplotlib": {"plots"},
    "arviz": {"diagnostics"},
    "typer": {"cli"},
    "rich": {"cli", "explore"},
    "jinja2": {"diagnostics"},
    "sklearn": {"data", "models", "diagnostics", "sklearn"},
    "PIL": {"data", "compression", "explore", "diagnostics"},
    "bokeh": {"explore"},
    "anywidget": {"explore"},
    "pandas": {
        "hub",
        "containers",
        "inference",
        "diagnostics",
        "data",
        "plots",
        "cli",
        "sklearn",
        "compression",
        "models",
        "explore",
    },
    "safetensors": {"files", "inference"},
}
# Types of results that pass through other rooms' hands.
HANDED_ON = {"matplotlib.figure", "matplotlib.figure.Figure"}
FORBIDDEN_MODULES = ("pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve")


def room(path):
    """The first name below the package: a folder, or a module's own name."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@functools.cache
def parsed(path):
    return ast.parse(path.read_text())


def calls_in(tree):
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


@functools.cache
def imported(path):
    """Every module that a file imports, as absolute dotted names."""
    return frozenset(_imported(path))


def _imported(path):
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = path.relative_to(ROOT).with_suffix("").parts[: -node.level] if node.level else ()
            base = ".".join([*package, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def own_rooms(path):
    """The rooms of ours that a file imports from, without its own."""
    names = (name.split(".") for name in imported(path) if name.startswith("ppl_vae."))
    return {parts[1] for parts in names} - {room(path)}


def name_of(path):
    return str(path.relative_to(ROOT))


def test_arrows_go_down():
    # Any package may load its names by and by.
    above = {
        name_of(f): own_rooms(f) - ROOMS[room(f)] - ({"lazy"} if f.name == "__init__.py" else set())
        for f in FILES
        if room(f) in ROOMS
    }
    assert not {name: rooms for name, rooms in above.items() if rooms}


def test_no_room_imports_the_whole_package():
    assert not [name_of(f) for f in FILES if room(f) in ROOMS and "ppl_vae" in imported(f)]


def test_nobody_imports_the_command_line():
    assert not [name_of(f) for f in FILES if room(f) not in ENTRY and "cli" in own_rooms(f)]


def test_every_room_stands_on_the_list():
    assert {room(path) for path in FILES} <= {*ROOMS, *ENTRY, "__init__"}


def test_the_list_has_no_circle():
    """Rooms are listed from the ground up: each imports only what stands above it in the file."""
    order = list(ROOMS)
    for index, (name, below) in enumerate(ROOMS.items()):
        assert all(order.index(other) < index for other in below), name


def test_inference_knows_no_concrete_model():
    assert "models" not in ROOMS["inference"]
    assert not any(
        name.startswith("ppl_vae.models") for f in FILES if room(f) == "inference" for name in imported(f)
    )


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_library_stays_in_its_room(library):
    users = {room(f) for f in FILES if {n.split(".")[0] for n in imported(f) if n not in HANDED_ON} & {library}}
    assert users <= LIBRARIES[library]


def test_networks_know_nothing_of_probability():
    assert not [
        (name_of(f), name)
        for f in FILES
        if room(f) == "networks"
        for name in imported(f)
        if name.split(".")[0] == "pyro" or "distributions" in name
    ]


def pickles(call):
    function = ast.unparse(call.func)
    allowed = any(k.arg == "allow_pickle" and ast.unparse(k.value) != "False" for k in call.keywords)
    return function in ("torch.load", "torch.save") or "read_pickle" in function or allowed


def test_nothing_is_pickled():
    assert not [name_of(f) for f in FILES if {n.split(".")[0] for n in imported(f)} & set(FORBIDDEN_MODULES)]
    assert not [(name_of(f), call.lineno) for f in FILES for call in calls_in(parsed(f)) if pickles(call)]


def test_nothing_global_is_touched_on_import():
    """No seed, no validation switch, no store cleared, no logging configured outside a function."""
    switches = ("manual_seed", "enable_validation", "clear_param_store", "basicConfig", "set_default_dtype", "seed")
    assert not [
        (name_of(f), call.lineno)
        for f in FILES
        if room(f) != "cli"
        for statement in parsed(f).body
        if not isinstance(statement, ast.FunctionDef | ast.ClassDef)
        for call in calls_in(statement)
        if ast.unparse(call.func).split(".")[-1] in switches
    ]


def test_library_code_does_not_print():
    printing = [
        (name_of(f), call.lineno)
        for f in FILES
        for call in calls_in(parsed(f))
        if isinstance(call.func, ast.Name) and call.func.id == "print"
    ]
    assert not printing


@pytest.mark.parametrize("link", ["models", "inference"])
def test_the_links_at_the_root_lead_into_the_package(link):
    path = ROOT / link
    assert path.is_symlink()
    assert path.resolve() == (PACKAGE / link).resolve()
    assert not path.readlink().is_absolute()


def test_the_links_are_left_out_of_tools():
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert config["tool"]["mypy"]["files"] == ["ppl_vae"]
    assert config["tool"]["coverage"]["run"]["source"] == ["ppl_vae"]
    assert set(config["tool"]["pytest"]["ini_options"]["testpaths"]) == {"tests", "ppl_vae"}
    pytest.importorskip("ruff")
    listing = [sys.executable, "-m", "ruff", "check", "--show-files"]
    shown = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    seen = {str(Path(line).relative_to(ROOT)) for line in shown}
    assert "ppl_vae/models/vae.py" in seen
    assert not [name for name in seen if name.startswith(("models/", "inference/"))]


@pytest.mark.slow
@pytest.mark.parametrize("target", ["wheel", "sdist"])
def test_packages_hold_every_file_once_and_no_link(tmp_path, target):
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(tmp_path)], cwd=ROOT, check=True
    )
    (built,) = tmp_path.iterdir()
    if target == "wheel":
        with zipfile.ZipFile(built) as archive:
            names = archive.namelist()
    else:
        with tarfile.open(built) as archive:
            names = [name.partition("/")[2] for name in archive.getnames()]
    package = [name for name in names if name.startswith("ppl_vae/") and name.endswith(".py")]
    assert sorted(package) == sorted(str(path.relative_to(ROOT)) for path in FILES)
    assert not [name for name in names if name.startswith(("models", "inference"))]
