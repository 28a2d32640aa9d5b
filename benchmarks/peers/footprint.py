"""What a contender costs before and besides its steady state, measured in a process of its own.

Seconds from the call to the end of the first ten steps, the same for a second training of the same shapes in that
process, and the largest resident memory. Compilers start with empty caches on disk.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from .contender import Contender, Task, reason
from .workloads import Workload

STEPS = 10
SECONDS_AT_MOST = 300


def short(workload: Workload) -> Workload:
    """An epoch of ten steps."""
    return replace(workload, size=STEPS * workload.batch)


def probe(contender: Contender, task: Task) -> dict[str, Any]:
    """The numbers, in this process: it must be a fresh one."""
    try:
        start = contender.load()
        before = peak_memory()
        first = seconds(start, task)
        second = seconds(start, task)
    except Exception as error:
        return {"label": contender.label, "unavailable": reason(error)}
    return {
        "label": contender.label,
        "first_steps_seconds": round(first, 3),
        "second_training_seconds": round(second, 3),
        "peak_megabytes": round(peak_memory()),
        "of_which_training_megabytes": round(peak_memory() - before),
    }


def seconds(start: Any, task: Task) -> float:
    """From nothing to the end of the first steps."""
    began = time.perf_counter()
    start(task).run(1)
    return time.perf_counter() - began


def peak_memory() -> float:
    """Largest resident set of this process so far, in megabytes."""
    status = Path("/proc/self/status")
    if status.exists():
        # What getrusage tells on Linux is at least what the process that started this one had.
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # macOS counts in bytes, others in kilobytes.
    return peak / (1024**2 if sys.platform == "darwin" else 1024)


def in_fresh_process(arguments: list[str], label: str) -> dict[str, Any]:
    """What a probe printed, started with these arguments of the benchmark's script."""
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": cache}
        try:
            done = subprocess.run(
                [sys.executable, *arguments],
                env=environment,
                capture_output=True,
                text=True,
                check=True,
                timeout=SECONDS_AT_MOST,
            )
            return json.loads(done.stdout.splitlines()[-1])
        except (subprocess.SubprocessError, ValueError, IndexError) as error:
            return {"label": label, "unavailable": reason(error)}
