"""ONNX files that leave weights in other files are refused, wherever a tensor may be."""

import os
import random

import pytest

from fastnas.jetson import onnx_file, sidecar
from fastnas.jetson.errors import JetsonError
from fastnas.jetson.onnx_file import has_external_data, require_own_weights
from tests.helpers.jetson_toys import write_toy

onnx = pytest.importorskip("onnx")

MESSAGES = {
    "ModelProto": onnx_file.MODEL,
    "GraphProto": onnx_file.GRAPH,
    "NodeProto": onnx_file.NODE,
    "AttributeProto": onnx_file.ATTRIBUTE,
    "TensorProto": onnx_file.TENSOR,
    "SparseTensorProto": onnx_file.SPARSE,
    "FunctionProto": onnx_file.FUNCTION,
    "TrainingInfoProto": onnx_file.TRAINING,
}


def test_the_table_has_every_way_to_a_tensor():
    """As ONNX's own description of its messages tells it."""
    inner, waiting = {}, [onnx.ModelProto.DESCRIPTOR]
    while waiting:
        message = waiting.pop()
        if message.name not in inner:
            inner[message.name] = {field.number: field.message_type for field in message.fields if field.message_type}
            waiting += inner[message.name].values()

    def holds_tensors(name, passed=()):
        ways = [field.name for field in inner[name].values() if field.name not in passed]
        return name == "TensorProto" or any(holds_tensors(way, (*passed, name)) for way in ways)

    expected = {
        MESSAGES[name]: {number: MESSAGES[field.name] for number, field in fields.items() if holds_tensors(field.name)}
        for name, fields in inner.items()
        if holds_tensors(name)
    }
    assert expected == onnx_file.INNER
    numbers = {field.name: field.number for field in onnx.TensorProto.DESCRIPTOR.fields}
    assert numbers["external_data"] == onnx_file.EXTERNAL_DATA
    assert numbers["data_location"] == onnx_file.DATA_LOCATION


def model_with(tensor, place):
    """A model that holds a tensor somewhere."""
    model = onnx.ModelProto()
    attribute = model.graph.node.add().attribute.add()
    sub_graph = attribute.g.node.add().attribute.add()
    target = {
        "initializer": lambda: model.graph.initializer.add(),
        "sparse values": lambda: model.graph.sparse_initializer.add().values,
        "sparse indices": lambda: model.graph.sparse_initializer.add().indices,
        "attribute": lambda: attribute.t,
        "list of an attribute": lambda: attribute.tensors.add(),
        "sparse attribute": lambda: attribute.sparse_tensor.values,
        "list of sparse attributes": lambda: attribute.sparse_tensors.add().indices,
        "sub-graph": lambda: sub_graph.t,
        "sub-graph of a list": lambda: attribute.graphs.add().initializer.add(),
        "function": lambda: model.functions.add().node.add().attribute.add().t,
        "attribute of a function": lambda: model.functions.add().attribute_proto.add().t,
        "training": lambda: model.training_info.add().algorithm.initializer.add(),
        "first values of training": lambda: model.training_info.add().initialization.initializer.add(),
    }[place]()
    target.CopyFrom(tensor)
    return model.SerializeToString()


PLACES = [
    "initializer", "sparse values", "sparse indices", "attribute", "list of an attribute", "sparse attribute",
    "list of sparse attributes", "sub-graph", "sub-graph of a list", "function", "attribute of a function", "training",
    "first values of training",
]  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_another_file_is_found_wherever_a_tensor_may_be(place):
    own = onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [2], [1.0, 2.0])
    assert not has_external_data(model_with(own, place))
    located = onnx.TensorProto(data_location=onnx.TensorProto.EXTERNAL)
    named = onnx.TensorProto()
    named.external_data.add(key="location", value="/etc/passwd")
    for tensor in (located, named):
        assert has_external_data(model_with(tensor, place))


@pytest.mark.parametrize(
    "location",
    [
        b"\x70\x01",
        b"\x70\x81\x00",  # 1 in two bytes
        b"\x70\x81\x80\x80\x80\x10",  # 2 ** 32 + 1, of which 32 bits are read
        b"\xf0\x80\x00\x01",  # the field's number in three bytes
        b"\x70\x00\x70\x01",  # the last one counts
    ],
)
def test_unusual_encodings_are_understood(location):
    tensor = b"\x2a" + bytes([len(location)]) + location
    assert has_external_data(b"\x3a" + bytes([len(tensor)]) + tensor)


@pytest.mark.parametrize("change", ["truncated", "changed"])
def test_damaged_files_are_read_or_refused(tmp_path, change):
    with open(os.path.join(write_toy(str(tmp_path), channels=1), "model.onnx"), "rb") as file:
        data = file.read()
    assert not has_external_data(data)
    chance, refused = random.Random(0), 0
    for _ in range(2000):
        damaged = bytearray(data)
        if change == "truncated":
            del damaged[chance.randrange(len(data)) :]
        else:
            damaged[chance.randrange(len(data))] = chance.randrange(256)
        try:
            has_external_data(bytes(damaged))
        except ValueError:
            refused += 1
    assert 100 < refused < 2000


def test_files_that_are_no_model_are_one_line(tmp_path):
    path = str(tmp_path / "model.onnx")
    for content, line in (
        (b"", "model.onnx is not an ONNX file: cannot mmap an empty file"),
        (b"mode", "model.onnx is not an ONNX file: it is damaged at byte"),
        (b"\x08" * 3, "model.onnx is not an ONNX file: it is damaged at byte 3"),
        (b"\x0b", "model.onnx is not an ONNX file: it has a field of the unknown type 3"),
        (b"\x08\xff" + b"\xff" * 9 + b"\x01", "model.onnx is not an ONNX file: it is damaged at byte 1"),
        (b"\x08\x01" * 1000001, "model.onnx is not an ONNX file: it has more than 1000000 fields"),
    ):
        with open(path, "wb") as file:
            file.write(content)
        with pytest.raises(JetsonError) as caught:
            require_own_weights(path)
        assert line in str(caught.value)
    with pytest.raises(JetsonError, match="cannot read"):
        require_own_weights(str(tmp_path))


def test_an_artifact_whose_weights_are_elsewhere_is_refused(tmp_path):
    """As onnx itself saves large models, with sums that fit."""
    folder = write_toy(str(tmp_path))
    artifact, path = sidecar.load(folder), os.path.join(folder, "model.onnx")
    assert artifact.verified_path(artifact.sidecar.files[0]) == path
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    files = (sidecar.describe_file(folder, "model.onnx", "fp32", ("onnxruntime", "tensorrt")),)
    sidecar.save(folder, artifact.sidecar._replace(files=files))
    with pytest.raises(JetsonError, match="model.onnx leaves weights in another file, which no artifact may"):
        sidecar.load(folder).verified_path(files[0])
