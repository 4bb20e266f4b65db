"""What of a cell is computed: the steps that its output needs, after everything `zero` has been left out.

A `zero` operation, an operation on a value that is zero, and the sum of two zeros are zero, so they are never built.
(The public implementation feeds zeros through conv-BN-ReLU, which turns them into a learned constant; leaving it out is
our one deviation, and what makes `zero` cost nothing.) Values that only a `zero` drew go too.
"""

from __future__ import annotations

from dataclasses import dataclass

from fastnas.models.genotype import Cell, Connections
from fastnas.models.operations import ZERO


@dataclass(frozen=True)
class Apply:
    """Value `target` is operation `operation` on value `source`."""

    target: int
    source: int
    operation: int

    @property
    def sources(self) -> tuple[int, ...]:
        """The values it reads."""
        return (self.source,)


@dataclass(frozen=True)
class Add:
    """Value `target` is the sum of the values `sources` (of one, where the other is zero)."""

    target: int
    sources: tuple[int, ...]


@dataclass(frozen=True)
class CellPlan:
    """The steps of a cell in order, and the values whose sum is its output; no outputs means the cell is zero."""

    steps: tuple[Apply | Add, ...]
    outputs: tuple[int, ...]


def plan_cell(cell: Cell) -> CellPlan:
    """The plan of a cell: values 0 (the input), 1 (the first operation), and 3k-1, 3k, 3k+1 of branch k."""
    steps: list[Apply | Add] = [Apply(1, 0, cell[0])]
    drawn: set[int] = set()
    for number, (p, q, a, b) in enumerate(cell[1:], start=1):
        u, v, w = 3 * number - 1, 3 * number, 3 * number + 1
        steps += [Apply(u, p, a), Apply(v, q, b), Add(w, (u, v))]
        drawn |= {p, q}
    collected = [target for target in (1, 4, 7, 10) if target not in drawn]

    present = {0}
    kept: list[Apply | Add] = []
    for step in steps:
        sources = tuple(source for source in step.sources if source in present)
        if not sources or (isinstance(step, Apply) and step.operation == ZERO):
            continue
        present.add(step.target)
        kept.append(step if isinstance(step, Apply) else Add(step.target, sources))
    outputs = tuple(target for target in collected if target in present)

    needed = set(outputs)
    live: list[Apply | Add] = []
    for step in reversed(kept):
        if step.target in needed:
            needed |= set(step.sources)
            live.append(step)
    return CellPlan(tuple(reversed(live)), outputs)


def collected_sums(connections: Connections) -> tuple[int, ...]:
    """Indices (4, 5, 6) of the sums that no later pair draws: the decoder concatenates them."""
    drawn = {index for pair in connections for index in pair}
    return tuple(index for index in (4, 5, 6) if index not in drawn)
