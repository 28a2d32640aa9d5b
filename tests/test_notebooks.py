"""The notebooks: stored executed and clean, without code that the library should offer; and they still run."""

import os
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
FORMULA_OR_CODE = re.compile(r"\$\$.*?\$\$|\$[^$]*\$|`[^`]*`", re.DOTALL)
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


def write(path, source):
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)]), path)


def shows_figure(notebook):
    return any("image/png" in output.get("data", {}) for output in outputs(notebook))


def run_script(*arguments):
    """notebooks/execute.py, in a process of its own."""
    command = [sys.executable, str(FOLDER / "execute.py"), *map(str, arguments)]
    # What the settings name must be there for everyone: no data set of this machine.
    bare = {name: value for name, value in os.environ.items() if name != "PPL_VAE_DATA"}
    return subprocess.run(command, env=bare, capture_output=True, text=True, timeout=SECONDS, check=False)


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


@every_notebook
def test_prose_types_no_measured_figure(path):
    """Outside formulas and code a decimal fraction is a result, and a result is printed by a cell."""
    for cell in read(path).cells:
        if cell.cell_type == "markdown":
            assert not re.search(r"\d\.\d", FORMULA_OR_CODE.sub("", cell.source)), cell.source


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
    write(path, source)
    before = path.read_bytes()
    done = run_script(path)
    assert done.returncode == 1
    assert found in done.stdout
    assert path.read_bytes() == before


@pytest.mark.notebook
def test_a_progress_bar_is_stored_as_one_line_and_import_is_silent(tmp_path):
    """In a kernel without ipywidgets; execute.py makes an error of every warning and of a word on stderr."""
    path = tmp_path / "bar.ipynb"
    write(path, "import torch\nimport ppl_vae as pv\nfit = pv.fit((vae := pv.VAE((4,), latent_dim=1)), "
          "torch.ones(64, 4), epochs=30, device='cpu')")  # fmt: skip
    done = run_script(path)
    assert done.returncode == 0, done.stdout + done.stderr
    (shown,) = outputs(read(path))
    assert shown.output_type == "display_data"
    assert shown.data["text/plain"].startswith("100%")
    assert "\n" not in shown.data["text/plain"]


@pytest.mark.notebook
def test_two_run_at_a_time_on_one_thread_each_and_are_reported_in_order(tmp_path):
    """The first ends only when it sees what the second has written."""
    met = tmp_path / "met"
    write(tmp_path / "1.ipynb", f"import os, time\nwhile not os.path.exists({str(met)!r}):\n    time.sleep(0.1)")
    write(tmp_path / "2.ipynb", f"import os\nopen({str(met)!r}, 'w').close()\nprint(os.environ['OMP_NUM_THREADS'])")
    done = run_script("--jobs", 2, tmp_path / "1.ipynb", tmp_path / "2.ipynb")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line.split()[-1] for line in done.stdout.splitlines()] == ["1.ipynb", "2.ipynb", "all"]
    assert outputs(read(tmp_path / "2.ipynb"))[0].text == "1\n"


@pytest.mark.notebook
def test_a_notebook_that_takes_too_long_is_not_stored(tmp_path):
    path = tmp_path / "slow.ipynb"
    write(path, "sum(range(1000))")
    before = path.read_bytes()
    code = "import execute, pathlib, sys; execute.CPU_SECONDS_PER_NOTEBOOK = 0"
    code += "; print(execute.run_once(pathlib.Path(sys.argv[1]), False).fault)"
    command = [sys.executable, "-c", code, str(path)]
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, timeout=SECONDS, check=True)
    assert re.fullmatch(r"took \d+ CPU seconds, 0 are granted\n", done.stdout)
    assert path.read_bytes() == before


@pytest.mark.notebook
def test_no_job_at_all_is_refused(tmp_path):
    done = run_script("--jobs", 0)
    assert done.returncode == 2
    assert "--jobs wants at least 1, got 0" in done.stderr
