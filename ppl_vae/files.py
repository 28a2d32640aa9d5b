"""Atomic writes, which leave the old file or the new one and never half of each, and tensors with checksums.

Every safetensors file that is written here holds in its header a SHA-256 of all that it says: names, types,
shapes, numbers and the other metadata. Files without one, by other programs or of version 0.1.0, are read as
they are.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import platform
import re
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from safetensors import SafetensorError

from ppl_vae.errors import CheckpointError

if TYPE_CHECKING:
    # The command line reads JSON and writes files before it needs torch.
    from torch import Tensor

CHECKSUM = "sha256"
_METADATA = "__metadata__"
SEAL = b"\nppl_vae SHA-256 "
SEAL_BYTES = len(SEAL) + 64 + 1
# A configuration or a manifest takes kilobytes; more would only take memory.
MOST_JSON_BYTES = 64 * 2**20

# A JSON object by name, such as a configuration, a manifest, or the header of a file.
JsonObject: TypeAlias = dict[str, Any]


def write_atomically(path: Path, content: bytes) -> None:
    """Write ``content`` under a temporary name beside ``path``, force it to disk, and rename it.

    A process killed at any moment, or a full disk, leaves the file that was there before.

    Raises:
        CheckpointError: the file could not be written; what was there is untouched.
    """
    write_together({path: content})


def write_together(contents: Mapping[Path, bytes]) -> None:
    """Write several files of one folder that belong together: none is replaced before all are on the disk.

    With the first rename they are the new ones: a process killed after it leaves the others under their temporary
    names, for their reader to find.

    Raises:
        CheckpointError: a file could not be written; what was there is untouched, unless the first was renamed.
    """
    temporary = {path: _temporary(path) for path in contents}
    path = first = next(iter(contents))
    try:
        try:
            first.parent.mkdir(parents=True, exist_ok=True)
            _clear_left_over(first)
            for path in contents:
                if path.is_dir():
                    raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            for path, content in contents.items():
                with temporary[path].open("wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
            for path in contents:
                temporary[path].replace(path)
        except BaseException:
            begun = not temporary[first].exists()
            for name, partial in temporary.items():
                with contextlib.suppress(OSError):
                    if begun:
                        partial.replace(name)
                    else:
                        partial.unlink()
            raise
        for path in list(contents)[1:]:
            # Not before: until now one of them may have been what a killed process left for its reader.
            _clear_left_over(path)
        _sync_folder(path.parent)
    except OSError as error:
        reason = error.strerror or str(error)
        raise CheckpointError(f"{path}: could not be written ({reason}); what was there is untouched") from error


def as_path(what: str, path: str | os.PathLike[str]) -> Path:
    """A file or folder that a user names; "~" is the home.

    Args:
        what: it names, for an error.
        path: the name.

    Raises:
        CheckpointError: it is no name of a file, or of a home that does not exist, or empty, which would be the
            folder that the process happens to be in.
    """
    try:
        found = Path(path).expanduser()
    except (TypeError, RuntimeError) as error:
        raise CheckpointError(f"{what} {path!r} is no path of a file or folder ({error})") from None
    if not str(path).strip():
        raise CheckpointError(f"{what} is empty; name a folder")
    if "\0" in str(found):
        raise CheckpointError(f"{what} {path!r} is no path of a file or folder (a null character)")
    return found


def require_writable(folder: Path) -> None:
    """Check before the work starts that a folder can be made and written into.

    Raises:
        CheckpointError: the folder cannot be made or written into.
    """
    ancestor = next(parent for parent in (folder, *folder.absolute().parents) if os.path.lexists(parent))
    try:
        with tempfile.TemporaryFile(dir=ancestor):
            pass
    except OSError as error:
        reason = error.strerror or str(error)
        raise CheckpointError(f"{folder}: cannot be written into ({reason}); nothing was begun") from error


def as_text(name: object) -> str:
    """Turn a file's name into text that can be written anywhere; undecodable bytes are spelled out."""
    return str(name).encode(errors="backslashreplace").decode()


@contextlib.contextmanager
def written_beside(path: Path) -> Iterator[Path]:
    """Give another library a temporary name to write to; the file is sealed and renamed to ``path`` on success.

    The seal is a line with the SHA-256 of what stands before it. netCDF and HDF5 do not look behind their end.

    Raises:
        CheckpointError: the file could not be written; what was there is untouched.
    """
    temporary = _temporary(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _clear_left_over(path)
        yield temporary
        with temporary.open("rb+") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            file.write(SEAL + digest.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        reason = error.strerror or str(error)
        raise CheckpointError(f"{path}: could not be written ({reason}); what was there is untouched") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def require_seal(path: Path) -> None:
    """Refuse a file whose seal is of another content; one without a seal is left to its reader.

    Raises:
        CheckpointError: it is damaged, or cannot be read.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error})") from error
    body, seal = content[:-SEAL_BYTES], content[-SEAL_BYTES:]
    if seal.startswith(SEAL) and seal != SEAL + hashlib.sha256(body).hexdigest().encode() + b"\n":
        raise CheckpointError(f"{path}: damaged: its checksum (SHA-256) is not that of its content")


def json_bytes(content: object) -> bytes:
    """Encode a JSON document, indented for reading."""
    return (json.dumps(content, indent=2) + "\n").encode()


def write_json(path: Path, content: object) -> None:
    """Write a JSON document atomically, indented for reading."""
    write_atomically(path, json_bytes(content))


def read_json(path: Path) -> Any:
    """Read a JSON document.

    Raises:
        CheckpointError: the file is missing or is not JSON.
    """
    try:
        if path.stat().st_size > MOST_JSON_BYTES:
            raise ValueError(f"more than {MOST_JSON_BYTES // 2**20} MiB")
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    except RecursionError:
        raise CheckpointError(f"{path}: not a readable JSON file (nested too deep)") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not a readable JSON file ({error})") from error


def write_tensors(path: Path, state: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write tensors as one safetensors file, atomically."""
    write_atomically(path, tensor_bytes(state, metadata))


def tensor_bytes(state: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> bytes:
    """Tensors in the safetensors format, with their checksum in the header."""
    from safetensors.torch import save

    # A clone each: safetensors refuses tensors that share storage.
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
    header, payload = _divided(save(tensors))
    described = dict(metadata or {})
    described[CHECKSUM] = _checksum(header | {_METADATA: described}, payload)
    # Written here, since safetensors writes metadata in an order that changes from call to call.
    text = json.dumps({_METADATA: described, **header}, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return b"".join((len(text).to_bytes(8, "little"), text, payload))


def checksum(content: bytes | bytearray) -> str:
    """The SHA-256 of a safetensors file's content, whatever its header's blanks and order, without the checksum."""
    header, payload = _divided(content)
    header[_METADATA] = {k: v for k, v in header.get(_METADATA, {}).items() if k != CHECKSUM}
    return _checksum(header, payload)


def _checksum(header: Mapping[str, object], payload: memoryview) -> str:
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    digest.update(payload)
    return digest.hexdigest()


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        CheckpointError: the file is missing, truncated or corrupt, or its checksum is of other numbers.
    """
    return read_sealed(path)[0]


def read_sealed(path: Path, what: str = "safetensors file") -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a safetensors file, and its metadata with the checksum, where it has one.

    Args:
        path: the file.
        what: it should be, for the error.

    Raises:
        CheckpointError: the file is missing, truncated or corrupt, or its checksum is of other numbers.
    """
    from safetensors.torch import load

    try:
        content = path.read_bytes()
        tensors = load(content)
        metadata = dict(_divided(content)[0].get(_METADATA, {}))
        intact = CHECKSUM not in metadata or metadata[CHECKSUM] == checksum(content)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, RuntimeError, OverflowError) as error:
        raise CheckpointError(f"{path}: not a readable {what} ({error})") from error
    if not intact:
        raise CheckpointError(f"{path}: damaged: its checksum (SHA-256) is not that of its content")
    return tensors, metadata


def _divided(content: bytes | bytearray) -> tuple[JsonObject, memoryview]:
    """Divide the bytes into header and payload."""
    end = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:end]), memoryview(content)[end:]


_HOST = re.sub(r"\W", "", platform.node())[:40]


def _temporary(path: Path) -> Path:
    """A name that no other attempt has: two processes that write the same file must not write into one another."""
    return path.with_name(f".{path.name}.{_HOST}-{os.getpid()}-{secrets.token_hex(4)}.partial")


def left_over(path: Path) -> Iterator[tuple[Path, str]]:
    """Half-written or not yet renamed files of ``path``, each with the host and process that wrote it."""
    named = re.compile(rf"\.{re.escape(path.name)}\.(\w*-\d+)-[0-9a-f]+\.partial")
    for other in path.parent.iterdir():
        found = named.fullmatch(other.name)
        if found:
            yield other, found[1]


def _clear_left_over(path: Path) -> None:
    """Delete what killed processes of this host left half-written."""
    for other, writer in left_over(path):
        host, _, process = writer.partition("-")
        if host == _HOST and not _alive(int(process)):
            other.unlink(missing_ok=True)


def _alive(process: int) -> bool:
    if os.name != "posix":
        # Signal 0 would end a process of Windows.
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _sync_folder(folder: Path) -> None:
    # The rename itself must reach the disk; some file systems cannot open a folder for that.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
