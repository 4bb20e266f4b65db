"""The steps of a cell, and which of them are computed: those that its output needs, without what `zero` makes zero.

The result of `zero`, an operation on a value that is zero, and the sum of two zeros are zero, so they are never built.
(The public implementation feeds zeros through conv-BN-ReLU, which turns them into a learned constant; leaving it out
makes `zero` cost nothing.) Values that only a `zero` reads are not computed either.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from fastnas.models.genotype import Cell, Connections
from fastnas.models.operations import ZERO


@dataclass(frozen=True)
class Step:
    """Value `target` is the operation on the one value of `sources`, or without an operation the sum of `sources`."""

    target: int
    sources: tuple[int, ...]
    operation: int | None = None


@dataclass(frozen=True)
class CellPlan:
    """A cell's values are 0 (its input), 1 (the first operation), and 3k-1, 3k and 3k+1 of branch k = 1, 2, 3.

    Attributes:
        named: every step of the genotype, in order.
        collected: the values that no branch reads; their sum is the cell's output.
        steps: those of `named` that are computed; their sources are not zero.
        outputs: those of `collected` that are not zero; empty where the cell is zero.
    """

    named: tuple[Step, ...]
    collected: tuple[int, ...]
    steps: tuple[Step, ...]
    outputs: tuple[int, ...]

    @property
    def computed(self) -> frozenset[int]:
        """The values that are computed, the input included."""
        return frozenset({0, *(step.target for step in self.steps)})


@lru_cache(maxsize=1024)
def plan_cell(cell: Cell) -> CellPlan:
    """The plan of a cell, computed once: all cells of a decoder, its drawing and its description share it."""
    named = [Step(1, (0,), cell[0])]
    for number, (p, q, a, b) in enumerate(cell[1:], start=1):
        u, v, w = 3 * number - 1, 3 * number, 3 * number + 1
        named += [Step(u, (p,), a), Step(v, (q,), b), Step(w, (u, v))]
    read = {index for branch in cell[1:] for index in branch[:2]}
    collected = tuple(target for target in (1, 4, 7, 10) if target not in read)

    nonzero = {0}
    kept: list[Step] = []
    for step in named:
        sources = tuple(source for source in step.sources if source in nonzero)
        if sources and step.operation != ZERO:
            nonzero.add(step.target)
            kept.append(replace(step, sources=sources))
    outputs = tuple(target for target in collected if target in nonzero)

    needed = set(outputs)
    steps: list[Step] = []
    for step in reversed(kept):
        if step.target in needed:
            needed |= set(step.sources)
            steps.insert(0, step)
    return CellPlan(tuple(named), collected, tuple(steps), outputs)


def collected_sums(connections: Connections) -> tuple[int, ...]:
    """Indices (4, 5, 6) of the sums that no later pair reads: the decoder concatenates them."""
    read = {index for pair in connections for index in pair}
    return tuple(index for index in (4, 5, 6) if index not in read)
