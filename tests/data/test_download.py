"""Downloads, from servers of our own on this machine."""

from __future__ import annotations

import contextlib
import functools
import gzip
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ppl_vae.data.locations import cache_folder
from ppl_vae.data.mnist import load_mnist
from ppl_vae.errors import DataError

from .builders import MNIST_FILES, mnist_contents, publish, write, write_mnist


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


class _Cut(_Quiet):
    """Promises more than it sends."""

    def end_headers(self) -> None:
        self._headers_buffer = [  # type: ignore[has-type]
            b"Content-Length: 99999\r\n" if line.startswith(b"Content-Length") else line
            for line in self._headers_buffer
        ]
        super().end_headers()


@contextlib.contextmanager
def _served(folder: Path, handler: type[_Quiet] = _Quiet) -> Iterator[str]:
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_download_takes_the_first_mirror_that_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch, write_mnist(tmp_path / "good"))
    for name, content in mnist_contents(train=7).items():
        write(tmp_path / "stale" / f"{name}.gz", gzip.compress(content))
    with (
        _served(tmp_path / "empty") as empty,
        _served(tmp_path / "stale") as stale,
        _served(tmp_path / "good", _Cut) as cut,
        _served(tmp_path / "good") as good,
    ):
        dataset = load_mnist(mirrors=[empty, stale, cut, good + "/"])
    assert len(dataset.train) == 6
    assert dataset.notes == ("checksums: all four files are those of the canonical mnist",)
    assert sorted(file.name for file in cache_folder("mnist").iterdir()) == sorted(f"{f}.gz" for f in MNIST_FILES)
    again = load_mnist(mirrors=[])
    assert again.train.x.equal(dataset.train.x)


def test_a_failed_download_lists_the_mirrors_and_the_way_out(tmp_path: Path) -> None:
    write_mnist(tmp_path / "stale")
    with (
        _served(tmp_path / "empty") as empty,
        _served(tmp_path / "stale") as stale,
        pytest.raises(DataError) as caught,
    ):
        load_mnist(mirrors=[empty, stale, "http://127.0.0.1:9", "nonsense"])
    message = str(caught.value)
    assert f"{empty}/train-images-idx3-ubyte.gz (HTTP Error 404" in message
    assert f"{stale}/train-images-idx3-ubyte.gz (checksum differs)" in message
    assert "http://127.0.0.1:9/train-images-idx3-ubyte.gz (<urlopen error" in message
    assert "nonsense/train-images-idx3-ubyte.gz (unknown url type" in message
    assert message.endswith("root= or PPL_VAE_DATA")
    assert list(cache_folder("mnist").iterdir()) == []


def test_a_download_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch, write_mnist(tmp_path / "good"))
    monkeypatch.setattr("ppl_vae.data.download.MAX_DOWNLOAD_BYTES", 100)
    with _served(tmp_path / "good") as good, pytest.raises(DataError, match="more than 100 bytes"):
        load_mnist(mirrors=[good])


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch, write_mnist(tmp_path / "good"))
    write(tmp_path / "cache", b"a file where the folder should be")
    with (
        _served(tmp_path / "good") as good,
        pytest.raises(DataError, match="expected to write the downloaded file"),
    ):
        load_mnist(mirrors=[good])
