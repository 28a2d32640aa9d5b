"""A VAE as a lossless coder: code lengths, bits-back coding, files."""

from typing import TYPE_CHECKING

from ppl_vae.lazy import load_names_lazily

# One line a name, here and in __all__; each is imported when it is first asked for.
if TYPE_CHECKING:
    from ppl_vae.compression.bits_back import Message, decode_images, encode_images
    from ppl_vae.compression.file_format import compress, decompress
    from ppl_vae.compression.general_coders import general_sizes
    from ppl_vae.compression.promised_length import code_length

__all__ = ["Message", "code_length", "compress", "decode_images", "decompress", "encode_images", "general_sizes"]

load_names_lazily(__name__)
