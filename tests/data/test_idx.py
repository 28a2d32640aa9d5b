from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from ppl_vae.data.idx import read_idx
from ppl_vae.errors import DataError

from .builders import IDX_CODES, grey, idx_bytes, write


@pytest.mark.parametrize("code", IDX_CODES)
def test_every_number_type_is_read_back(code: str, tmp_path: Path) -> None:
    values = np.arange(-6, 6).reshape(3, 2, 2).astype(np.dtype(code))
    read = read_idx(write(tmp_path / "a.idx", idx_bytes(values)))
    np.testing.assert_array_equal(read, values)
    assert read.dtype == np.dtype(code)
    assert read.dtype.isnative


def test_gzip_is_seen_by_content_not_by_name(tmp_path: Path) -> None:
    content = idx_bytes(grey())
    zipped = write(tmp_path / "plain-by-name.idx", gzip.compress(content))
    plain = write(tmp_path / "zipped-by-name.idx.gz", content)
    np.testing.assert_array_equal(read_idx(zipped), grey())
    np.testing.assert_array_equal(read_idx(plain), grey())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected 4 bytes, found the end after 0"),
        (b"\x89PNG\r\n", "expected the magic number of an IDX file, found 0x89504e47"),
        (b"\0\0\x07\x01\0\0\0\x01a", "found 0x00000701"),
        (b"\0\0\x08\0", "found 0x00000800"),
        (b"\0\0\x08\x01\0\0\0\x05abc", r"expected 5 bytes, found the end after 3 \(truncated\)"),
        (b"\0\0\x08\x01\0\0\0\x03abcd", "further bytes after the content"),
        (b"\0\0\x08\x02\0\0\0\x03\0\0\0\0", r"empty shape \(3, 0\)"),
        (b"\0\0\x08\x01\xff\xff\xff\xffabc", "claim|too short"),
    ],
)
@pytest.mark.parametrize("zipped", [False, True])
def test_what_is_wrong_is_said(content: bytes, message: str, zipped: bool, tmp_path: Path) -> None:
    path = write(tmp_path / "some.idx", gzip.compress(content) if zipped else content)
    with pytest.raises(DataError, match=f"some.idx: .*({message})"):
        read_idx(path)


def test_damaged_gzip_is_named_and_chained(tmp_path: Path) -> None:
    content = gzip.compress(idx_bytes(grey()))
    flipped = content[:-8] + bytes([content[-8] ^ 1]) + content[-7:]
    for damaged, cause in (
        (flipped, gzip.BadGzipFile),
        (content[:-9], EOFError),
        (content + b"tail", OSError),
    ):
        with pytest.raises(DataError, match=r"some.gz: expected an IDX file, found \w+") as caught:
            read_idx(write(tmp_path / "some.gz", damaged))
        assert isinstance(caught.value.__cause__, cause)


def test_a_limit_on_the_claimed_bytes(tmp_path: Path) -> None:
    path = write(tmp_path / "a.idx", idx_bytes(grey(2, 5, 5)))
    assert read_idx(path, max_bytes=50).size == 50
    with pytest.raises(DataError, match="expected at most 49 bytes of content, found a header that claims 50"):
        read_idx(path, max_bytes=49)


def test_a_gzip_bomb_stops_at_what_the_header_says(tmp_path: Path) -> None:
    path = write(tmp_path / "bomb.gz", gzip.compress(idx_bytes(grey()) + bytes(2**24)))
    with pytest.raises(DataError, match="further bytes after the content"):
        read_idx(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none.idx: expected an IDX file, found no such file"):
        read_idx(tmp_path / "none.idx")
    with pytest.raises(DataError, match="IsADirectoryError"):
        read_idx(tmp_path)
