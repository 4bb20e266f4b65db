"""A network becomes an artifact folder: ONNX files, each compared to the network, and their sidecar `model.json`.

The folder is written under another name first, and then exchanged with an older one at once.

Shapes: H x W, the image's size.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from torch import Tensor

from fastnas import __version__
from fastnas.deploy import io_forms
from fastnas.deploy.graph.capture import capture
from fastnas.deploy.graph.ir import Graph
from fastnas.deploy.graph.rewrites import Effect, optimise
from fastnas.deploy.onnx import compat
from fastnas.deploy.onnx.writer import INPUT, to_onnx
from fastnas.deploy.parity import Reference, sample_image
from fastnas.deploy.precision import int8, typed
from fastnas.deploy.precision.base import Progress, Variant
from fastnas.deploy.precision.calibration import read_images
from fastnas.deploy.precision.compact import Compact
from fastnas.deploy.precision.fp16 import Fp16
from fastnas.errors import FastnasError
from fastnas.jetson import sidecar
from fastnas.jetson.files import atomic_folder, recover
from fastnas.models.network import Network
from fastnas.models.spec import ModelSpec
from fastnas.tasks import tasks_of

MULTIPLE = 32
"""Height and width must be multiples of it, the stride of the deepest encoder feature map, and of larger strides."""

DECODE = {"segmentation": "logits", "pose": "heatmaps", "depth": "depth"}
HEAD_DECODE = {**dict.fromkeys(io_forms.LABELS, "labels"), "peaks": "peaks"}


@dataclass(frozen=True)
class Options:
    """What is exported.

    Attributes:
        resolution: H, W at which the files are checked and meant to run; they take every multiple of 32.
        layout: `NCHW`, normalised floats, or `NHWC`, raw bytes with the normalisation in the graph.
        heads: `plain` output, output `upsampled` to H x W, `labels` of that size or `small-labels` of the decoder's
            (segmentation only), or the `peaks` of heatmaps (pose only); of several tasks each may have its own, see
            `io_forms.forms_of`.
        fp16: whether to write the typed fp16 file too.
        int8: whether to write the INT8 files too; with `fp16` the one for TensorRT 11 as well.
        calibrate: folder of images that INT8 needs; reduced precision is then compared to the network on some of them.
        compact: whether the float32 file stores its weights as fp16, see `fastnas.deploy.precision.compact`.
    """

    resolution: tuple[int, int] = (512, 512)
    layout: io_forms.Layout = "NCHW"
    heads: tuple[io_forms.Head, ...] = ()
    fp16: bool = False
    int8: bool = False
    calibrate: Path | None = None
    compact: bool = False


@dataclass(frozen=True)
class Exported:
    """What an export made.

    Attributes:
        folder: the artifact.
        sidecar: what its `model.json` says.
        effects: of each rewrite of the graph.
        operators: how many ONNX operators the float32 file has, casts of compact weights included.
        multiply_adds: of the exported graph at the resolution.
        seconds: it took.
    """

    folder: Path
    sidecar: sidecar.Sidecar
    effects: tuple[Effect, ...]
    operators: int
    multiply_adds: int
    seconds: float


def export(
    network: Network,
    spec: ModelSpec,
    name: str,
    out: Path,
    options: Options | None = None,
    *,
    trained: bool = False,
    input_size: tuple[int, int] | None = None,
    progress: Progress = lambda line: None,
) -> Exported:
    """Write the artifact `out/name`, replacing an older one.

    Args:
        network: with its weights.
        spec: what it is.
        name: of the artifact, and of its folder.
        out: the folder of all artifacts.
        options: what to export.
        trained: whether the weights mean something; goes into the sidecar.
        input_size: H, W that the network was trained for, if its accuracy depends on it; goes into the sidecar.
        progress: receives a line about each step.

    Raises:
        FastnasError: the resolution or an option does not fit; the network cannot be exported; the file differs from
            the network; there is not enough memory or disk, or `out` cannot be written.
    """
    start = time.perf_counter()
    options = options or Options()
    _check(options)
    forms = io_forms.forms_of(spec.task, options.heads)
    _require_replaceable(out / name)
    with _enough_memory("{}x{}".format(*options.resolution)):
        progress("recording the network")
        captured = capture(network)
        graph, effects = optimised(captured, network, forms, options.layout)
        multiple = max(MULTIPLE, *(shape.stride for shape in graph.shapes.values()))
        _check_size(options.resolution, multiple)
        progress(f"{len(captured.nodes)} operators became {len(graph.nodes)}; checking against PyTorch")
        variants = []
        for variant in _variants(graph, network, forms, options, progress, multiple):
            # A file with bytes as input is for ONNX Runtime alone.
            ignore = {"known_types", "constant_resizes"} if options.layout == "NHWC" else set()
            own = typed.BREAKS if variant.targets == ("tensorrt-typed",) else set()
            compat.require_clean(variant.model, ignore={*ignore, *own})
            variants.append(variant)
    entry = sidecar.Sidecar(
        name=name,
        input=sidecar.Input(INPUT, options.layout, network.encoder.mean, network.encoder.std, multiple),
        outputs=tuple(
            sidecar.Output(
                form.name,
                task.to_dict(),
                HEAD_DECODE.get(form.head, DECODE[task.kind]),
                graph.shapes[graph.outputs[form.name]].stride,
            )
            for task, form in zip(tasks_of(spec.task), forms, strict=True)
        ),
        files=(),
        genotype=str(spec.genotype) if spec.genotype else None,
        trained=trained,
        input_size=input_size,
        fastnas=__version__,
        parity={
            variant.path: {
                "outputs": {name: asdict(parity) for name, parity in variant.parity.items()},
                "kept_in_fp32": variant.kept,
            }
            for variant in variants
        },
    )
    entry = write(out / name, entry, variants)
    return Exported(
        out / name,
        entry,
        effects,
        len(variants[0].model.graph.node),
        graph.multiply_adds(*options.resolution),
        time.perf_counter() - start,
    )


def optimised(
    captured: Graph,
    network: Network,
    forms: Sequence[io_forms.Form] = (io_forms.Form(),),
    layout: io_forms.Layout = "NCHW",
) -> tuple[Graph, tuple[Effect, ...]]:
    """The graph to be written, in float32, and what each rewrite did."""
    graph = io_forms.split(captured, forms)
    if layout == "NHWC":
        graph = io_forms.take_bytes(graph, network.encoder.mean, network.encoder.std)
    return optimise(io_forms.give(graph, forms, layout))


def _variants(
    graph: Graph,
    network: Network,
    forms: Sequence[io_forms.Form],
    options: Options,
    progress: Progress,
    multiple: int,
) -> Iterator[Variant]:
    """The files that the options ask for, each compared to the network: float32 first."""
    # The resolution and two small sizes, as one file serves all.
    sizes = dict.fromkeys([options.resolution, (3 * multiple, 5 * multiple), (2 * multiple, multiple)])
    images = [sample_image(network, size) for size in sizes]
    reference = Reference(network, images, forms, options.layout)
    targets = ("onnxruntime", "tensorrt") if options.layout == "NCHW" else ("onnxruntime",)
    model = to_onnx(graph)
    exact = Variant("model.onnx", "fp32", targets, model, reference.require(model))
    yield Compact(model, reference, targets).build(progress) if options.compact else exact
    calibration: list[Tensor] = []
    if options.calibrate:
        calibration, validation = read_images(options.calibrate, network, options.resolution)
        reference = replace(reference, images=validation)
    if options.fp16:
        progress("fp16: checking with every value rounded")
        yield Fp16(model, reference, targets).build(progress)
    if options.int8:
        progress(f"calibrating with {len(calibration)} images")
        ranges = int8.calibrate(model, [reference.array(image) for image in calibration])
        for scheme in int8.SCHEMES:
            if scheme.target in targets:
                yield int8.Int8(model, reference, ranges, scheme).build(progress)
        if options.fp16 and "tensorrt" in targets:
            yield typed.TypedInt8(model, reference, ranges).build(progress)


def write(folder: Path, entry: sidecar.Sidecar, variants: list[Variant]) -> sidecar.Sidecar:
    """Write files and sidecar to a temporary folder, which then replaces `folder` at once.

    Returns:
        The sidecar with its files.

    Raises:
        FastnasError: `folder` exists and is no artifact, or cannot be written.
    """
    _require_replaceable(folder)
    with atomic_folder(folder) as fresh:
        files = []
        for variant in variants:
            (fresh / variant.path).write_bytes(variant.model.SerializeToString())
            files.append(sidecar.describe_file(str(fresh), variant.path, variant.precision, variant.targets))
        entry = entry._replace(files=tuple(files))
        sidecar.save(str(fresh), entry)
    return entry


def _require_replaceable(folder: Path) -> None:
    recover(folder.parent, folder.name)
    if folder.exists() and not (folder / sidecar.FILE_NAME).is_file() and (folder.is_file() or any(folder.iterdir())):
        raise FastnasError(f"{folder} exists and is no artifact; choose another name with --name, or remove it")


def _check(options: Options) -> None:
    _check_size(options.resolution, MULTIPLE)
    if options.int8 and options.calibrate is None:
        raise FastnasError("INT8 needs images to find its ranges with: add --calibrate DIR")


def _check_size(size: tuple[int, int], multiple: int) -> None:
    height, width = size
    if height % multiple or width % multiple or min(height, width) < multiple:
        raise FastnasError(
            f"resolution {height}x{width} does not fit: height and width must be multiples of {multiple}, "
            "for example {}x{}".format(*fitting(size, multiple))
        )


def fitting(size: tuple[int, int], multiple: int = MULTIPLE) -> tuple[int, int]:
    """The size whose sides are the nearest multiples of 32, or of `multiple`."""
    height, width = (max(multiple, round(side / multiple) * multiple) for side in size)
    return height, width


@contextmanager
def _enough_memory(resolution: str) -> Iterator[None]:
    """Turn the errors of torch and Python for lack of memory into one line."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "allocate memory" not in str(error):
            raise
        raise FastnasError(f"not enough memory at {resolution}; export with a smaller --res") from error
