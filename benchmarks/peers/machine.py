"""On what the numbers were measured."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("ppl_vae", "torch", "pyro-ppl", "numpy", "jax", "jaxlib", "numpyro", "pythae")


def machine(threads: int | None = None) -> dict[str, Any]:
    """Processor, cores, threads, accelerator and the versions of what computed."""
    described: dict[str, Any] = {
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": threads or torch.get_num_threads(),
        "vector_instructions": torch.backends.cpu.get_cpu_capability(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {"python": platform.python_version(), **versions()},
    }
    if torch.cuda.is_available():
        described["gpu"] = torch.cuda.get_device_name()
        described["versions"]["cuda"] = torch.version.cuda
    return described


def versions() -> dict[str, str]:
    """Of the packages that are installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def processor() -> str:
    """The processor's name, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
