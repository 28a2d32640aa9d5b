"""Execute notebooks, each in a clean kernel, and store them with their figures.

    python notebooks/execute.py [--check] [NOTEBOOK ...]

Without names, all notebooks beside this file. What breaks a notebook: an error, a warning (the kernel turns them
into errors), anything on standard error, and an output that names a folder of this machine. A notebook that breaks
keeps the outputs that it had; with --check none is written. The kernel starts in an empty folder, so that what a
notebook finds here it finds from anywhere.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

HERE = Path(__file__).resolve().parent
SECONDS_PER_CELL = 900
# Run by the kernel before the first cell: a warning is an error, as in the test suite. One is excused: the kernel
# complains of its own way to shut down when the notebook is over.
STARTUP = """
import warnings
warnings.simplefilter("error")
warnings.filterwarnings("ignore", category=PendingDeprecationWarning, module="ipykernel")
del warnings
"""
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


class BrokenNotebookError(Exception):
    """What is wrong with an executed notebook, in words."""


def main() -> int:
    """Execute, report seconds, and say at the end what broke."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebooks", nargs="*", type=Path, help="by default all beside this file")
    parser.add_argument("--check", action="store_true", help="write nothing")
    options = parser.parse_args()
    total, broken = 0.0, []
    for path in options.notebooks or sorted(HERE.glob("*.ipynb")):
        started = time.perf_counter()
        try:
            notebook = executed(path)
            if not options.check:
                store(notebook, path)
            said = ""
        except (BrokenNotebookError, CellExecutionError) as error:
            broken.append(path.name)
            said = f"\n{error}"
        seconds = time.perf_counter() - started
        total += seconds
        print(f"{seconds:7.1f} s  {path.name}{said}", flush=True)
    print(f"{total:7.1f} s  in all" + (f"; broken: {', '.join(broken)}" if broken else ""))
    return 1 if broken else 0


def executed(path: Path) -> Any:
    """The notebook after a run from a clean kernel, without what belongs to this machine alone.

    Raises:
        CellExecutionError: a cell raised, be it a warning.
        BrokenNotebookError: a cell wrote to standard error, or named a folder of this machine.
    """
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.update(outputs=[], execution_count=None)
    with tempfile.TemporaryDirectory() as empty, tempfile.TemporaryDirectory() as home:
        # No settings, extensions or history of this machine.
        startup = Path(home, "profile_default", "startup", "warnings.py")
        startup.parent.mkdir(parents=True)
        startup.write_text(STARTUP)
        for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR"):
            os.environ[name] = home
        NotebookClient(
            notebook,
            timeout=SECONDS_PER_CELL,
            kernel_name="python3",
            record_timing=False,
            resources={"metadata": {"path": empty}},
            # It says that its ports are not encrypted; they are this machine's own.
            extra_arguments=["--log-level=ERROR", "--colors=nocolor"],
        ).execute()
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict({"tags": tags} if (tags := cell.metadata.get("tags")) else {})
    complaints = list(faults(notebook))
    if complaints:
        raise BrokenNotebookError("\n".join(complaints))
    return notebook


def faults(notebook: Any) -> Iterator[str]:
    """What no stored notebook may hold: errors, lines on standard error, folders of a machine."""
    for number, cell in enumerate(notebook.cells, 1):
        for output in cell.get("outputs", []):
            text = text_of(output)
            if output.output_type == "error" or output.get("name") == "stderr":
                yield f"cell {number}, {output.get('name', 'error')}: {text.strip()}"
            for folder in (str(HERE.parent), str(Path.home()), tempfile.gettempdir(), "site-packages"):
                if folder + os.sep in text:
                    yield f"cell {number} names a folder of this machine: {folder}"


def text_of(output: Any) -> str:
    """All that an output says in words: of a stream, an error, or the textual forms of a value."""
    if output.output_type == "stream":
        return str(output.text)
    if output.output_type == "error":
        return "\n".join(output.traceback)
    return "\n".join(str(value) for kind, value in output.data.items() if kind.startswith("text/"))


def store(notebook: Any, path: Path) -> None:
    """Write the notebook: old file or new file, never half."""
    beside = path.with_suffix(".part")
    nbformat.write(notebook, beside)
    beside.replace(path)


if __name__ == "__main__":
    sys.exit(main())
