"""How far apart the machine's two cores are at the moment: the time to hand a cache line over and back.

A virtual machine's cores move about on its host. Within one group of cores that share a cache a round trip takes
about 100 ns; across the host's chips four times that, and then two threads on one matrix are hardly faster than
one thread. That is the host's doing, so a turn that met it is told from the others.
"""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

Distance = Callable[[], float]

SOURCE = Path(__file__).with_name("core_distance.c")
# The two states of a machine lie far on either side.
NANOSECONDS_APART = 200.0


def core_distance() -> Distance | None:
    """What measures the nanoseconds of a round trip; None without a C compiler, or on other than two cores."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if len(cores) != 2 or compiler is None:
        return None
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    program = Path(folder) / "core_distance"
    built = subprocess.run([compiler, "-O2", "-pthread", str(SOURCE), "-o", str(program)], capture_output=True)
    if built.returncode:
        return None
    command = [str(program), *map(str, cores)]
    return lambda: float(subprocess.run(command, capture_output=True, check=True).stdout)


def are_apart(distance: Distance | None) -> bool:
    """Whether the two cores are far from each other just now."""
    return distance is not None and distance() > NANOSECONDS_APART
