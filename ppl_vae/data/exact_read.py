"""Reading exactly the bytes that a header promises, never more memory than the file can stand for.

A header is a claim. Before any memory is taken for it, `check_claim` holds it against a limit and against
what the stored bytes could expand to; `read_exactly` then grows with the bytes that truly arrive.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from ppl_vae.errors import DataError

#: The most bytes that the arrays of a file, or the images of a folder, may decompress to.
MAX_BYTES = 8 * 2**30

# Deflate codes at most 258 bytes in two bits.
_MAX_DEFLATE_RATIO = 1032
# Real data of this size do not shrink so far (dSprites, black and mostly empty, shrinks 115 times). As float32 they
# take four times the bytes, and more on the way there.
_SUSPICIOUS_BYTES, _SUSPICIOUS_RATIO = 64 * 2**20, 150
_CHUNK = 2**20


class ByteStream(Protocol):
    """The stream of bytes that is read: an open file, or one that decompresses as it goes."""

    def read(self, size: int = ..., /) -> bytes:
        """Read at most ``size`` bytes; at the end there are none."""


def check_claim(path: Path, claimed: int, stored: int, max_bytes: int = MAX_BYTES) -> None:
    """Refuse a header that claims more bytes than allowed, or than its stored bytes could hold.

    Args:
        path: the file, for the message.
        claimed: the bytes that the header promises.
        stored: the bytes on disk, compressed by deflate or not at all.
        max_bytes: the absolute limit.

    Raises:
        DataError: the claim is over the limit, or impossible.
    """
    if claimed > max_bytes:
        raise DataError(
            f"{path}: expected at most {max_bytes} bytes of content, found a header that claims {claimed}"
        )
    if claimed > _SUSPICIOUS_BYTES and claimed > _SUSPICIOUS_RATIO * stored:
        raise DataError(
            f"{path}: expected data, found {stored} bytes that claim to hold {claimed}: a decompression bomb, or "
            "an array of almost nothing but one value; real data like that are read uncompressed (numpy.savez), "
            "images with size= or limit="
        )
    if claimed > _MAX_DEFLATE_RATIO * stored:
        raise DataError(
            f"{path}: expected {claimed} bytes of content, found a file too short for them: {stored} bytes"
        )


def read_exactly(stream: ByteStream, count: int, path: Path) -> bytearray:
    """Read ``count`` bytes, in pieces.

    Raises:
        DataError: the stream ends before.
    """
    content = bytearray()
    while len(content) < count:
        piece = stream.read(min(_CHUNK, count - len(content)))
        if not piece:
            raise DataError(f"{path}: expected {count} bytes, found the end after {len(content)} (truncated)")
        content += piece
    return content


def expect_end(stream: ByteStream, path: Path) -> None:
    """Refuse bytes after the promised content.

    Raises:
        DataError: the stream goes on.
    """
    if stream.read(1):
        raise DataError(f"{path}: expected the end of the file, found further bytes after the content")
