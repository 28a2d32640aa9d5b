"""Files that are either the old one or the new one, never half of each."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from ppl_vae.errors import CheckpointError


def write_atomically(path: Path, content: bytes) -> None:
    """Write ``content`` under a temporary name beside ``path``, force it to disk, and rename it.

    A process killed at any moment, or a full disk, leaves the file that was there before.

    Raises:
        CheckpointError: the file could not be written; what was there is untouched.
    """
    write_together({path: content})


def write_together(contents: Mapping[Path, bytes]) -> None:
    """Write several files of one folder that belong together: none is replaced before all are on the disk.

    Raises:
        CheckpointError: a file could not be written; what was there is untouched.
    """
    # A name of each process's own, so that two of them never write into one file.
    temporary = {path: path.with_name(f".{path.name}.{os.getpid()}.partial") for path in contents}
    path = next(iter(contents))
    try:
        try:
            for path, content in contents.items():
                path.parent.mkdir(parents=True, exist_ok=True)
                with temporary[path].open("wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
            for path in contents:
                temporary[path].replace(path)
        except BaseException:
            for partial in temporary.values():
                with contextlib.suppress(OSError):
                    partial.unlink()
            raise
        _sync_folder(path.parent)
    except OSError as error:
        reason = error.strerror or str(error)
        raise CheckpointError(f"{path}: could not be written ({reason}); what was there is untouched") from error


def json_bytes(content: Any) -> bytes:
    """A JSON document, indented for reading."""
    return (json.dumps(content, indent=2) + "\n").encode()


def write_json(path: Path, content: Any) -> None:
    """Write a JSON document atomically, indented for reading."""
    write_atomically(path, json_bytes(content))


def read_json(path: Path) -> Any:
    """Read a JSON document.

    Raises:
        CheckpointError: the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not a readable JSON file ({error})") from error


def write_tensors(path: Path, state: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write tensors as one safetensors file, atomically."""
    write_atomically(path, tensor_bytes(state, metadata))


def tensor_bytes(state: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> bytes:
    """Tensors in the safetensors format."""
    # A clone each: safetensors refuses tensors that share storage.
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
    return save(tensors, metadata)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        CheckpointError: the file is missing, truncated or corrupt.
    """
    try:
        return load(path.read_bytes())
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path}: not a readable safetensors file ({error})") from error


def _sync_folder(folder: Path) -> None:
    # The rename itself must reach the disk; some file systems cannot open a folder for that.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
