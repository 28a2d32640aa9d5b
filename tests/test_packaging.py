"""What is written about the package in more than one place agrees, and types reach a user's own file."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONDA = (ROOT / "packaging" / "conda" / "meta.yaml").read_text()
# Named otherwise there.
CONDA_NAMES = {"torch": "pytorch", "matplotlib": "matplotlib-base"}
USERS_FILE = """
import ppl_vae as pv

recipe = pv.make("vae", event_shape=(1, 8, 8), latent_dim=2)
result = pv.fit(recipe, pv.load_dataset("digits"), epochs="many")
"""


def test_the_version_is_the_same_everywhere() -> None:
    assert f"version: {PROJECT['version']}\n" in (ROOT / "CITATION.cff").read_text()
    assert f'version = "{PROJECT["version"]}"' in CONDA


def test_the_conda_recipe_asks_for_what_the_package_asks_for() -> None:
    asked = dict(re.fullmatch(r"([\w-]+)>=([\d.]+)", line).groups() for line in PROJECT["dependencies"])
    asked = {CONDA_NAMES.get(name, name): bound for name, bound in asked.items()}
    run = CONDA.partition("  run:\n")[2].partition("\n\n")[0]
    recipe = dict(re.findall(r"- ([\w-]+) >=([\d.]+)", run))
    assert recipe.pop("python") == PROJECT["requires-python"].removeprefix(">=")
    assert recipe == asked


@pytest.mark.slow
def test_types_reach_a_users_file_by_pyright(tmp_path: Path) -> None:
    pytest.importorskip("pyright")
    script = tmp_path / "analysis.py"
    script.write_text(USERS_FILE + "pv.fti\n")
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, str(script)]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True).stdout
    assert 'cannot be assigned to parameter "epochs"' in said, said
    assert '"fti" is not a known attribute of module "ppl_vae"' in said, said
    assert "2 errors" in said, said


@pytest.mark.slow
def test_types_reach_a_users_file(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    script = tmp_path / "analysis.py"
    script.write_text(USERS_FILE)
    command = [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path), str(script)]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True).stdout
    assert 'Argument "epochs" to "fit" has incompatible type "str"' in said, said
    assert "Found 1 error in 1 file" in said, said
