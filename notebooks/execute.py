"""Execute notebooks, each in a clean kernel, and store them with their figures.

    python notebooks/execute.py [--check] [--jobs N] [NOTEBOOK ...]

Without names, all notebooks beside this file, two at a time, each kernel on one thread. What breaks a notebook: an
error, a warning (the kernel turns them into errors), anything on standard error, an output that names a folder of
this machine, and more than 180 CPU seconds. A notebook that breaks keeps the outputs that it had; with --check none
is written. The kernel starts in an empty folder, so that what a notebook finds here it finds from anywhere. The
report keeps the order of the names and gives wall and CPU seconds of each.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

HERE = Path(__file__).resolve().parent
SECONDS_PER_CELL = 900
# A reader waits no longer. CPU seconds of the one thread, which a busy machine does not stretch.
CPU_SECONDS_PER_NOTEBOOK = 180
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


class Run(NamedTuple):
    """One notebook's run: its seconds, and what broke it, if anything did."""

    name: str
    seconds: float
    cpu_seconds: float
    fault: str


def main() -> int:
    """Execute, report seconds, and say at the end what broke."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebooks", nargs="*", type=Path, help="by default all beside this file")
    parser.add_argument("--check", action="store_true", help="write nothing")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="how many at a time (default: 2)")
    options = parser.parse_args()
    if options.jobs < 1:
        parser.error(f"--jobs wants at least 1, got {options.jobs}")
    paths = options.notebooks or sorted(HERE.glob("*.ipynb"))
    started, cpu_seconds, broken = time.perf_counter(), 0.0, []
    for run in runs(paths, options.check, options.jobs):
        cpu_seconds += run.cpu_seconds
        if run.fault:
            broken.append(run.name)
        print(report(run.seconds, run.cpu_seconds, run.name) + (f"\n{run.fault}" if run.fault else ""), flush=True)
    verdict = f"in all; broken: {', '.join(broken)}" if broken else "in all"
    print(report(time.perf_counter() - started, cpu_seconds, verdict))
    return 1 if broken else 0


def report(seconds: float, cpu_seconds: float, what: str) -> str:
    """One line."""
    return f"{seconds:7.1f} s  {cpu_seconds:7.1f} s of CPU  {what}"


def runs(paths: list[Path], check: bool, jobs: int) -> Iterator[Run]:
    """The notebooks' runs in the order of their names, ``jobs`` at a time.

    Processes, not threads: each waits for its own kernels alone, so that it can tell their CPU seconds.
    """
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(jobs, len(paths)), mp_context=spawn, initializer=end_with_parent) as pool:
        yield from pool.map(run_once, paths, [check] * len(paths))


def end_with_parent() -> None:
    """A worker whose parent is killed would wait for ever; a kernel whose worker is gone ends by itself."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def run_once(path: Path, check: bool) -> Run:
    """Execute one notebook and store it, unless it breaks or is only checked."""
    started, cpu_before, fault = time.perf_counter(), children_cpu_seconds(), ""
    try:
        notebook = executed(path)
        if (used := children_cpu_seconds() - cpu_before) > CPU_SECONDS_PER_NOTEBOOK:
            raise BrokenNotebookError(f"took {used:.0f} CPU seconds, {CPU_SECONDS_PER_NOTEBOOK} are granted")
        if not check:
            store(notebook, path)
    except (BrokenNotebookError, CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        fault = str(error)
    return Run(path.name, time.perf_counter() - started, children_cpu_seconds() - cpu_before, fault)


def children_cpu_seconds() -> float:
    """What the kernels that this process has waited for have used."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


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
        client = NotebookClient(
            notebook,
            timeout=SECONDS_PER_CELL,
            kernel_name="python3",
            record_timing=False,
            resources={"metadata": {"path": empty}},
            # It says that its ports are not encrypted; they are this machine's own.
            extra_arguments=["--log-level=ERROR", "--colors=nocolor"],
        )
        client.create_kernel_manager().connection_file = str(Path(home, "kernel.json"))
        client.execute(env=kernel_environment(home))
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict({"tags": tags} if (tags := cell.metadata.get("tags")) else {})
    complaints = list(faults(notebook))
    if complaints:
        raise BrokenNotebookError("\n".join(complaints))
    return notebook


def kernel_environment(home: str) -> dict[str, str]:
    """One thread, and no settings, extensions or history of this machine."""
    startup = Path(home, "profile_default", "startup", "warnings.py")
    startup.parent.mkdir(parents=True)
    startup.write_text(STARTUP)
    folders = dict.fromkeys(("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR"), home)
    return {**os.environ, **folders, "OMP_NUM_THREADS": "1"}


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
