"""An ONNX file compared to the PyTorch network that it was made from: how large the error is, and where it starts.

Shapes: images [1, 3, H, W], normalised; K output channels of size h x w.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from fastnas.deploy.io_forms import LABELS, Form, Layout
from fastnas.errors import FastnasError, first_line, import_extra
from fastnas.jetson.inference.decode import peak_step
from fastnas.models.network import Network

FloatArray = NDArray[np.float32]

TOLERANCE = 1e-5
"""Largest error of a float32 file, as a share of the largest reference value; rounding alone makes about 1e-6."""

ROUNDING = 4
"""Where rounding makes more, the largest error is so many times that of the network's own float32 arithmetic."""

AGREEMENT = 0.999
"""Smallest share of equal arg-max values of a float32 file."""

WHOLE = Form()
"""A network's output as it is."""


@dataclass(frozen=True)
class Parity:
    """The result of the comparison of one output over all images.

    Attributes:
        largest: largest absolute error, as a share of the largest absolute reference value.
        mean: mean absolute error, as a share of the mean absolute reference value.
        agreement: share of pixels where the channel of the largest value is the same (for one channel: 1), or of peaks
            at a largest value of their heatmap.
        finite: whether no output is NaN or infinite.
        sizes: images as `HxW`.
    """

    largest: float
    mean: float
    agreement: float
    finite: bool
    sizes: tuple[str, ...]


@dataclass(frozen=True)
class Reference:
    """A network and the images on which ONNX files are compared to it.

    Attributes:
        network: with its weights.
        images: one or more [1, 3, H, W], of any sizes that fit.
        forms: the files' outputs; labels are compared by agreement alone, peaks by their heights and agreement.
        layout: how the files take an image.
    """

    network: Network
    images: Sequence[Tensor]
    forms: Sequence[Form] = (WHOLE,)
    layout: Layout = "NCHW"

    @property
    def smallest(self) -> Tensor:
        """The image with the fewest pixels."""
        return min(self.images, key=Tensor.numel)

    def array(self, image: Tensor) -> NDArray[Any]:
        """An image [1, 3, H, W] as the files take it; `NHWC` is bytes [1, H, W, 3]."""
        if self.layout == "NCHW":
            return image.numpy()
        mean, std = (torch.tensor(x)[:, None, None] for x in (self.network.encoder.mean, self.network.encoder.std))
        pixels = (image * std + mean) * 255
        return np.ascontiguousarray(pixels.round().to(torch.uint8).permute(0, 2, 3, 1).numpy())

    def output(self, image: Tensor, form: Form = WHOLE) -> FloatArray:
        """The network's output for an image, [1, K, h, w]: a form's channels, upsampled where its head says so."""
        with torch.no_grad():
            output = self.network.eval()(image)[:, form.channels]
            if form.head in ("upsampled", "labels"):
                output = F.interpolate(output, size=image.shape[2:], mode="bilinear", align_corners=False)
        result: FloatArray = output.numpy()
        return result

    def compare(self, model: onnx.ModelProto, literally: bool = False) -> dict[str, Parity]:
        """Run a model and the network on the images; the parity of each output by its name.

        Args:
            model: of the same network.
            literally: see `open_session`.

        Raises:
            FastnasError: ONNX Runtime refuses the model, or an output has another shape.
        """
        session = open_session(model, literally=literally)
        comparisons = [_Comparison(form) for form in self.forms]
        for image in self.images:
            found = run(session, [form.name for form in self.forms], self.array(image))
            for comparison, array in zip(comparisons, found, strict=True):
                comparison.add(array, self.output(image, comparison.form), image.shape[2])
        sizes = tuple(f"{image.shape[2]}x{image.shape[3]}" for image in self.images)
        return {comparison.form.name: comparison.parity(sizes) for comparison in comparisons}

    def require(self, model: onnx.ModelProto) -> dict[str, Parity]:
        """The parity of a float32 model's outputs.

        Raises:
            FastnasError: one differs from the network; the message names the layer where the error starts.
        """
        parities = self.compare(model)
        for name, parity in parities.items():
            allowed = TOLERANCE if parity.largest <= TOLERANCE else self.allowed[name]
            if parity.finite and parity.largest <= allowed and parity.agreement >= AGREEMENT:
                continue
            what = "NaN or infinity" if not parity.finite else f"an error of {parity.largest:.1e} of the largest value"
            errors = self.layer_errors(model)
            # NaN compares false with everything, and is an error as well.
            bad = next((layer for layer, error in errors.items() if not error <= allowed), None)
            where = f"it starts at {bad} (error {errors[bad]:.1e})" if bad else "no layer before the output differs"
            raise FastnasError(
                f"the exported graph differs from the network: {name} has {what} (allowed {allowed:.1e}), "
                f"{parity.agreement:.2%} of arg-max equal; {where}"
            )
        return parities

    @cached_property
    def allowed(self) -> dict[str, float]:
        """The largest error of each output of a float32 file: more than `TOLERANCE` where the network rounds much."""
        return {form.name: max(TOLERANCE, ROUNDING * self.rounding(form)) for form in self.forms}

    def rounding(self, form: Form = WHOLE) -> float:
        """The largest error of the network's own float32 output, as a share of its largest value in float64."""
        exact = replace(self, network=copy.deepcopy(self.network).double())
        pairs = [(self.output(image, form), exact.output(image.double(), form)) for image in self.images]
        largest = max(float(np.abs(wanted).max()) for _, wanted in pairs) or 1.0
        return max(float(np.abs(found - wanted).max()) for found, wanted in pairs) / largest

    def layer_errors(self, model: onnx.ModelProto) -> dict[str, float]:
        """The largest error of each layer's output as a share of its largest value, in the graph's order.

        A value of the graph that carries the name of a module without children is that module's output. All of them are
        made outputs of one run, on the smallest image.
        """
        expected = _layer_outputs(self.network, self.smallest)
        layers = [name for node in model.graph.node for name in node.output if name in expected]
        found = values(model, layers, self.array(self.smallest))
        errors = {}
        for layer, value in zip(layers, found, strict=True):
            wanted = expected[layer]
            if value.shape != wanted.shape:  # a single pixel that the graph repeats later, or never
                wanted = wanted[:, :, :1, :1]
            scale = float(np.abs(wanted).max()) or 1.0
            errors[layer] = float(np.abs(value.astype(np.float32) - wanted).max()) / scale
        return errors


class _Comparison:
    """The comparison of one output, image by image."""

    def __init__(self, form: Form) -> None:
        self.form, self.finite = form, True
        self.agreements: list[float] = []
        self.errors: list[tuple[float, float]] = []  # largest and mean
        self.references: list[tuple[float, float]] = []

    def add(self, found: NDArray[Any], expected: FloatArray, height: int) -> None:
        """Compare what a file gives for an image of that height with the network's output.

        Raises:
            FastnasError: it has another shape.
        """
        head = self.form.head
        shapes = {**dict.fromkeys(LABELS, (1, *expected.shape[2:])), "peaks": (*expected.shape[:2], 3)}
        wanted = shapes.get(head, expected.shape)
        if found.shape != wanted:
            raise FastnasError(f"the ONNX graph gives {list(found.shape)}, the network {list(wanted)}")
        if head == "peaks":
            self.agreements.append(_at_largest(found, expected, peak_step(height // expected.shape[2])))
            found, expected = found[..., 2], expected.max((2, 3))
        else:
            classes = found if head in LABELS else found.argmax(1)
            self.agreements.append(float(np.mean(classes == expected.argmax(1))))
        if head not in LABELS:
            self.finite &= bool(np.isfinite(found).all())
            difference, sizes = np.abs(found - expected), np.abs(expected)
            self.errors.append((float(difference.max()), float(difference.mean())))
            self.references.append((float(sizes.max()), float(sizes.mean())))

    def parity(self, sizes: tuple[str, ...]) -> Parity:
        """The result."""
        largest, mean = (max((pair[i] for pair in self.references), default=0.0) or 1.0 for i in (0, 1))
        return Parity(
            largest=max((error for error, _ in self.errors), default=0.0) / largest,
            mean=sum(error for _, error in self.errors) / max(len(self.errors), 1) / mean,
            agreement=sum(self.agreements) / len(self.agreements),
            finite=self.finite,
            sizes=sizes,
        )


def _at_largest(peaks: FloatArray, heatmaps: FloatArray, step: int) -> float:
    """The share of peaks [1, J, 3] next to a cell of the largest value, but for rounding: of equal cells, any is right.

    The decoder moves a peak by `step / 2` cells at most.
    """
    x, y = peaks[0, :, 0, None, None], peaks[0, :, 1, None, None]
    rows, columns = np.indices(heatmaps.shape[2:])
    near = (abs(columns - x) <= step / 2 + 1e-3) & (abs(rows - y) <= step / 2 + 1e-3)
    heights = np.where(near, heatmaps[0], -np.inf).max((1, 2))
    allowed = TOLERANCE * float(np.abs(heatmaps).max())
    return float(np.mean(heights >= heatmaps[0].max((1, 2)) - allowed))


def sample_image(network: Network, size: tuple[int, int], seed: int = 0) -> Tensor:
    """A random image of smooth shapes and noise: [1, 3, H, W], whole bytes before they were normalised."""
    generator = torch.Generator().manual_seed(seed)
    shapes = torch.rand(1, 3, 8, 8, generator=generator)
    soft = F.interpolate(shapes, size=size, mode="bilinear", align_corners=False)
    noise = 0.1 * torch.randn(1, 3, *size, generator=generator)
    pixels = ((soft + noise).clamp(0, 1) * 255).round() / 255
    mean, std = (torch.tensor(x)[:, None, None] for x in (network.encoder.mean, network.encoder.std))
    return (pixels - mean) / std


def open_session(
    model: onnx.ModelProto, threads: int = 0, size: tuple[int, int] | None = None, literally: bool = False
) -> Any:
    """An ONNX Runtime session on the CPU, for every size or, as the device opens it, for one (H, W).

    Args:
        model: what it runs.
        threads: 0 for one each core.
        size: for which it is opened.
        literally: every operator as the file has it. What is between quantisers is otherwise computed in INT8, which
            saturates on processors without VNNI, and says little about the INT8 of another runtime.

    Raises:
        FastnasError: onnxruntime is not installed, or cannot load the model.
    """
    onnxruntime = import_extra("onnxruntime", "cpu")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    if literally:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    for name, side in zip(("height", "width"), size or (), strict=False):
        options.add_free_dimension_override_by_name(name, side)
    try:
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no base class but this one
        raise FastnasError(f"ONNX Runtime cannot load the graph: {first_line(error)}") from error


def run(session: Any, outputs: Sequence[str], array: NDArray[Any]) -> list[NDArray[Any]]:
    """The outputs of a session for its one input.

    Raises:
        FastnasError: it fails, for lack of memory for example.
    """
    try:
        found: list[NDArray[Any]] = session.run(list(outputs), {session.get_inputs()[0].name: array})
    except Exception as error:  # as in open_session
        raise FastnasError(f"ONNX Runtime fails on {list(array.shape)}: {first_line(error)}") from error
    return found


def values(model: onnx.ModelProto, names: Sequence[str], array: NDArray[Any]) -> list[NDArray[Any]]:
    """Values inside a model, which a copy of it outputs."""
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    outputs = {value.name for value in probe.graph.output}
    probe.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in outputs)
    return run(open_session(probe), names, array)


def _layer_outputs(network: Network, image: Tensor) -> dict[str, FloatArray]:
    """The output of every module without children, by its dotted name; a module that runs twice is left out."""
    network = copy.deepcopy(network).eval()
    outputs: dict[str, FloatArray] = {}
    twice: set[str] = set()

    def keep(name: str) -> Callable[[Any, Any, Any], None]:
        def hook(module: Any, inputs: Any, output: Any) -> None:
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
