"""Widen the search space by an operation of your own, and search in it. Run: python examples/own_operation.py [FOLDER]

The settings are as small as can be, so that the example ends within a minute; its rewards mean nothing.
"""

import sys
from pathlib import Path

from torch import nn

import fastnas
from fastnas.config import override
from fastnas.search.driver import LocalWorker, Search
from fastnas.search.evaluation.prepare import prepare
from fastnas.search.history import Run
from fastnas.search.presets import preset


def large_kernel(channels: int, repeats: int) -> nn.Module:
    """A 7x7 depthwise and a 1x1 convolution, `repeats` times."""
    layers: list[nn.Module] = []
    for _ in range(repeats):
        layers += [
            nn.Conv2d(channels, channels, 7, padding=3, groups=channels, bias=False),
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/own-operation")
    index = fastnas.add_operation("sep7x7", large_kernel)  # before anything draws genotypes
    changes = ["images=24", "candidates=4", "evaluation.encoder_weights=none", "evaluation.channels=8"]
    changes += [f"evaluation.stage{n}_{what}" for n in (1, 2) for what in ("crop=32", "short_side=32", "batch=8")]
    settings = override(preset("tiny"), [*changes, "evaluation.stage1_epochs=1"])
    with Run.start(folder, settings) as run:
        evaluator = prepare(settings, cache=folder / "cache")
        Search(run, LocalWorker(evaluator)).go_on()
    for record in run.records:
        first, *branches = record.candidate.genotype.cell
        uses = [first, *(operation for branch in branches for operation in branch[2:])].count(index)
        print(f"candidate {record.candidate.number}: reward {record.reward:.3f}, {uses} of 7 operations are sep7x7")


if __name__ == "__main__":
    main()
