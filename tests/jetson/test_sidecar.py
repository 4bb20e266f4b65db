"""The sidecar: what is written is read back, and every wrong value is one line that names the field."""

import copy
import json
import os

import pytest

from fastnas.jetson import sidecar
from fastnas.jetson.checks import SIDECAR_BYTES
from fastnas.jetson.errors import JetsonError


def segmentation(**changes):
    task = {"kind": "segmentation", "classes": ["sky", "road"], "colours": [[0, 0, 255], [90, 90, 90]]}
    values = {
        "name": "toy",
        "input": sidecar.Input("image", "NCHW", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        "outputs": (sidecar.Output("classes", task, "logits", 4),),
        "files": (),
        "fastnas": "0.1.0",
    }
    values.update(changes)
    return sidecar.Sidecar(**values)


@pytest.fixture
def artifact(tmp_path):
    """A valid artifact, its files holding no graph."""
    files = []
    for name, precision, targets in [
        ("model.onnx", "fp32", ("onnxruntime", "tensorrt")),
        ("model.fp16.onnx", "fp16", ("tensorrt",)),
    ]:
        (tmp_path / name).write_bytes(b"\x1a" + bytes([len(name)]) + name.encode())  # the producer's version
        files.append(sidecar.describe_file(str(tmp_path), name, precision, targets))
    sidecar.save(str(tmp_path), segmentation(files=tuple(files)))
    return sidecar.load(str(tmp_path))


def test_what_is_saved_is_loaded(artifact):
    again = sidecar.from_dict(json.loads(json.dumps(artifact.sidecar.to_dict())))
    assert again == artifact.sidecar
    assert again.input.shape((64, 96)) == (1, 3, 64, 96)
    assert sidecar.load(os.path.join(artifact.folder, "model.json")).sidecar == again


def test_the_input_size_is_kept(artifact):
    sized = artifact.sidecar._replace(input_size=(256, 192))
    assert sidecar.from_dict(json.loads(json.dumps(sized.to_dict()))) == sized
    assert artifact.sidecar.to_dict()["input_size"] is None


def test_an_artifact_of_an_older_exporter_is_read(artifact):
    """Before, files had a resolution that was always null, and the sidecar had metrics that were always empty."""
    values = artifact.sidecar.to_dict()
    older = dict(values, metrics={}, files=[dict(file, resolution=None) for file in values["files"]])
    del older["input_size"]
    assert sidecar.from_dict(older) == artifact.sidecar


def test_a_file_is_chosen_by_engine_and_precision(artifact):
    assert artifact.choose("tensorrt", "fp32", (64, 96)).path == "model.onnx"
    assert artifact.choose("tensorrt", "fp16", (64, 96)).path == "model.fp16.onnx"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("onnxruntime", "fp16", (64, 64)), "no fp16 file for onnxruntime"),
        (("tensorrt", "fp32", (100, 64)), "multiples of 32, not 100x64"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(artifact, arguments, text):
    with pytest.raises(JetsonError, match=text) as caught:
        artifact.choose(*arguments)
    assert "\n" not in str(caught.value)


def only(artifact, *entries):
    """The artifact with files of these precisions and targets alone."""
    first = artifact.sidecar.files[0]
    files = tuple(first._replace(precision=precision, targets=targets) for precision, targets in entries)
    return artifact._replace(sidecar=artifact.sidecar._replace(files=files))


@pytest.mark.parametrize(
    ("target", "has", "advice"),
    [
        ("tensorrt", [("fp32", ("tensorrt",)), ("int8", ("onnxruntime",))], "use --precision fp32, or export it"),
        ("tensorrt", [("fp16", ("tensorrt",)), ("int8", ("onnxruntime",))], "use --precision fp16, or export it"),
        ("onnxruntime", [("fp16", ("onnxruntime", "tensorrt")), ("int8", ("tensorrt",))], "use --precision fp32, or"),
    ],
)
def test_int8_of_the_other_engine_is_refused_with_the_precision_to_use(artifact, target, has, advice):
    with pytest.raises(JetsonError) as caught:
        only(artifact, *has).choose(target, "int8", (64, 64))
    other = "onnxruntime" if target == "tensorrt" else "tensorrt"
    assert "toy has no int8 file for {}, only ".format(target) in str(caught.value)
    assert "int8 for {}; INT8 of one engine does not suit the other".format(other) in str(caught.value)
    assert advice in str(caught.value)
    assert str(caught.value).endswith("fastnas export toy --int8 --calibrate DIR")


def test_an_artifact_without_int8_says_how_to_get_it_and_nothing_of_other_engines(artifact):
    with pytest.raises(JetsonError) as caught:
        artifact.choose("tensorrt", "int8", (64, 64))
    assert "does not suit" not in str(caught.value)
    assert str(caught.value).endswith("fastnas export toy --int8 --calibrate DIR")


def test_the_best_precision_is_fp16_where_tensorrt_has_a_file_of_it(artifact):
    assert artifact.best_precision("tensorrt") == "fp16"
    assert artifact.best_precision("onnxruntime") == "fp32"
    assert only(artifact, ("fp32", ("tensorrt",)), ("fp16", ("onnxruntime",))).best_precision("tensorrt") == "fp32"


def test_an_edited_or_missing_file_is_refused(artifact):
    file = artifact.choose("onnxruntime", "fp32", (32, 32))
    path = artifact.verified_path(file)
    with open(path, "rb+") as stream:
        stream.write(b"X")
    with pytest.raises(JetsonError, match="not the file that was exported"):
        artifact.verified_path(file)
    os.unlink(path)
    with pytest.raises(JetsonError, match="is missing"):
        artifact.verified_path(file)


def changed(values, path, value):
    """A copy of `values` with one place changed; the value `del` removes it."""
    copied = copy.deepcopy(values)
    place = copied
    for key in path[:-1]:
        place = place[key]
    if value == "del":
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return copied


@pytest.mark.parametrize(
    ("path", "value", "text"),
    [
        (["format"], 3, "format 3, newer than the 2"),
        (["format"], 1, "format must be 2, not 1: export it again"),
        (["format"], "1", "format must be a whole number, not '1'"),
        (["format"], True, "format must be a whole number"),
        (["name"], "del", "name is missing"),
        (["trained"], 1, "trained must be true or false"),
        (["files"], [], "files is empty"),
        (["files", 0, "path"], "../model.onnx", r"files\[0\].path must be a name without / and .* not '../model.onnx'"),
        (["files", 0, "path"], "/etc/passwd", r"files\[0\].path must be a name without /"),
        (["files", 0, "sha256"], "abc", r"files\[0\].sha256 must be 64"),
        (["files", 0, "targets"], ["tpu"], r"files\[0\].targets must be of onnxruntime"),
        (["files", 0, "precision"], "fp8", "precision must be one of fp32, fp16, int8, not 'fp8'"),
        (["input_size"], [256], "input_size must have 2 items, not 1"),
        (["input_size"], [256, 100], r"input_size must be a height and a width, multiples of 32, not \[256, 100\]"),
        (["input", "mean"], [0.1, 0.2], "mean must have 3 items"),
        (["input", "mean"], [0.1, "x", 0.2], r"input.mean\[1\] must be a number"),
        (["input", "std"], [0, 1, 1], r"std\[0\] must be a number from 1e-06 to 1000, not 0"),
        (["input", "layout"], "NCWH", "layout must be one of NCHW, NHWC"),
        (["input", "dtype"], "uint8", "dtype must be one of float32"),
        (["outputs", 0, "decode"], "depth", "decode must be one of logits, labels"),
        (["outputs", 0, "stride"], 0, "stride must be a whole number from 1 to 64, not 0"),
        (["outputs", 0, "task", "kind"], "flow", "kind must be one of"),
        (["outputs", 0, "task", "colours"], [[0, 0, 0]], "as many as the classes"),
        (["outputs", 0, "task", "colours", 0], [0, 0], r"colours\[0\].item must have 3 items"),
        (["outputs", 0, "task"], [], "task must be an object"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_the_field(artifact, path, value, text):
    with pytest.raises(JetsonError, match=text) as caught:
        sidecar.from_dict(changed(artifact.sidecar.to_dict(), path, value), "toy/model.json")
    assert str(caught.value).startswith("toy/model.json")
    assert "\n" not in str(caught.value)


def test_pose_and_depth_tasks_are_checked():
    pose = {"kind": "pose", "joints": ["a", "b"], "skeleton": [[0, 2]], "mirror": [1, 0]}
    depth = {"kind": "depth", "minimum": 5.0, "maximum": 1.0}
    for task, decode, text in [
        (pose, "heatmaps", r"skeleton\[0\].item\[1\] must be a whole number from 0 to 1, not 2"),
        (depth, "depth", "minimum must be below maximum"),
    ]:
        values = segmentation(outputs=(sidecar.Output("o", task, decode, 4),)).to_dict()
        values["files"] = [{"path": "m", "precision": "fp32", "targets": ["tensorrt"], "sha256": "0" * 64, "bytes": 1}]
        with pytest.raises(JetsonError, match=text):
            sidecar.from_dict(values)


def test_outputs_are_of_different_names_and_kinds(artifact):
    one = artifact.sidecar.to_dict()["outputs"][0]
    depth = {"name": "depth", "task": {"kind": "depth", "minimum": 1.0, "maximum": 9.0}, "decode": "depth", "stride": 8}
    values = changed(artifact.sidecar.to_dict(), ["outputs"], [one, depth])
    several = sidecar.from_dict(values)
    assert (several.kinds, several.crops_people) == (("segmentation", "depth"), False)
    assert [output.shape((64, 96)) for output in several.outputs] == [(1, 2, 16, 24), (1, 1, 8, 12)]
    assert several.output("depth").name == "depth"
    assert sidecar.from_dict(several.to_dict()) == several
    for wrong in ([one, dict(depth, name=one["name"])], [one, dict(one, name="other")]):
        with pytest.raises(JetsonError, match="outputs must have different names and kinds of task"):
            sidecar.from_dict(changed(values, ["outputs"], wrong))
    for number, text in ((0, "outputs is empty"), (4, "outputs must have 1 to 3 items, not 4")):
        with pytest.raises(JetsonError, match=text):
            sidecar.from_dict(changed(values, ["outputs"], [one] * number))


SKELETON = {"kind": "pose", "joints": ["a", "b"], "mirror": [1, 0]}


@pytest.mark.parametrize(
    ("path", "value", "text"),
    [
        (["name"], "a/../../x", "name must be a name without / and"),
        (["name"], "..", "name must be a name"),
        (["name"], "-o", "name must be a name"),
        (["name"], "=1+1", "name must be a name"),
        (["name"], "a\0b", "name must be text without control characters"),
        (["name"], "a\x1b[2J", "name must be text without control characters, not 'a.x1b"),
        (["name"], "", "name is empty"),
        (["name"], "a" * 101, "name must have 1 to 100 characters, not 101"),
        (["files", 0, "path"], "a/model.onnx", r"files\[0\].path must be a name"),
        (["files", 0, "path"], "..", r"files\[0\].path must be a name"),
        (["files", 0, "path"], "c:\\x", r"files\[0\].path must be a name"),
        (["files", 0, "path"], "model.ort", r"files\[0\].path must end in .onnx, not 'model.ort'"),
        (["files", 0, "bytes"], 2**31, r"files\[0\].bytes must be a whole number from 0 to 2147483647"),
        (["files", 0, "bytes"], -1, r"files\[0\].bytes must be a whole number from 0"),
        (["files", 0, "bytes"], 10**400, r"files\[0\].bytes must be a whole number from 0"),
        (["input_size"], [2**40, 32], r"input_size\[0\] must be a whole number from 1 to 16384"),
        (["input_size"], [0, 32], r"input_size\[0\] must be a whole number from 1"),
        (["input", "multiple_of"], 2**64, "multiple_of must be a whole number from 1 to 1024"),
        (["input", "mean"], [0.5, float("nan"), 0.5], r"mean\[1\] must be a number from -1000 to 1000, not nan"),
        (["input", "std"], [1, 1, float("inf")], r"std\[2\] must be a number from"),
        (["input", "name"], "a\nb", "input.name must be text without control characters"),
        (["outputs", 0, "stride"], 65, "stride must be a whole number from 1 to 64"),
        (["outputs", 0, "task", "classes"], ["a"] * 256, "classes must have 1 to 255 items, not 256"),
        (["outputs", 0, "task", "classes"], [], "classes is empty"),
        (
            ["outputs", 0, "task", "classes", 0],
            "a\ud800",
            r"classes\[0\] must be text without control characters, not 'a.ud800'",
        ),
        (["outputs", 0, "task", "classes", 0], "a\u202eb", r"classes\[0\] must be text without control characters"),
        (
            ["outputs", 0, "task", "colours", 0],
            [0, 0, 256],
            r"colours\[0\].item\[2\] must be a whole number from 0 to 255",
        ),
        (["genotype"], "x" * 10001, "genotype must have 0 to 10000 characters"),
        (
            ["outputs", 0, "task"],
            dict(SKELETON, skeleton=[[0, 1]] * 10**6),
            "skeleton must have 0 to 4096 items, not 1000000",
        ),
        (
            ["outputs", 0, "task"],
            dict(SKELETON, skeleton=[[0, 2**70]]),
            r"skeleton\[0\].item\[1\] must be a whole number from 0 to 1",
        ),
        (["outputs", 0, "task"], dict(SKELETON, skeleton=[], joints=["a"] * 1025), "joints must have 1 to 1024 items"),
        (
            ["outputs", 0, "task"],
            {"kind": "depth", "minimum": 1e-9, "maximum": 1.0},
            "minimum must be a number from 0.001 to 1000000",
        ),
        (["outputs", 0, "task"], {"kind": "depth", "minimum": 1, "maximum": 10**400}, "maximum must be a number from"),
    ],
)
def test_a_hostile_value_is_one_line_with_the_place_and_the_limit(artifact, path, value, text):
    with pytest.raises(JetsonError, match=text) as caught:
        sidecar.from_dict(changed(artifact.sidecar.to_dict(), path, value), "toy/model.json")
    assert str(caught.value).startswith("toy/model.json")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 200


def test_fields_of_a_task_that_nobody_reads_are_dropped(artifact):
    values = changed(artifact.sidecar.to_dict(), ["outputs", 0, "task", "more"], ["x"] * 9999)
    assert sidecar.from_dict(values) == artifact.sidecar


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[" * 100000, "nested more than 32 levels"),
        ("[" * 40 + "]" * 40, "nested more than 32 levels"),
        ('{"a":' * 500 + "1" + "}" * 500, "nested more than 32 levels"),
        ('{"format": 1' + "0" * 10**6 + "}", "an integer has 1000001 digits, at most 1000 are read"),
        ('{"format": NaN}', "holds NaN, which is no JSON"),
        ('{"format": 1e999}', "holds a number beyond 1e308"),
        ('{"a": ["\\ud83d"]}', "which is no Unicode"),
        ('{"\\udc00": 1}', "which is no Unicode"),
        ('{"format": 1, "na', "Unterminated string"),
        ("x" * (SIDECAR_BYTES + 1), "has 4194305 bytes, at most 4194304 are read"),
        ("1e999", "holds a number beyond 1e308"),
        ('"\\ud800"', "which is no Unicode"),
        ("\ufeff[1]", "must be an object, not "),
    ],
)
def test_a_hostile_file_is_one_line(tmp_path, text, line):
    (tmp_path / "model.json").write_text(text, encoding="utf-8")
    with pytest.raises(JetsonError, match=line) as caught:
        sidecar.load(str(tmp_path))
    assert "model.json" in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


def test_what_is_no_regular_file_is_not_waited_for(tmp_path):
    os.mkfifo(str(tmp_path / "model.json"))
    with pytest.raises(JetsonError, match="is not a regular file"):
        sidecar.load(str(tmp_path))


def test_no_file_is_read_through_a_link_out_of_the_artifact(artifact, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    folder = artifact.folder
    file = artifact.choose("onnxruntime", "fp32", (32, 32))
    for name, read in (
        ("model.onnx", lambda: artifact.verified_path(file)),
        ("model.json", lambda: sidecar.load(folder)),
    ):
        os.rename(os.path.join(folder, name), str(outside / name))
        os.symlink(str(outside / name), os.path.join(folder, name))
        with pytest.raises(JetsonError, match="{} is a link that leads out of ".format(name)):
            read()
        os.unlink(os.path.join(folder, name))
        os.rename(str(outside / name), os.path.join(folder, "kept-" + name))
        os.symlink("kept-" + name, os.path.join(folder, name))  # within the folder it may be a link
        assert read()
    os.symlink(folder, str(outside / "alias"))  # so may the folder itself
    assert sidecar.load(str(outside / "alias")).verified_path(file)


def test_a_folder_without_sidecar_and_a_torn_one(tmp_path):
    with pytest.raises(JetsonError, match="is no artifact"):
        sidecar.load(str(tmp_path))
    (tmp_path / "model.json").write_text('{"format": 1, "na')
    with pytest.raises(JetsonError, match="cannot read"):
        sidecar.load(str(tmp_path))


def test_save_refuses_what_load_would_refuse_and_leaves_nothing(tmp_path):
    with pytest.raises(JetsonError, match="files is empty"):
        sidecar.save(str(tmp_path), segmentation())
    assert list(tmp_path.iterdir()) == []
