"""Time per layer, summed by the modules of our networks, in passes of their own: profiling slows a pass down.

A runtime names a layer after the ONNX operators that it fused, and those are named after our modules. A layer that
spans several modules counts for the first that its name has; the others are listed with it.
"""

import re
from typing import Any, Dict, List, Mapping, NamedTuple, Sequence, Tuple

import numpy as np

from fastnas.jetson.engine.base import Engine, Log
from fastnas.jetson.engine.profiled import ProfiledPass, profile
from fastnas.jetson.errors import one_line
from fastnas.jetson.inference.preprocess import Preprocessor
from fastnas.jetson.options import EngineOptions
from fastnas.jetson.sidecar import Artifact, Size

PASSES = 30
WARM_UP = 5
LONGEST_NAME = 1000
"""Characters of a layer's name that are kept; TensorRT's may list a hundred operators."""

_MODULES = ("encoder", "adapters", "cell operations", "sums", "projections", "collect", "classifier", "decoder")
PARTS = ("input",) + _MODULES + ("output", "layout", "unnamed")
"""Groups of modules, in the order of a network; `decoder` is of a baseline, `layout` what a runtime moves in memory for
itself, `unnamed` a layer whose name holds none of ours."""

_WORDS = {
    "image": "input",
    "pixels": "input",
    "normalised": "input",
    "size": "cell operations",  # the borders of a convolution of a pooled pixel
    "upsampled": "output",
    "labels": "output",
    "joints": "output",
    "peaks": "output",
}
"""Operators of an export that are of no module, by the first word of their names."""

_LAYOUT = re.compile(r"^Reformatting|reformatter|^Reorder|^(?:Reshape|Transpose)(?:_token|$)")
_ADDED = re.compile(r"_(?:nchwc|nhwc|quant|QuantizeLinear|DequantizeLinear|clone|token|output)\w*$|(?<=\d)_\w*$")
"""What runtimes append to a name."""


class Place(NamedTuple):
    """Where a layer belongs: its module, and what else its name spans."""

    module: str
    part: str
    others: Tuple[str, ...] = ()


def output_modules(artifact: Artifact) -> Dict[str, str]:
    """The module that computes each output: ONNX Runtime may name an operator after the output that it makes."""
    plain = {out.name: out.stride > 1 and out.decode not in ("labels", "peaks") for out in artifact.sidecar.outputs}
    return {name: "decoder.classifier" if is_plain else name for name, is_plain in plain.items()}


def place(layer: str, outputs: Mapping[str, str]) -> Place:
    """Which of our modules a runtime's layer is of.

    Args:
        layer: its name.
        outputs: see `output_modules`.
    """
    if _LAYOUT.search(layer):
        return Place("layout", "layout")
    words = "|".join(map(re.escape, list(_WORDS) + list(outputs)))
    ours = r"(?<![\w./])(?:(?:encoder|decoder)\.\w+(?:\.\w+)*|(?:{})(?![a-zA-Z0-9.]))".format(words)
    # In TensorRT's {ForeignNode[a...b]} the second name follows dots.
    names = (_ADDED.sub("", name) for name in re.findall(ours, layer.replace("...", " ")))
    found = dict.fromkeys(outputs.get(name) or module_of(name) for name in names)
    if not found:
        return Place("unnamed", "unnamed")
    first, rest = list(found)[0], tuple(found)[1:]
    return Place(first, part_of(first), rest)


def module_of(path: str) -> str:
    """The module that times are summed by, of an operator's dotted name: an encoder's block, an operation of a cell."""
    words = path.split(".")
    if words[0] not in ("encoder", "decoder"):
        return path
    if words[1] == "blocks" and words[0] == "decoder":
        inside = words[3] if len(words) > 4 else ""
        if inside == "cells" and words[5:6] == ["operations"]:
            return ".".join(words[:7])
        if inside == "projections":
            return ".".join(words[:5])
        return ".".join(words[: 5 if inside == "cells" else 3]) + " sum"
    if words[1] in ("collect", "classifier"):
        return ".".join(words[:2])
    numbers = [index for index, word in enumerate(words) if word.isdigit()][: 2 if words[0] == "encoder" else 1]
    return ".".join(words[: numbers[-1] + 1 if numbers else 3])


def part_of(module: str) -> str:
    """The group of a module, one of `PARTS`."""
    if module.startswith("encoder."):
        return "encoder"
    if not module.startswith("decoder."):
        return _WORDS.get(module, "output")
    if module.endswith(" sum"):
        return "sums"
    for name, part in (("operations", "cell operations"), ("projections", "projections"), ("adapters", "adapters")):
        if name in module.split("."):
            return part
    last = module.split(".")[1]
    return last if last in PARTS else "decoder"


def time_layers(
    artifact: Artifact, size: Size, precision: str, options: EngineOptions, image: np.ndarray, log: Log
) -> Dict[str, Any]:
    """The layers of an artifact as JSON values: of `PASSES` passes in an engine of their own, after a warm-up.

    Args:
        artifact: what to run.
        size: (H, W).
        precision: `fp32`, `fp16` or `int8`.
        options: which engine, and how it runs.
        image: uint8 [H0, W0, 3].
        log: receives lines about the building of an engine.

    Raises:
        Unsupported: the runtime does not tell the time of each layer.
    """
    prepare = Preprocessor(artifact.sidecar.input, size)

    def fill(engine: Engine) -> None:
        prepare(image, engine.input)

    passes = profile(artifact, size, precision, options, fill, WARM_UP + PASSES, log)[WARM_UP:]
    return summarise_layers(passes, output_modules(artifact))


def summarise_layers(passes: Sequence[ProfiledPass], outputs: Mapping[str, str]) -> Dict[str, Any]:
    """Means over passes, in milliseconds: of the pass, of all its layers, of each module and of each layer."""
    names = list(dict.fromkeys(name for each in passes for name in each.layers))
    places = {name: place(name, outputs) for name in names}
    times = {name: np.array([each.layers.get(name, 0.0) for each in passes]) for name in names}
    modules: Dict[str, List[str]] = {}
    for name in names:
        modules.setdefault(places[name].module, []).append(name)
    listed: List[Dict[str, Any]] = []
    for module, layers in modules.items():
        total = np.sum([times[name] for name in layers], axis=0)
        listed.append(
            {
                "name": module,
                "part": places[layers[0]].part,
                "ms": float(total.mean()),
                "std": float(total.std(ddof=1)) if len(passes) > 1 else 0.0,
                "layers": len(layers),
            }
        )
    return {
        "passes": len(passes),
        "pass_ms": float(np.mean([each.ms for each in passes])),
        "layers_ms": float(sum(each["ms"] for each in listed)),
        "modules": listed,
        "layers": [
            {
                "name": one_line(name)[:LONGEST_NAME],
                "module": places[name].module,
                "others": list(places[name].others),
                "ms": float(times[name].mean()),
            }
            for name in names
        ],
    }
