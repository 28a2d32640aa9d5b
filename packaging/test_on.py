"""Run the default tests in an environment of their own, on the Python that runs this file, and record it.

    python3.13 packaging/test_on.py             the newest versions that pip finds
    python3.11 packaging/test_on.py --lowest    the lowest that pyproject.toml allows

The environment stands in .environments/ and is kept; ``--fresh`` builds it anew. The record, in
benchmarks/results/environments/, names every version, how many tests passed and were skipped, and the time.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).parents[1]
RECORDS = ROOT / "benchmarks" / "results" / "environments"
# What a record lists: the versions that decide how the numbers are computed and stored.
NAMED = (
    "torch", "pyro-ppl", "numpy", "scipy", "pandas", "scikit-learn", "xarray", "arviz", "arviz-base", "arviz-plots",
    "arviz-stats", "matplotlib", "h5netcdf", "h5py", "safetensors", "typer", "rich", "tqdm", "pillow", "jinja2",
)  # fmt: skip


def lowest_bounds() -> list[str]:
    """Read the lower bound of every dependency, those of the tests too, as pip's constraints."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = project["dependencies"] + project["optional-dependencies"]["test"]
    bounds = [re.match(r"([A-Za-z0-9_.-]+)\s*>=\s*([0-9.]+)", line) for line in lines]
    # The first patches of the lowest release: 2.4 stands for the newest of 2.4.*.
    return [f"{bound[1]}~={bound[2]}" + ".0" * (2 - bound[2].count(".")) for bound in bounds]


def build(folder: Path, lowest: bool) -> Path:
    """Make the environment with the package and what its tests need; the path of its Python."""
    python = folder / ("Scripts" if platform.system() == "Windows" else "bin") / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    command = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "-q", "-e", f"{ROOT}[test]"]
    if lowest:
        constraints = folder / "lowest.txt"
        constraints.write_text("\n".join(lowest_bounds()))
        command += ["-c", str(constraints)]
    subprocess.run(command, check=True, cwd=ROOT)
    return python


def run_tests(python: Path, folder: Path, arguments: list[str]) -> tuple[int, dict[str, float]]:
    """Run the default suite; pytest's exit code and its counts."""
    report = folder / "tests.xml"
    report.unlink(missing_ok=True)
    command = [
        str(python),
        "-m",
        "pytest",
        "-n",
        "2",
        "--dist",
        "loadfile",
        "-q",
        f"--junitxml={report}",
        *arguments,
    ]
    code = subprocess.run(command, cwd=ROOT).returncode
    suite = ElementTree.parse(report).getroot()[0].attrib
    counts = {name: int(suite[name]) for name in ("tests", "failures", "errors", "skipped")}
    passed = counts["tests"] - counts["failures"] - counts["errors"] - counts["skipped"]
    return code, {"passed": passed, **counts, "seconds": round(float(suite["time"]))}


def versions(python: Path) -> dict[str, str]:
    """List the installed versions that a record names."""
    printed = subprocess.run(
        [str(python), "-m", "pip", "list", "--format=json", "--disable-pip-version-check"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    installed = {entry["name"].lower().replace("_", "-"): entry["version"] for entry in json.loads(printed)}
    return {name: installed[name] for name in NAMED if name in installed}


def main() -> int:
    """Build, run, record; pytest's exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lowest", action="store_true", help="the lowest versions that are allowed")
    parser.add_argument("--fresh", action="store_true", help="build the environment anew")
    parser.add_argument("tests", nargs="*", help="files for pytest; only a run of all of them is recorded")
    options = parser.parse_args()
    name = f"python{sys.version_info.major}.{sys.version_info.minor}" + ("-lowest" if options.lowest else "")
    folder = ROOT / ".environments" / name
    if options.fresh:
        shutil.rmtree(folder, ignore_errors=True)
    python = build(folder, options.lowest)
    code, counts = run_tests(python, folder, options.tests)
    record = {
        "python": platform.python_version(),
        "system": platform.system(),
        **counts,
        "versions": versions(python),
    }
    print(json.dumps(record, indent=2))
    # A run that was stopped (2) is no record.
    if not options.tests and code in (0, 1):
        RECORDS.mkdir(parents=True, exist_ok=True)
        (RECORDS / f"{name}.json").write_text(json.dumps(record, indent=2) + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
