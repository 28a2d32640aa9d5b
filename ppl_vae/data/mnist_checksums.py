"""The checksums of MNIST and Fashion-MNIST tell which published file this is, whatever its name says."""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from pathlib import Path

from ppl_vae.data.boundary import parser_boundary

_CHUNK = 2**20
# The largest published file has 47 MB; the sum of a longer one need not be known.
_MAX_BYTES = 2**26

# MNIST by the SHA-256 of the content, since its files go about in several compressions; Fashion-MNIST by
# the MD5 of the .gz files, which its authors publish.
_KNOWN = {
    "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db": "mnist/train-images-idx3-ubyte",
    "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5": "mnist/train-labels-idx1-ubyte",
    "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7": "mnist/t10k-images-idx3-ubyte",
    "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2": "mnist/t10k-labels-idx1-ubyte",
    "8d4fb7e6c68d591d4c3dfef9ec88bf0d": "fashion-mnist/train-images-idx3-ubyte",
    "25c81989df183df01b3e8a0aad5dffbe": "fashion-mnist/train-labels-idx1-ubyte",
    "bef4ecab320f06d8554ea6380940ec79": "fashion-mnist/t10k-images-idx3-ubyte",
    "bb300cfdad3c16e7a12a480ee83cd310": "fashion-mnist/t10k-labels-idx1-ubyte",
}


def recognise(path: Path) -> str | None:
    """Name the published file that this one is, as "mnist/train-images-idx3-ubyte", or None.

    Raises:
        DataError: the file cannot be read.
    """
    with parser_boundary(path, "a readable file"):
        if path.stat().st_size > _MAX_BYTES:
            return None
        raw = path.read_bytes()
    md5 = hashlib.md5(raw, usedforsecurity=False).hexdigest()
    return _KNOWN.get(md5) or _KNOWN.get(_content_sha256(raw))


def _content_sha256(raw: bytes) -> str:
    digest, size = hashlib.sha256(), 0
    try:
        with gzip.open(io.BytesIO(raw)) as stream:
            while (piece := stream.read(_CHUNK)) and size <= _MAX_BYTES:
                digest.update(piece)
                size += len(piece)
    except (OSError, EOFError, zlib.error):
        # Not gzipped, or damaged, which its parser will say.
        return hashlib.sha256(raw).hexdigest()
    return digest.hexdigest()
