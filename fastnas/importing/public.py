"""Checkpoints of the paper's public code: the names of their tensors, and the network that they describe.

A checkpoint is a dictionary of tensors by name. The code that wrote it names a module by its place in lists that hold
more than ours do: operations that `zero` makes idle, adapters of encoder outputs that no pair reads, and the auxiliary
heads. Those tensors do nothing when the network is evaluated and are left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from fastnas.errors import FastnasError
from fastnas.models.cell_plan import plan_cell
from fastnas.models.checkpoint import Model
from fastnas.models.encoder import read_weights
from fastnas.models.genotype import ENCODER_OUTPUTS, Genotype
from fastnas.models.operations import SKIP, ZERO
from fastnas.models.spec import ModelSpec, build
from fastnas.tasks import Task

COUNTER = "num_batches_tracked"
"""Batch norm's counter, which PyTorch before 0.4.1 did not store and nothing here reads."""

_BLOCKS = (1, 2, 3, 4, 3, 3, 1)
"""Blocks of MobileNet-v2's stages; the checkpoint counts stages, torchvision counts blocks."""
_BLOCK = {"0.0": "0", "0.1": "1", "1.0": "3", "1.1": "4", "2": "6", "3": "7"}
"""Convolutions and batch norms of a block, ours to theirs, where the activations are counted too."""
_DECODER = (
    (r"^adapters\.(\d)\.", lambda m: f"adapt{int(m[1]) + 1}."),
    (r"^blocks\.(\d)\.projections\.(\d)\.", lambda m: f"cells.{m[1]}.agg.branch_{int(m[2]) + 1}."),
    (r"^blocks\.(\d)\.cells\.(\d)\.operations\.", lambda m: f"cells.{m[1]}.op_{int(m[2]) + 1}._ops."),
    (r"(?<=_ops\.)(\d+)", lambda m: str(int(m[1]) - 1)),
    (r"(_ops\.\d+\.)(\d)\.(\d\.\w+)$", r"\1op.sep_\2.\3"),
    (r"(_ops\.\d+\.)project\.", r"\1conv1x1."),
    (r"^collect\.", "pre_clf."),
    (r"^classifier\.", "conv_clf."),
)  # fmt: skip


@dataclass(frozen=True)
class Imported:
    """A checkpoint as a model.

    Attributes:
        model: with the weights.
        unused: tensors of the checkpoint by what they belong to, each group not empty.
    """

    model: Model
    unused: dict[str, tuple[str, ...]]


def outputs_of(state: dict[str, Tensor], path: Path) -> int:
    """Channels of the output of the network in a checkpoint.

    Raises:
        FastnasError: the file at `path` is none of the public code.
    """
    return _shape(state, "decoder.conv_clf.weight", path)[0]


def read_public(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint, without the `module.` that training on several GPUs puts before each name.

    Raises:
        FastnasError: there is no such file, or it holds anything but named tensors; nothing else is unpickled.
    """
    return {name.removeprefix("module."): value for name, value in read_weights(path).items()}


def import_public(state: dict[str, Tensor], architecture: str, task: Task, path: Path) -> Imported:
    """The network of a checkpoint; its channels and the repeats of separable operations are those of the tensors.

    Args:
        state: of `read_public`.
        architecture: a name or a genotype, which the checkpoint does not hold.
        task: what the network predicts.
        path: for errors.

    Raises:
        FastnasError: the checkpoint is not of this architecture or task, or depends on what `zero` computes there.
    """
    spec = ModelSpec(architecture, task, definition="public")
    genotype = spec.genotype
    assert genotype is not None  # the spec refuses a baseline of another definition
    _require_exact(genotype, spec.name, path)
    repeats = [int(found[1]) + 1 for name in state if (found := re.search(r"\.op\.sep_(\d+)\.", name))]
    channels = _shape(state, "decoder.adapt1.0.weight", path)[0]
    spec = replace(spec, channels=channels, sep_repeats=max(repeats, default=ModelSpec.sep_repeats))
    network = build(spec)
    taken = {ours: public_name(ours) for ours in network.state_dict()}
    _require_fit(network.state_dict(), taken, state, spec.name, path)
    unused = _unused(sorted(set(state) - set(taken.values())), genotype, spec.name, path)
    network.load_state_dict({ours: state[name] for ours, name in taken.items() if name in state}, strict=False)
    header = {"recipe": {"name": "imported", "file": path.name}}
    return Imported(Model(spec.name, spec, network.eval(), header), unused)


def public_name(ours: str) -> str:
    """The checkpoint's name of a tensor of a network of the public definition."""
    part, name = ours.split(".", 1)
    if part == "decoder":
        for pattern, replacement in _DECODER:
            name = re.sub(pattern, replacement, name)
        return f"decoder.{name}"
    _, number, place = name.removeprefix("stages.").split(".", 2)
    block = int(number)
    if block == 0:
        return f"encoder.layer1.{place}"
    stage = next(stage for stage in range(len(_BLOCKS)) if block <= sum(_BLOCKS[: stage + 1]))
    inside, tensor = place.removeprefix("conv.").rsplit(".", 1)
    return f"encoder.layer{stage + 2}.{block - 1 - sum(_BLOCKS[:stage])}.conv.{_BLOCK[inside]}.{tensor}"


def _shape(state: dict[str, Tensor], name: str, path: Path) -> tuple[int, ...]:
    if name not in state or state[name].dim() != 4:
        raise FastnasError(f"{path} is no checkpoint of the paper's public code: it has no convolution {name}")
    return tuple(state[name].shape)


def _require_exact(genotype: Genotype, name: str, path: Path) -> None:
    """Refuse a cell with a convolution of what `zero` made: its batch norm makes constants that we do not compute."""
    plan = plan_cell(genotype.cell)
    needed = set(plan.collected)
    for step in reversed(plan.named):
        if step.target in needed and step.operation != ZERO:
            needed |= set(step.sources)
    idle = needed - plan.computed
    constant = any(step.target in idle and step.operation not in (None, SKIP, ZERO) for step in plan.named)
    if constant or not plan.outputs:
        raise FastnasError(
            f"{path} cannot be imported as {name}: a convolution of its cell reads zeros, of which the public code "
            "makes learned constants that this network would leave out"
        )


def _require_fit(
    own: dict[str, Tensor], taken: dict[str, str], state: dict[str, Tensor], name: str, path: Path
) -> None:
    missing = [theirs for ours, theirs in taken.items() if theirs not in state and not ours.endswith(COUNTER)]
    if missing:
        raise FastnasError(
            f"{path} does not fit {name}: {len(missing)} tensors are missing, the first is {missing[0]}; "
            "give the architecture that it was trained as, --as NAME or GENOTYPE"
        )
    for ours, theirs in taken.items():
        if theirs in state and state[theirs].shape != own[ours].shape:
            raise FastnasError(
                f"{path} does not fit {name}: {theirs} is {list(state[theirs].shape)}, not {list(own[ours].shape)}"
            )
        if theirs in state and state[theirs].is_floating_point() and not state[theirs].isfinite().all():
            raise FastnasError(f"{path}: {theirs} has values that are NaN or infinite")


def _unused(left: list[str], genotype: Genotype, name: str, path: Path) -> dict[str, tuple[str, ...]]:
    """The tensors that the network does not have, by what they belong to."""
    plan = plan_cell(genotype.cell)
    idle = "|".join(str(step.target - 1) for step in plan.named if step.target not in plan.computed)
    groups = {
        f"adapter of encoder output {i}, which no pair of {name} reads": rf"decoder\.adapt{i + 1}\."
        for i in range(ENCODER_OUTPUTS)
        if not any(i in pair for pair in genotype.connections)
    }
    groups["auxiliary heads, which only training needs"] = r"decoder\.aux_clfs\."
    if idle:
        groups["operations of the cell whose results zero discards"] = rf"decoder\.cells\.\d\.op_[12]\._ops\.({idle})\."
    found = {group: tuple(tensor for tensor in left if re.match(pattern, tensor)) for group, pattern in groups.items()}
    known = {tensor for tensors in found.values() for tensor in tensors}
    if strange := [tensor for tensor in left if tensor not in known]:
        raise FastnasError(
            f"{path} does not fit {name}: {len(strange)} tensors are left over, the first is {strange[0]}"
        )
    return {group: tensors for group, tensors in found.items() if tensors}
