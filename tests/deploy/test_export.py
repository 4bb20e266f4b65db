"""An artifact is whole, checked against its network, or not there at all."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from onnx import numpy_helper
from torch import Tensor, nn

from fastnas.cli import main
from fastnas.data import default_task
from fastnas.data.formats.voc import TASK
from fastnas.deploy import export, parity
from fastnas.deploy.export import Options
from fastnas.deploy.graph.capture import capture
from fastnas.deploy.graph.ir import Graph
from fastnas.deploy.graph.rewrites import optimise
from fastnas.deploy.io_forms import Form, Head, give, take_bytes
from fastnas.deploy.onnx.writer import to_onnx
from fastnas.deploy.parity import Reference, sample_image
from fastnas.errors import FastnasError
from fastnas.jetson import sidecar
from fastnas.jetson.bench.layers import place
from fastnas.jetson.engine.opening import open_engine
from fastnas.jetson.errors import JetsonError
from fastnas.jetson.inference.decode import decoder_for
from fastnas.jetson.options import EngineOptions
from fastnas.models.checkpoint import save_model
from fastnas.models.network import Network
from fastnas.models.spec import ModelSpec, build
from fastnas.models.zoo import ZOO
from fastnas.tasks import Depth, Task
from tests.helpers.deploy_toys import LIGHT, TOY, ill_conditioned, image, toy_encoder, toy_network, unsettle, unsettled

SMALL = Options(resolution=(64, 96))
SPEC = ModelSpec("arch2", TASK, channels=8, sep_repeats=1)
SIMPLE = ModelSpec(LIGHT, TASK, TOY, channels=8, sep_repeats=1)
"""For what happens around an export, whatever its network is."""


@pytest.fixture(scope="module")
def network() -> Network:
    return unsettled(SPEC)


@pytest.fixture(scope="module")
def graph(network: Network) -> Graph:
    return capture(network)


@pytest.fixture(scope="module")
def simple() -> Network:
    return unsettled(SIMPLE)


@pytest.fixture(scope="module")
def exported(network: Network, tmp_path_factory: pytest.TempPathFactory) -> export.Exported:
    return export.export(network, SPEC, "arch2", tmp_path_factory.mktemp("artifacts"), SMALL, trained=True)


def test_the_artifact_holds_what_its_sidecar_says(exported: export.Exported) -> None:
    loaded = sidecar.load(str(exported.folder))
    assert loaded.sidecar == sidecar.from_dict(exported.sidecar.to_dict())
    assert sorted(path.name for path in exported.folder.iterdir()) == ["model.json", "model.onnx"]
    assert [path.name for path in exported.folder.parent.iterdir()] == ["arch2"]
    (file,) = loaded.sidecar.files
    assert (file.precision, file.targets) == ("fp32", ("onnxruntime", "tensorrt"))
    assert loaded.sidecar.trained
    assert loaded.sidecar.outputs == (("segmentation", json.loads(json.dumps(TASK.to_dict())), "logits", 8),)
    assert loaded.sidecar.parity["model.onnx"]["outputs"]["segmentation"]["largest"] < 1e-5


@pytest.mark.parametrize("size", [(32, 32), (64, 224), (256, 160)])
def test_one_file_serves_every_multiple_of_32(
    exported: export.Exported, network: Network, size: tuple[int, int]
) -> None:
    """Through the engine that the device uses."""
    x = sample_image(network, size)
    with open_engine(sidecar.load(str(exported.folder)), size, options=EngineOptions("onnxruntime")) as engine:
        engine.input[:] = x.numpy()
        found = engine.run()["segmentation"].copy()
    expected = Reference(network, [x]).output(x)
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()


class PooledDecoder(nn.Module):
    """Halves its deepest feature, of stride 32, twice more."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier = nn.Conv2d(32, TASK.outputs, 1)

    def forward(self, features: list[Tensor]) -> Tensor:
        pooled = nn.functional.max_pool2d(features[-1], 4)
        return self.classifier(nn.functional.interpolate(pooled, scale_factor=4.0))


def test_a_larger_stride_asks_for_larger_multiples(tmp_path: Path) -> None:
    network = unsettle(Network(toy_encoder(), PooledDecoder()))
    with pytest.raises(FastnasError, match=r"96x160 does not fit: .* multiples of 128, for example 128x128"):
        export.export(network, SIMPLE, "pooled", tmp_path, Options(resolution=(96, 160)))
    made = export.export(network, SIMPLE, "pooled", tmp_path, Options(resolution=(128, 256)))
    assert made.sidecar.input.multiple_of == 128


def test_the_runner_refuses_an_edited_file(exported: export.Exported, tmp_path: Path) -> None:
    for path in exported.folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    with (tmp_path / "model.onnx").open("r+b") as file:
        file.seek(1000)
        file.write(b"x")
    with pytest.raises(JetsonError, match="is not the file that was exported"):
        open_engine(sidecar.load(str(tmp_path)), (64, 64), options=EngineOptions("onnxruntime"))


@pytest.mark.parametrize("head", ["plain", "upsampled", "labels"])
def test_bytes_with_the_normalisation_inside(network: Network, graph: Graph, head: Head) -> None:
    """Exact at the border too, where the padding stands for the mean colour and not for black."""
    of_bytes = take_bytes(graph, network.encoder.mean, network.encoder.std)
    of_bytes, _ = optimise(give(of_bytes, [Form(head=head)], "NHWC"))
    assert of_bytes.counts()["Affine"] == 1
    images = [sample_image(network, (96, 64))]
    reference = Reference(network, images, [Form(head=head)], "NHWC")
    assert reference.array(images[0]).dtype == np.uint8
    found = reference.compare(to_onnx(of_bytes))["output"]
    assert found.largest < 1e-5
    assert found.agreement > 0.999
    if head == "labels":  # every pixel's, whichever way the memory is laid out
        usual, _ = optimise(give(graph, [Form(head=head)]))
        other = parity.open_session(to_onnx(usual))
        this = parity.open_session(to_onnx(of_bytes))
        ids = [
            parity.run(session, ["output"], array)[0]
            for session, array in ((other, images[0].numpy()), (this, reference.array(images[0])))
        ]
        assert np.mean(ids[0] != ids[1]) < 1e-3


def test_parity_names_the_layer_where_an_error_starts() -> None:
    network = toy_network(ZOO["arch0"])
    graph, _ = optimise(capture(network))
    model = to_onnx(graph)
    layer = "decoder.blocks.1.cells.0.operations.2.1"
    (weight,) = (t for t in model.graph.initializer if t.name == f"{layer}/weight")
    damaged = numpy_helper.to_array(weight) * 1.5
    weight.CopyFrom(numpy_helper.from_array(damaged, weight.name))
    with pytest.raises(FastnasError, match=rf"differs from the network: .* it starts at {layer}"):
        Reference(network, [image(64, 96)]).require(model)


def test_a_network_that_rounds_much_itself_may_differ_by_as_much() -> None:
    network = ill_conditioned(300)
    reference = Reference(network, [image(64, 96)])
    model = to_onnx(optimise(capture(network))[0])
    assert parity.TOLERANCE < reference.rounding() < 1e-3
    assert reference.require(model)["output"].largest > parity.TOLERANCE
    (weight,) = (t for t in model.graph.initializer if t.name == "decoder.classifier/weight")
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(1.01), weight.name))
    with pytest.raises(FastnasError, match="differs from the network"):
        reference.require(model)


def test_parity_finds_nan() -> None:
    network = toy_network(ZOO["arch1"])
    model = to_onnx(optimise(capture(network))[0])
    (bias,) = (t for t in model.graph.initializer if t.name == "decoder.classifier/bias")
    bias.CopyFrom(numpy_helper.from_array(np.full(5, np.nan, np.float32), bias.name))
    reference = Reference(network, [image(32, 32)])
    assert not reference.compare(model)["output"].finite
    with pytest.raises(FastnasError, match="NaN or infinity"):
        reference.require(model)


def test_a_failed_check_leaves_the_old_artifact(
    simple: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export.export(simple, SIMPLE, "simple", tmp_path, SMALL)
    before = {path.name: path.read_bytes() for path in (tmp_path / "simple").iterdir()}
    monkeypatch.setattr(parity, "TOLERANCE", 0.0)
    monkeypatch.setattr(parity, "ROUNDING", 0.0)
    with pytest.raises(FastnasError, match="differs from the network"):
        export.export(simple, SIMPLE, "simple", tmp_path, SMALL)
    assert {path.name: path.read_bytes() for path in (tmp_path / "simple").iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["simple"]


def test_files_are_on_the_disk_before_the_folder_has_its_name(
    simple: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: set[tuple[int, int]] = set()
    appeared: list[bool] = []

    def fsync(descriptor: int) -> None:
        flushed.add((os.fstat(descriptor).st_ino, os.fstat(descriptor).st_size))
        appeared.append((tmp_path / "simple").exists())

    monkeypatch.setattr(os, "fsync", fsync)
    export.export(simple, SIMPLE, "simple", tmp_path, SMALL)
    files = {(path.stat().st_ino, path.stat().st_size) for path in (tmp_path / "simple").iterdir()}
    assert flushed == files
    assert not any(appeared)


def test_a_full_disk_leaves_nothing(simple: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(FastnasError, match=r"^cannot write .*simple: No space left on device$"):
        export.export(simple, SIMPLE, "simple", tmp_path, SMALL)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_somebody_else_is_not_replaced(simple: Network, tmp_path: Path) -> None:
    (tmp_path / "simple").mkdir()
    (tmp_path / "simple" / "thesis.tex").touch()
    with pytest.raises(FastnasError, match="exists and is no artifact"):
        export.export(simple, SIMPLE, "simple", tmp_path, SMALL)
    assert (tmp_path / "simple" / "thesis.tex").exists()


def test_an_export_is_reproducible() -> None:
    graphs = [optimise(capture(toy_network(ZOO["arch0"])))[0] for _ in range(2)]
    assert to_onnx(graphs[0]).SerializeToString() == to_onnx(graphs[1]).SerializeToString()


def test_small_labels_are_the_arg_max_of_the_plain_output(
    network: Network, exported: export.Exported, tmp_path: Path
) -> None:
    """Of the decoder's size, through the runner."""
    small = export.export(network, SPEC, "small", tmp_path, replace(SMALL, heads=("small-labels",)))
    assert small.sidecar.outputs[0][2:] == ("labels", 8)
    picture, found = sample_image(network, (64, 96)).numpy(), []
    for folder in (small.folder, exported.folder):
        loaded = sidecar.load(str(folder))
        with open_engine(loaded, (64, 96), options=EngineOptions("onnxruntime", threads=1)) as engine:
            engine.input[...] = picture
            found.append(decoder_for(loaded.sidecar.outputs[0])(engine.run()["segmentation"]))
    assert np.mean(found[0] != found[1]) < 1e-3


def test_labels_need_segmentation(tmp_path: Path) -> None:
    spec = ModelSpec("arch2", Depth(0.1, 10.0), channels=8)
    with pytest.raises(FastnasError, match="only segmentation has labels; a depth model"):
        export.export(build(spec), spec, "depth", tmp_path, Options(heads=("labels",)))


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["export", *map(str, arguments)])


def test_command_exports_an_untrained_architecture_and_warns(tmp_path: Path) -> None:
    result = run("arch1", "--encoder", TOY, "--res", 64, "--channels", 8, "--out", tmp_path, "--json")
    assert result.exit_code == 0, result.output
    shown = json.loads(result.stdout)
    assert "arch1 has no trained weights; only its latency means something" in result.stderr
    assert shown["folder"] == str(tmp_path / "arch1")
    assert shown["sidecar"]["genotype"] == str(ZOO["arch1"])
    assert not shown["sidecar"]["trained"]
    assert shown["rewrites"][0]["name"] == "fold_batch_norms"
    model = onnx.load(tmp_path / "arch1" / "model.onnx")
    assert shown["operators"] == len(model.graph.node)


def test_command_exports_a_trained_model_file_under_its_name(simple: Network, tmp_path: Path) -> None:
    save_model(tmp_path / "mine.safetensors", simple, SIMPLE, recipe={"name": "test"}, metrics={})
    result = run(tmp_path / "mine.safetensors", "--res", "64x96", "--verbose", "--head", "labels", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    assert "warning" not in result.output
    assert "fold batch norms" in result.stdout
    loaded = sidecar.load(str(tmp_path / "mine")).sidecar
    assert loaded.trained
    assert loaded.outputs[0][2:] == ("labels", 1)


def test_command_names_the_artifact_of_a_training_after_its_folder(simple: Network, tmp_path: Path) -> None:
    (tmp_path / "camvid").mkdir()
    save_model(tmp_path / "camvid" / "model.safetensors", simple, SIMPLE, recipe={"name": "test"}, metrics={})
    result = run(tmp_path / "camvid" / "model.safetensors", "--res", 64, "--out", tmp_path / "artifacts")
    assert result.exit_code == 0, result.output
    assert sidecar.load(str(tmp_path / "artifacts" / "camvid")).sidecar.name == "camvid"


@pytest.mark.parametrize(
    ("task", "val_size", "expected"),
    [
        (default_task("pose"), [96, 64], (96, 64)),
        (default_task("pose"), [100, 70], (96, 64)),
        (default_task("pose"), None, None),
        (TASK, [96, 64], None),
    ],
)
def test_an_artifact_of_pose_keeps_the_input_size_of_its_training(
    tmp_path: Path, task: Task, val_size: list[int] | None, expected: tuple[int, int] | None
) -> None:
    spec = replace(SIMPLE, task=task)
    recipe = {"name": "test"} if val_size is None else {"name": "test", "val_size": val_size}
    save_model(tmp_path / "mine.safetensors", unsettled(spec), spec, recipe=recipe, metrics={})
    resolution = [] if expected else ["--res", "64"]
    result = run(tmp_path / "mine.safetensors", *resolution, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    assert sidecar.load(str(tmp_path / "mine")).sidecar.input_size == expected
    assert f"multiply-adds at {'96x64' if expected else '64x64'}" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["arch9"], "no architecture 'arch9'"),
        (["missing.safetensors"], "no model file missing.safetensors"),
        (
            ["arch0", "--res", "500"],
            "500x500 does not fit: height and width must be multiples of 32, for example 512x512",
        ),
        (["arch0", "--res", "360x480"], "for example 352x480"),
        (["arch0", "--res", "16"], "for example 32x32"),
        (["arch0", "--name", "../up"], "not the name of a folder"),
    ],
)
def test_command_refuses_in_one_line(tmp_path: Path, arguments: list[str], line: str) -> None:
    result = run(*arguments, "--out", tmp_path)
    assert result.exit_code in (1, 2)
    assert line in result.output
    assert "Traceback" not in result.output
    assert list(tmp_path.iterdir()) == []


def test_command_refuses_an_unwritable_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = run("arch1", "--encoder", TOY, "--res", 64, "--channels", 8, "--out", tmp_path / "file" / "sub")
    assert result.exit_code == 1
    assert f"cannot write {tmp_path / 'file' / 'sub' / 'arch1'}" in result.output


@pytest.mark.parametrize("head", ["plain", "upsampled", "labels", "small-labels"])
def test_every_operator_is_named_after_a_module(network: Network, graph: Graph, head: Head) -> None:
    """Times per layer are summed by these names, that of the output's operator included."""
    optimised, _ = export.optimised(graph, network, (Form("segmentation", head=head),))
    names = [node.name for node in to_onnx(optimised).graph.node]
    assert len(set(names)) == len(names)
    places = {name: place(name, {}) for name in names}
    assert [name for name in names if places[name].part == "unnamed"] == []
    assert [name for name in names if places[name].others] == []
    assert "decoder.classifier" in names
    assert "segmentation" not in names
