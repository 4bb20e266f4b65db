"""One file with an output for each task: exact, in every precision, with the head that each task can have."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from fastnas.cli import main
from fastnas.data import default_task
from fastnas.deploy import export
from fastnas.deploy.export import Options
from fastnas.deploy.graph.capture import capture
from fastnas.deploy.io_forms import Form, forms_of, split
from fastnas.deploy.onnx import compat
from fastnas.deploy.onnx.writer import to_onnx
from fastnas.deploy.parity import Reference, open_session, run, sample_image
from fastnas.errors import FastnasError
from fastnas.jetson import sidecar
from fastnas.jetson.engine.opening import open_engine
from fastnas.jetson.inference import decode
from fastnas.jetson.options import EngineOptions
from fastnas.models.baselines.registry import BASELINES
from fastnas.models.checkpoint import save_model
from fastnas.models.network import Network
from fastnas.models.spec import ModelSpec, build
from fastnas.tasks import Multi, channels_of
from fastnas.tasks.registry import head_for
from tests.helpers.deploy_toys import LIGHT, TOY, unsettled

SIZE = (64, 96)
TASK = default_task("multi")
SPEC = ModelSpec("arch2", TASK, TOY, channels=8, sep_repeats=1)


@pytest.fixture(scope="module")
def network() -> Network:
    return unsettled(SPEC)


@pytest.fixture(scope="module")
def exported(network: Network, tmp_path_factory: pytest.TempPathFactory) -> export.Exported:
    pictures = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    for i in range(4):
        noise = random.integers(0, 256, (9, 12, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((96, 64), Image.Resampling.BICUBIC).save(pictures / f"{i}.png")
    options = Options(SIZE, fp16=True, int8=True, calibrate=pictures)
    return export.export(network, SPEC, "trio", tmp_path_factory.mktemp("artifacts"), options)


def test_the_default_task_has_all_kinds() -> None:
    assert isinstance(TASK, Multi)
    assert channels_of(TASK) == {"segmentation": slice(0, 21), "pose": slice(21, 37), "depth": slice(37, 38)}


def test_every_file_has_an_output_for_each_task(exported: export.Exported) -> None:
    loaded = sidecar.load(str(exported.folder)).sidecar
    assert [(output.name, output.kind, output.decode, output.stride) for output in loaded.outputs] == [
        ("segmentation", "segmentation", "logits", 8), ("pose", "pose", "heatmaps", 8), ("depth", "depth", "depth", 8),
    ]  # fmt: skip
    assert [output.channels for output in loaded.outputs] == [21, 16, 1]
    assert loaded.input_size is None
    assert len(loaded.files) == 5
    for file in loaded.files:
        model = onnx.load(exported.folder / file.path)
        assert [value.name for value in model.graph.output] == ["segmentation", "pose", "depth"]
        if file.targets != ("tensorrt-typed",):  # TensorRT 11's own, in an opset that older ones do not read
            assert compat.lint(model) == []
        parity = loaded.parity[file.path]["outputs"]
        assert set(parity) == {"segmentation", "pose", "depth"}
        limits = {"fp32": ("largest", 1e-5), "fp16": ("largest", 1e-2), "int8": ("mean", 0.1)}
        measure, limit = limits[file.precision]
        assert all(found[measure] <= limit and found["finite"] for found in parity.values()), file.path


def test_one_pass_of_the_devices_engine_gives_what_the_network_gives(
    exported: export.Exported, network: Network
) -> None:
    x = sample_image(network, SIZE, seed=7)
    with open_engine(
        sidecar.load(str(exported.folder)), SIZE, options=EngineOptions("onnxruntime", threads=1)
    ) as engine:
        engine.input[...] = x.numpy()
        found = {name: array.copy() for name, array in engine.run().items()}
    whole = Reference(network, [x]).output(x)
    for kind, channels in channels_of(TASK).items():
        expected = whole[:, channels]
        assert np.abs(found[kind] - expected).max() < 1e-5 * np.abs(expected).max()


def test_each_task_has_its_own_head(network: Network, tmp_path: Path) -> None:
    made = export.export(
        network, SPEC, "heads", tmp_path, Options(SIZE, heads=("labels", "peaks", "upsampled"), fp16=True)
    )
    assert [(output.decode, output.stride) for output in made.sidecar.outputs] == [
        ("labels", 1), ("peaks", 8), ("depth", 1),
    ]  # fmt: skip
    x = sample_image(network, SIZE, seed=3)
    artifact = sidecar.load(str(made.folder))
    with open_engine(artifact, SIZE, options=EngineOptions("onnxruntime", threads=1)) as engine:
        engine.input[...] = x.numpy()
        arrays = engine.run()
        found = {
            output.kind: decode.decoder_for(output)(arrays[output.name]).copy() for output in artifact.sidecar.outputs
        }
    with torch.no_grad():
        expected = head_for(TASK).decode(network(x), SIZE)
    assert np.mean(found["segmentation"] != expected["segmentation"][0].numpy()) < 1e-3
    np.testing.assert_allclose(found["pose"], expected["pose"][0].numpy(), atol=1e-3)
    depth = np.clip(found["depth"], *(getattr(TASK.tasks[2], name) for name in ("minimum", "maximum")))  # type: ignore[union-attr]
    np.testing.assert_allclose(depth, expected["depth"][0].numpy(), atol=1e-4)


def test_heads_go_to_the_tasks_that_can_have_them() -> None:
    def heads(task: str, *asked: str) -> list[str]:
        return [form.head for form in forms_of(default_task(task), asked)]  # type: ignore[arg-type]

    assert heads("multi") == ["plain", "plain", "plain"]
    assert heads("multi", "labels") == ["labels", "plain", "plain"]
    assert heads("multi", "upsampled", "peaks") == ["upsampled", "peaks", "upsampled"]
    assert heads("pose", "peaks") == ["peaks"]
    with pytest.raises(FastnasError, match="only pose has peaks; a segmentation model"):
        heads("segmentation", "peaks")
    with pytest.raises(FastnasError, match="only pose has peaks; a multi model"):
        forms_of(Multi((TASK.tasks[0], TASK.tasks[2])), ["peaks"])  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "name",
    [
        "arch0",
        "[[[3, 3], [3, 2], [3, 0]], [9, [0, 0, 9, 9], [0, 2, 9, 9], [0, 5, 9, 9]]]",
        "deeplabv3-aspp-mbv2",
        "rflw-mbv2",
        "simplepose-resnet50",
    ],
)
def test_the_last_convolution_is_split_exactly_whatever_the_network(name: str) -> None:
    """Also that of a cell of zeros, and of baselines."""
    torch.manual_seed(0)
    network = build(ModelSpec(name, TASK) if name in BASELINES else ModelSpec(name, TASK, TOY, channels=8)).eval()
    forms = forms_of(TASK, ())
    model = to_onnx(split(capture(network), forms))
    x = sample_image(network, (64, 64))
    found = run(open_session(model, 1), [form.name for form in forms], x.numpy())
    whole = Reference(network, [x]).output(x)
    for form, array in zip(forms, found, strict=True):
        np.testing.assert_allclose(array, whole[:, form.channels], atol=1e-5 * np.abs(whole).max())


def test_one_task_keeps_its_convolution() -> None:
    graph = capture(build(ModelSpec(LIGHT, default_task("pose"), TOY, channels=8)))
    (value,) = graph.outputs.values()
    parted = split(graph, forms_of(default_task("pose"), ()))
    assert (parted.nodes, parted.outputs) == (graph.nodes, {"pose": value})


def test_channels_that_are_mixed_cannot_be_split() -> None:
    graph = capture(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.Conv2d(4, 4, 1, groups=2)))
    with pytest.raises(FastnasError, match="cannot be divided among the tasks"):
        split(graph, [Form("a", slice(0, 1)), Form("b", slice(1, 4))])


def test_the_command_reports_every_output(network: Network, tmp_path: Path) -> None:
    save_model(
        tmp_path / "trio.safetensors", network, SPEC, recipe={"name": "test", "val_size": [256, 256]}, metrics={}
    )
    arguments = ["export", str(tmp_path / "trio.safetensors"), "--res", "64", "--out", str(tmp_path)]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    (line,) = (line for line in done.stdout.splitlines() if "model.onnx" in line)
    assert [part.split(":")[0] for part in line.split("MB; ")[1].split("; ")] == ["segmentation", "pose", "depth"]
    assert sidecar.load(str(tmp_path / "trio")).sidecar.input_size is None
    heads = ["--head", "labels", "--head", "peaks", "--json"]
    shown = json.loads(CliRunner().invoke(main, [*arguments, *heads]).stdout)
    assert [output["decode"] for output in shown["sidecar"]["outputs"]] == ["labels", "peaks", "depth"]
