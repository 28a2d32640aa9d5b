"""Judge the place where a command writes before it works: it can be written, and nobody's file is replaced."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ppl_vae.errors import CheckpointError
from ppl_vae.files import require_writable


def claim(path: Path | str) -> Path:
    """Read a path as it was typed, with ~ as the user's own folder.

    Raises:
        CheckpointError: there is no such user.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise CheckpointError(f"{path}: {error}") from None


def claim_folder(path: Path | str, written: Iterable[str], marks: Iterable[str]) -> Path:
    """Claim a folder to write into: no name in ``written`` is taken there, unless one of our own ``marks`` is.

    Raises:
        CheckpointError: a file there is not ours, or nothing can be written there.
    """
    folder = claim(path)
    if not any((folder / mark).exists() for mark in marks):
        foreign = [name for name in written if (folder / name).exists()]
        if foreign:
            raise CheckpointError(
                f"{folder}: holds {foreign[0]}, which this command did not write and would write over; "
                "nothing was touched. Choose another folder"
            )
    require_writable(folder)
    return folder


def claim_file(path: Path | str) -> Path:
    """Claim a file to write, in a folder that can be written.

    Raises:
        CheckpointError: it cannot, or the path is a folder.
    """
    file = claim(path)
    if file.is_dir():
        raise CheckpointError(f"{file}: is a folder; expected a file to write")
    require_writable(file.parent)
    return file
