"""The engine cache with hostile names and damaged records; `test_engines` has it with TensorRT."""

import json
import os

import pytest

from fastnas.jetson.engine import cache as caching
from fastnas.jetson.engine.build import BuildOrder
from fastnas.jetson.engine.cache import EngineCache, record_from
from fastnas.jetson.errors import JetsonError

ORDER = BuildOrder(onnx="x.onnx", engine="", input="image", shape=(1, 3, 32, 32), flags=(), typed=False)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache whose builds are at once finished."""

    def build(order, log):
        with open(order.engine, "wb") as file:
            file.write(b"an engine")

    monkeypatch.setattr(caching, "_run_build", build)
    return EngineCache(str(tmp_path / "cache" / "engines"))


@pytest.mark.parametrize(
    "name",
    [
        "../../outside/x",
        "/etc/x",
        "..",
        ".",
        "a/b",
        "a\\b",
        "a\0b",
        "a\nb",
        "\ud800",
        "x" * 10000,
        "\u00e4" * 100,
        "*[a]?",
    ],
)
def test_no_name_leads_out_of_the_cache(cache, tmp_path, name):
    lines = []
    path = cache.get(name, {"graph": "abc"}, ORDER, lines.append)
    assert os.path.dirname(path) == cache.folder
    assert {os.path.splitext(each)[1] for each in os.listdir(cache.folder)} == {".engine", ".json"}
    assert os.listdir(str(tmp_path)) == ["cache"]
    assert cache.get(name, {"graph": "abc"}, ORDER, lines.append) == path
    assert len(lines) == 2  # it was built once
    cache.get(name, {"graph": "other"}, ORDER, lines.append)
    assert "graph was abc, is other" in lines[2]


@pytest.mark.parametrize(
    "record",
    [
        b"", b"[]", b"{", b"\xff", b"[" * 10000, b"NaN", b"{}", b'{"identity": 1, "sha256": "x"}',
        b'{"identity": {}, "sha256": 5}', b'{"identity": {}, "sha256": ["x"]}', b'{"identity": {}}',
        b'{"identity": {}, "sha256": "x", "difference": "x"}', b'{"identity": {}, "sha256": "\\ud800"}',
        b'{"identity": {"graph": 1' + b"0" * 5000 + b'}, "sha256": "x"}', b" " * (2 << 20),
    ],
)  # fmt: skip
def test_a_damaged_record_is_none(cache, record):
    lines = []
    path = cache.get("toy", {"graph": "abc"}, ORDER, lines.append)
    with open(path.replace(".engine", ".json"), "wb") as file:
        file.write(record)
    assert not cache.compared(path)
    cache.note(path, 0.1)
    assert cache.get("toy", {"graph": "abc"}, ORDER, lines.append) == path
    assert len([line for line in lines if line.startswith("building")]) == 2
    cache.note(path, 0.1)
    assert cache.compared(path)


def test_what_is_different_is_one_line(cache):
    lines = []
    cache.get("toy", {"graph": "a\nb\x1b"}, ORDER, lines.append)
    cache.get("toy", {"graph": "c"}, ORDER, lines.append)
    assert "graph was a b\\x1b, is c" in lines[2]


def test_a_record_says_what_it_must_be():
    with pytest.raises(JetsonError, match="x.json.identity must be an object, not 1"):
        record_from(json.loads('{"identity": 1}'), "x.json")
