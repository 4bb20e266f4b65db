"""Latency in a search: measured once per network, here or on a board."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from fastnas.data.synthetic.dataset import SEGMENTATION
from fastnas.errors import FastnasError
from fastnas.models.spec import ModelSpec
from fastnas.search import latency as module
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
    monkeypatch.setattr(module, "_here", lambda *_: -1.0)
    assert latency(SPEC, SMALL, tmp_path) == first
    assert latency(SPEC, LimitSettings(resolution=96), tmp_path) == -1.0
    assert latency(dataclasses.replace(SPEC, channels=32), SMALL, tmp_path) == -1.0


@NEEDED
def test_a_board_measures_what_it_is_sent(server: Any, tmp_path: Path) -> None:
    """The board has ONNX Runtime alone, which takes fp32; a second network takes the place of the first there."""
    board = dataclasses.replace(SMALL, latency_host=f"127.0.0.1:{server.port}", latency_precision="fp32")
    found = latency(SPEC, board, tmp_path)
    assert found > 0
    latency(dataclasses.replace(SPEC, channels=8), board, tmp_path)
    there = server.home / ".cache" / "fastnas" / "remote" / "artifacts"
    assert [folder.name[:10] for folder in there.iterdir()] == ["candidate-"]
    server.stop()
    assert latency(SPEC, board, tmp_path) == found


def test_a_host_may_have_a_port() -> None:
    assert split_host("me@board") == ("me@board", 22)
    assert split_host("me@board:2222") == ("me@board", 2222)
    for wrong in ("board:", "board:ssh", "board:0", "board:65536"):
        with pytest.raises(FastnasError, match="is not USER@HOST or USER@HOST:PORT"):
            split_host(wrong)
