"""Small valid files of every format that is read, as bytes or on disk."""

from __future__ import annotations

import gzip
import hashlib
import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ppl_vae.data import mnist_checksums

IDX_CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}
MNIST_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def grey(count: int = 12, height: int = 5, width: int = 4, seed: int = 0) -> np.ndarray:
    """Random bytes [count, height, width], among them 0 and 255."""
    images = np.random.default_rng(seed).integers(0, 256, (count, height, width), dtype=np.uint8)
    images.flat[:2] = 0, 255
    return images


def idx_bytes(values: np.ndarray) -> bytes:
    code = IDX_CODES[values.dtype.str[1:]]
    header = struct.pack(f">BBBB{values.ndim}I", 0, 0, code, values.ndim, *values.shape)
    return header + values.astype(values.dtype.newbyteorder(">")).tobytes()


def npy_bytes(values: np.ndarray, *, allow_pickle: bool = False) -> bytes:
    stream = io.BytesIO()
    np.save(stream, values, allow_pickle=allow_pickle)
    return stream.getvalue()


def npz_bytes(*, compressed: bool = True, **arrays: np.ndarray) -> bytes:
    stream = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(stream, **arrays)
    return stream.getvalue()


def image_bytes(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def mnist_contents(train: int = 6, test: int = 3) -> dict[str, bytes]:
    """The four IDX files of a small MNIST, not gzipped."""
    arrays = (
        grey(train, 28, 28),
        np.arange(train, dtype=np.uint8) % 10,
        grey(test, 28, 28, seed=1),
        np.arange(test, dtype=np.uint8) % 10,
    )
    return {name: idx_bytes(array) for name, array in zip(MNIST_FILES, arrays, strict=True)}


def write_mnist(folder: Path, *, zipped: bool = True) -> dict[str, bytes]:
    contents = mnist_contents()
    for name, content in contents.items():
        write(folder / (f"{name}.gz" if zipped else name), gzip.compress(content) if zipped else content)
    return contents


CELEBA_NAMES = ("Bald", "Male", "Smiling")


def celeba_table(count: int) -> str:
    """The attribute table: image i has the attributes of the binary digits of i."""
    rows = [f"{i + 1:06d}.jpg " + " ".join("1" if i >> j & 1 else "-1" for j in range(3)) for i in range(count)]
    return "\n".join([str(count), " ".join(CELEBA_NAMES), *rows]) + "\n"


def write_celeba(folder: Path, count: int = 8) -> Path:
    """Flat colours in the middle square, black above and below: image i is (20 i, 100, 200)."""
    for i in range(count):
        pixels = np.zeros((22, 18, 3), np.uint8)
        pixels[2:20] = (20 * i, 100, 200)
        write(folder / "img_align_celeba" / f"{i + 1:06d}.jpg", image_bytes(pixels, "PNG"))
    write(folder / "list_attr_celeba.txt", celeba_table(count).encode())
    return folder


class Trap:
    """An object that fails the test when it is unpickled."""

    def __reduce__(self) -> Any:
        return pytest.fail, ("the file was unpickled",)


def dsprites_arrays(count: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "imgs": grey(count, 8, 8) // 128,
        "latents_values": rng.random((count, 6)),
        "latents_classes": rng.integers(0, 3, (count, 6)),
    }


def write_dsprites(path: Path, **changed: np.ndarray) -> Path:
    """Thirty images in an archive like the original, whose metadata is a pickled object."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata.npy", npy_bytes(np.array(Trap(), dtype=object), allow_pickle=True))
        for name, array in {**dsprites_arrays(30), **changed}.items():
            archive.writestr(f"{name}.npy", npy_bytes(array))
    return write(path, stream.getvalue())


def publish(monkeypatch: pytest.MonkeyPatch, contents: dict[str, bytes], name: str = "mnist") -> None:
    """Makes the small files the canonical ones."""
    known = {hashlib.sha256(content).hexdigest(): f"{name}/{file}" for file, content in contents.items()}
    monkeypatch.setattr(mnist_checksums, "_KNOWN", known)
