"""The facts that machine code depends on besides its graph: versions, compiler, options, processor."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import torch

HERE = Path(__file__).parent
CPU_FACTS = ("model name", "flags", "Features")


@functools.cache
def described(options: tuple[tuple[str, object], ...]) -> str:
    """A text that differs wherever machine code made here may differ, or may not run."""
    facts: Mapping[str, object] = {
        "torch": (torch.__version__, torch.version.git_version),
        "python": sys.version,
        "system": (platform.system(), platform.machine()),
        "processor": (torch.backends.cpu.get_cpu_capability(), _processor()),
        "compiler": _compiler(),
        "options": options,
        # Ours has one version for many states: what rewrites and translates a graph is a part of what it becomes.
        "rewrites": hashlib.sha256(b"".join(path.read_bytes() for path in sorted(HERE.glob("*.py")))).hexdigest(),
    }
    return repr(facts)


def _processor() -> object:
    """The instructions that the processor knows: code is made for this very one."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return platform.processor()
    named = (line.partition(":") for line in lines)
    return sorted({(name.strip(), value.strip()) for name, _, value in named if name.strip() in CPU_FACTS})


def _compiler() -> object:
    """The compiler's file, its size and date: another one would have made other code."""
    settings = [os.environ.get(name, "") for name in ("CXX", "CXXFLAGS", "CPATH")]
    path = shutil.which(settings[0].partition(" ")[0] or "g++") or shutil.which("clang++")
    if path is None:
        # What was compiled here before the compiler went is as good as ever, but nobody can say by which.
        return settings
    status = Path(path).resolve().stat()
    return settings, str(Path(path).resolve()), status.st_size, status.st_mtime_ns
