"""What an import loads; the names of a package that is loaded by and by; help without torch."""

import ast
import importlib
import inspect
import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import ppl_vae as pv
from ppl_vae.cli import options
from ppl_vae.lazy import LazyPackage, lazy_names

PACKAGE = Path(pv.__file__).parent
LAZY = sorted(
    ".".join(path.parent.relative_to(PACKAGE.parent).parts)
    for path in PACKAGE.rglob("__init__.py")
    if "load_names_lazily(" in path.read_text()
)
HEAVY = {"sklearn", "scipy", "matplotlib", "xarray", "pandas", "arviz", "h5py", "jinja2", "PIL", "typer", "rich"}


def loaded_after(code):
    """The modules that a new process has loaded after some code."""
    ending = "\nimport json, sys\nsys.__stdout__.write(chr(10) + json.dumps(sorted(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code + ending], capture_output=True, text=True, check=True)
    return set(json.loads(ran.stdout.splitlines()[-1]))


def test_an_import_loads_neither_torch_nor_any_room():
    names = loaded_after("import ppl_vae")
    assert not {"torch", "pyro", "numpy"} & names
    assert {name for name in names if name.startswith("ppl_vae")} == {"ppl_vae", "ppl_vae.lazy"}


def test_a_model_its_terms_and_fit_load_nothing_heavy():
    stock = loaded_after("import torch, pyro")
    code = """
import torch
import ppl_vae as pv
vae = pv.VAE((4,), latent_dim=2)
pv.inference.trace_terms(vae.model, vae.guide, torch.zeros(3, 4))
pv.fit, pv.load, pv.evaluate
"""
    ours = loaded_after(code) - stock
    assert not {name.partition(".")[0] for name in ours} & HEAVY
    # torch._dynamo and Inductor cost seconds; a step is compiled by whoever asks for it.
    assert not {"torch._dynamo", "torch._inductor", "torch._functorch.aot_autograd"} & ours
    # It defines an operation in torch's library, which takes a quarter of the whole import.
    assert "ppl_vae.inference.compilation.convolutions" not in ours
    # Ours and what they stand on, with every program that pv.load knows; of Python's own each version has others.
    assert len({name for name in ours if name.partition(".")[0] not in sys.stdlib_module_names}) < 350


@pytest.mark.slow
def test_help_of_every_command_needs_no_torch():
    names = loaded_after("""
from ppl_vae.cli import main
for command in ([], ["train"], ["evaluate"], ["compare"], ["compare-recipes"], ["diagnose"], ["plot"], ["cache"]):
    try:
        main([*command, "--help"])
    except SystemExit as ended:
        assert ended.code == 0
""")
    assert "typer" in names
    assert not {"torch", "numpy", "pandas", "pyro", "matplotlib"} & names


@pytest.mark.parametrize("given", [[], ["-h"], ["--help"]])
def test_the_list_of_the_commands_needs_no_typer(given):
    code = f"""
from ppl_vae.cli import main
try:
    main({given})
except SystemExit as ended:
    assert ended.code == 0
"""
    ours = loaded_after(code) - loaded_after("")
    assert not {name.partition(".")[0] for name in ours} - {*sys.stdlib_module_names, "ppl_vae"}
    assert len({name for name in ours if name.startswith("ppl_vae")}) < 12
    assert not {"asyncio", "dataclasses", "inspect", "logging", "pathlib"} & ours


def test_the_version_is_printed(capsys):
    with pytest.raises(SystemExit, match="0"):
        importlib.import_module("ppl_vae.cli").main(["--version"])
    assert capsys.readouterr().out == f"ppl-vae {pv.__version__}\n"


def test_help_names_the_estimators_there_are():
    assert list(options.ESTIMATORS) == pv.inference.list_estimators()


def test_the_rooms_are_lazy():
    rooms = {"", ".data", ".diagnostics", ".inference", ".inference.evidence", ".models", ".plots", ".recipes"}
    assert {f"ppl_vae{room}" for room in rooms} <= {*LAZY}


@pytest.mark.parametrize("name", LAZY)
def test_every_public_name_is_in_the_table_and_comes_from_where_it_says(name):
    package = importlib.import_module(name)
    assert isinstance(package, LazyPackage)
    table = lazy_names(inspect.getsource(package), name)
    assert {*table} - {"__version__"} == {*package.__all__}
    assert len({*package.__all__}) == len(package.__all__)
    for public, (module, attribute) in table.items():
        there = importlib.import_module(module)
        assert getattr(package, public) is (there if attribute is None else getattr(there, attribute))
    assert {*package.__all__} <= {*dir(package)}


@pytest.mark.parametrize("name", LAZY)
def test_a_lazy_package_imports_nothing_else(name):
    """A line outside the table would be loaded at once."""
    tree = ast.parse(inspect.getsource(importlib.import_module(name)))
    lines = [ast.unparse(line) for line in tree.body if isinstance(line, ast.Import | ast.ImportFrom)]
    assert lines == ["from typing import TYPE_CHECKING", "from ppl_vae.lazy import load_names_lazily"]


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'ppl_vae' has no attribute 'fti'"):
        _ = pv.fti
    assert not hasattr(pv.inference, "__wrapped__")
    with pytest.raises(ImportError, match="cannot import name 'VEA'"):
        exec("from ppl_vae import VEA")


@pytest.mark.slow
def test_in_a_new_process_rooms_functions_and_pickles_are_found(tmp_path):
    """A file of the same name does not hide a function, and a room is reached by its name alone."""
    (tmp_path / "things").write_bytes(pickle.dumps([pv.VAE, pv.fit, pv.inference.AnalyticKL(num_particles=3)]))
    names = loaded_after(f"""
import pickle
vae, fit, elbo = pickle.load(open({str(tmp_path / "things")!r}, "rb"))
import ppl_vae as pv
assert (vae, fit, elbo.num_particles) == (pv.VAE, pv.fit, 3)
import ppl_vae.inference.fitting.fit, ppl_vae.models.stored.load, ppl_vae.data.fingerprint
import ppl_vae.models.latent_space.latent_grid
from ppl_vae.inference import fit
from ppl_vae.models import latent_grid, load
assert callable(fit) and callable(load) and callable(latent_grid)
assert callable(pv.inference.fit) and callable(pv.data.fingerprint)
assert pv.inference.pair.terms.Terms is pv.inference.Terms
pv.randomness
""")
    assert "ppl_vae.randomness" in names


def test_a_package_without_its_source_says_so(monkeypatch):
    monkeypatch.setattr("ppl_vae.recipes.__loader__", None)
    with pytest.raises(ImportError, match=r"^ppl_vae.recipes: there is no source"):
        importlib.import_module("ppl_vae.lazy").load_names_lazily("ppl_vae.recipes")


USERS_FILE = """import ppl_vae as pv
vae = pv.VAE((4,), latent_dim=2)
reveal_type(vae)
reveal_type(pv.inference.AnalyticKL())
pv.fti
pv.VAE((4,), latent_dime=2)
"""


def told_by(checker, folder):
    """What a type checker says of a user's file."""
    (folder / "user.py").write_text(USERS_FILE)
    command = [sys.executable, "-m", *checker, "user.py"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False).stdout


@pytest.mark.slow
def test_mypy_sees_the_names_and_misses_what_is_not_there(tmp_path):
    told = told_by(["mypy", "--follow-imports=silent", "--cache-dir", str(tmp_path)], tmp_path)
    assert 'Revealed type is "ppl_vae.models.vae.VAE"' in told
    assert 'Revealed type is "ppl_vae.inference.estimators.elbo.AnalyticKL"' in told
    assert 'Module has no attribute "fti"' in told
    assert 'Unexpected keyword argument "latent_dime"' in told


@pytest.mark.slow
def test_pyright_sees_the_names_and_misses_what_is_not_there(tmp_path):
    pytest.importorskip("basedpyright")
    told = told_by(["basedpyright", "--pythonpath", sys.executable], tmp_path)
    assert 'Type of "vae" is "VAE"' in told
    assert 'Type of "pv.inference.AnalyticKL()" is "AnalyticKL"' in told
    assert '"fti" is not a known attribute of module "ppl_vae"' in told
    assert 'No parameter named "latent_dime"' in told


def test_training_without_a_compiler_does_not_load_it():
    """Torch loads its own, for two seconds, at the first call of what it is to be kept away from."""
    code = """
import torch
import ppl_vae as pv
pv.fit(pv.VAE((4,), latent_dim=2), torch.rand(20, 4).round(), epochs=2, compile=False, progress=False)
from ppl_vae.unloaded import TOLD, kept_away
assert all(TOLD not in vars(getattr(each, "__wrapped__", each)) for each in kept_away())
"""
    assert "torch._dynamo" not in loaded_after(code)
