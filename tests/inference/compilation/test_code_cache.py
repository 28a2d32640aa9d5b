"""Compiled steps on disk: whole entries alone are used, and nothing that others could have written."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import warnings

import pytest

from ppl_vae.cli import main
from ppl_vae.inference.compilation import code_cache

CODE = b"machine code" * 100


@pytest.fixture
def place(tmp_path, monkeypatch):
    folder = tmp_path / "steps"
    monkeypatch.setenv("PPL_VAE_STEPS", str(folder))
    monkeypatch.setattr(code_cache, "_said", set())
    return folder


def test_what_is_stored_is_found_whole(place):
    assert code_cache.stored("a") is None
    code_cache.store("a", CODE)
    assert code_cache.stored("a").read_bytes().startswith(CODE)
    assert code_cache.stored("b") is None
    assert place.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: content[: len(content) // 2],
        lambda content: b"",
        lambda content: b"x" + content[1:],
        lambda content: content + b"x",
        lambda content: content[:-70] + b"0" * 70,
    ],
)
def test_a_damaged_entry_is_dropped(place, damage):
    code_cache.store("a", CODE)
    path = place / "a.so"
    path.write_bytes(damage(path.read_bytes()))
    assert code_cache.stored("a") is None
    assert not path.exists()


def test_an_entry_under_anothers_name_is_foreign(place):
    code_cache.store("a", CODE)
    (place / "a.so").rename(place / "b.so")
    assert code_cache.stored("b") is None


@pytest.mark.parametrize("which", ["folder", "above"])
@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o702])
def test_nothing_is_used_where_others_can_write(place, which, mode):
    code_cache.store("a", CODE)
    target = {"folder": place, "above": place.parent}[which]
    target.chmod(mode)
    if which == "above" and mode == 0o1777:
        # As /tmp is: nobody renames there what is another's.
        assert code_cache.stored("a") is not None
        return
    with pytest.warns(UserWarning, match=f"neither kept nor used: others can write to {target}$"):
        assert code_cache.stored("a") is None
    # Said once in a process.
    assert code_cache.stored("a") is None
    code_cache.store("b", CODE)
    assert not (place / "b.so").exists()
    target.chmod(0o700)
    assert code_cache.stored("a") is not None


@pytest.mark.parametrize("mode", [0o666, 0o602])
def test_a_file_that_others_can_write_is_dropped(place, mode):
    code_cache.store("a", CODE)
    (place / "a.so").chmod(mode)
    assert code_cache.stored("a") is None
    assert code_cache.entries() == []


def test_a_folder_of_another_user_is_not_used(place, monkeypatch):
    code_cache.store("a", CODE)
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    owner = place.stat().st_uid
    if owner == 0:
        # What belongs to root is as safe as the system; the file itself must be the user's own.
        assert code_cache.stored("a") is None
    else:
        with pytest.warns(UserWarning, match="belongs to another user"):
            assert code_cache.stored("a") is None


@pytest.mark.parametrize("reason", ["Read-only file system", "No space left on device"])
def test_a_folder_that_cannot_be_written_costs_one_warning(place, monkeypatch, reason):
    def fail(*_):
        raise OSError(30, reason)

    monkeypatch.setattr(code_cache, "write_atomically", fail)
    with pytest.warns(UserWarning, match=f"compiled steps are not kept for other processes: .*{reason}"):
        code_cache.store("a", CODE)
    code_cache.store("b", CODE)
    code_cache.note("c")
    assert code_cache.entries() == []


def test_a_place_that_is_a_file_costs_one_warning(place):
    place.write_text("not a folder")
    with pytest.warns(UserWarning, match="compiled steps are not kept"):
        code_cache.store("a", CODE)
    assert code_cache.stored("a") is None
    assert not code_cache.is_noted("a")


def test_the_least_recently_used_go_first(place, monkeypatch):
    monkeypatch.setattr(code_cache, "MOST_BYTES", 4000)
    for index, key in enumerate("abc"):
        code_cache.store(key, CODE)
        os.utime(place / f"{key}.so", (index, index))
    assert code_cache.stored("a") is not None
    code_cache.store("d", CODE)
    assert sorted(path.stem for path, _ in code_cache.entries()) == ["a", "c", "d"]
    assert code_cache.stored("b") is None


def test_threads_that_write_at_once_leave_one_whole_entry(place):
    threads = [threading.Thread(target=code_cache.store, args=("a", CODE)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert code_cache.stored("a") is not None
    assert len(code_cache.entries()) == 1


@pytest.mark.slow
def test_a_process_killed_while_it_writes_leaves_a_whole_entry_or_none(place):
    writing = textwrap.dedent("""
        from ppl_vae.inference.compilation import code_cache
        print("ready", flush=True)
        while True:
            for key in "abcd":
                code_cache.store(key, b"machine code" * 100_000)
    """)
    for wait in (0.0, 0.01, 0.03, 0.06):
        process = subprocess.Popen([sys.executable, "-c", writing], stdout=subprocess.PIPE)
        process.stdout.readline()
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        held = {path.stem for path, _ in code_cache.entries()}
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert {key for key in "abcd" if code_cache.stored(key) is not None} == held
    code_cache.store("e", CODE)
    code_cache.clear()
    assert [path.name for path in place.iterdir() if path.name != "room.lock"] == []


def test_notes_count_while_there_is_code(place):
    code_cache.note("like this")
    assert not code_cache.is_noted("like this")
    code_cache.store("a", CODE)
    code_cache.note("like this")
    assert code_cache.is_noted("like this")
    assert not code_cache.is_noted("like that")
    code_cache.drop("a")
    assert not code_cache.is_noted("like this")


def test_the_command_shows_and_clears(place, capsys):
    code_cache.store("a", CODE * 1000)
    shown = f"{place}: 1 compiled steps, 1.1 of at most 256 MB"
    for arguments, words in (([], shown), (["--clear"], "1 compiled steps removed")):
        with pytest.raises(SystemExit, match="0"):
            main(["cache", *arguments])
        assert words in capsys.readouterr().out
    assert code_cache.entries() == []
