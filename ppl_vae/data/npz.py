"""NumPy's .npz format: a zip archive of .npy members, of which only the wanted ones are read."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ppl_vae.data.boundary import parser_boundary
from ppl_vae.data.exact_read import MAX_BYTES, check_claim
from ppl_vae.data.npy import parse_npy
from ppl_vae.errors import DataError

# What numpy.savez and savez_compressed write, and the two whose expansion is bounded.
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def npz_names(path: str | Path) -> list[str]:
    """List the names of the arrays in an archive, in order; nothing is decompressed.

    Raises:
        DataError: the file is no zip archive.
    """
    path = Path(path)
    with parser_boundary(path, "an .npz archive"), zipfile.ZipFile(path) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]


def read_npz(path: str | Path, names: Iterable[str], *, max_bytes: int = MAX_BYTES) -> dict[str, np.ndarray]:
    """Read the named arrays of an archive, and no other member of it.

    Args:
        path: the archive.
        names: the arrays, without ".npy".
        max_bytes: the most bytes that the arrays may decompress to together.

    Raises:
        DataError: the archive or a member is damaged, encrypted, missing, or claims more than it can hold.
    """
    path = Path(path)
    names = list(names)
    with parser_boundary(path, "an .npz archive"), zipfile.ZipFile(path) as archive:
        wanted = {f"{name}.npy" for name in names}
        infos = [info for info in archive.infolist() if info.filename in wanted]
        stored = min(sum(info.compress_size for info in infos), path.stat().st_size)
        where = path if len(names) > 1 else Path(f"{path}[{names[0]}]")
        check_claim(where, sum(info.file_size for info in infos), stored, max_bytes)
        return {name: _member(archive, path, name, max_bytes) for name in names}


def _member(archive: zipfile.ZipFile, path: Path, name: str, max_bytes: int) -> np.ndarray:
    try:
        info = archive.getinfo(f"{name}.npy")
    except KeyError:
        found = ", ".join(archive.namelist())
        raise DataError(f"{path}: expected an array named {name!r}, found {found or 'nothing'}") from None
    if info.compress_type not in _COMPRESSIONS:
        raise DataError(f"{path}: expected {name!r} stored or deflated, found zip compression {info.compress_type}")
    stored = min(info.compress_size, path.stat().st_size)
    inside = Path(f"{path}[{name}]")
    check_claim(inside, info.file_size, stored, max_bytes)
    with archive.open(info) as stream:
        return parse_npy(stream, inside, stored, max_bytes)
