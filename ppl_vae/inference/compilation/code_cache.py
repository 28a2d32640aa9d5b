"""Machine code of training steps in the user's cache, so that a new process need not compile it again.

An entry is a shared object under the key of its graph, with a seal behind its end: the SHA-256 of the key and of
the code, so that a half-written, damaged or renamed file is told from a whole one. It is written under a temporary
name and renamed: two processes that compile one step at once leave the same entry. The folder is PPL_VAE_STEPS,
or "steps" in the user's cache.

Nothing is read from a folder that somebody else could write to: it and all above it must belong to the user or to
root, and no one else may write there, or rename what is there.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import platformdirs
from filelock import FileLock, Timeout

from ppl_vae.errors import PplVaeError
from ppl_vae.files import SEAL, SEAL_BYTES, write_atomically

ENVIRONMENT_VARIABLE = "PPL_VAE_STEPS"
# An entry of a small network takes 0.3 MB.
MOST_BYTES = 256 * 2**20
SUFFIX, NOTE = ".so", ".note"
SECONDS_FOR_LOCK = 5.0
_said: set[str] = set()


def folder() -> Path:
    """The folder of the entries; it need not exist."""
    named = os.environ.get(ENVIRONMENT_VARIABLE)
    place = Path(named).expanduser() if named else Path(platformdirs.user_cache_dir("ppl_vae")) / "steps"
    return place.absolute()


def stored(key: str) -> Path | None:
    """The whole entry of a key, or None; one that is damaged is removed."""
    path = _path(key)
    if not path.is_file() or _refused(path.parent):
        return None
    try:
        status, content = path.stat(), path.read_bytes()
        own = status.st_uid == os.getuid() and not _others_write(status)
        if own and content[-SEAL_BYTES:] == _seal(key, content[:-SEAL_BYTES]):
            # The least recently used goes first when there is no room.
            with contextlib.suppress(OSError):
                os.utime(path)
            return path
    except OSError:
        return None
    drop(key)
    return None


def store(key: str, code: bytes) -> None:
    """Keep machine code under a key; where that cannot be done there is one warning in a process."""
    path = _path(key)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if _refused(path.parent):
            return
        write_atomically(path, code + _seal(key, code))
        _make_room(path)
    except (OSError, PplVaeError) as error:
        _say(f"compiled steps are not kept for other processes: {error}")


def is_open() -> bool:
    """Tell whether entries can be kept: the folder is there, or can be made, and is the user's alone."""
    place = folder()
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(place, os.W_OK) and not _refused(place)


def note(likeness: str) -> None:
    """Note that a step of this description has code here, so that the next run may count on it."""
    with contextlib.suppress(OSError, PplVaeError):
        if folder().is_dir() and entries():
            write_atomically(folder() / f"{likeness}{NOTE}", b"")


def is_noted(likeness: str) -> bool:
    """Tell whether a step of this description has had code here, and there still is some."""
    return (folder() / f"{likeness}{NOTE}").is_file() and bool(entries())


def drop(key: str) -> None:
    """Remove an entry, if it is there."""
    with contextlib.suppress(OSError):
        _path(key).unlink()


def entries() -> list[tuple[Path, os.stat_result]]:
    """The entries and what the disk says of them, the least recently used first."""
    held = []
    with contextlib.suppress(OSError):
        for path in folder().glob(f"*{SUFFIX}"):
            with contextlib.suppress(OSError):
                held.append((path, path.stat()))
    return sorted(held, key=lambda entry: entry[1].st_mtime)


def clear() -> int:
    """Remove every entry, and what processes that were killed left half-written; the number of entries.

    Raises:
        OSError: one of them could not be removed.
    """
    held = entries()
    others = [path for pattern in (f".*{SUFFIX}.*", f"*{NOTE}") for path in folder().glob(pattern)]
    for path in [path for path, _ in held] + others:
        path.unlink(missing_ok=True)
    return len(held)


def _path(key: str) -> Path:
    return folder() / f"{key}{SUFFIX}"


def _seal(key: str, code: bytes) -> bytes:
    return SEAL + hashlib.sha256(key.encode() + code).hexdigest().encode() + b"\n"


def _make_room(newest: Path) -> None:
    """Remove the least recently used entries beyond MOST_BYTES; one process at a time does."""
    with contextlib.suppress(Timeout), FileLock(newest.parent / "room.lock", timeout=SECONDS_FOR_LOCK):
        held = entries()
        total = sum(status.st_size for _, status in held)
        for path, status in held:
            if total <= MOST_BYTES:
                break
            if path != newest:
                path.unlink(missing_ok=True)
                total -= status.st_size


def _refused(place: Path) -> bool:
    """Tell whether others than the user could have put there what stands in a folder; said once."""
    try:
        reason = next(_open_to_others(place.resolve()), None)
    except OSError as error:
        reason = f"{place}: {error.strerror or error}"
    if reason is not None:
        _say(f"compiled steps are neither kept nor used: {reason}")
    return reason is not None


def _open_to_others(place: Path) -> Iterator[str]:
    if sys.platform == "win32":
        yield "this system does not say who owns a file"
        return
    for each in (place, *place.parents):
        status = each.stat()
        if status.st_uid not in (os.getuid(), 0):
            yield f"{each} belongs to another user"
        # Above the folder itself: where the sticky bit is, as in /tmp, nobody renames what is another's.
        if _others_write(status) and (each == place or not status.st_mode & stat.S_ISVTX):
            yield f"others can write to {each}"


def _others_write(status: os.stat_result) -> bool:
    # A group of the user's own has the user's number.
    others = stat.S_IWOTH if status.st_gid == os.getuid() else stat.S_IWGRP | stat.S_IWOTH
    return bool(status.st_mode & others)


def _say(words: str) -> None:
    if words not in _said:
        _said.add(words)
        warnings.warn(words, stacklevel=2)
