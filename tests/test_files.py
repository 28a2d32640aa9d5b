"""Files are the old one or the new one, whatever fails in between."""

import errno
import os
import stat
from pathlib import Path

import pytest
import torch

from ppl_vae.errors import CheckpointError, PplVaeError
from ppl_vae.files import (
    as_path,
    read_json,
    read_tensors,
    write_atomically,
    write_json,
    write_tensors,
    write_together,
)


def failing(kind=OSError):
    def fail(*_, **__):
        if kind is OSError:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        raise kind

    return fail


class HalfWritten:
    """A file that takes a few bytes and then has no room."""

    def __init__(self, file):
        self.file = file

    def __enter__(self):
        self.file.__enter__()
        return self

    def __exit__(self, *error):
        return self.file.__exit__(*error)

    def write(self, content):
        self.file.write(content[:2])
        failing()()


def break_at(step, monkeypatch):
    if step == "write":
        opened = Path.open
        monkeypatch.setattr(Path, "open", lambda self, *args: HalfWritten(opened(self, *args)))
    elif step == "fsync":
        monkeypatch.setattr(os, "fsync", failing())
    else:
        monkeypatch.setattr(Path, "replace", failing())


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
@pytest.mark.parametrize("old", [None, b"the old one"])
def test_a_full_disk_leaves_what_was_there_and_no_rubbish(tmp_path, monkeypatch, step, old):
    path = tmp_path / "file.bin"
    if old is not None:
        path.write_bytes(old)
    break_at(step, monkeypatch)
    with pytest.raises(CheckpointError, match=r"file\.bin: could not be written \(No space left on device\)"):
        write_atomically(path, b"the new one")
    monkeypatch.undo()
    assert [p.read_bytes() for p in tmp_path.iterdir()] == ([] if old is None else [old])


@pytest.mark.parametrize("kind", [KeyboardInterrupt, MemoryError])
def test_an_interruption_passes_through_and_leaves_what_was_there(tmp_path, monkeypatch, kind):
    path = tmp_path / "file.bin"
    path.write_bytes(b"the old one")
    monkeypatch.setattr(os, "fsync", failing(kind))
    with pytest.raises(kind):
        write_atomically(path, b"the new one")
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"the old one"]


def test_content_is_on_disk_before_the_name_is(tmp_path, monkeypatch):
    """fsync of the content, then the rename, then fsync of the folder: the order that survives a power cut."""
    events, fsync, replace = [], os.fsync, Path.replace

    def note_sync(descriptor):
        events.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "content")
        fsync(descriptor)

    def note_replace(self, target):
        events.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(Path, "replace", note_replace)
    write_atomically(tmp_path / "file", b"x")
    assert events == ["content", "rename", "folder"]


def test_folders_are_made_and_content_is_replaced_whole(tmp_path):
    path = tmp_path / "a" / "b" / "file"
    for content in (b"a long first content", b"short"):
        write_atomically(path, content)
        assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_permissions_are_those_of_any_new_file(tmp_path, umask):
    before = os.umask(umask)
    try:
        write_atomically(tmp_path / "file", b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o666 & ~umask


def test_a_parent_that_is_a_file_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(CheckpointError, match=r"file/model\.json: could not be written"):
        write_json(tmp_path / "file" / "model.json", {})


def test_json_round_trip(tmp_path):
    content = {"a": [1, 2.5, None, True], "b": {"ü": "ß"}}
    write_json(tmp_path / "x.json", content)
    assert read_json(tmp_path / "x.json") == content


@pytest.mark.parametrize("content", [b"", b"{", b"{'a': 1}", b"\xff\xfe", b"\x00" * 9])
def test_broken_json_is_named(tmp_path, content):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"x\.json: not a readable JSON file"):
        read_json(tmp_path / "x.json")


@pytest.mark.parametrize("read", [read_json, read_tensors])
def test_missing_files_and_folders_are_named(tmp_path, read):
    with pytest.raises(CheckpointError, match="absent: no such file"):
        read(tmp_path / "absent")
    with pytest.raises(CheckpointError, match="not a readable"):
        read(tmp_path)


def test_tensors_round_trip_with_every_bit_and_shape(tmp_path):
    shared = torch.randn(4, 3)
    state = {
        "double": torch.randn(3, dtype=torch.float64),
        "scalar": torch.tensor(2.5),
        "empty": torch.empty(0, 2),
        "integers": torch.arange(5),
        "transposed": shared.mT,
        "row": shared[1],
        "parameter": torch.nn.Parameter(torch.tensor([float("nan"), float("-inf"), -0.0])),
    }
    write_tensors(tmp_path / "x.safetensors", state)
    found = read_tensors(tmp_path / "x.safetensors")
    assert found.keys() == state.keys()
    for name, value in state.items():
        assert found[name].dtype == value.dtype
        assert torch.equal(found[name].nan_to_num(nan=7), value.detach().nan_to_num(nan=7))
        assert not found[name].requires_grad


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-1], lambda b: b[:5], lambda b: b"\xff" * 8 + b[8:], lambda _: b""]
)
def test_damaged_tensor_files_are_named(tmp_path, damage):
    path = tmp_path / "x.safetensors"
    write_tensors(path, {"a": torch.ones(4)})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CheckpointError, match=r"x\.safetensors: not a readable safetensors file"):
        read_tensors(path)


def test_a_pickle_is_not_read(tmp_path):
    torch.save({"a": torch.ones(4)}, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match="not a readable safetensors file"):
        read_tensors(tmp_path / "x.safetensors")


def test_errors_are_of_the_one_root_and_of_the_standard_kind():
    assert issubclass(CheckpointError, PplVaeError)
    assert issubclass(CheckpointError, OSError)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (3, "not '?int"),
        (b"run", "not .*bytes"),
        ("~nobody-here/a", "home"),
        ("a\0b", "null"),
        (" ", "is empty"),
    ],
)
def test_what_is_no_path_is_refused_by_name(path, words):
    with pytest.raises(CheckpointError, match=words) as caught:
        as_path("out_dir", path)
    assert str(caught.value).startswith("out_dir")


def test_a_folder_in_the_place_of_one_of_two_files_leaves_the_other(tmp_path):
    (tmp_path / "second").mkdir()
    (tmp_path / "first").write_bytes(b"the old one")
    with pytest.raises(CheckpointError, match=r"Is a directory.*untouched"):
        write_together({tmp_path / "first": b"new", tmp_path / "second": b"new"})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "second"]
    assert (tmp_path / "first").read_bytes() == b"the old one"
