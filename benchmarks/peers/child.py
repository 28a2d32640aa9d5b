"""The environment of a child process whose seconds are counted."""

from __future__ import annotations

import os


def with_byte_code(**settings: str) -> dict[str, str]:
    """This process's environment with settings, where Python keeps byte code, as pip does for what it installs."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"} | settings
