"""One law over every parser: whatever the bytes, a valid result or a `DataError`, in bounded memory."""

from __future__ import annotations

import gzip
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ppl_vae.data.arrays import load_idx, load_npy, load_npz
from ppl_vae.data.celeba_tables import read_attributes, read_partition
from ppl_vae.data.dsprites import load_dsprites
from ppl_vae.data.image_file import read_image
from ppl_vae.data.mnist_checksums import recognise
from ppl_vae.data.table import load_table
from ppl_vae.errors import DataError

from .builders import celeba_table, grey, idx_bytes, image_bytes, npy_bytes, npz_bytes, write
from .mutations import mutated


def _dataset_values(load: Callable[..., Any]) -> Callable[[Path], None]:
    def check(path: Path) -> None:
        dataset = load(path)
        for part in (dataset.train, dataset.test):
            assert part.x.dtype == torch.float32
            assert 0 <= part.x.min() <= part.x.max() <= 1
            assert part.y is None or part.y.shape == (len(part),)

    return check


def _table(path: Path) -> None:
    dataset = load_table(path)
    for part in (dataset.train, dataset.test):
        assert part.x.dtype == torch.float32
        assert part.x.shape == (len(part.names), len(dataset.column_names))
        assert not part.x.isinf().any()


def _image(path: Path) -> None:
    pixels = read_image(path)
    assert pixels.dtype == np.uint8
    assert pixels.ndim in (2, 3)


def _attributes(path: Path) -> None:
    table = read_attributes(path)
    assert table.values.shape == (len(table.files), len(table.names))
    assert set(np.unique(table.values)) <= {0, 1}


def _partition(path: Path) -> None:
    assert set(read_partition(path, [f"{i}.jpg" for i in range(8)])) <= {0, 1, 2}


def _sum(path: Path) -> None:
    assert recognise(path) is None


def _dsprites() -> bytes:
    latents = np.arange(36.0).reshape(6, 6)
    images = grey(6, 8, 8) // 128
    return npz_bytes(imgs=images, latents_values=latents, latents_classes=latents.astype(int))


_XY = {"x": grey(), "y": np.arange(12)}
# format -> (file name, a valid file, a check that reads it)
FORMATS: dict[str, tuple[str, bytes, Callable[[Path], None]]] = {
    "idx": ("a.idx", idx_bytes(grey()), _dataset_values(load_idx)),
    "idx-gz": ("b.idx.gz", gzip.compress(idx_bytes(grey()), mtime=0), _dataset_values(load_idx)),
    "idx-float": ("c.idx", idx_bytes(np.linspace(0, 1, 24).reshape(6, 4)), _dataset_values(load_idx)),
    "npy": ("d.npy", npy_bytes(grey()), _dataset_values(load_npy)),
    "npy-float": ("e.npy", npy_bytes(np.linspace(0, 1, 24).reshape(6, 4)), _dataset_values(load_npy)),
    "npz": ("f.npz", npz_bytes(**_XY), _dataset_values(load_npz)),
    "npz-stored": ("g.npz", npz_bytes(compressed=False, **_XY), _dataset_values(load_npz)),
    "dsprites": ("h.npz", _dsprites(), _dataset_values(lambda path: load_dsprites(root=path))),
    "png": ("i.png", image_bytes(grey(1, 12, 10)[0]), _image),
    "jpeg": ("j.jpg", image_bytes(grey(3, 12, 10).transpose(1, 2, 0), "JPEG"), _image),
    "gif": ("k.gif", image_bytes(grey(1, 12, 10)[0], "GIF"), _image),
    "bmp": ("l.bmp", image_bytes(grey(1, 12, 10)[0], "BMP"), _image),
    "tiff": ("m.tiff", image_bytes(grey(1, 12, 10)[0], "TIFF"), _image),
    "webp": ("n.webp", image_bytes(grey(3, 12, 10).transpose(1, 2, 0), "WEBP"), _image),
    "celeba-attributes": ("o.txt", celeba_table(8).encode(), _attributes),
    "celeba-partition": ("p.txt", b"".join(b"%d.jpg %d\n" % (i, i % 3) for i in range(8)), _partition),
    "csv": ("r.csv", b"a,b,c\n" + b"".join(b"%d,%d.5,-1e%d\n" % (i, i * i, i % 4) for i in range(12)), _table),
    "mnist-checksum": ("q.gz", gzip.compress(idx_bytes(grey()), mtime=0), _sum),
}
# Formats with a length or checksum for every byte: a part of the file is never the file.
STRICT = ("idx", "idx-gz", "npy", "npz", "npz-stored", "dsprites")


@pytest.mark.parametrize("name", FORMATS)
def test_the_valid_file_is_read(name: str, tmp_path: Path) -> None:
    file, content, check = FORMATS[name]
    check(write(tmp_path / file, content))


@pytest.mark.parametrize("examples", [30, pytest.param(200, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", FORMATS)
def test_only_a_data_error_that_names_the_file_comes_out(
    name: str, examples: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file, content, check = FORMATS[name]
    path = tmp_path_factory.mktemp("damaged") / file

    @settings(max_examples=examples, deadline=None, derandomize=True, database=None)
    @given(mutated(content) | st.binary(max_size=200))
    def law(damaged: bytes) -> None:
        path.write_bytes(damaged)
        message = _error(check, path)
        assert message is None or (str(path) in message and "\n" not in message)

    law()


def _error(check: Callable[[Path], None], path: Path) -> str | None:
    try:
        check(path)
    except DataError as error:
        return str(error)
    return None


@pytest.mark.slow
@pytest.mark.parametrize("name", STRICT)
def test_every_truncation_is_refused(name: str, tmp_path: Path) -> None:
    file, content, check = FORMATS[name]
    for length in range(0, len(content), max(1, len(content) // 100)):
        path = write(tmp_path / file, content[:length])
        with pytest.raises(DataError, match=file):
            check(path)


def _claiming(name: str) -> bytes:
    """A file of a megabyte at most whose header claims more than 4 GB."""
    idx = b"\0\0\x08\x03" + (2**16).to_bytes(4) + (2**8).to_bytes(4) * 2 + bytes(100)
    small, huge, x = b"(1000, 1000), }", b"(99999, 99999)}", np.zeros((1000, 1000), np.uint8)
    return {
        "idx": idx,
        "idx-gz": gzip.compress(idx),
        "npy": npy_bytes(x).replace(small, huge),
        "npz-stored": npz_bytes(compressed=False, x=x).replace(small, huge),
    }[name]


@pytest.mark.parametrize("name", ["idx", "idx-gz", "npy", "npz-stored"])
def test_a_claim_of_gigabytes_takes_no_memory(name: str, tmp_path: Path) -> None:
    file, _, check = FORMATS[name]
    path = write(tmp_path / file, _claiming(name))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=file):
            check(path)
        assert tracemalloc.get_traced_memory()[1] < 2**23
    finally:
        tracemalloc.stop()
