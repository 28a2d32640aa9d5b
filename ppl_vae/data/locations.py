"""The places where the files of a named data set may lie: ``root=``, PPL_VAE_DATA, the user's cache."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import platformdirs

from ppl_vae.data.boundary import parser_boundary
from ppl_vae.errors import DataError

ENVIRONMENT_VARIABLE = "PPL_VAE_DATA"


def environment_root() -> Path | None:
    """The folder that PPL_VAE_DATA names, or None where it is not set.

    Raises:
        DataError: there is no such folder.
    """
    value = os.environ.get(ENVIRONMENT_VARIABLE)
    if not value:
        return None
    folder = Path(os.path.expanduser(value))  # noqa: PTH111  (an unknown user's ~ stays as it is)
    with parser_boundary(folder, "a folder of data"):
        if folder.is_dir():
            return folder
    raise DataError(f"{ENVIRONMENT_VARIABLE}: expected the name of a folder, found {value!r}, which is none")


def cache_folder(name: str) -> Path:
    """The folder of one data set in the user's cache; it need not exist."""
    return Path(platformdirs.user_cache_dir("ppl_vae")) / name


def folders_under(root: str | Path, subfolders: tuple[str, ...]) -> list[Path]:
    """List the places to look under a root: its known subfolders first, then the root itself."""
    return [*(Path(root) / subfolder for subfolder in subfolders), Path(root)]


def first_existing(candidates: Iterable[Path]) -> Path | None:
    """Find the first path that exists, or None.

    Raises:
        DataError: a path that may not be looked at.
    """
    for path in candidates:
        with parser_boundary(path, "a readable path"):
            if path.exists():
                return path
    return None
