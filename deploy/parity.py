"""An ONNX file against the PyTorch network that it came from: how far apart they are, and where it starts.

Shapes: images [1, 3, H, W], normalised; logits [1, K, h, w].
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from fastnas.deploy.io_forms import Head
from fastnas.deploy.onnx.writer import OUTPUT
from fastnas.errors import FastnasError, MissingPackage, first_line
from fastnas.jetson.inference.decode import peak_step

FloatArray = NDArray[np.float32]

TOLERANCE = 1e-5
"""Largest error of a float32 file, as a share of the largest reference value; rounding alone makes about 1e-6."""


@dataclass(frozen=True)
class Parity:
    """What a comparison found, over all images.

    Attributes:
        largest: largest absolute error, as a share of the largest absolute reference value.
        mean: mean absolute error, as a share of the mean absolute reference value.
        agreement: share of pixels where the channel of the largest value is the same (for one channel: 1), or of peaks
            that are where the heatmap is highest.
        finite: whether neither NaN nor infinity came out.
        sizes: images as `HxW`.
    """

    largest: float
    mean: float
    agreement: float
    finite: bool
    sizes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


Feed = Callable[[Tensor], NDArray[Any]]
"""From an image as the network takes it to the array that the file takes."""


def normalised(image: Tensor) -> NDArray[Any]:
    """The feed of a file with layout NCHW."""
    return image.numpy()


def compare(
    model: bytes,
    network: nn.Module,
    images: Sequence[Tensor],
    *,
    head: Head = "plain",
    feed: Feed = normalised,
) -> Parity:
    """Run both on the images.

    Args:
        model: an ONNX file's content.
        network: what it was made from.
        images: one or more, of any sizes that fit.
        head: what the file gives; labels are compared by agreement alone, peaks by their heights and agreement.
        feed: how the file takes an image.

    Raises:
        FastnasError: ONNX Runtime refuses the file, or gives another shape.
    """
    session = open_session(model)
    errors, sums, agreements, references = [], [], [], []
    finite = True
    for image in images:
        expected = reference(network, image, head)
        (found,) = run(session, [OUTPUT], feed(image))
        shapes = {"labels": (1, *expected.shape[2:]), "peaks": (*expected.shape[:2], 3)}
        wanted = shapes.get(head, expected.shape)
        if found.shape != wanted:
            raise FastnasError(f"the ONNX graph gives {list(found.shape)}, the network {list(wanted)}")
        if head == "peaks":
            stride = image.shape[2] // expected.shape[2]
            agreements.append(_as_high(found, expected, peak_step(stride)))
            found, expected = found[..., 2], expected.max((2, 3))
        else:
            classes = found if head == "labels" else found.argmax(1)
            agreements.append(float(np.mean(classes == expected.argmax(1))))
        if head != "labels":
            finite &= bool(np.isfinite(found).all())
            difference = np.abs(found - expected)
            errors.append(float(difference.max()))
            sums.append(float(difference.mean()))
            references.append((float(np.abs(expected).max()), float(np.abs(expected).mean())))
    largest, mean = (max((pair[i] for pair in references), default=0.0) or 1.0 for i in (0, 1))
    return Parity(
        largest=max(errors, default=0.0) / largest,
        mean=sum(sums) / max(len(sums), 1) / mean,
        agreement=sum(agreements) / len(agreements),
        finite=finite,
        sizes=tuple(f"{image.shape[2]}x{image.shape[3]}" for image in images),
    )


def require(
    parity: Parity,
    model: onnx.ModelProto,
    network: nn.Module,
    image: Tensor,
    *,
    tolerance: float = TOLERANCE,
    agreement: float = 0.999,
    feed: Feed = normalised,
) -> None:
    """Insist on parity.

    Raises:
        FastnasError: it is not enough; the line names the layer where the difference starts.
    """
    if parity.finite and parity.largest <= tolerance and parity.agreement >= agreement:
        return
    what = "NaN or infinity" if not parity.finite else f"an error of {parity.largest:.1e} of the largest value"
    errors = layer_errors(model, network, image, feed)
    # NaN compares false with everything, and is bad as well.
    bad = next((layer for layer, error in errors.items() if not error <= tolerance), None)
    where = f"it starts at {bad} (error {errors[bad]:.1e})" if bad else "no layer before the output differs"
    raise FastnasError(
        f"the exported graph differs from the network: {what} (allowed {tolerance:.0e}), "
        f"{parity.agreement:.2%} of arg-max equal; {where}"
    )


def layer_errors(
    model: onnx.ModelProto, network: nn.Module, image: Tensor, feed: Feed = normalised
) -> dict[str, float]:
    """How far each layer's output is from the network's, as a share of its largest value, in the graph's order.

    A value of the graph that carries the name of a module without children is that module's output. All of them are
    made outputs of one run.
    """
    expected = _leaf_outputs(network, image)
    layers = [name for node in model.graph.node for name in node.output if name in expected]
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    probe.graph.output.extend(onnx.ValueInfoProto(name=layer) for layer in layers)
    session = open_session(probe.SerializeToString())
    found = run(session, layers, feed(image))
    errors = {}
    for layer, value in zip(layers, found, strict=True):
        wanted = expected[layer]
        if value.shape != wanted.shape:  # a pixel that the graph repeats later, or never
            wanted = wanted[:, :, :1, :1]
        scale = float(np.abs(wanted).max()) or 1.0
        errors[layer] = float(np.abs(value.astype(np.float32) - wanted).max()) / scale
    return errors


def reference(network: nn.Module, image: Tensor, head: Head = "plain") -> FloatArray:
    """The network's logits for an image, upsampled where the head says so: [1, K, h, w]."""
    with torch.no_grad():
        logits = network.eval()(image)
        if head in ("upsampled", "labels"):
            logits = F.interpolate(logits, size=image.shape[2:], mode="bilinear", align_corners=False)
    result: FloatArray = logits.numpy()
    return result


def _as_high(found: FloatArray, heatmaps: FloatArray, step: int) -> float:
    """The share of peaks [1, J, 3] beside a cell as high as the highest, but for rounding: of equals, any will do.

    The decoder moves a peak by `step / 2` cells at most.
    """
    x, y = found[0, :, 0, None, None], found[0, :, 1, None, None]
    rows, columns = np.indices(heatmaps.shape[2:])
    beside = (abs(columns - x) <= step / 2 + 1e-3) & (abs(rows - y) <= step / 2 + 1e-3)
    heights = np.where(beside, heatmaps[0], -np.inf).max((1, 2))
    allowed = TOLERANCE * float(np.abs(heatmaps).max())
    return float(np.mean(heights >= heatmaps[0].max((1, 2)) - allowed))


def open_session(model: bytes, threads: int = 0, size: tuple[int, int] | None = None) -> Any:
    """An ONNX Runtime session on the CPU, for every size or, as the device opens it, for one (H, W).

    Raises:
        FastnasError: onnxruntime is not installed, or does not take the model.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingPackage("onnxruntime", "cpu") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    for name, side in zip(("height", "width"), size or (), strict=False):
        options.add_free_dimension_override_by_name(name, side)
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no base class but this one
        raise FastnasError(f"ONNX Runtime cannot load the graph: {first_line(error)}") from error


def run(session: Any, outputs: Sequence[str], array: NDArray[Any]) -> list[NDArray[Any]]:
    """The outputs of a session for its one input.

    Raises:
        FastnasError: it fails, for lack of memory for example.
    """
    try:
        values: list[NDArray[Any]] = session.run(list(outputs), {session.get_inputs()[0].name: array})
    except Exception as error:  # as in open_session
        raise FastnasError(f"ONNX Runtime fails on {list(array.shape)}: {first_line(error)}") from error
    return values


def _leaf_outputs(network: nn.Module, image: Tensor) -> dict[str, FloatArray]:
    """What every module without children gives, by its dotted name; a module that runs twice is left out."""
    network = copy.deepcopy(network).eval()
    outputs: dict[str, FloatArray] = {}
    twice: set[str] = set()

    def keep(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if name in outputs:
                twice.add(name)
            outputs[name] = output.detach().clone().numpy()

        return hook

    for name, module in network.named_modules():
        if not list(module.children()):
            if hasattr(module, "inplace"):
                module.inplace = False
            module.register_forward_hook(keep(name))
    with torch.no_grad():
        network(image)
    return {name: output for name, output in outputs.items() if name not in twice}
