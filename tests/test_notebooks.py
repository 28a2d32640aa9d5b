"""The notebooks: stored executed and clean, without code that the library should offer; and they still run."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LIBRARY = re.compile(r"\b(pv|inf)\.|\bppl_vae\b")
LONGEST_CELL = 15
LARGEST_FILE = 800_000
SECONDS = 900

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path):
    return nbformat.read(path, as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs(notebook):
    return [output for cell in code_cells(notebook) for output in cell.outputs]


def shows_figure(notebook):
    return any("image/png" in output.get("data", {}) for output in outputs(notebook))


def run_script(*arguments):
    """notebooks/execute.py, in a process of its own."""
    command = [sys.executable, str(FOLDER / "execute.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)


def test_there_are_notebooks_and_their_numbers_do_not_clash():
    numbers = [path.name[:2] for path in NOTEBOOKS]
    assert NOTEBOOKS
    assert len(set(numbers)) == len(numbers)


@every_notebook
def test_it_opens_with_one_question_and_has_one_cell_of_settings(path):
    notebook = read(path)
    assert notebook.cells[0].cell_type == "markdown"
    assert notebook.cells[0].source.startswith("# ")
    assert "?" in notebook.cells[0].source
    assert sum(cell.source.startswith("# Settings") for cell in code_cells(notebook)) == 1


@every_notebook
def test_it_is_stored_executed_from_top_to_bottom_with_figures(path):
    notebook = read(path)
    assert [cell.execution_count for cell in code_cells(notebook)] == list(range(1, len(code_cells(notebook)) + 1))
    assert shows_figure(notebook)
    assert path.stat().st_size < LARGEST_FILE


@every_notebook
def test_it_holds_no_error_no_warning_and_nothing_of_a_machine(path):
    notebook, text = read(path), path.read_text()
    assert all(output.output_type != "error" and output.get("name") != "stderr" for output in outputs(notebook))
    assert not re.search(r"/(home|root|tmp|Users|work)/|site-packages|object at 0x", text)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert notebook.metadata.kernelspec.name == "python3"
    assert all(set(cell.metadata) <= {"tags"} for cell in notebook.cells)


@every_notebook
def test_no_long_cell_does_without_the_library(path):
    """What takes more than 15 lines of a reader's own is a feature that the library lacks."""
    for cell in code_cells(read(path)):
        lines = [line for line in cell.source.splitlines() if line.strip() and not line.lstrip().startswith("#")]
        assert len(lines) <= LONGEST_CELL or LIBRARY.search(cell.source), cell.source


@pytest.mark.notebook
@pytest.mark.timeout(SECONDS)
@every_notebook
def test_it_runs_again_from_a_clean_kernel_without_a_warning(path, tmp_path):
    copy = tmp_path / path.name
    shutil.copy(path, copy)
    done = run_script(copy)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert shows_figure(read(copy))


@pytest.mark.notebook
@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("import warnings\nwarnings.warn('look here', stacklevel=1)", "UserWarning: look here"),
        ("import sys\nprint('a word', file=sys.stderr)", "cell 1, stderr: a word"),
        ("import torch\nprint(torch.__file__)", "cell 1 names a folder of this machine"),
    ],
    ids=["error", "warning", "stderr", "folder"],
)
def test_what_breaks_a_notebook_is_found_and_nothing_is_written(source, found, tmp_path):
    path = tmp_path / "broken.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)]), path)
    before = path.read_bytes()
    done = run_script(path)
    assert done.returncode == 1
    assert found in done.stdout
    assert path.read_bytes() == before
