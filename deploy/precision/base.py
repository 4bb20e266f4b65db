"""What fp16 and INT8 files have in common: made, compared to the network, and made again with more kept in fp32.

Which operators stay in fp32 is decided by measurement: if a file is not accurate enough, those that add the most error
are kept, one at first and then twice as many, until it is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from fastnas.deploy.io_forms import LABELS
from fastnas.deploy.parity import TOLERANCE, Parity, Reference, values
from fastnas.errors import FastnasError

Progress = Callable[[str], None]

MOST_KEPT = 64
"""A file with more operators in fp32 than this would hardly be faster: it is refused."""


@dataclass(frozen=True)
class Variant:
    """One ONNX file to be written.

    Attributes:
        path: its name in the artifact.
        precision: `fp32`, `fp16` or `int8`.
        targets: the engines it is for.
        model: its content.
        parity: with the network, by output.
        kept: operators that stayed in fp32 because of the error that they would add.
    """

    path: str
    precision: str
    targets: tuple[str, ...]
    model: onnx.ModelProto
    parity: Mapping[str, Parity]
    kept: tuple[str, ...] = ()


class ReducedPrecision(ABC):
    """A way to make a file in reduced precision of a float32 model.

    Attributes:
        model: in float32.
        reference: what the file is compared to.
        path, precision, targets: of the file, as in `Variant`.
        tolerance: largest value of `error` that is accepted.
        ceiling: `tolerance` grows up to it for a network that rounds much itself, in proportion to what a float32 file
            of it may differ by.
        agreement: smallest share of pixels with the network's class, for an output of class ids.
    """

    path: str
    precision: str
    tolerance: float
    ceiling: float
    agreement: float

    def __init__(self, model: onnx.ModelProto, reference: Reference, targets: tuple[str, ...]) -> None:
        self.model, self.reference, self.targets = model, reference, targets

    @abstractmethod
    def make(self, keep: frozenset[str]) -> onnx.ModelProto:
        """The model in reduced precision, with the operators of these names in fp32."""

    @abstractmethod
    def error(self, parity: Parity) -> float:
        """The error of the comparison that `tolerance` is for."""

    def simulated(self, made: onnx.ModelProto) -> onnx.ModelProto:
        """A model that computes on a CPU what `made` computes on its engine."""
        return made

    def kept_with(self, name: str) -> frozenset[str]:
        """The operators that must stay in fp32 for one of them to be exact."""
        return frozenset({name})

    def inaccurate(self, parity: Mapping[str, Parity]) -> str | None:
        """The first output whose parity is not accepted."""
        for form in self.reference.forms:
            found = parity[form.name]
            agrees = form.head not in LABELS or found.agreement >= self.agreement
            if not (found.finite and self.accurate(found, form.name) and agrees):
                return form.name
        return None

    def accurate(self, parity: Parity, output: str) -> bool:
        """Whether the error of an output's comparison is accepted."""
        error, allowed = self.error(parity), self.tolerance
        if allowed < error <= self.ceiling:
            allowed *= self.reference.allowed[output] / TOLERANCE
        return error <= allowed

    def build(self, progress: Progress) -> Variant:
        """The file with as few operators in fp32 as its accuracy allows.

        Raises:
            FastnasError: it is not accurate even with many operators in fp32.
        """
        what = f"{self.precision} for {' and '.join(self.targets)}"
        kept: frozenset[str] = frozenset()
        count = 1
        while True:
            made = self.make(kept)
            simulated = self.simulated(made)
            parity = self.reference.compare(simulated, literally="onnxruntime" not in self.targets)
            wrong = self.inaccurate(parity)
            if wrong is None:
                names = tuple(node.name for node in self.model.graph.node if node.name in kept)
                return Variant(self.path, self.precision, self.targets, made, parity, names)
            added = added_errors(self.model, simulated, self.reference.array(self.reference.smallest))
            worst = [name for name in sorted(added, key=lambda name: -added[name]) if name not in kept]
            if len(kept) >= MOST_KEPT or not worst:
                found = parity[wrong]
                error = (
                    f"an error of {found.largest:.1e} (mean {found.mean:.1e})" if found.finite else "NaN or infinity"
                )
                raise FastnasError(
                    f"{what} is not accurate: {wrong} has {error}, {found.agreement:.1%} of arg-max equal, "
                    f"with {len(kept)} operators in fp32" + (f"; the most comes from {worst[0]}" if worst else "")
                )
            kept = kept.union(*map(self.kept_with, worst[:count]))
            count *= 2
            progress(f"{what}: {len(kept)} operators stay in fp32, the worst is {worst[0]}")


def added_errors(model: onnx.ModelProto, reduced: onnx.ModelProto, array: NDArray[np.generic]) -> dict[str, float]:
    """How much error each operator of a float32 model adds in reduced precision.

    The error of a value is the root mean square difference between both models, as a share of its root mean square;
    what an operator adds is the error of its output less the largest of its inputs'. A value that the reduced model
    does not have (an activation that became part of the quantiser after it) counts for the operator that follows.
    """
    there = {value for value, kind in value_types(reduced).items() if kind == TensorProto.FLOAT}
    names = [node.output[0] for node in model.graph.node if node.output[0] in there]
    # An activation that became part of a quantiser has its effect only after it.
    after = [f"{name}_DequantizeLinear_Output" for name in names]
    late = [after if after in there else name for after, name in zip(after, names, strict=True)]
    errors: dict[str, float] = {}
    for name, wanted, found in zip(names, values(model, names, array), values(reduced, late, array), strict=True):
        scale = float(np.sqrt(np.mean(np.square(wanted, dtype=np.float64)))) or 1.0
        with np.errstate(invalid="ignore", over="ignore"):
            error = float(np.sqrt(np.mean(np.square(found - wanted, dtype=np.float64)))) / scale
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


def value_types(model: onnx.ModelProto) -> dict[str, int]:
    """The element type of every value that an operator makes or the graph takes."""
    inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True).graph
    return {
        value.name: value.type.tensor_type.elem_type
        for value in (*inferred.input, *inferred.value_info, *inferred.output)
    }
