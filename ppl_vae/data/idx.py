"""IDX, the format of MNIST: a magic number, the dimensions, and the values in row-major order.

    bytes 0-1   zero
    byte  2     code of the number type
    byte  3     number of dimensions n
    4 n bytes   the dimensions, big-endian uint32
    the rest    the values, big-endian

A file may be gzipped, which is seen by its content and not by its name.
"""

from __future__ import annotations

import gzip
import math
import os
import struct
from pathlib import Path

import numpy as np

from ppl_vae.data.boundary import parser_boundary
from ppl_vae.data.exact_read import MAX_BYTES, ByteStream, check_claim, expect_end, read_exactly
from ppl_vae.errors import DataError

_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_GZIP_MAGIC = b"\x1f\x8b"


def read_idx(path: str | Path, *, max_bytes: int = MAX_BYTES) -> np.ndarray:
    """Read an IDX file, plain or gzipped.

    Args:
        path: the file.
        max_bytes: the most bytes of values that it may claim.

    Returns:
        The array in native byte order, with the file's own number type and dimensions.

    Raises:
        DataError: the file cannot be read, is no IDX file, or is longer or shorter than its header says.
    """
    path = Path(path)
    with parser_boundary(path, "an IDX file"), path.open("rb") as raw:
        stored = os.fstat(raw.fileno()).st_size
        zipped = raw.read(2) == _GZIP_MAGIC
        raw.seek(0)
        if not zipped:
            return _parse(raw, path, stored, max_bytes)
        with gzip.GzipFile(fileobj=raw) as stream:
            return _parse(stream, path, stored, max_bytes)


def _parse(stream: ByteStream, path: Path, stored: int, max_bytes: int) -> np.ndarray:
    dtype, shape = _header(stream, path)
    size = math.prod(shape) * dtype.itemsize
    check_claim(path, size, stored, max_bytes)
    content = read_exactly(stream, size, path)
    expect_end(stream, path)
    values = np.frombuffer(content, dtype).reshape(shape)
    return values.astype(dtype.newbyteorder("="), copy=False)


def _header(stream: ByteStream, path: Path) -> tuple[np.dtype, tuple[int, ...]]:
    magic = bytes(read_exactly(stream, 4, path))
    code, dimensions = magic[2], magic[3]
    if magic[:2] != b"\0\0" or code not in _DTYPES or dimensions == 0:
        raise DataError(f"{path}: expected the magic number of an IDX file, found 0x{magic.hex()}")
    shape = struct.unpack(f">{dimensions}I", read_exactly(stream, 4 * dimensions, path))
    if 0 in shape:
        raise DataError(f"{path}: expected at least one value, found the empty shape {shape}")
    return np.dtype(_DTYPES[code]), shape
