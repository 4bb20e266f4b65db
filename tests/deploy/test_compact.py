"""Compact files: half the bytes, the same graph once loaded, and a plain file again for TensorRT."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from fastnas.deploy import export, parity
from fastnas.deploy.artifacts import cached
from fastnas.deploy.export import Options
from fastnas.deploy.graph.capture import capture
from fastnas.deploy.graph.rewrites import optimise
from fastnas.deploy.onnx import compat
from fastnas.deploy.onnx.writer import to_onnx
from fastnas.deploy.parity import Reference, sample_image
from fastnas.deploy.precision.compact import SMALLEST, Compact, compact
from fastnas.errors import FastnasError
from fastnas.jetson import shelf as device_shelf
from fastnas.jetson import sidecar
from fastnas.jetson.engine.sizes import fix_sizes
from fastnas.jetson.engine.weights import expand, plain_graph
from fastnas.jetson.files import sha256_of
from fastnas.models.network import Network
from fastnas.models.spec import ModelSpec
from fastnas.models.zoo import ZOO
from fastnas.tasks import Multi
from tests.helpers.deploy_toys import TOY, toy_network, unsettled
from tests.helpers.small_shelf import ROOMS, STREET, use_shelf, write_model

SIZE = (64, 96)


@pytest.fixture(scope="module")
def network() -> Network:
    return toy_network(ZOO["arch2"])


@pytest.fixture(scope="module")
def model(network: Network) -> onnx.ModelProto:
    return to_onnx(optimise(capture(network))[0])


def weights(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def test_large_weights_are_stored_as_fp16_and_the_graph_is_as_it_was(model: onnx.ModelProto) -> None:
    small = compact(model)
    casts = [node for node in small.graph.node if node.op_type == "Cast"]
    large = {name for name, value in weights(model).items() if value.dtype == np.float32 and value.size >= SMALLEST}
    assert len(large) > 20
    assert {node.output[0] for node in casts} == large
    assert list(small.graph.node)[len(casts) :] == list(model.graph.node)
    stored = weights(small)
    assert {stored[node.input[0]].dtype for node in casts} == {np.dtype(np.float16)}
    assert compat.lint(small) == []
    onnx.checker.check_model(small, full_check=True)


def test_weights_beyond_fp16_stay(model: onnx.ModelProto) -> None:
    huge = onnx.ModelProto()
    huge.CopyFrom(model)
    name, value = next((n, v) for n, v in weights(model).items() if v.size >= SMALLEST and v.dtype == np.float32)
    tensor = next(tensor for tensor in huge.graph.initializer if tensor.name == name)
    tensor.CopyFrom(numpy_helper.from_array(np.full_like(value, 7e4), name))
    np.testing.assert_array_equal(weights(compact(huge))[name], np.full_like(value, 7e4))


def test_onnx_runtime_computes_the_casts_when_it_loads(model: onnx.ModelProto, tmp_path: Path) -> None:
    import onnxruntime

    loaded = []
    for number, each in enumerate((model, compact(model))):
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(tmp_path / f"{number}.onnx")
        options.log_severity_level = 3
        onnxruntime.InferenceSession(each.SerializeToString(), options, providers=["CPUExecutionProvider"])
        loaded.append(Counter(node.op_type for node in onnx.load(tmp_path / f"{number}.onnx").graph.node))
    assert loaded[0] == loaded[1]
    assert "Cast" not in loaded[1]


def test_a_device_makes_the_plain_file_of_it(
    model: onnx.ModelProto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What TensorRT gets: the operators of the plain file, and its weights rounded to fp16."""
    monkeypatch.setenv("FASTNAS_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "model.onnx"
    onnx.save(compact(model), path)
    plain = plain_graph(str(path), sha256_of(str(path)), (64, 96))
    assert Path(plain).parent == tmp_path / "cache" / "graphs"
    found = onnx.load(plain)
    onnx.checker.check_model(found, full_check=True)
    model = onnx.load_from_string(fix_sizes(model.SerializeToString(), (64, 96)))
    assert found.graph.node == model.graph.node
    assert (found.graph.input, found.graph.output) == (model.graph.input, model.graph.output)
    assert found.opset_import == model.opset_import
    wanted, ours = weights(model), weights(found)
    assert wanted.keys() == ours.keys()
    for name, value in wanted.items():
        half = value.astype(np.float16).astype(np.float32) if value.dtype == np.float32 else value
        np.testing.assert_array_equal(ours[name], half if value.size >= SMALLEST else value)
        assert ours[name].dtype == value.dtype


def test_a_plain_file_stays_where_it_is(
    model: onnx.ModelProto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FASTNAS_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "model.onnx"
    onnx.save(onnx.load_from_string(fix_sizes(model.SerializeToString(), (64, 96))), path)
    assert plain_graph(str(path), "0" * 64, (64, 96)) == str(path)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("keep", [1, 100, -1])
def test_a_damaged_file_is_one_line(model: onnx.ModelProto, keep: int) -> None:
    with pytest.raises(FastnasError, match=r"model\.onnx is no ONNX file, or is damaged"):
        expand(compact(model).SerializeToString()[:keep], "model.onnx")


def test_what_loses_too_much_keeps_its_weights(network: Network, model: onnx.ModelProto) -> None:
    """A weight whose values fp16 makes equal: its operator keeps float32."""
    reference = Reference(network, [sample_image(network, SIZE)])
    strict = Compact(model, reference, ("onnxruntime",))
    exact = strict.build(lambda line: None)
    assert exact.kept == ()
    assert 1e-5 < exact.parity["output"].largest < 5e-3
    strict.tolerance = exact.parity["output"].largest / 2
    kept = strict.build(lambda line: None)
    assert kept.kept
    assert kept.parity["output"].largest <= strict.tolerance
    names = {tensor.name for tensor in kept.model.graph.initializer if tensor.data_type == TensorProto.FLOAT}
    assert {name for node in model.graph.node if node.name in kept.kept for name in node.input} & names


def test_an_exported_compact_artifact_has_half_the_bytes_and_runs(tmp_path: Path) -> None:
    from fastnas.jetson.engine.opening import open_engine
    from fastnas.jetson.options import EngineOptions

    spec = ModelSpec("arch1", STREET, channels=8, sep_repeats=1)
    network = unsettled(spec)
    sizes, outputs = [], []
    for small in (False, True):
        made = export.export(network, spec, f"net{small}", tmp_path, Options(SIZE, compact=small))
        assert [file.path for file in made.sidecar.files] == ["model.onnx"]
        sizes.append(made.sidecar.files[0].bytes)
        artifact = sidecar.load(str(made.folder))
        with open_engine(artifact, SIZE, options=EngineOptions("onnxruntime", threads=1)) as engine:
            engine.input[...] = sample_image(network, SIZE).numpy()
            outputs.append(engine.run()["segmentation"].copy())
    assert sizes[1] < 0.53 * sizes[0]
    assert 0 < abs(outputs[1] - outputs[0]).max() < 5e-3 * abs(outputs[0]).max()
    assert parity.TOLERANCE < made.sidecar.parity["model.onnx"]["outputs"]["segmentation"]["largest"] < 5e-3


def test_a_network_of_several_tasks_is_compact_too(tmp_path: Path) -> None:
    spec = ModelSpec("arch1", Multi((STREET, ROOMS)), TOY, channels=8, sep_repeats=1)
    made = export.export(unsettled(spec), spec, "both", tmp_path, Options(SIZE, compact=True))
    stored = onnx.load(made.folder / "model.onnx")
    assert {tensor.data_type for tensor in stored.graph.initializer} >= {TensorProto.FLOAT16}
    assert [output.kind for output in made.sidecar.outputs] == ["segmentation", "depth"]
    assert len(onnx.load_from_string(expand(stored.SerializeToString())).graph.output) == 2


def test_a_name_is_exported_once_for_its_weights(
    made_shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = use_shelf(made_shelf, tmp_path, monkeypatch)
    lines: list[str] = []
    first = device_shelf.open_artifact("rooms", lines.append)
    assert lines[0].startswith("exporting rooms once, into ")
    assert (first.sidecar.name, first.sidecar.kinds, first.sidecar.trained) == ("rooms", ("depth",), True)
    assert Path(first.folder).is_relative_to(tmp_path / "cache")
    lines.clear()
    assert device_shelf.open_artifact("rooms", lines.append) == first
    assert device_shelf.open_artifact(str(place / "rooms.safetensors"), lines.append) == first
    assert lines == []
    other = cached(str(write_model(tmp_path / "other.safetensors")), lines.append)
    assert other is not None
    assert other.folder != first.folder
    assert cached("absent", lines.append) is None
    with pytest.raises(FastnasError, match=r"cannot read .*absent\.safetensors"):
        cached("absent.safetensors", lines.append)


def test_a_name_with_an_artifact_needs_no_export(
    made_shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_shelf(made_shelf, tmp_path, monkeypatch)
    artifact = device_shelf.open_artifact("street", pytest.fail)
    assert artifact.folder == str(tmp_path / "artifacts" / "street")
    assert device_shelf.available() == ["street", "rooms"]
    with pytest.raises(FastnasError, match=r"^pose does not come with this fastnas \(there are: street, rooms\)$"):
        device_shelf.open_artifact("pose")
