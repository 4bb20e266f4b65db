"""Latency in a search: measured once per network, on this machine or on a board; and what its errors end."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from fastnas.data.synthetic.dataset import SEGMENTATION
from fastnas.errors import FastnasError, MissingPackage
from fastnas.jetson.errors import ConnectionLost, JetsonError
from fastnas.models.spec import ModelSpec
from fastnas.search import latency as module
from fastnas.search.evaluation.evaluator import CandidateFailed
from fastnas.search.latency import latency, split_host
from fastnas.search.settings import LimitSettings
from tests.helpers.ssh_server import NEEDED, server

__all__ = ["server"]  # the fixture

pytest.importorskip("onnxruntime")

SPEC = ModelSpec("arch2", SEGMENTATION)
SMALL = LimitSettings(resolution=64)


def test_it_is_measured_once_per_network_and_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = latency(SPEC, SMALL, tmp_path)
    assert first > 0
    monkeypatch.setattr(module, "_on_this_machine", lambda *_: -1.0)
    assert latency(SPEC, SMALL, tmp_path) == first
    assert latency(SPEC, LimitSettings(resolution=96), tmp_path) == -1.0
    assert latency(dataclasses.replace(SPEC, channels=32), SMALL, tmp_path) == -1.0


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "cannot read .*json: Expecting value"),
        ('{"milliseconds": 1', "cannot read .*json: Expecting ',' delimiter"),
        ("{}", "milliseconds is missing"),
        ("5", "must be an object, not 5"),
        ('{"milliseconds": NaN}', "it holds NaN, which is no JSON"),
        ('{"milliseconds": "5"}', "milliseconds must be a number, not '5'"),
        ('{"milliseconds": -1}', "milliseconds must be a number from 1e-06"),
        ('{"milliseconds": null}', "milliseconds must be a number, not None"),
        ("[" * 100000, "nested more than 32 levels deep"),
    ],
)
def test_a_damaged_measurement_is_named(text: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_on_this_machine", lambda *_: 1.0)
    latency(SPEC, SMALL, tmp_path)
    (path,) = (tmp_path / "latency").iterdir()
    path.write_text(text)
    with pytest.raises(FastnasError, match=f"a stored latency is damaged: .*{line}.*; remove that file"):
        latency(SPEC, SMALL, tmp_path)


@NEEDED
@pytest.mark.slow
def test_a_board_measures_what_it_is_sent(server: Any, tmp_path: Path) -> None:
    """The board has only ONNX Runtime, which takes fp32; a second network replaces the first one there."""
    board = dataclasses.replace(SMALL, latency_host=f"127.0.0.1:{server.port}", latency_precision="fp32")
    found = latency(SPEC, board, tmp_path)
    assert found > 0
    latency(dataclasses.replace(SPEC, channels=8), board, tmp_path)
    there = server.home / ".cache" / "fastnas" / "remote" / "artifacts"
    assert [folder.name[:10] for folder in there.iterdir()] == ["candidate-"]
    server.stop()
    assert latency(SPEC, board, tmp_path) == found
    with pytest.raises(FastnasError, match="the board that measures latency is lost: no connection") as caught:
        latency(dataclasses.replace(SPEC, channels=16), board, tmp_path)
    assert type(caught.value) is FastnasError


@pytest.mark.parametrize(
    ("error", "raised", "line"),
    [
        (RuntimeError("out of memory\nat line 3"), CandidateFailed, "latency: out of memory"),
        (FastnasError("the file differs from the network"), CandidateFailed, "latency: the file differs"),
        (JetsonError("board: the engine cannot be built"), CandidateFailed, "latency: board: the engine"),
        (
            ConnectionLost("no connection to board"),
            FastnasError,
            "lost: no connection to board; continue with --resume",
        ),
        (MissingPackage("onnx", "cpu"), MissingPackage, "onnx is not installed"),
    ],
)
def test_errors_of_a_candidate_are_told_from_those_of_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, raised: type[Exception], line: str
) -> None:
    def measure(*_: object) -> float:
        raise error

    monkeypatch.setattr(module, "_on_board", measure)
    board = dataclasses.replace(SMALL, latency_host="me@board")
    with pytest.raises(raised, match=line) as caught:
        latency(SPEC, board, tmp_path)
    assert type(caught.value) is raised
    assert "\n" not in str(caught.value)
    monkeypatch.setattr(module, "_on_board", lambda *_: 7.0)
    assert latency(SPEC, board, tmp_path) == 7.0, "a failure is not kept"


def test_a_malformed_address_ends_the_search(tmp_path: Path) -> None:
    with pytest.raises(FastnasError, match="is not USER@HOST") as caught:
        latency(SPEC, dataclasses.replace(SMALL, latency_host="board:ssh"), tmp_path)
    assert type(caught.value) is FastnasError


def test_a_host_may_have_a_port() -> None:
    assert split_host("me@board") == ("me@board", 22)
    assert split_host("me@board:2222") == ("me@board", 2222)
    for wrong in ("board:", "board:ssh", "board:0", "board:65536"):
        with pytest.raises(FastnasError, match="is not USER@HOST or USER@HOST:PORT"):
            split_host(wrong)
    for wrong in ("", ":22", "-oProxyCommand=x", "a b", "a;b"):
        with pytest.raises(FastnasError, match="is no host; give USER@NAME"):
            split_host(wrong)


def test_an_empty_host_is_refused_instead_of_measured_here(tmp_path: Path) -> None:
    with pytest.raises(FastnasError, match="'' is no host"):
        latency(SPEC, dataclasses.replace(SMALL, latency_host=""), tmp_path)
