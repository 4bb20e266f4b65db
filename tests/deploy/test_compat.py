"""Each rule refuses what it is there for, and no export breaks one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fastnas.deploy.graph.capture import capture
from fastnas.deploy.graph.ir import Graph
from fastnas.deploy.graph.rewrites import optimise
from fastnas.deploy.io_forms import Form, Head, give, take_bytes
from fastnas.deploy.onnx.compat import RULES, lint, require_clean
from fastnas.deploy.onnx.writer import to_onnx
from fastnas.errors import FastnasError
from fastnas.models.zoo import ZOO
from tests.helpers.deploy_toys import toy_network


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    graph, _ = optimise(give(capture(toy_network(ZOO["arch2"])), [Form(head="labels")]))
    return to_onnx(graph)


def node(model: onnx.ModelProto, kind: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.op_type == kind)


def drop_initializer(model: onnx.ModelProto, name: str) -> None:
    kept = [tensor for tensor in model.graph.initializer if tensor.name != name]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)


def newer_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 17


def foreign_domain(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def newer_format(model: onnx.ModelProto) -> None:
    model.ir_version = 10


def shape_chain(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Shape", ["image"], ["shape"]))


def loop(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Loop", [], ["looped"]))


def resize_to_size(model: onnx.ModelProto) -> None:
    node(model, "Resize").input.append("sizes")


def computed_scales(model: onnx.ModelProto) -> None:
    drop_initializer(model, node(model, "Resize").input[2])


def broken_scales(model: onnx.ModelProto) -> None:
    scales = np.array([1, 1, 1.5, 1.5], np.float32)
    model.graph.initializer.append(numpy_helper.from_array(scales, "broken"))
    node(model, "Resize").input[2] = "broken"


def asymmetric(model: onnx.ModelProto) -> None:
    for attribute in node(model, "Resize").attribute:
        if attribute.name == "coordinate_transformation_mode":
            attribute.s = b"asymmetric"


def computed_bounds(model: onnx.ModelProto) -> None:
    drop_initializer(model, node(model, "Clip").input[2])


def long_constant(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.int64), "long"))


def double_constant(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.float64), "double"))


def long_labels(model: onnx.ModelProto) -> None:
    node(model, "Cast").attribute[0].i = TensorProto.INT64


def uncast_labels(model: onnx.ModelProto) -> None:
    node(model, "Cast").op_type = "Mul"


def bytes_in(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8


def longs_out(model: onnx.ModelProto) -> None:
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64


def open_batch(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"


def computed_weights(model: onnx.ModelProto) -> None:
    drop_initializer(model, node(model, "Conv").input[1])


@pytest.mark.parametrize(
    ("damage", "rule"),
    [
        (newer_opset, "opset"),
        (foreign_domain, "opset"),
        (newer_format, "file_format"),
        (shape_chain, "operators"),
        (loop, "operators"),
        (resize_to_size, "constant_resizes"),
        (computed_scales, "constant_resizes"),
        (broken_scales, "constant_resizes"),
        (asymmetric, "constant_resizes"),
        (computed_bounds, "constant_bounds"),
        (long_constant, "integers_only_in_shapes"),
        (double_constant, "integers_only_in_shapes"),
        (long_labels, "integers_only_in_shapes"),
        (uncast_labels, "integers_only_in_shapes"),
        (bytes_in, "known_types"),
        (longs_out, "known_types"),
        (open_batch, "known_channels"),
        (computed_weights, "constant_weights"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_rule_refuses(model: onnx.ModelProto, damage: Callable[[onnx.ModelProto], None], rule: str) -> None:
    damaged = onnx.ModelProto()
    damaged.CopyFrom(model)
    damage(damaged)
    problems = lint(damaged)
    assert problems
    assert all(problem.endswith(f"(rule {rule})") for problem in problems), problems
    assert lint(damaged, ignore={rule}) == []
    with pytest.raises(FastnasError, match=rf"would not run on every device: .*\(rule {rule}\)"):
        require_clean(damaged)


def test_every_rule_has_a_case() -> None:
    (mark,) = test_a_rule_refuses.pytestmark  # type: ignore[attr-defined]
    assert {rule for _, rule in mark.args[1]} == {rule.__name__ for rule in RULES}


@pytest.fixture(scope="module", params=ZOO)
def captured(request: pytest.FixtureRequest) -> Graph:
    return capture(toy_network(ZOO[request.param]))


@pytest.mark.parametrize("head", ["plain", "upsampled", "labels"])
def test_exports_are_clean(captured: Graph, head: Head) -> None:
    graph, _ = optimise(give(captured, [Form(head=head)]))
    assert lint(to_onnx(graph)) == []


def test_bytes_break_only_the_rule_of_types() -> None:
    graph, _ = optimise(take_bytes(capture(toy_network(ZOO["arch1"])), (0.5,) * 3, (0.25,) * 3))
    model = to_onnx(graph)
    assert lint(model, ignore={"known_types"}) == []
    assert len(lint(model)) == 1
