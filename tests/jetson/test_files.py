"""Atomic replacement of files, checksums, and the one cache folder."""

import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fastnas.jetson.errors import FastnasError
from fastnas.jetson.files import (
    PACKAGE,
    atomic_folder,
    atomic_path,
    cache_root,
    expand_user,
    recover,
    sha256_of,
    temporary_folder,
    write_text,
)


def test_a_file_is_replaced_when_the_block_ends_and_its_folder_is_created(tmp_path):
    path = tmp_path / "a" / "b.txt"
    with atomic_path(str(path)) as temporary:
        temporary.write_text("new")
        assert temporary.parent == path.parent
        assert not path.exists()
    assert path.read_text() == "new"
    assert os.listdir(str(path.parent)) == ["b.txt"]


def test_after_an_error_the_file_is_what_it_was(tmp_path):
    path = tmp_path / "b.txt"
    write_text(path, "old")

    def fail():
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert path.read_text() == "old"
    assert os.listdir(str(tmp_path)) == ["b.txt"]


def test_a_reader_of_the_old_file_is_not_disturbed(tmp_path):
    write_text(tmp_path / "b.txt", "old")
    with open(str(tmp_path / "b.txt")) as reader:
        write_text(tmp_path / "b.txt", "new")
        assert reader.read() == "old"


def test_a_file_has_the_mode_that_the_umask_gives(tmp_path):
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "b.txt", "é")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "b.txt").stat().st_mode) == 0o640
    assert (tmp_path / "b.txt").read_bytes() == "é".encode("utf-8")


def test_writers_of_one_file_do_not_meet(tmp_path):
    path, texts = tmp_path / "b.txt", [str(number) * 1000 for number in range(8)]
    threads = [threading.Thread(target=write_text, args=(path, text)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_text() in texts
    assert os.listdir(str(tmp_path)) == ["b.txt"]


def test_what_cannot_be_written_or_read_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FastnasError, match="cannot write .*file/x: (Not a directory|File exists)"):
        write_text(tmp_path / "file" / "x", "")
    with pytest.raises(FastnasError, match="cannot read .*absent: No such file"):
        sha256_of(str(tmp_path / "absent"))


def test_the_cache_is_where_the_environment_has_it_else_in_the_home(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTNAS_CACHE", str(tmp_path))
    assert cache_root() == tmp_path
    monkeypatch.delenv("FASTNAS_CACHE")
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert cache_root() == Path("/home/somebody/.cache/fastnas")


def test_without_a_home_there_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as it does for such a user
    monkeypatch.delenv("FASTNAS_CACHE", raising=False)
    with pytest.raises(FastnasError, match="user id .* has no home folder .* FASTNAS_CACHE"):
        cache_root()
    with pytest.raises(FastnasError, match="somebody has no home folder to find ~somebody/x in"):
        expand_user("~somebody/x")
    assert expand_user(tmp_path) == tmp_path


def hidden(folder):
    return [name for name in os.listdir(str(folder)) if name.startswith(".")]


@pytest.mark.parametrize("exchanges", [True, False])
def test_a_folder_is_replaced_at_once(tmp_path, monkeypatch, exchanges):
    if not exchanges:
        monkeypatch.setattr("fastnas.jetson.files._exchange", lambda one, other: False)
    for text in ("first", "second", "third"):
        with atomic_folder(tmp_path / "a" / "b") as folder:
            (folder / "file").write_text(text)
        assert (tmp_path / "a" / "b" / "file").read_text() == text
        assert os.listdir(str(tmp_path / "a")) == ["b"]


def test_a_folder_that_a_link_names_is_replaced_where_it_is(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with atomic_folder(tmp_path / "link") as folder:
        (folder / "file").write_text("x")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "file").exists()


REPLACE = """
import os, signal, sys
from fastnas.jetson import files
target, moment, number = sys.argv[1], sys.argv[2], int(sys.argv[3])
rename, exchange = os.rename, files._exchange
def end(name):
    if name == moment:
        os.kill(os.getpid(), number)
def noisy_rename(one, other):
    if os.path.basename(one) == "new" and not os.path.exists(target):
        end("between two renames")
    rename(one, other)
def noisy_exchange(one, other):
    end("before")
    done = exchange(one, other) if "two" not in moment else False
    end("after")
    return done
os.rename, files._exchange = noisy_rename, noisy_exchange
with files.atomic_folder(target) as folder:
    (folder / "file").write_text("new")
    end("written")
"""
"""Ends itself by a signal at a moment."""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["written", "before", "between two renames", "after"])
def test_whenever_a_replacement_ends_one_of_both_folders_is_there_and_nothing_else(tmp_path, moment, number):
    with atomic_folder(tmp_path / "b") as folder:
        (folder / "file").write_text("old")
    environment = dict(os.environ, PYTHONPATH=os.path.dirname(os.path.dirname(PACKAGE)))
    command = [sys.executable, "-c", REPLACE, str(tmp_path / "b"), moment, str(int(number))]
    done = subprocess.run(command, env=environment, stderr=subprocess.DEVNULL, timeout=60)
    assert done.returncode in ((-number, 1) if number == signal.SIGINT else (-number,))
    lost = moment == "between two renames" and number != signal.SIGINT
    assert (tmp_path / "b").exists() != lost
    recover(tmp_path, "b")
    assert (tmp_path / "b" / "file").read_text() == ("new" if moment == "after" else "old")
    assert not hidden(tmp_path)


def test_what_a_killed_process_left_is_removed_and_what_a_live_one_writes_is_not(tmp_path):
    code = "import os\nfrom fastnas.jetson.files import atomic_path\n"
    code += "with atomic_path('{}') as path: os.kill(os.getpid(), 9)".format(tmp_path / "x.txt")
    environment = dict(os.environ, PYTHONPATH=os.path.dirname(os.path.dirname(PACKAGE)))
    for _ in range(2):
        subprocess.run([sys.executable, "-c", code], env=environment, timeout=60)
        assert len(hidden(tmp_path)) == 1
    with atomic_path(tmp_path / "x.txt") as live, temporary_folder("fastnas-test") as folder:
        (folder / "file").write_text("x")
        assert hidden(tmp_path) == [live.name]
        live.write_text("live")
        write_text(tmp_path / "x.txt", "other")
        recover(tmp_path)
        recover(folder.parent, "fastnas-test")
        assert hidden(tmp_path) == [live.name]
        assert (folder / "file").exists()
    assert (tmp_path / "x.txt").read_text() == "live"
    assert not hidden(tmp_path)
    assert not folder.exists()


def test_files_that_only_look_like_temporary_ones_stay(tmp_path):
    for name in (".notes.part", ".a.b.12345678.part", ".a.txt.1234567.part", "a.12345678.part"):
        (tmp_path / name).write_text("mine")
    write_text(tmp_path / "a.txt", "x")
    assert len(os.listdir(str(tmp_path))) == 5
    recover(tmp_path, "a.txt")
    assert len(os.listdir(str(tmp_path))) == 5
