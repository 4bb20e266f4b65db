"""Tiny artifacts for the device half's tests, small enough for every engine and every Python.

`python tests/helpers/jetson_toys.py FOLDER` writes one of each kind, for an interpreter that has no `onnx` package.
"""

import os
import sys
from typing import Any, Dict

from fastnas.jetson import sidecar

TASKS: Dict[str, Dict[str, Any]] = {
    "segmentation": {
        "kind": "segmentation",
        "classes": ["sky", "road", "tree"],
        "colours": [[70, 130, 180], [128, 64, 128], [107, 142, 35]],
    },
    "pose": {"kind": "pose", "joints": ["head", "left", "right"], "skeleton": [[0, 1], [0, 2]], "mirror": [0, 2, 1]},
    "depth": {"kind": "depth", "minimum": 0.5, "maximum": 10.0},
}
DECODE = {"segmentation": "logits", "pose": "heatmaps", "depth": "depth"}


MULTI = "multi"
"""All of them in one network."""


def write_toy(root, kind="segmentation", name=None, layout="NCHW", channels=8):
    """A conv-relu-conv network at stride 4 of fixed weights, an output for each task; returns its folder."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    folder = os.path.join(str(root), name or "toy-" + kind)
    os.makedirs(folder)
    outputs = {each: 1 if each == "depth" else 3 for each in (TASKS if kind == MULTI else (kind,))}
    random = np.random.RandomState(0)
    weights = {"w1": random.randn(channels, 3, 3, 3).astype(np.float32) / 3}
    for each, count in outputs.items():
        weights["w2/" + each] = random.randn(count, channels, 3, 3).astype(np.float32) / 3
    stride_2 = {"strides": [2, 2], "pads": [1, 1, 1, 1]}
    nodes, shape, dtype, first = [], [1, 3, "h", "w"], TensorProto.FLOAT, "image"
    if layout == "NHWC":
        nodes += [
            helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
            helper.make_node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2]),
        ]
        shape, dtype, first = [1, "h", "w", 3], TensorProto.UINT8, "planes"
    conv, relu = "encoder.stages.0.0.0", "encoder.stages.0.0.1"  # as an export names operators and values
    nodes += [
        helper.make_node("Conv", [first, "w1"], [conv], name=conv, **stride_2),
        helper.make_node("Relu", [conv], [relu], name=relu),
    ]
    for each in outputs:
        nodes.append(
            helper.make_node("Conv", [relu, "w2/" + each], [each], name="decoder.classifier/" + each, **stride_2)
        )
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info("image", dtype, shape)],
        [
            helper.make_tensor_value_info(each, TensorProto.FLOAT, [1, count, "h4", "w4"])
            for each, count in outputs.items()
        ],
        [numpy_helper.from_array(array, key) for key, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, os.path.join(folder, "model.onnx"))
    file = sidecar.describe_file(folder, "model.onnx", "fp32", ("onnxruntime", "tensorrt"))
    sidecar.save(
        folder,
        sidecar.Sidecar(
            name=os.path.basename(folder),
            input=sidecar.Input("image", layout, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
            outputs=tuple(sidecar.Output(each, TASKS[each], DECODE[each], 4) for each in outputs),
            files=(file,),
            fastnas="0.1.0",
        ),
    )
    return folder


def toy_artifacts(tmp_path_factory):
    """One artifact of each kind, by kind; those in $FASTNAS_TOYS where this Python has no `onnx` to write them."""
    root = os.environ.get("FASTNAS_TOYS")
    if root:
        return {kind: os.path.join(root, "toy-" + kind) for kind in (*TASKS, MULTI)}
    folder = tmp_path_factory.mktemp("toys")
    return {kind: write_toy(folder, kind) for kind in (*TASKS, MULTI)}


if __name__ == "__main__":
    for toy in (*TASKS, MULTI):
        write_toy(sys.argv[1], toy)
