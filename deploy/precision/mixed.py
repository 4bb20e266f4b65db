"""The files of an artifact in fp16 and INT8: made, judged against the network, and made again with more left in fp32.

Which operators stay in fp32 is decided by measurement: if a file is not accurate enough, those that add the most error
are kept, one at first and then twice as many, until it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto
from torch import Tensor, nn

from fastnas.deploy import parity
from fastnas.deploy.io_forms import Head
from fastnas.deploy.precision import int8
from fastnas.deploy.precision.fp16 import rounded, to_fp16, value_types
from fastnas.errors import FastnasError

Progress = Callable[[str], None]

FP16_ERROR = 1e-2
"""Largest error of an fp16 file, as a share of the largest reference value; rounding alone makes about 1e-3."""
INT8_ERROR = 0.1
"""Mean error of an INT8 file, as a share of the mean reference value; 0.02 to 0.05 is usual."""
LABELS = {"fp16": 0.99, "int8": 0.9}
"""Share of pixels with the network's class, in a file that gives class ids and so has no other error."""
MOST_KEPT = 64
"""An INT8 or fp16 file with more operators in fp32 than this is not worth having."""


@dataclass(frozen=True)
class Variant:
    """One ONNX file to be.

    Attributes:
        path: its name in the artifact.
        precision: `fp32`, `fp16` or `int8`.
        targets: the engines it is for.
        model: its content.
        parity: with the network.
        kept: operators that stayed in fp32 because of the error that they would add.
    """

    path: str
    precision: str
    targets: tuple[str, ...]
    model: onnx.ModelProto
    parity: parity.Parity
    kept: tuple[str, ...] = ()


@dataclass(frozen=True)
class Judge:
    """What a file is compared with.

    Attributes:
        network: the original.
        images: that both are shown, [1, 3, H, W].
        head: what the file gives.
        feed: how the file takes an image.
    """

    network: nn.Module
    images: Sequence[Tensor]
    head: Head = "plain"
    feed: parity.Feed = parity.normalised

    def __call__(self, model: onnx.ModelProto) -> parity.Parity:
        """The parity of a model with the network."""
        return parity.compare(model.SerializeToString(), self.network, self.images, head=self.head, feed=self.feed)

    def accepts_labels(self, found: parity.Parity, kind: str) -> bool:
        """Whether enough class ids are the network's, if class ids are what the file gives."""
        return self.head != "labels" or found.agreement >= LABELS[kind]


def fp16(model: onnx.ModelProto, judge: Judge, targets: tuple[str, ...], progress: Progress) -> Variant:
    """The typed fp16 file of a float32 model. Its parity is that of exact fp16 arithmetic, see `fp16.rounded`.

    Raises:
        FastnasError: it is not accurate even with many operators in fp32.
    """

    def passes(found: parity.Parity) -> bool:
        return found.finite and found.largest <= FP16_ERROR and judge.accepts_labels(found, "fp16")

    half, found, kept = _reduce(
        "fp16", model, lambda keep: to_fp16(model, keep), rounded, judge, passes, _alone, progress
    )
    smallest = min(judge.images, key=Tensor.numel)
    Judge(judge.network, [smallest], judge.head, judge.feed)(half)  # that it runs as it is
    return Variant("model.fp16.onnx", "fp16", targets, half, found, kept)


def quantised(
    model: onnx.ModelProto,
    calibration: Sequence[Tensor],
    judge: Judge,
    targets: tuple[str, ...],
    progress: Progress,
) -> Iterator[Variant]:
    """The INT8 files of a float32 model, one for each kind of engine among `targets`.

    Args:
        model: in float32.
        calibration: images [1, 3, H, W] that set the ranges.
        judge: with other images.
        targets: engines that there shall be files for.
        progress: receives lines.

    Raises:
        FastnasError: a file is not accurate even with many operators in fp32.
    """

    def passes(found: parity.Parity) -> bool:
        return found.finite and found.mean <= INT8_ERROR and judge.accepts_labels(found, "int8")

    progress(f"calibrating with {len(calibration)} images")
    ranges = int8.calibrate(model, [judge.feed(image) for image in calibration])
    for scheme in int8.SCHEMES:
        if scheme.target not in targets:
            continue

        def make(keep: frozenset[str], scheme: int8.Scheme = scheme) -> onnx.ModelProto:
            return int8.quantise(model, ranges, scheme, keep)

        what = f"int8 for {scheme.target}"
        result, found, kept = _reduce(what, model, make, lambda made: made, judge, passes, _with_sources, progress)
        yield Variant(scheme.path, "int8", (scheme.target,), result, found, kept)


def _reduce(
    what: str,
    model: onnx.ModelProto,
    make: Callable[[frozenset[str]], onnx.ModelProto],
    meaning: Callable[[onnx.ModelProto], onnx.ModelProto],
    judge: Judge,
    passes: Callable[[parity.Parity], bool],
    together: Callable[[onnx.ModelProto, str], frozenset[str]],
    progress: Progress,
) -> tuple[onnx.ModelProto, parity.Parity, tuple[str, ...]]:
    """Make a model in reduced precision with as few operators in fp32 as `passes` allows.

    Args:
        what: for messages.
        model: in float32.
        make: the reduced model, with the operators of these names in fp32.
        meaning: a model that computes on a CPU what the reduced one stands for.
        judge: compares it.
        passes: whether its parity is enough.
        together: the operators that must be kept for one of them to be exact.
        progress: receives lines.

    Returns:
        The reduced model, its parity, and what it keeps in fp32.
    """
    kept: frozenset[str] = frozenset()
    chosen = 1
    while True:
        made = make(kept)
        meant = meaning(made)
        found = judge(meant)
        if passes(found):
            return made, found, tuple(node.name for node in model.graph.node if node.name in kept)
        added = added_errors(model, meant, judge.feed(min(judge.images, key=Tensor.numel)))
        worst = [name for name in sorted(added, key=lambda name: -added[name]) if name not in kept]
        if len(kept) >= MOST_KEPT or not worst:
            error = f"an error of {found.largest:.1e} (mean {found.mean:.1e})" if found.finite else "NaN or infinity"
            error += f", {found.agreement:.1%} of arg-max equal,"
            raise FastnasError(
                f"{what} is not accurate: {error} with {len(kept)} operators in fp32"
                + (f"; the most comes from {worst[0]}" if worst else "")
            )
        for name in worst[:chosen]:
            kept |= together(model, name)
        chosen *= 2
        progress(f"{what}: {len(kept)} operators stay in fp32, the worst is {worst[0]}")


def _alone(model: onnx.ModelProto, name: str) -> frozenset[str]:
    return frozenset({name})


def _with_sources(model: onnx.ModelProto, name: str) -> frozenset[str]:
    """An operator and those that make its inputs: a value between two is in float32 only if neither quantises it.

    An activation is made together with the convolution before it.
    """
    producers = {node.output[0]: node for node in model.graph.node}
    found: set[str] = set()
    left = [(node, 1) for node in model.graph.node if node.name == name]
    while left:
        node, steps = left.pop()
        found.add(node.name)
        steps -= node.op_type not in ("Relu", "Clip")
        if steps >= 0:
            left += [(producers[value], steps) for value in node.input if value in producers]
    return frozenset(found)


def added_errors(model: onnx.ModelProto, reduced: onnx.ModelProto, array: NDArray[np.generic]) -> dict[str, float]:
    """How much error each operator of a float32 model adds in reduced precision.

    The error of a value is the root mean square difference between both models, as a share of its root mean square;
    what an operator adds is the error of its output less the largest of its inputs'. A value that the reduced model
    does not have (an activation that became part of the quantiser after it) counts for the operator that follows.
    """
    there = {value for value, kind in value_types(reduced).items() if kind == TensorProto.FLOAT}
    values = [node.output[0] for node in model.graph.node if node.output[0] in there]
    # An activation that became part of a quantiser has done its work only after it.
    after = [f"{value}_DequantizeLinear_Output" for value in values]
    found = _values(
        reduced, [late if late in there else value for late, value in zip(after, values, strict=True)], array
    )
    runs = (_values(model, values, array), found)
    errors: dict[str, float] = {}
    for name, wanted, given in zip(values, *runs, strict=True):
        scale = float(np.sqrt(np.mean(np.square(wanted, dtype=np.float64)))) or 1.0
        with np.errstate(invalid="ignore", over="ignore"):
            error = float(np.sqrt(np.mean(np.square(given - wanted, dtype=np.float64)))) / scale
        errors[name] = error if np.isfinite(error) else float("inf")
    added: dict[str, float] = {}
    hidden: dict[str, list[str]] = {}
    for node in model.graph.node:
        before = max((errors.get(name, 0.0) for name in node.input), default=0.0)
        (output,) = node.output
        inside = [name for value in node.input for name in hidden.get(value, [])]
        if output not in errors:
            errors[output], hidden[output] = before, [*inside, node.name]
        elif before < float("inf"):
            added.update(dict.fromkeys([node.name, *inside], errors[output] - before))
    return {name: error for name, error in added.items() if error > 0}


def _values(model: onnx.ModelProto, names: Sequence[str], array: NDArray[np.generic]) -> list[NDArray[np.float32]]:
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    outputs = {value.name for value in probe.graph.output}
    probe.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in outputs)
    return parity.run(parity.open_session(probe.SerializeToString()), names, array)
