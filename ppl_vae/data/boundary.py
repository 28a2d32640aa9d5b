"""The edge where the bytes of a file become arrays: every fault of a parser leaves as a `DataError`."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from ppl_vae.errors import DataError

# What gzip, zipfile, numpy and Pillow raise for damaged content. RuntimeError covers an encrypted zip,
# an unknown zip compression (NotImplementedError) and too deep nesting (RecursionError); SyntaxError is
# Pillow's word for a broken PNG; Warning arrives as an exception where warnings are made errors.
_FAILURES = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    OverflowError,
    MemoryError,
    RuntimeError,
    SyntaxError,
    Warning,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
    Image.DecompressionBombError,
)


@contextmanager
def parser_boundary(path: Path, expected: str) -> Iterator[None]:
    """Turn what a parser raises inside the block into a `DataError` that names the file.

    Args:
        path: the file that is being read.
        expected: what it should hold, with its article ("an IDX file").

    Raises:
        DataError: for every failure inside the block, from its cause; a `DataError` passes as it is.
    """
    try:
        yield
    except DataError:
        raise
    except _FAILURES as error:
        raise DataError(f"{path}: expected {expected}, found {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
