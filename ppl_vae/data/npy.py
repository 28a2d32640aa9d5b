"""NumPy's .npy format, read without pickle and without trust in its header.

`numpy.load` takes the memory that a header asks for before it looks at the file, and warns or raises in
many ways on damaged headers; this reader accepts plain numbers only and holds the header against the bytes
that are there.
"""

from __future__ import annotations

import ast
import math
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np

from ppl_vae.data.boundary import parser_boundary
from ppl_vae.data.exact_read import MAX_BYTES, ByteStream, check_claim, expect_end, read_exactly
from ppl_vae.errors import DataError

_MAGIC = b"\x93NUMPY"
_MAX_HEADER = 10_000
_NUMBERS = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248])")


def read_npy(path: str | Path, *, max_bytes: int = MAX_BYTES) -> np.ndarray:
    """Read one array of numbers from a .npy file.

    Args:
        path: the file.
        max_bytes: the most bytes of values that it may claim.

    Raises:
        DataError: the file cannot be read, is damaged, or holds objects, text or records.
    """
    path = Path(path)
    with parser_boundary(path, "a .npy file"), path.open("rb") as stream:
        return parse_npy(stream, path, path.stat().st_size, max_bytes)


def parse_npy(stream: ByteStream, path: Path, stored: int, max_bytes: int = MAX_BYTES) -> np.ndarray:
    """Parse a stream in .npy format to its end.

    Args:
        stream: the bytes, from the magic string on.
        path: the file, for messages.
        stored: the bytes that the stream takes on disk, compressed or not.
        max_bytes: the most bytes of values that it may claim.

    Raises:
        DataError: the header is refused, or the stream is longer or shorter than it says.
    """
    dtype, shape, order = _header(stream, path)
    size = math.prod(shape) * dtype.itemsize
    check_claim(path, size, stored, max_bytes)
    content = read_exactly(stream, size, path)
    expect_end(stream, path)
    values = np.frombuffer(content, dtype).reshape(shape, order=order)
    return values.astype(dtype.newbyteorder("="), copy=False)


def _header(stream: ByteStream, path: Path) -> tuple[np.dtype, tuple[int, ...], Any]:
    magic = bytes(read_exactly(stream, 8, path))
    if magic[:6] != _MAGIC or magic[6] not in (1, 2, 3):
        raise DataError(f"{path}: expected the magic string of a .npy array, found {magic!r}")
    layout = "<H" if magic[6] == 1 else "<I"
    (length,) = struct.unpack(layout, read_exactly(stream, struct.calcsize(layout), path))
    if length > _MAX_HEADER:
        raise DataError(f"{path}: expected a .npy header of at most {_MAX_HEADER} bytes, found {length}")
    text = read_exactly(stream, length, path).decode("utf8" if magic[6] == 3 else "latin1")
    header = ast.literal_eval(text.strip())
    if not isinstance(header, dict) or set(header) != {"descr", "fortran_order", "shape"}:
        raise DataError(
            f"{path}: expected a header with descr, fortran_order and shape, found {text.strip()[:80]!r}"
        )
    shape = _shape(header["shape"], path)
    return _dtype(header["descr"], path), shape, "F" if header["fortran_order"] else "C"


def _dtype(descr: object, path: Path) -> np.dtype:
    if not isinstance(descr, str) or not _NUMBERS.fullmatch(descr):
        raise DataError(
            f"{path}: expected an array of numbers (no objects, text or records), found dtype {descr!r}"
        )
    return np.dtype(descr)


def _shape(shape: object, path: Path) -> tuple[int, ...]:
    if not isinstance(shape, tuple) or any(type(n) is not int or n < 1 for n in shape):
        raise DataError(f"{path}: expected a shape of positive whole numbers, found {str(shape)[:80]}")
    return shape
