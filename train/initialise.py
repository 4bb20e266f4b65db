"""Fine-tuning: a network begins with the weights of a trained model, `--init`."""

from __future__ import annotations

from typing import Any

import click

from fastnas import shelf
from fastnas.errors import FastnasError
from fastnas.models.checkpoint import Model, load_model
from fastnas.models.header import read_header
from fastnas.models.network import Network
from fastnas.models.spec import ModelSpec
from fastnas.tasks import Depth, Multi, Pose, Segmentation, Task

HEAD = "decoder.classifier."
AUXILIARY = "decoder.auxiliary."

SHAPE = ("encoder", "channels", "sep_repeats", "definition")
"""What the model decides of a network unless the command is given it; there is no option for the definition."""


def completed(architecture: str | None, options: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Architecture and options of the running command, those that were not given as the model of `--init` has them.

    Raises:
        click.UsageError: `--encoder-weights` was given, too.
        FastnasError: there is no such model.
    """
    context = click.get_current_context()
    given = {name for name in options if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE}
    if "encoder_weights" in given:
        raise click.UsageError("--init gives the encoder its weights: leave out --encoder-weights")
    spec = ModelSpec.from_dict(read_header(_path(options["init"]))["model"])
    shape = {name: getattr(spec, name) for name in SHAPE if name not in given}
    return architecture or spec.architecture, {**options, **shape, "encoder_weights": "none"}


def initialise(network: Network, spec: ModelSpec, source: str) -> str:
    """Give a network the weights of a model that fit, and return a line about which those are.

    The encoder's are taken if both have the same encoder, and the decoder's if both have the same architecture, of the
    same size. Of the head, the output of each class, joint or depth that the model has too is taken.

    Args:
        network: as it was built; what is not taken stays.
        spec: of the network.
        source: a name of the shelf, or a model file.

    Raises:
        FastnasError: there is no such model, or nothing of it fits.
    """
    model = load_model(_path(source))
    parts = _same_parts(spec, model)
    theirs, ours = model.network.state_dict(), network.state_dict()
    taken = {
        key: theirs[key]
        for key, value in ours.items()
        if key.startswith(parts) and not key.startswith(HEAD) and key in theirs and theirs[key].shape == value.shape
    }
    if not taken:
        raise FastnasError(
            f"nothing of {model.name} fits: it has the encoder {model.spec.encoder} and {model.spec.name}, "
            f"the network {spec.encoder} and {spec.name}"
        )
    before, after = outputs_of(model.spec.task), outputs_of(spec.task)
    shared = [output for output in after if output in before] if "decoder." in parts else []
    for key in [key for key in ours if key.startswith(HEAD) and shared]:
        rows = ours[key].clone()
        rows[[after.index(output) for output in shared]] = theirs[key][[before.index(output) for output in shared]]
        taken[key] = rows
    network.load_state_dict({**ours, **taken})
    return _line(model.name, sorted(set(ours) - set(taken)), len(ours), shared, after)


def outputs_of(task: Task) -> list[tuple[str, str]]:
    """What each channel of a network's output is for: the kind of task, and the class or joint in small letters."""
    match task:
        case Segmentation():
            names = task.classes
        case Pose():
            names = task.joints
        case Depth():
            names = ("depth",)
        case Multi():
            return [output for each in task.tasks for output in outputs_of(each)]
    return [(task.kind, name.lower()) for name in names]


def _same_parts(spec: ModelSpec, model: Model) -> tuple[str, ...]:
    """The prefixes of the weights that mean the same in both networks."""
    specs = (spec, model.spec)
    own, other = [(each.encoder, each.definition) for each in specs]
    shapes = [(each.genotype or each.architecture, each.channels, each.sep_repeats) for each in specs]
    decoder = ("decoder.",) if own == other and shapes[0] == shapes[1] else ()
    return (*(("encoder.",) if own == other else ()), *decoder)


def _line(name: str, new: list[str], total: int, shared: list[tuple[str, str]], outputs: list[tuple[str, str]]) -> str:
    parts = {
        "auxiliary heads" if key.startswith(AUXILIARY) else key.split(".")[0] for key in new if not key.startswith(HEAD)
    }
    made = sorted(parts)
    if len(shared) < len(outputs):
        made.append("the outputs " + ", ".join(output for kind, output in outputs if (kind, output) not in shared))
    kept = f"{total - len(new)} of {total} tensors from {name}, {len(shared)} of {len(outputs)} outputs among them"
    return f"{kept}; made anew: {', '.join(made)}" if made else kept


def _path(source: str) -> str:
    """The model file of `--init`."""
    path = shelf.resolve(source)
    if not path.endswith(shelf.SUFFIX):
        names = ", ".join(shelf.entries()) or "none"
        raise FastnasError(f"--init {source} is no model file (*{shelf.SUFFIX}); trained models by name: {names}")
    return path
