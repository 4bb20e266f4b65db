"""Atomic replacement of files, checksums, and the one cache folder."""

import os
import stat
import threading
from pathlib import Path

import pytest

from fastnas.jetson.errors import FastnasError
from fastnas.jetson.files import atomic_path, cache_root, sha256_of, write_text


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
