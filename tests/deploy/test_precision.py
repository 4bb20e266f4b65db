"""fp16 and INT8 files: what they hold, that they mean what they should, and that what is sensitive stays in fp32."""

from __future__ import annotations

import contextlib
import random
import shlex
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from fastnas.cli import main
from fastnas.data.formats.voc import TASK
from fastnas.deploy import export, parity, trtexec
from fastnas.deploy.export import Options
from fastnas.deploy.graph.capture import capture
from fastnas.deploy.graph.ir import OUTPUT, Graph
from fastnas.deploy.graph.rewrites import optimise
from fastnas.deploy.io_forms import Form, Head, give
from fastnas.deploy.onnx import compat
from fastnas.deploy.onnx.writer import INPUT, to_onnx
from fastnas.deploy.parity import Reference, sample_image
from fastnas.deploy.precision import base, calibration, int8
from fastnas.deploy.precision.base import value_types
from fastnas.deploy.precision.fp16 import Fp16, rounded, to_fp16
from fastnas.deploy.precision.int8 import Int8
from fastnas.errors import FastnasError, MissingPackage
from fastnas.jetson import sidecar
from fastnas.jetson.engine.build import BuildOrder
from fastnas.jetson.engine.opening import open_engine
from fastnas.jetson.options import EngineOptions
from fastnas.models.genotype import Genotype
from fastnas.models.network import Network
from fastnas.models.spec import ModelSpec
from fastnas.models.zoo import ZOO
from tests.helpers.deploy_toys import LIGHT, TOY, ill_conditioned, toy_network, unsettled

SIZE = (64, 96)
SMALL = ["--res", "64x96", "--encoder", TOY, "--channels", "8", "--sep-repeats", "1"]


def full(network: Network) -> onnx.ModelProto:
    return to_onnx(optimise(capture(network))[0])


def result(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    return parity.run(parity.open_session(model, 1), [OUTPUT], x)[0]


@pytest.fixture(scope="module", params=["arch2", "random"])
def network(request: pytest.FixtureRequest) -> Network:
    """arch2 has a convolution of a pooled pixel, the graph's oddest part."""
    return toy_network(ZOO["arch2"] if request.param == "arch2" else Genotype.random(random.Random(3)))


@pytest.fixture(scope="module")
def model(network: Network) -> onnx.ModelProto:
    return full(network)


@pytest.fixture(scope="module")
def captured() -> tuple[Network, Graph]:
    """Another random one, before anything is optimised."""
    network = toy_network(Genotype.random(random.Random(0)))
    return network, capture(network)


@pytest.fixture(scope="module")
def images(network: Network) -> list[torch.Tensor]:
    return [sample_image(network, SIZE, seed) for seed in range(4)]


@pytest.fixture(scope="module")
def ranges(model: onnx.ModelProto, images: list[torch.Tensor]) -> object:
    return int8.calibrate(model, [one.numpy() for one in images])


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for seed in range(10):
        small = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), np.uint8)
        Image.fromarray(small).resize((140, 90), Image.Resampling.BICUBIC).save(folder / f"{seed}.png")
    return folder


# fp16


def identity_in_fp16() -> onnx.ModelProto:
    """A float32 image through fp16 and a matrix product, with which ONNX Runtime likes to fuse scales, to float32."""
    value, nodes = helper.make_tensor_value_info, helper.make_node
    graph = helper.make_graph(
        [
            nodes("Cast", [INPUT], ["half"], to=TensorProto.FLOAT16),
            nodes("MatMul", ["half", "one"], ["product"]),
            nodes("Cast", ["product"], [OUTPUT], to=TensorProto.FLOAT),
        ],
        "identity",
        [value(INPUT, TensorProto.FLOAT, [None, 1])],
        [value(OUTPUT, TensorProto.FLOAT, [None, 1])],
        [numpy_helper.from_array(np.ones((1, 1), np.float16), "one")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)


def test_rounding_is_that_of_fp16() -> None:
    """Also under ONNX Runtime's optimiser, which drops the casts of the fp16 model itself."""
    generator = np.random.default_rng(0)
    x = (generator.standard_normal(20_000) * 10.0 ** generator.integers(-4, 4, 20_000)).astype(np.float32)
    x = np.concatenate([x, np.array([0, 65504, 65519, -65504, 2048, 2049, 2050, 2051], np.float32)])
    found = result(rounded(identity_in_fp16()), x[:, None])[:, 0]
    expected = x.astype(np.float16).astype(np.float32)
    normal = np.abs(x) >= np.finfo(np.float16).smallest_normal
    assert np.array_equal(found[normal], expected[normal])
    assert np.abs(found - expected)[~normal].max() <= 2.0**-25
    assert not np.array_equal(result(identity_in_fp16(), x[:, None])[:, 0], expected)


@pytest.mark.parametrize("value", [65520, -65520, 1e9, np.inf])
def test_beyond_the_range_of_fp16_is_infinite(value: float) -> None:
    assert not np.isfinite(result(rounded(identity_in_fp16()), np.array([[value]], np.float32))).any()


def test_everything_inside_is_fp16(model: onnx.ModelProto) -> None:
    half = to_fp16(model)
    assert compat.lint(half) == []
    types = value_types(half)
    assert types[INPUT] == types[OUTPUT] == TensorProto.FLOAT
    assert {kind for name, kind in types.items() if name not in (INPUT, OUTPUT)} == {TensorProto.FLOAT16}
    assert sum(node.op_type == "Cast" for node in half.graph.node) == 2
    floats = {tensor.name for tensor in half.graph.initializer if tensor.data_type == TensorProto.FLOAT}
    assert all(name.startswith("scales/") for name in floats)
    assert len(half.SerializeToString()) < 0.75 * len(model.SerializeToString())


def test_fp16_is_near_and_not_equal(model: onnx.ModelProto, images: list[torch.Tensor]) -> None:
    x = images[0].numpy()
    expected, found = result(model, x), result(rounded(to_fp16(model)), x)
    error = np.abs(found - expected).max() / np.abs(expected).max()
    assert 1e-5 < error < 1e-2


def test_what_is_kept_computes_in_fp32(model: onnx.ModelProto, images: list[torch.Tensor]) -> None:
    """With everything kept nothing is rounded; with one convolution kept its weights stay as they are."""
    x = images[0].numpy()
    whole = to_fp16(model, [node.name for node in model.graph.node])
    assert np.array_equal(result(whole, x), result(model, x))
    first = next(node for node in model.graph.node if node.op_type == "Conv" and len(node.input) > 2)
    one = to_fp16(model, [first.name])
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in one.graph.initializer}
    assert weights[first.input[1]].dtype == np.float32
    assert value_types(one)[first.output[0]] == TensorProto.FLOAT


def too_large_for_fp16(network: Network) -> onnx.ModelProto:
    """The network's graph with one convolution 1e6 times as large, and the next activation's reader as much smaller."""
    model = full(network)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    for name, factor in (("encoder.stages.0.0.1/weight", 1e6), ("encoder.stages.0.0.1/bias", 1e6)):
        scaled = numpy_helper.to_array(weights[name]) * np.float32(factor)
        weights[name].CopyFrom(numpy_helper.from_array(scaled, name))
    return model


def test_what_overflows_stays_in_fp32() -> None:
    """A relu6 after it brings the values back: only the convolution and the clip are kept."""
    network = toy_network(Genotype.parse(LIGHT))
    model = too_large_for_fp16(network)
    norm = network.encoder.get_submodule("stages.0.0.1")
    with torch.no_grad():
        for parameter in norm.parameters():
            parameter.mul_(1e6)
    reference = Reference(network, [sample_image(network, SIZE)])
    assert not reference.compare(rounded(to_fp16(model)))[OUTPUT].finite
    lines: list[str] = []
    variant = Fp16(model, reference, ("onnxruntime",)).build(lines.append)
    assert variant.parity[OUTPUT].finite
    assert variant.parity[OUTPUT].largest <= Fp16.tolerance
    assert "encoder.stages.0.0.1" in variant.kept
    assert len(variant.kept) <= 4
    assert "stay in fp32" in lines[0]


def test_a_network_that_rounds_much_itself_may_lose_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """As much more as its float32 file may differ by, but never more than an engine may."""
    network = ill_conditioned(100)
    reference = Reference(network, [sample_image(network, SIZE)])
    build = Fp16(full(network), reference, ("onnxruntime",)).build
    variant = build(lambda line: None)
    assert reference.allowed[OUTPUT] > parity.TOLERANCE
    assert Fp16.tolerance < variant.parity[OUTPUT].largest < Fp16.ceiling
    assert variant.kept == ()
    monkeypatch.setattr(Fp16, "ceiling", variant.parity[OUTPUT].largest * 0.99)
    kept: list[str] = []
    with contextlib.suppress(FastnasError):  # whether the operators that are kept suffice does not matter here
        build(kept.append)
    assert "stay in fp32" in kept[0]


# INT8


@pytest.mark.parametrize("scheme", int8.SCHEMES, ids=lambda scheme: scheme.target)
def test_int8_is_near(model: onnx.ModelProto, images: list[torch.Tensor], ranges: object, scheme: int8.Scheme) -> None:
    quantised = int8.quantise(model, ranges, scheme)
    assert compat.lint(quantised) == []
    x = images[0].numpy()
    expected, found = result(model, x), result(quantised, x)
    error = np.abs(found - expected).mean() / np.abs(expected).mean()
    assert 1e-4 < error < 0.2


def test_every_engine_gets_what_it_takes(model: onnx.ModelProto, ranges: object) -> None:
    cpu, tensorrt = (int8.quantise(model, ranges, scheme) for scheme in (int8.CPU, int8.TENSORRT))
    points = {
        name: [numpy_helper.to_array(tensor) for tensor in one.graph.initializer if tensor.name.endswith("_zero_point")]
        for name, one in (("cpu", cpu), ("tensorrt", tensorrt))
    }
    assert np.uint8 in {point.dtype.type for point in points["cpu"]}
    # TensorRT: zero points of 0, no 32-bit integers (quantised biases), weights that a quantiser of their own makes.
    assert {point.dtype.type for point in points["tensorrt"]} == {np.int8}
    assert not any(point.any() for point in points["tensorrt"])
    kinds = {tensor.data_type for tensor in tensorrt.graph.initializer}
    assert TensorProto.INT32 not in kinds
    constants = {tensor.name for tensor in tensorrt.graph.initializer}
    weights = [n for n in tensorrt.graph.node if n.op_type == "QuantizeLinear" and n.input[0] in constants]
    assert weights
    for node in weights:
        scale = numpy_helper.to_array(next(t for t in tensorrt.graph.initializer if t.name == node.input[1]))
        assert scale.ndim == 1  # one for each channel


def with_residuals() -> onnx.ModelProto:
    """Two sums: of a convolution and what it read, and of two convolutions."""
    random = np.random.default_rng(0)
    weights = {f"w{n}": random.normal(size=(4, 3 if n == 1 else 4, 1, 1)).astype(np.float32) for n in range(1, 6)}
    conv = {"a": "image", "b": "r", "c": "s", "d": "s", "output": "f"}
    nodes = {name: ("Conv", [source, f"w{n}"]) for n, (name, source) in enumerate(conv.items(), start=1)}
    nodes |= {"r": ("Relu", ["a"]), "s": ("Add", ["b", "r"]), "e": ("Add", ["c", "d"]), "f": ("Relu", ["e"])}
    graph = helper.make_graph(
        [helper.make_node(*nodes[name], [name], name=name) for name in (*"arbscdef", "output")],
        "residuals",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 4, 8, 8])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)


def test_what_is_added_to_a_convolution_is_quantised_for_tensorrt() -> None:
    """A value that a convolution reads has its quantiser already, another gets one."""
    model = with_residuals()
    ranges = int8.calibrate(model, [np.random.default_rng(1).normal(size=(1, 3, 8, 8)).astype(np.float32)])
    pairs = {}
    for residuals, keep in ((False, ()), (True, ()), (True, ("e",))):
        made = int8.quantise(model, ranges, replace(int8.TENSORRT, residuals=residuals), keep)
        sums = {node.name: list(node.input) for node in made.graph.node if node.op_type == "Add"}
        pairs[residuals, keep] = sum(node.op_type == "QuantizeLinear" for node in made.graph.node)
        assert sums["s"] == ["b", "r_DequantizeLinear_Output"]
        assert sums["e"] == ["c_DequantizeLinear_Output" if residuals and not keep else "c", "d"]
    assert pairs[True, ()] == pairs[False, ()] + 1
    x = np.random.default_rng(2).normal(size=(1, 3, 8, 8)).astype(np.float32)
    wanted, found = (result(each, x) for each in (model, int8.quantise(model, ranges, int8.TENSORRT)))
    assert np.abs(found - wanted).mean() < Int8.tolerance * np.abs(wanted).mean()


def test_ends_and_helpers_stay_in_float(model: onnx.ModelProto, ranges: object) -> None:
    producers = {name: node for node in int8.quantise(model, ranges, int8.CPU).graph.node for name in node.output}
    ends = [node for node in producers.values() if INPUT in node.input or OUTPUT in node.output]
    assert {node.op_type for node in ends} == {"Conv"} or OUTPUT in ends[-1].output
    for node in ends:
        assert node.op_type not in ("QuantizeLinear", "DequantizeLinear")
    clips = [name for name in producers if name.startswith("size/")]
    assert not any("Quantize" in producers[name].op_type for name in clips)


def with_an_outlier(model: onnx.ModelProto, factor: float) -> set[str]:
    """Scale one channel between two convolutions, which changes nothing in real arithmetic; their names.

    It leaves the channel's neighbours a few of 256 levels.
    """
    producers = {node.output[0]: node for node in model.graph.node}
    uses = Counter(value for node in model.graph.node for value in node.input)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}

    def scale(name: str, index: tuple[slice | int, ...], by: float) -> None:
        array = numpy_helper.to_array(weights[name]).copy()
        array[index] *= by
        weights[name].CopyFrom(numpy_helper.from_array(array, name))

    for reader in model.graph.node:
        relu = producers.get(reader.input[0])
        conv = producers.get(relu.input[0]) if relu else None
        if not conv or not relu or [reader.op_type, relu.op_type, conv.op_type] != ["Conv", "Relu", "Conv"]:
            continue
        if uses[relu.output[0]] == uses[conv.output[0]] == 1:
            scale(reader.input[1], (slice(None), 0), 1 / factor)
            for name in conv.input[1:]:
                scale(name, (0,), factor)
            return {conv.name, relu.name, reader.name}
    raise AssertionError("no two convolutions in a row")


@pytest.mark.parametrize("target", ["onnxruntime", "tensorrt"])
def test_what_is_sensitive_stays_in_fp32(captured: tuple[Network, Graph], target: str) -> None:
    network, graph = captured
    images = [sample_image(network, SIZE, seed) for seed in range(2)]
    model = to_onnx(optimise(graph)[0])
    sensitive = with_an_outlier(model, 1000)
    reference = Reference(network, images[:1])
    assert reference.compare(model)[OUTPUT].largest < 1e-5
    scheme = next(scheme for scheme in int8.SCHEMES if scheme.target == target)
    ranges = int8.calibrate(model, [one.numpy() for one in images])
    assert reference.compare(int8.quantise(model, ranges, scheme))[OUTPUT].mean > Int8.tolerance
    lines: list[str] = []
    variant = Int8(model, reference, ranges, scheme).build(lines.append)
    assert reference.compare(variant.model, literally=True)[OUTPUT].mean < 0.05  # whatever the processor
    assert variant.parity == reference.compare(variant.model, literally=target == "tensorrt")
    assert sensitive <= set(variant.kept)
    assert len(variant.kept) <= 4
    assert "stay in fp32, the worst is" in lines[0]


def test_labels_are_compared_by_their_agreement(
    captured: tuple[Network, Graph], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They have no other error: a file that gives the wrong ones must not pass."""
    network, graph = captured
    monkeypatch.setattr(base, "MOST_KEPT", 0)
    images = [sample_image(network, SIZE)]
    model = to_onnx(optimise(give(graph, [Form(head="labels")]))[0])
    reference = Reference(network, images, [Form(head="labels")])
    file = Int8(model, reference, int8.calibrate(model, [one.numpy() for one in images]), int8.TENSORRT)
    assert 0.9 < file.build(print).parity[OUTPUT].agreement < 1
    monkeypatch.setattr(Int8, "agreement", 1.0)
    with pytest.raises(FastnasError, match=r"int8 for tensorrt is not accurate: .* 9\d\.\d% of arg-max equal"):
        file.build(print)
    monkeypatch.setattr(Fp16, "agreement", 1.1)
    with pytest.raises(FastnasError, match="fp16 for tensorrt is not accurate"):
        Fp16(model, reference, ("tensorrt",)).build(print)


@pytest.mark.parametrize("head", ["plain", "upsampled", "labels"])
def test_logits_are_not_quantised_whatever_follows_them(captured: tuple[Network, Graph], head: Head) -> None:
    network, graph = captured
    model = to_onnx(optimise(give(graph, [Form(head=head)]))[0])
    assert "decoder.classifier/weight" in {tensor.name for tensor in model.graph.initializer}
    ranges = int8.calibrate(model, [sample_image(network, SIZE).numpy()])
    for scheme in int8.SCHEMES:
        made = int8.quantise(model, ranges, scheme)
        assert "decoder.classifier/weight" in {tensor.name for tensor in made.graph.initializer}


def test_hopeless_precision_is_an_error_that_names_the_worst(
    captured: tuple[Network, Graph], monkeypatch: pytest.MonkeyPatch
) -> None:
    network, graph = captured
    monkeypatch.setattr(Int8, "tolerance", 1e-9)
    monkeypatch.setattr(base, "MOST_KEPT", 3)
    images, model = [sample_image(network, SIZE)], to_onnx(optimise(graph)[0])
    ranges = int8.calibrate(model, [one.numpy() for one in images])
    with pytest.raises(FastnasError, match=r"int8 for tensorrt is not accurate: .* in fp32; the most comes from \w+"):
        Int8(model, Reference(network, images), ranges, int8.TENSORRT).build(lambda line: None)


# Calibration


def test_images_are_spread_cut_and_normalised(pictures: Path) -> None:
    network = toy_network(ZOO["arch0"])
    calibrate, validate = calibration.read_images(pictures, network, (64, 64))
    assert len(calibrate) == 9
    assert len(validate) == 1
    assert {tuple(one.shape) for one in (*calibrate, *validate)} == {(1, 3, 64, 64)}
    # All of them are different images, and their colours those of the files.
    assert len({float(one.sum()) for one in (*calibrate, *validate)}) == 10
    mean, std = (torch.tensor(values)[:, None, None] for values in (network.encoder.mean, network.encoder.std))
    middle = np.asarray(Image.open(pictures / "0.png").convert("RGB"), np.float32)[:, 25:115].mean((0, 1)) / 255
    assert np.allclose((validate[0][0] * std + mean).mean((1, 2)).numpy(), middle, atol=0.01)


def test_faults_of_the_folder_are_one_line(tmp_path: Path) -> None:
    network = toy_network(ZOO["arch0"])
    with pytest.raises(FastnasError, match="is not a folder"):
        calibration.read_images(tmp_path / "absent", network, SIZE)
    with pytest.raises(FastnasError, match="has no images"):
        calibration.read_images(tmp_path, network, SIZE)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(FastnasError, match=r"broken\.png is not an image, or is damaged"):
        calibration.read_images(tmp_path, network, SIZE)


def test_onnxruntime_missing_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime.quantization", None)
    with pytest.raises(MissingPackage, match=r"pip install 'fastnas\[cpu\]'"):
        int8.calibrate(onnx.ModelProto(), [])


# The whole export


@pytest.fixture(scope="module")
def exported(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> export.Exported:
    spec = ModelSpec("arch2", TASK, TOY, channels=8, sep_repeats=1)
    network = unsettled(spec)
    options = Options(resolution=SIZE, fp16=True, int8=True, calibrate=pictures)
    return export.export(network, spec, "arch2", tmp_path_factory.mktemp("artifacts"), options)


def test_the_sidecar_says_which_file_runs_where(exported: export.Exported) -> None:
    files = {file.path: (file.precision, file.targets) for file in exported.sidecar.files}
    assert files == {
        "model.onnx": ("fp32", ("onnxruntime", "tensorrt")),
        "model.fp16.onnx": ("fp16", ("onnxruntime", "tensorrt")),
        "model.int8.onnx": ("int8", ("onnxruntime",)),
        "model.int8.tensorrt.onnx": ("int8", ("tensorrt",)),
        "model.int8.fp16.onnx": ("int8", ("tensorrt-typed",)),
    }
    for path in files:
        found = exported.sidecar.parity[path]
        assert found["outputs"]["segmentation"]["finite"]
        assert isinstance(found["kept_in_fp32"], list | tuple)
        onnx.checker.check_model(str(exported.folder / path))
    files_of_onnxruntime = ("model.onnx", "model.fp16.onnx", "model.int8.onnx")
    errors = [exported.sidecar.parity[path]["outputs"]["segmentation"]["mean"] for path in files_of_onnxruntime]
    assert errors == sorted(errors)


@pytest.mark.parametrize("kind", ["fp32", "fp16", "int8"])
def test_every_precision_runs_in_the_devices_engine(exported: export.Exported, kind: str) -> None:
    options = EngineOptions("onnxruntime", threads=1)
    with open_engine(sidecar.load(str(exported.folder)), (96, 64), kind, options) as engine:
        engine.input[...] = np.random.default_rng(0).standard_normal(engine.input.shape, np.float32)
        assert np.isfinite(engine.run()["segmentation"]).all()


@pytest.mark.parametrize("head", ["plain", "labels"])
def test_bytes_in_have_no_file_for_tensorrt(pictures: Path, tmp_path: Path, head: Head) -> None:
    options = Options(resolution=SIZE, layout="NHWC", heads=(head,), fp16=True, int8=True, calibrate=pictures)
    spec = ModelSpec(LIGHT, TASK, TOY, channels=8, sep_repeats=1)
    network = unsettled(spec)
    result = export.export(network, spec, "bytes", tmp_path, options)
    assert {file.targets for file in result.sidecar.files} == {("onnxruntime",)}
    assert [file.precision for file in result.sidecar.files] == ["fp32", "fp16", "int8"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--int8"], "INT8 needs images to find its ranges with: add --calibrate DIR"),
        (["--int8", "--calibrate", "absent"], "absent is not a folder"),
    ],
)
def test_a_failed_export_leaves_nothing(arguments: list[str], line: str, tmp_path: Path) -> None:
    small = [*SMALL, "--out", str(tmp_path / "artifacts")]
    failed = CliRunner().invoke(main, ["export", "arch1", *small, *arguments])
    assert failed.exit_code == 1
    assert line in failed.output
    assert not (tmp_path / "artifacts").exists()


def test_verbose_prints_the_commands_of_nvidias_tools(pictures: Path, tmp_path: Path) -> None:
    small = [*SMALL, "--out", str(tmp_path)]
    done = CliRunner().invoke(main, ["export", "arch1", "--fp16", "--verbose", *small])
    assert done.exit_code == 0, done.output
    older, newer = done.output.split("By hand, with ")[1:]
    trtexec, polygraphy = f"trtexec --onnx={tmp_path}/arch1/model", f"polygraphy run {tmp_path}/arch1/model"
    size = "--shapes=image:1x3x64x96 --memPoolSize=workspace:256"
    assert f"{trtexec}.onnx --saveEngine=arch1-fp16.engine {size} --fp16\n" in older
    assert f"{polygraphy}.onnx --trt --onnxrt --pool-limit workspace:256M --tf32 --fp16 " in older
    assert "--stronglyTyped" not in older
    assert f"{trtexec}.fp16.onnx --saveEngine=arch1-fp16.engine {size} --stronglyTyped\n" in newer
    assert "--fp16" not in newer


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--dla", "0"], "--dla is for --tensorrt"),
        (["--tensorrt", "--input", "bytes"], "--tensorrt needs --input floats"),
    ],
)
def test_what_does_not_go_together_is_refused_first(arguments: list[str], line: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["export", "arch1", *arguments, "--out", str(tmp_path)])
    assert done.exit_code == 2
    assert line in done.output
    assert list(tmp_path.iterdir()) == []


def test_commands_by_hand_survive_a_shell(tmp_path: Path) -> None:
    """Paths with spaces, and Polygraphy's brackets."""
    order = BuildOrder(f"{tmp_path}/my model.onnx", "a b.engine", "image", (1, 3, 64, 96), ("FP16",), dla=1)
    built, compared = shlex.split(order.trtexec()), shlex.split(trtexec.polygraphy(order))
    assert built[1:3] == [f"--onnx={tmp_path}/my model.onnx", "--saveEngine=a b.engine"]
    assert compared[:3] == ["polygraphy", "run", f"{tmp_path}/my model.onnx"]
    assert compared[-2:] == ["--input-shapes", "image:[1,3,64,96]"]
    assert {"--fp16", "--use-dla", "--allow-gpu-fallback"} <= set(compared)


def test_engine_without_tensorrt_is_one_line_and_the_artifact_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    small = [*SMALL, "--out", str(tmp_path)]
    done = CliRunner().invoke(main, ["export", "arch1", "--tensorrt", *small])
    assert done.exit_code == 1
    assert "TensorRT does not load" in done.output
    assert sidecar.load(str(tmp_path / "arch1")).sidecar.name == "arch1"
