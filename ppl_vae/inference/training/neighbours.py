"""The share of this machine's cores that other processes take, as the kernel counts it.

Threads that wait for one another at every product of matrices are as slow as the one whose core is taken: on two
cores with one busy neighbour two threads were measured at a third of the speed of one.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

# The kernel counts in hundredths of a second.
LEAST_SECONDS = 0.1
KERNEL_COUNTS = Path("/proc/stat")


class Neighbours:
    """Counts from its making on; elsewhere than on Linux there is nothing to count."""

    def __init__(self) -> None:
        self._began, self._before = time.monotonic(), _seconds()

    def seconds(self) -> float:
        """How long it has counted."""
        return time.monotonic() - self._began

    def cores_taken(self) -> float:
        """The cores that other processes took on average since; it waits for a tenth of a second to have passed."""
        time.sleep(max(0.0, LEAST_SECONDS - self.seconds()))
        now, passed = _seconds(), self.seconds()
        if self._before is None or now is None:
            return 0.0
        (busy, own), (busy_before, own_before) = now, self._before
        return max(0.0, busy - busy_before - (own - own_before)) / passed


def cores() -> int:
    """The cores that this process may use."""
    return len(_allowed()) or os.cpu_count() or 1


def _allowed() -> set[int]:
    return os.sched_getaffinity(0) if sys.platform == "linux" else set()


def _seconds() -> tuple[float, float] | None:
    """The busy seconds of this process's cores since the machine began, and those of this process alone."""
    try:
        lines = KERNEL_COUNTS.read_text().splitlines()
        ticks = os.sysconf("SC_CLK_TCK")
        names = {f"cpu{core}" for core in _allowed()}
        counts = [list(map(int, rest)) for name, *rest in map(str.split, lines) if name in names]
    except (OSError, ValueError, AttributeError):
        return None
    # user, nice, system, idle, iowait, irq, softirq
    busy = sum(user + nice + system + irq + soft for user, nice, system, _, _, irq, soft, *_ in counts)
    return (busy / ticks, time.process_time()) if counts else None
