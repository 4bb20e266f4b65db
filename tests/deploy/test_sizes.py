"""For an engine of one size, what the graph computes of the image's size is constant, and the outputs are the same."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from fastnas.deploy.graph.capture import capture
from fastnas.deploy.graph.rewrites import optimise
from fastnas.deploy.onnx.writer import to_onnx
from fastnas.deploy.parity import open_session, run
from fastnas.deploy.precision.fp16 import rounded, to_fp16
from fastnas.jetson.engine.sizes import fix_sizes
from fastnas.models.zoo import ZOO
from tests.helpers.deploy_toys import toy_network


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    return to_onnx(optimise(capture(toy_network(ZOO["arch2"])))[0])


def of_sizes(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.output[0].startswith("size/")]


def fixed(model: onnx.ModelProto, size: tuple[int, int]) -> onnx.ModelProto:
    result = onnx.load_from_string(fix_sizes(model.SerializeToString(), size))
    onnx.checker.check_model(result, full_check=True)
    return result


@pytest.mark.parametrize("size", [(64, 96), (32, 32), (160, 32)])
def test_the_outputs_are_the_same_and_nothing_computes_a_size(model: onnx.ModelProto, size: tuple[int, int]) -> None:
    made, image = fixed(model, size), np.random.default_rng(0).normal(size=(1, 3, *size)).astype(np.float32)
    assert len(of_sizes(model)) == 27
    assert of_sizes(made) == []
    assert len(made.graph.node) == len(model.graph.node) - 27
    assert made.graph.input == model.graph.input
    (wanted,), (found,) = (run(open_session(each), ["output"], image) for each in (model, made))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


def test_in_an_fp16_file_they_are_fp16(model: onnx.ModelProto) -> None:
    half, image = to_fp16(model), np.random.default_rng(0).normal(size=(1, 3, 64, 96)).astype(np.float32)
    made = fixed(half, (64, 96))
    assert of_sizes(made) == []
    (wanted,), (found,) = (run(open_session(rounded(each)), ["output"], image) for each in (half, made))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-3 * np.abs(wanted).max())


def test_a_file_whose_masks_are_others_is_left_as_it_is(model: onnx.ModelProto) -> None:
    other = onnx.ModelProto()
    other.CopyFrom(model)
    for node in other.graph.node:
        for names in (node.input, node.output):
            names[:] = [name.replace("/taps", "/others") for name in names]
    assert fix_sizes(other.SerializeToString(), (64, 96)) == other.SerializeToString()
