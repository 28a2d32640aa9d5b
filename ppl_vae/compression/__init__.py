"""A VAE as a lossless coder: code lengths, bits-back coding, files. The names are loaded when asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ppl_vae.compression.bits_back import Message, decode_images, encode_images
    from ppl_vae.compression.file_format import compress, decompress
    from ppl_vae.compression.general_coders import general_sizes
    from ppl_vae.compression.promised_length import code_length

__all__ = ["Message", "code_length", "compress", "decode_images", "decompress", "encode_images", "general_sizes"]

_HOMES = {
    "Message": "bits_back",
    "code_length": "promised_length",
    "compress": "file_format",
    "decode_images": "bits_back",
    "decompress": "file_format",
    "encode_images": "bits_back",
    "general_sizes": "general_coders",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
