"""`model.json`, the sidecar of an artifact: everything that a device needs to know to run it.

An artifact is a folder with this file and the ONNX files that it lists. The exporter calls `describe_file` for each
file and then `save`; the runner calls `load`, `Artifact.choose` and `Artifact.verified_path`.

    {"format": 2, "name": "arch0", "fastnas": "0.2.0", "trained": false, "genotype": "[[[3, 3], ...",
     "input": {"name": "image", "layout": "NCHW", "dtype": "float32", "mean": [0.485, ...], "std": [0.229, ...],
               "multiple_of": 32},
     "outputs": [{"name": "segmentation", "decode": "logits", "stride": 4,
                  "task": {"kind": "segmentation", "classes": [...], "colours": [[0, 0, 0], ...]}}],
     "files": [{"path": "model.onnx", "precision": "fp32", "targets": ["onnxruntime", "tensorrt"],
                "sha256": "...", "bytes": 10633}],
     "input_size": null, "parity": {}}
"""

import json
import os
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from fastnas.jetson import checks
from fastnas.jetson.checks import Fields
from fastnas.jetson.errors import JetsonError
from fastnas.jetson.files import recover, sha256_of, write_text
from fastnas.jetson.onnx_file import require_own_weights
from fastnas.jetson.tasks import read_task

FORMAT = 2
"""1 had one output, and its task beside it."""

FILE_NAME = "model.json"
PRECISIONS = ("fp32", "fp16", "int8")
TARGETS = ("onnxruntime", "tensorrt", "tensorrt-typed")  # the last is TensorRT from 11 on, see `engine.trt.TYPED`
LAYOUTS = {"NCHW": "float32", "NHWC": "uint8"}
DECODE = {"segmentation": ("logits", "labels"), "pose": ("heatmaps", "peaks"), "depth": ("depth",)}

Size = Tuple[int, int]


class Input(NamedTuple):
    """The graph's one input, RGB.

    Attributes:
        name: its name in every file.
        layout: `NCHW`: float32 [1, 3, H, W], (pixel / 255 - mean) / std; or `NHWC`: uint8 [1, H, W, 3], raw pixels,
            the normalisation being in the graph.
        mean: of R, G and B, on the scale 0..1.
        std: likewise.
        multiple_of: H and W must be multiples of it.
    """

    name: str
    layout: str
    mean: Tuple[float, ...]
    std: Tuple[float, ...]
    multiple_of: int = 32

    @property
    def dtype(self) -> str:
        """The element type of the input array, in every precision."""
        return LAYOUTS[self.layout]

    def shape(self, size: Size) -> Tuple[int, ...]:
        """The input's shape for one image of `size` (H, W)."""
        return (1, 3) + size if self.layout == "NCHW" else (1,) + size + (3,)


class Output(NamedTuple):
    """One of the graph's outputs; each is of another kind of task.

    Attributes:
        name: its name in every file.
        task: the task with its `kind`: `segmentation` (classes, colours), `pose` (joints, skeleton, mirror) or
            `depth` (minimum, maximum, in metres).
        decode: what it holds. `logits`: float32 [1, K, h, w], the class is the arg-max; `labels`: class ids
            [1, h, w]; `heatmaps`: float32 [1, J, h, w], the joint is the peak; `peaks`: float32 [1, J, 3], x and y of
            that peak in cells, and its height; `depth`: float32 [1, 1, h, w], metres.
        stride: h = H / stride, w = W / stride.
    """

    name: str
    task: Dict[str, Any]
    decode: str
    stride: int

    @property
    def kind(self) -> str:
        """The kind of its task."""
        return str(self.task["kind"])

    @property
    def channels(self) -> int:
        """Classes, joints, or 1 of a depth."""
        return len(self.task.get("classes") or self.task.get("joints") or "1")

    def shape(self, size: Size) -> Tuple[int, ...]:
        """The output's shape for one image of `size` (H, W)."""
        planes = (1, self.channels)
        if self.decode == "peaks":
            return planes + (3,)
        return ((1,) if self.decode == "labels" else planes) + (size[0] // self.stride, size[1] // self.stride)


class ModelFile(NamedTuple):
    """One ONNX file of an artifact.

    Attributes:
        path: its name inside the artifact's folder.
        precision: `fp32`, `fp16` or `int8`; input and output have the sidecar's types in all of them.
        targets: the engines that it is meant for.
        sha256: of its content, in hexadecimal digits.
        bytes: its length.
    """

    path: str
    precision: str
    targets: Tuple[str, ...]
    sha256: str
    bytes: int


class Sidecar(NamedTuple):
    """What `model.json` says.

    Attributes:
        name: the artifact's name.
        input: of the graph.
        outputs: of the graph, one for each of its tasks. The pose among several tasks is that of the largest person in
            the whole image; a pose alone is that of the person whose crop is the image.
        files: with the graph.
        genotype: the decoder as text, or None for a network that is no genotype.
        trained: False if the weights are random and only latency means something.
        input_size: (H, W) of the images that the network was trained for, or None if it takes images of any size alike.
            Every file takes other sizes too; this one is the default.
        fastnas: the version that exported it.
        parity: differences from the training network, by file.
    """

    name: str
    input: Input
    outputs: Tuple[Output, ...]
    files: Tuple[ModelFile, ...]
    genotype: Optional[str] = None
    trained: bool = False
    input_size: Optional[Size] = None
    fastnas: str = ""
    parity: Dict[str, Any] = {}

    @property
    def kinds(self) -> Tuple[str, ...]:
        """The kinds of its tasks."""
        return tuple(output.kind for output in self.outputs)

    def output(self, kind: str) -> Output:
        """The output of a kind of task, which there must be."""
        return self.outputs[self.kinds.index(kind)]

    @property
    def crops_people(self) -> bool:
        """Whether its images are crops of one person each."""
        return self.kinds == ("pose",)

    def to_dict(self) -> Dict[str, Any]:
        """The sidecar as JSON values, read back by `from_dict`."""
        values = dict(self._asdict())
        values["format"] = FORMAT
        values["input"] = dict(self.input._asdict(), dtype=self.input.dtype)
        values["outputs"] = [dict(output._asdict()) for output in self.outputs]
        values["files"] = [dict(file._asdict()) for file in self.files]
        plain = json.loads(json.dumps(values))  # tuples as lists, as they come back from a file
        return dict(plain)


class Artifact(NamedTuple):
    """An artifact's folder and what its sidecar says."""

    folder: str
    sidecar: Sidecar

    def choose(self, target: str, precision: str, size: Size) -> ModelFile:
        """The file for an engine and a precision; it must take images of `size` (H, W), as every file of the artifact.

        Raises:
            JetsonError: the size does not fit, or there is no such file; the message says what there is.
        """
        multiple = self.sidecar.input.multiple_of
        if min(size) <= 0 or size[0] % multiple or size[1] % multiple:
            message = "{} takes heights and widths that are multiples of {}, not {}x{}"
            raise JetsonError(message.format(self.sidecar.name, multiple, *size))
        for file in self.sidecar.files:
            if target in file.targets and file.precision == precision:
                return file
        raise JetsonError(self._missing(target, precision))

    def best_precision(self, target: str) -> str:
        """What to run on an engine unless asked otherwise: fp16 on TensorRT where there is a file of it, else fp32."""
        half = any(target in file.targets and file.precision == "fp16" for file in self.sidecar.files)
        return "fp16" if target == "tensorrt" and half else "fp32"

    def _missing(self, target: str, precision: str) -> str:
        """The message about a precision without a file for an engine: what there is, and what to do."""
        name, files = self.sidecar.name, self.sidecar.files
        there = sorted({"{} for {}".format(file.precision, each) for file in files for each in file.targets})
        line = "{} has no {} file for {}, only {}; ".format(name, precision, target, ", ".join(there))
        if precision == "int8" and any(file.precision == "int8" for file in files):
            line += "INT8 of one engine does not suit the other (TensorRT needs symmetric values, ONNX Runtime runs "
            line += "unsigned ones fast): use --precision {}, or ".format(self.best_precision(target))
        options = {"fp32": "", "fp16": " --fp16", "int8": " --int8 --calibrate DIR"}[precision]
        return line + "export it with: fastnas export {}{}".format(name, options)

    def path(self, file: ModelFile) -> str:
        """Where a file is."""
        return os.path.join(self.folder, file.path)

    def verified_path(self, file: ModelFile) -> str:
        """Where a file is, after its length and checksum were found to be the sidecar's, and all weights to be in it.

        Raises:
            JetsonError: it is missing, leads out of the folder by a link, was changed after the export, or names
                another file.
        """
        path = self.path(file)
        checks.require_inside(path, self.folder)
        if not os.path.isfile(path):
            raise JetsonError("{} is missing, but {} lists it; copy the whole folder".format(path, FILE_NAME))
        if os.path.getsize(path) != file.bytes or sha256_of(path) != file.sha256:
            raise JetsonError(
                "{} is not the file that was exported (its sha256 differs from {}); export it again".format(
                    path, FILE_NAME
                )
            )
        require_own_weights(path)
        return path


def describe_file(folder: str, path: str, precision: str, targets: Tuple[str, ...]) -> ModelFile:
    """The entry of a file that was just written to `folder`."""
    full = os.path.join(folder, path)
    return ModelFile(path, precision, tuple(targets), sha256_of(full), os.path.getsize(full))


def save(folder: str, sidecar: Sidecar) -> str:
    """Check `sidecar` and write `model.json` into `folder` atomically; return its path."""
    path = os.path.join(str(folder), FILE_NAME)
    from_dict(sidecar.to_dict(), path)
    write_text(path, json.dumps(sidecar.to_dict(), indent=1, sort_keys=True) + "\n")
    return path


def load(folder: str) -> Artifact:
    """The artifact in `folder` (or whose `model.json` is `folder`). Checksums wait until a file is used.

    Raises:
        JetsonError: there is none, or its sidecar is not valid; the message names the field.
    """
    folder = str(folder)
    if os.path.basename(folder) == FILE_NAME:
        folder = os.path.dirname(folder) or "."
    path = os.path.join(folder, FILE_NAME)
    if not os.path.exists(folder):
        recover(*os.path.split(os.path.realpath(folder)))  # an export may have been killed while it replaced it
    try:
        values = checks.read_json(path, checks.SIDECAR_BYTES, folder=folder)
    except JetsonError as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            raise
        message = "{} is no artifact: it has no {}; write one with: fastnas export"
        raise JetsonError(message.format(folder, FILE_NAME)) from error
    return Artifact(folder, from_dict(values, path))


def find(root: str) -> List[Artifact]:
    """Every artifact directly under `root`, by name."""
    if not os.path.isdir(root):
        return []
    recover(root)
    folders = [os.path.join(root, name) for name in sorted(os.listdir(root))]
    return [load(folder) for folder in folders if os.path.isfile(os.path.join(folder, FILE_NAME))]


def from_dict(values: Any, where: str = FILE_NAME) -> Sidecar:
    """Read `Sidecar.to_dict`'s values; `where` names them in error messages."""
    fields = Fields(values, where)
    version = fields.take("format", int)
    if version > FORMAT:
        raise JetsonError(
            "{} has format {}, newer than the {} that this fastnas reads; update fastnas here".format(
                where, version, FORMAT
            )
        )
    if version < FORMAT:
        raise fields.error("format", "must be {}, not {}: export it again".format(FORMAT, version))
    outputs = tuple(fields.take_list("outputs", _output, within=(1, len(DECODE))))
    if len({output.kind for output in outputs}) < len(outputs) or len({output.name for output in outputs}) < len(
        outputs
    ):
        raise fields.error("outputs", "must have different names and kinds of task")
    files = tuple(fields.take_list("files", _model_file, within=checks.FILES))
    image = _input(fields.take("input", dict), where + ": input")
    size = fields.take_list("input_size", int, count=2, optional=True, each=checks.SIDE)
    if any(side % image.multiple_of for side in size):
        message = "must be a height and a width, multiples of {}, not {}"
        raise fields.error("input_size", message.format(image.multiple_of, size))
    return Sidecar(
        name=fields.take_name("name"),
        input=image,
        outputs=outputs,
        files=files,
        genotype=fields.take("genotype", str, optional=True),
        trained=fields.take("trained", bool),
        input_size=(size[0], size[1]) if size else None,
        fastnas=fields.take("fastnas", str, within=checks.TEXT),
        parity=fields.take("parity", dict),
    )


def _input(values: Any, where: str) -> Input:
    fields = Fields(values, where)
    layout = fields.take("layout", str, tuple(LAYOUTS))
    fields.take("dtype", str, (LAYOUTS[layout],))
    mean = fields.take_list("mean", float, count=3, each=checks.MEAN)
    std = fields.take_list("std", float, count=3, each=checks.STD)
    multiple_of = fields.take("multiple_of", int, within=checks.MULTIPLE)
    return Input(fields.take("name", str, within=checks.NAME), layout, tuple(mean), tuple(std), multiple_of)


def _output(values: Any, where: str) -> Output:
    fields = Fields(values, where)
    name, task = fields.take("name", str, within=checks.NAME), read_task(fields.take("task", dict), where + ".task")
    decode = fields.take("decode", str, DECODE[task["kind"]])
    return Output(name, task, decode, fields.take("stride", int, within=checks.STRIDE))


def _model_file(values: Any, where: str) -> ModelFile:
    fields = Fields(values, where)
    targets = tuple(fields.take_list("targets", str, within=(1, len(TARGETS)), each=checks.NAME))
    if any(target not in TARGETS for target in targets):
        raise fields.error("targets", "must be of {}, not {}".format(", ".join(TARGETS), list(targets)))
    sha = fields.take("sha256", str)
    if len(sha) != 64 or set(sha) - set("0123456789abcdef"):
        raise fields.error("sha256", "must be 64 lower-case hexadecimal digits")
    path = fields.take_name("path")
    if not path.endswith(".onnx"):  # engines take other formats by their suffix
        raise fields.error("path", "must end in .onnx, not {}".format(checks.describe(path)))
    return ModelFile(
        path=path,
        precision=fields.take("precision", str, PRECISIONS),
        targets=targets,
        sha256=sha,
        bytes=fields.take("bytes", int, within=checks.GRAPH_BYTES),
    )
