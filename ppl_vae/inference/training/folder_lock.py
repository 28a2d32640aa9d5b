"""The exclusive lock by which one process trains into a folder at a time; it ends with its process."""

from __future__ import annotations

import contextlib
import datetime
import os
import socket
import warnings
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from ppl_vae.errors import CheckpointError

LOCK = ".lock"


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder, which is made if it is missing and removed if nothing was written into it.

    The operating system drops the lock of a process that is killed. Where the file system has no locks a warning
    says that nothing keeps a second process away.

    Raises:
        CheckpointError: another process holds it, which is named; or the folder cannot be written.
    """
    # An existence lock, filelock's way out on file systems without locks, would outlive a killed process.
    lock = FileLock(folder / LOCK, fallback_to_soft=False)
    made = False
    try:
        made = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(blocking=False)
    except (Timeout, RuntimeError):
        raise CheckpointError(f"{folder}: {_holder(folder)} trains into this folder; nothing was touched") from None
    except NotImplementedError:
        warnings.warn(f"{folder}: its file system has no locks, so nothing keeps a second run away", stacklevel=4)
    except OSError as error:
        reason = error.strerror or str(error)
        raise CheckpointError(f"{folder}: could not be written ({reason}); nothing was trained") from error
    try:
        _sign(folder)
        yield
    finally:
        # Before it is let go: who waits for a file that has no name any more, looks again.
        with contextlib.suppress(OSError):
            (folder / LOCK).unlink()
        lock.release()
        if made:
            with contextlib.suppress(OSError):
                folder.rmdir()


def _sign(folder: Path) -> None:
    now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    # Windows lets nobody write into a locked file.
    with contextlib.suppress(OSError):
        (folder / LOCK).write_text(f"process {os.getpid()} on {socket.gethostname()} (since {now})")


def _holder(folder: Path) -> str:
    try:
        return (folder / LOCK).read_text().strip()[:200] or "another process"
    except (OSError, ValueError):
        return "another process"
