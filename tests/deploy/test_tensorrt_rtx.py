"""NVIDIA's own parser and builder take the exported graphs, without a GPU: TensorRT for RTX, built ahead of time.

It is TensorRT's generation 10 and 11, for desktop GPUs: it shows that a graph parses and builds and how many layers it
has, not that a board's TensorRT 8 takes it. For that there are the rules of `fastnas.deploy.onnx.compat`.
"""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from types import ModuleType

import onnx
import pytest

from fastnas.data.formats.voc import TASK
from fastnas.deploy.graph.capture import capture
from fastnas.deploy.graph.rewrites import optimise
from fastnas.deploy.io_forms import Form, give
from fastnas.deploy.onnx.writer import to_onnx
from fastnas.deploy.parity import sample_image
from fastnas.deploy.precision import int8
from fastnas.deploy.precision.fp16 import to_fp16
from fastnas.deploy.precision.typed import to_opset_19
from fastnas.models.genotype import Genotype
from fastnas.models.network import Network
from fastnas.models.spec import ModelSpec, build
from tests.helpers.deploy_toys import seeds, toy_network, unsettle


@pytest.fixture(scope="module")
def trt() -> ModuleType:
    return pytest.importorskip(
        "tensorrt_rtx_bindings",
        reason="TensorRT for RTX is not installed: pip install tensorrt_rtx_cu13_bindings tensorrt_rtx_cu13_libs",
        exc_type=ImportError,
    )


def parse_and_build(trt: ModuleType, model: onnx.ModelProto, path: Path, size: tuple[int, int]) -> Counter[str]:
    """Parse a file and build an engine for one size; the kinds of its layers."""
    onnx.save(model, path)
    builder = trt.Builder(trt.Logger(trt.Logger.ERROR))
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, trt.Logger(trt.Logger.ERROR))
    assert parser.parse_from_file(str(path)), parser.get_error(0)
    config = builder.create_builder_config()
    profile = builder.create_optimization_profile()
    profile.set_shape("image", *[(1, 3, *size)] * 3)
    config.add_optimization_profile(profile)
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM86, 0)
    engine = builder.build_serialized_network(network, config)
    assert engine is not None
    assert engine.nbytes > 10_000
    return Counter(str(network.get_layer(i).type).split(".")[-1] for i in range(network.num_layers))


@pytest.mark.parametrize(("name", "layers"), [("arch0", 348), ("arch1", 333), ("arch2", 306)])
def test_layers_are_the_operations(trt: ModuleType, tmp_path: Path, name: str, layers: int) -> None:
    """As many layers as there are additions, convolutions and so on: nothing that only moves shapes about."""
    graph, _ = optimise(capture(unsettle(build(ModelSpec(name, TASK)))))
    model = to_onnx(graph)
    kinds = parse_and_build(trt, model, tmp_path / "model.onnx", (512, 512))
    assert sum(kinds.values()) == layers
    assert not {"SHAPE", "SLICE", "GATHER", "CAST", "IDENTITY", "SELECT"} & set(kinds)
    spread = graph.counts()["SpreadConv"]
    assert kinds["CONVOLUTION"] - graph.counts()["Conv"] <= 2 * spread


@pytest.mark.parametrize("name", ["deeplabv3-mbv2", "deeplabv3-aspp-mbv2", "rflw-mbv2", "simplepose-resnet50"])
def test_baselines(trt: ModuleType, tmp_path: Path, name: str) -> None:
    graph, _ = optimise(capture(unsettle(build(ModelSpec(name, TASK)))))
    parse_and_build(trt, to_onnx(graph), tmp_path / "model.onnx", (256, 384))


@pytest.mark.parametrize("seed", seeds(5, 50))
def test_random_genotypes(trt: ModuleType, tmp_path: Path, seed: int) -> None:
    graph, _ = optimise(capture(toy_network(Genotype.random(random.Random(seed)), seed=seed)))
    size = [(32, 32), (96, 160), (512, 512), (1024, 512)][seed % 4]
    parse_and_build(trt, to_onnx(graph), tmp_path / "model.onnx", size)


@pytest.mark.parametrize("head", ["upsampled", "labels", "peaks"])
def test_heads(trt: ModuleType, tmp_path: Path, head: str) -> None:
    graph, _ = optimise(give(capture(toy_network(Genotype.random(random.Random(0)))), [Form(head=head)]))  # type: ignore[arg-type]
    parse_and_build(trt, to_onnx(graph), tmp_path / "model.onnx", (64, 96))


def reduced(network: Network, size: tuple[int, int] = (64, 96)) -> dict[str, onnx.ModelProto]:
    """The typed fp16 file, TensorRT's INT8 file, and that of TensorRT 11."""
    model = to_onnx(optimise(capture(network))[0])
    ranges = int8.calibrate(model, [sample_image(network, size, seed).numpy() for seed in range(2)])
    quantised = int8.quantise(model, ranges, int8.TENSORRT)
    return {"fp16": to_fp16(model), "int8": quantised, "int8 over fp16": to_opset_19(to_fp16(quantised))}


@pytest.mark.parametrize(
    "seed", [seed if seed < 3 else pytest.param(seed, marks=pytest.mark.slow) for seed in range(50)]
)
def test_reduced_precision(trt: ModuleType, tmp_path: Path, seed: int) -> None:
    """Besides what the float32 file has: two casts in fp16; quantisers, and constants that they read, in INT8."""
    network = toy_network(Genotype.random(random.Random(seed)), seed=seed)
    size = [(64, 96), (32, 32), (512, 512), (1024, 512)][seed % 4]
    full = parse_and_build(trt, to_onnx(optimise(capture(network))[0]), tmp_path / "fp32.onnx", size)
    found = {
        kind: parse_and_build(trt, model, tmp_path / f"{kind}.onnx", size) for kind, model in reduced(network).items()
    }
    assert found["fp16"] - full == found["int8 over fp16"] - found["int8"] == Counter(CAST=2)
    more = found["int8"] - full
    if not more:  # a genotype of zero paths and pooled pixels alone
        assert full["CONVOLUTION"] <= 3
        return
    assert set(more) == {"QUANTIZE", "DEQUANTIZE", "CONSTANT"}
    assert more["QUANTIZE"] == more["DEQUANTIZE"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["arch0", "arch1", "arch2", "deeplabv3-aspp-mbv2", "rflw-mbv2"])
def test_reduced_precision_at_full_size(trt: ModuleType, tmp_path: Path, name: str) -> None:
    network = build(ModelSpec(name, TASK))
    unsettle(network)
    for kind, model in reduced(network).items():
        parse_and_build(trt, model, tmp_path / f"{kind}.onnx", (512, 512))


def test_int8_for_onnxruntime_is_refused(trt: ModuleType, tmp_path: Path) -> None:
    """The reason why there are two INT8 files."""
    network = toy_network(Genotype.random(random.Random(0)))
    model = to_onnx(optimise(capture(network))[0])
    ranges = int8.calibrate(model, [sample_image(network, (64, 96)).numpy()])
    path = tmp_path / "model.onnx"
    onnx.save(int8.quantise(model, ranges, int8.CPU), path)
    logger = trt.Logger(trt.Logger.INTERNAL_ERROR)
    builder = trt.Builder(logger)
    parsed = builder.create_network(0)
    parser = trt.OnnxParser(parsed, logger)
    assert not parser.parse_from_file(str(path))
