"""Parsers read what they wrote, whatever else they are given is one error of ours, and nothing else ever happens.

Each reader is fed arbitrary values, and valid files with bytes changed, cut out or put in.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastnas import shelf
from fastnas.config import override
from fastnas.deploy.precision.compact import compact
from fastnas.errors import FastnasError
from fastnas.jetson import sidecar
from fastnas.jetson.camera import sources
from fastnas.jetson.engine.weights import expand
from fastnas.jetson.options import RESOLUTION, SWEEP
from fastnas.jetson.predict.records import Records
from fastnas.models.checkpoint import load_model, save_model
from fastnas.models.genotype import Genotype
from fastnas.models.spec import ModelSpec, build
from fastnas.search.best import read_best
from fastnas.search.history import Candidate, Record
from fastnas.search.presets import preset
from fastnas.search.settings import SearchSettings
from fastnas.tasks import Segmentation, task_from_dict
from fastnas.train.recipes import RECIPES
from fastnas.train.settings import Recipe, RunSettings
from tests.helpers.jetson_toys import write_toy
from tests.helpers.strategies import genotypes

OURS = (FastnasError, click.BadParameter)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=5),
    max_leaves=25,
)
ANYTHING = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
FILES = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


def or_ours(read: Callable[[], Any]) -> Any:
    """The result, or None after an error of ours; any other error passes."""
    try:
        return read()
    except OURS:
        return None


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """A file with up to four places changed."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        length = draw(st.integers(0, 9))
        data[at : at + length] = draw(st.binary(max_size=9))
    return bytes(data)


@ANYTHING
@given(st.text(max_size=60) | JSON)
def test_genotypes_from_anything(value: Any) -> None:
    or_ours(lambda: Genotype.parse(value))


@ANYTHING
@given(genotypes, st.data())
def test_genotypes_from_nearly_right_text(genotype: Genotype, data: st.DataObject) -> None:
    text = data.draw(damaged(str(genotype).encode())).decode("utf-8", "replace")
    found = or_ours(lambda: Genotype.parse(text))
    assert found is None or Genotype.parse(str(found)) == found


@ANYTHING
@given(JSON)
def test_settings_tasks_and_specs_from_anything(value: Any) -> None:
    for group in (SearchSettings, Recipe, RunSettings):
        or_ours(lambda group=group: group.from_dict(value))  # type: ignore[misc]
    or_ours(lambda: task_from_dict(value))
    or_ours(lambda: ModelSpec.from_dict(value if isinstance(value, dict) else {"task": value}))


@ANYTHING
@given(data=st.data())
def test_settings_from_a_damaged_file(data: st.DataObject) -> None:
    whole = SearchSettings().to_json()
    assert SearchSettings.from_json(whole) == SearchSettings()
    text = data.draw(damaged(whole.encode())).decode("utf-8", "replace")
    or_ours(lambda: SearchSettings.from_json(text))


FIELDS = st.sampled_from(
    ["batch", "crop", "decoder.lr", "phases.0.epochs", "evaluation.channels", "seed", "evaluation", "phases", "a.b.c"]
)


@ANYTHING
@given(FIELDS | st.text(max_size=20), st.text(max_size=12) | JSON.map(json.dumps))
def test_assignments_of_anything(name: str, value: str) -> None:
    or_ours(lambda: override(RECIPES["voc"], (f"{name}={value}",)))
    or_ours(lambda: override(preset("small"), [f"{name}={value}"]))


@ANYTHING
@given(st.text(max_size=40))
def test_addresses_sizes_and_modes_from_anything(text: str) -> None:
    for read in (sources.parse_address, sources.parse_mode, RESOLUTION, SWEEP):
        or_ours(lambda read=read: read(text))  # type: ignore[misc]


@FILES
@given(data=st.data())
def test_a_damaged_model_file(
    data: st.DataObject, whole_model: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    # Most of the file is weights, in which every change is another valid number: damage the header.
    header = whole_model[:4000]
    path.write_bytes(data.draw(damaged(header)) + whole_model[4000:])
    or_ours(lambda: load_model(path))


@FILES
@given(data=st.data())
def test_a_damaged_sidecar(data: st.DataObject, artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("artifact")
    (folder / "model.json").write_bytes(data.draw(damaged((artifact / "model.json").read_bytes())))
    or_ours(lambda: sidecar.load(str(folder)))


@FILES
@given(JSON)
def test_a_sidecar_of_anything(value: Any) -> None:
    or_ours(lambda: sidecar.from_dict(value))


@FILES
@given(data=st.data())
def test_a_damaged_history(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("run")
    genotype = Genotype.parse("[[[3, 3], [3, 2], [3, 0]], [8, [0, 0, 5, 2], [0, 2, 8, 8], [0, 5, 1, 4]]]")
    record = Record(Candidate(0, genotype, -20.0, 0), "done", 0.5, 0.4, 0.5)
    line = (record.to_json() + "\n").encode()
    (folder / "history.jsonl").write_bytes(data.draw(damaged(line + line)))
    or_ours(lambda: read_best(folder))


@FILES
@given(data=st.data())
def test_a_damaged_compact_graph(data: st.DataObject, artifact: Path) -> None:
    whole = compact(onnx.load(artifact / "model.onnx")).SerializeToString()
    assert len(expand(whole)) > len(whole)
    or_ours(lambda: expand(data.draw(damaged(whole))))


@FILES
@given(data=st.data())
def test_damaged_records_of_predictions(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder, header = str(tmp_path_factory.mktemp("out")), {"network": "street"}
    record = {"name": "ride/000000", "video": "ride", "size": [720, 1280], "ms": 22.0, "pose": [[311.5, 60.25, 0.91]]}
    with Records(folder, header, replace=False) as records:
        for each in ({"name": "ride", "started": True}, record, {"name": "ride", "frames": 1, "stamp": [5, 17]}):
            records.add(each)
        path = Path(records.path)
    path.write_bytes(data.draw(damaged(path.read_bytes())))
    found = or_ours(lambda: Records(folder, header, replace=data.draw(st.booleans())))
    if found is not None:
        with found:
            assert all(len(each["size"]) == 2 for each in found.frames())
            found.finished("ride", "ride.mp4", [5, 17])


@FILES
@given(st.dictionaries(st.text(max_size=8), JSON, max_size=3) | JSON)
def test_an_index_of_anything(value: Any) -> None:
    or_ours(lambda: shelf.parse(value, "index.json"))


@pytest.fixture(scope="module")
def whole_model(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "model.safetensors"
    spec = ModelSpec("arch2", Segmentation(("road", "other"), ((128, 64, 128), (0, 0, 0))), channels=4)
    save_model(path, build(spec), spec, recipe={}, metrics={"mean_iou": 0.5})
    return path.read_bytes()


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artifacts")
    write_toy(str(folder), "segmentation")
    return folder / "toy-segmentation"
