"""The file of a message: what was written is read back, or refused in one line.

    "PVBB"   version (1 byte)   length of the header (4 bytes)   header (JSON)   words   SHA-256 of all before it

The header holds the checksums of the model's weights, of the tables of quantisation and of the images. The first
two are compared before any work; the last one catches a machine whose double precision lies outside the guard band
(``grid``) or whose coder rounds another way: it is refused, and no wrong image is handed out. Numbers are
little-endian.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import astuple
from pathlib import Path

import numpy as np
from torch import Tensor

from ppl_vae.arrays import to_tensor
from ppl_vae.compression.bits_back import GROUP, Message, decode_images, encode_images
from ppl_vae.compression.exact_layers import HeadFormat
from ppl_vae.compression.fixed_point import FixedPoint
from ppl_vae.compression.grid import tables
from ppl_vae.compression.latent_chain import latent_chain
from ppl_vae.containers import Data, dense, is_container, opened, require_same_order
from ppl_vae.errors import DataError
from ppl_vae.files import as_path, checksum, tensor_bytes, write_atomically
from ppl_vae.models import VAE, HierarchicalVAE

MAGIC, VERSION = b"PVBB", 3
_START, _SEAL = len(MAGIC) + 5, 32
# A header of more is none of ours.
_MOST_HEADER = 1 << 26


def compress(vae: object, x: Data, path: str | Path, group: int = GROUP, bin_bits: int | None = None) -> Message:
    """Write binary images into a file, losslessly, by bits-back coding.

    Args:
        vae: a VAE or a HierarchicalVAE, which the reader must have too.
        x: zeros and ones [N, *event_shape].
        path: of the file; an old one is replaced once the new one is whole.
        group: images that go through the networks at once.
        bin_bits: bins per unit of a code, as a power of two; chosen by the guide's scales where it is not given.

    Returns:
        The message, whose ``net_bits`` are to be held against what the ELBO promises.

    Raises:
        ModelError: another model, a number out of range, or constriction is not installed.
        DataError: x is empty or not binary, has another shape, or its columns stand in another order than those
            that the model was trained on.
    """
    images = _in_own_order(vae, x)
    message = encode_images(vae, images, group, bin_bits)
    header = {
        "weights": _weights(vae),
        "quantisation": _quantisation(),
        "images": _images(images),
        "num_images": message.num_images,
        "event_shape": list(images.shape[1:]),
        "group": message.group,
        "bin_bits": message.bin_bits,
        "half_range": message.half_range,
        "head": None if message.head is None else astuple(message.head),
        "untouched": message.untouched,
        "initial_bits": message.initial_bits,
        "net_bits": message.net_bits,
        "uncertain": message.uncertain,
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    body = b"".join(
        (MAGIC, bytes([VERSION]), len(text).to_bytes(4, "little"), text, message.words.astype("<u4").tobytes())
    )
    write_atomically(as_path("path", path), body + hashlib.sha256(body).digest())
    return message


def _in_own_order(vae: object, x: Data) -> Tensor:
    """The images as a tensor, out of a container whose names are those of the training data in their order."""
    if not is_container(x):
        return to_tensor(x)
    found = opened(x)
    if isinstance(vae, VAE | HierarchicalVAE):
        require_same_order(vae.model.coordinate_names, found.labels)
    return to_tensor(dense(found.x))


def decompress(vae: object, path: str | Path) -> Tensor:
    """Read the images of a file [N, *event_shape], float32.

    Args:
        vae: the model that wrote it.
        path: of the file.

    Raises:
        ModelError: another kind of model, or constriction is not installed.
        DataError: the file is missing, damaged, of another version or of another model's weights, or this machine
            rounds unlike the writer's.
    """
    path = as_path("path", path)
    header, message = read_message(path)
    if header["weights"] != _weights(vae):
        raise DataError(f"{path}: written by a model with other weights")
    if header["quantisation"] != _quantisation():
        raise DataError(f"{path}: this machine makes other tables of quantisation than the writer's")
    shape = list(latent_chain(vae).vae.event_shape)
    if header["event_shape"] != shape:
        raise DataError(f"{path}: images of shape {header['event_shape']}, and a model of shape {shape}")
    try:
        images = decode_images(vae, message)
    except (DataError, AssertionError, IndexError, ValueError, OverflowError) as error:
        raise DataError(f"{path}: decodes to no images of this model; {_ROUNDING}") from error
    if _images(images) != header["images"]:
        raise DataError(f"{path}: decodes to other images than were written; {_ROUNDING}")
    return images


_ROUNDING = "this machine rounds unlike the writer's"


def read_message(path: Path) -> tuple[dict[str, object], Message]:
    """The header and the message of a file.

    Raises:
        DataError: the file cannot be read, is damaged, or of another version.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    if content[: len(MAGIC)] != MAGIC:
        raise DataError(f"{path}: not a file of ppl-vae compress")
    body, seal = content[:-_SEAL], content[-_SEAL:]
    if len(body) < _START or hashlib.sha256(body).digest() != seal:
        raise DataError(f"{path}: damaged or cut off: its checksum (SHA-256) is not that of its content")
    if body[len(MAGIC)] != VERSION:
        raise DataError(f"{path}: version {body[len(MAGIC)]} of the format, and this package reads {VERSION}")
    length = int.from_bytes(body[_START - 4 : _START], "little")
    try:
        header = json.loads(body[_START : _START + min(length, _MOST_HEADER)])
        words = np.frombuffer(body[_START + length :], dtype="<u4").astype(np.uint32)
        names = ("untouched", "initial_bits", "net_bits", "num_images", "group", "bin_bits", "half_range")
        numbers = {name: int(header[name]) for name in names}
        message = Message(words=words, head=_head(header["head"]), uncertain=dict(header["uncertain"]), **numbers)
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: its header is none of version {VERSION} ({error})") from error
    return header, message


def _head(stored: list[list[int] | None] | None) -> HeadFormat | None:
    if stored is None:
        return None
    features, arguments = (None if bits is None else FixedPoint(*map(int, bits)) for bits in stored)
    if features is None:
        raise ValueError("a head without a format of its features")
    return HeadFormat(features, arguments)


def _weights(vae: object) -> str:
    """The checksum of the weights, in single precision at least, whatever device they are on."""
    return checksum(tensor_bytes(latent_chain(vae).vae.state_dict()))


def _quantisation() -> str:
    return hashlib.sha256(tables()).hexdigest()


def _images(x: Tensor) -> str:
    bits = np.packbits(x.detach().cpu().numpy().astype(np.uint8).reshape(-1))
    return hashlib.sha256(bits.tobytes() + str(math.prod(x.shape)).encode()).hexdigest()
