"""Joints found inside the graph are those that the device finds in the heatmaps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from fastnas.data import default_task
from fastnas.deploy import export, parity
from fastnas.deploy.export import Options
from fastnas.deploy.graph.capture import capture
from fastnas.deploy.graph.ir import OUTPUT, Graph, Input, Node, Peaks
from fastnas.deploy.graph.rewrites import optimise
from fastnas.deploy.io_forms import Form, give
from fastnas.deploy.onnx import compat
from fastnas.deploy.onnx.writer import to_onnx
from fastnas.deploy.precision import int8
from fastnas.deploy.precision.fp16 import rounded, to_fp16
from fastnas.errors import FastnasError
from fastnas.jetson import sidecar
from fastnas.jetson.engine.opening import open_engine
from fastnas.jetson.inference import decode
from fastnas.jetson.options import EngineOptions
from fastnas.models.network import Network
from fastnas.models.spec import ModelSpec, build
from fastnas.models.zoo import ZOO
from fastnas.tasks import Depth
from fastnas.tasks.pose import gaussians
from fastnas.train.predictors import open_predictors
from tests.helpers.deploy_toys import image, toy_network, unsettled

JOINTS = 7
SPEC = ModelSpec("arch2", default_task("pose"), channels=8, sep_repeats=1)
SIZE = (64, 96)


def peaks_alone(stride: int = 4) -> onnx.ModelProto:
    peaks = Peaks(decode.peak_step(stride))
    return to_onnx(Graph({"heat": Node(Input(JOINTS)), "joints": Node(peaks, ("heat",))}, {OUTPUT: "joints"}))


def run(model: onnx.ModelProto, heatmaps: NDArray[np.float32], stride: int = 4) -> NDArray[np.float32]:
    (found,) = parity.run(parity.open_session(model), ["output"], heatmaps)
    return decode.to_pixels(found, stride)


def heatmaps(height: int, width: int, levels: int) -> NDArray[np.float32]:
    """Of few levels, so that peaks are shared by cells, neighbours are equal, and borders are reached."""
    random = np.random.default_rng(height * 100 + width)
    values = random.integers(-2, levels, (1, JOINTS, height, width)).astype(np.float32) * np.float32(0.125)
    values[0, 0] = 0.5  # the same everywhere: the first cell
    values[0, 1], values[0, 1, -1, -1] = -1, 3
    values[0, 2], values[0, 2, 0, -1] = -3, -2  # nothing above zero
    return values


@pytest.mark.parametrize("size", [(16, 24), (32, 8), (5, 3), (1, 9), (6, 1), (1, 1), (2, 2)])
@pytest.mark.parametrize("levels", [1, 40])
@pytest.mark.parametrize("stride", [2, 4, 8, 16])
def test_the_same_joints_as_the_decoder(size: tuple[int, int], levels: int, stride: int) -> None:
    maps = heatmaps(*size, levels)
    # A hundredth of a pixel: where the parabola is nearly flat, the last bits of the logarithms count.
    np.testing.assert_allclose(run(peaks_alone(stride), maps, stride), decode.joints(maps, stride), rtol=0, atol=0.01)


@pytest.mark.parametrize("stride", [4, 8])
def test_gaussians_are_found_between_cells(stride: int) -> None:
    centres = np.random.default_rng(0).uniform(30, 220, (1, JOINTS, 2))
    maps = gaussians((torch.from_numpy(centres) + 0.5) / stride - 0.5, (256 // stride, 256 // stride))
    found = run(peaks_alone(stride), maps.float().numpy(), stride)
    # Targets are made at stride 4; at another one the Gaussian is as many cells wide and is found all the same.
    np.testing.assert_allclose(found[..., :2], centres, rtol=0, atol=1e-3)


def test_places_stay_in_fp32_in_an_fp16_file() -> None:
    """Of heatmaps whose values fp16 holds; beyond 256 cells it would hold no quarters."""
    maps = heatmaps(8, 500, 4)
    maps[0, 3] = 0
    maps[0, 3, 2, 494:499:2] = 1, 2, 0.5
    expected = decode.joints(maps, 4)
    # The logarithms are 0, log 2 and -log 2.
    assert expected[0, 3].tolist() == [pytest.approx((496 - 1 / 3 + 0.5) * 4 - 0.5, abs=1e-3), (2 + 0.5) * 4 - 0.5, 2]
    half = to_fp16(peaks_alone())
    np.testing.assert_allclose(run(rounded(half), maps), expected, rtol=0, atol=0.01)
    np.testing.assert_allclose(run(half, maps), expected, rtol=0, atol=0.01)


def test_tensorrt_8_parses_it() -> None:
    assert compat.lint(to_onnx(optimise(give(capture(toy_network(ZOO["arch2"])), [Form(head="peaks")]))[0])) == []


def test_heatmaps_and_peaks_are_not_quantised() -> None:
    model = to_onnx(optimise(give(capture(toy_network(ZOO["arch2"])), [Form(head="peaks")]))[0])
    ranges = int8.calibrate(model, [image(64, 96).numpy()])
    heat = next(node for node in model.graph.node if node.name == "peaks/rows").input[0]
    for scheme in int8.SCHEMES:
        made = int8.quantise(model, ranges, scheme)
        quantised = {node.input[0] for node in made.graph.node if node.op_type == "QuantizeLinear"}
        assert len(quantised) > 50
        assert not {name for name in quantised if name == heat or name.startswith("peaks/")}


@pytest.fixture(scope="module")
def network() -> Network:
    return unsettled(SPEC)


def test_an_artifact_gives_joints(network: Network, tmp_path: Path) -> None:
    x = parity.sample_image(network, SIZE, seed=5).numpy()
    joints = []
    for head in ("plain", "peaks"):
        made = export.export(network, SPEC, head, tmp_path, Options(SIZE, heads=(head,), fp16=True))  # type: ignore[arg-type]
        loaded = sidecar.load(str(made.folder))
        with open_engine(loaded, SIZE, options=EngineOptions("onnxruntime")) as engine:
            engine.input[...] = x
            joints.append(decode.decoder_for(loaded.sidecar.outputs[0])(engine.run()["pose"].copy()))
    assert loaded.sidecar.outputs == (("pose", loaded.sidecar.outputs[0].task, "peaks", 8),)
    assert joints[1].shape == (16, 3)
    np.testing.assert_allclose(joints[1], joints[0], atol=1e-4)
    assert loaded.sidecar.parity["model.onnx"]["outputs"]["pose"]["agreement"] == 1
    unmeasurable = pytest.raises(FastnasError, match="gives joints, and metrics need heatmaps")
    with unmeasurable, open_predictors(made.folder, "fp32", torch.device("cpu")) as opened:
        opened["pose"].predict(torch.from_numpy(x))


def test_a_peak_at_the_wrong_place_is_found(network: Network) -> None:
    """Heights alone would not tell."""
    images = [parity.sample_image(network, SIZE)]
    (maps,) = (parity.Reference(network, images).output(x) for x in images)
    right = decode.joints(maps, 8)
    right[..., :2] = (right[..., :2] + 0.5) / 8 - 0.5
    assert parity._at_largest(right, maps, 1) == 1
    right[0, 3, 0] += 1.5
    right[0, 5, 1] -= 100
    assert parity._at_largest(right, maps, 1) == 14 / 16


def test_only_pose_has_peaks(tmp_path: Path) -> None:
    spec = ModelSpec("arch2", Depth(0.1, 10.0), channels=8)
    with pytest.raises(FastnasError, match="only pose has peaks; a depth model"):
        export.export(build(spec), spec, "depth", tmp_path, Options(heads=("peaks",)))
