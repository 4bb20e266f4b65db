"""The genotype: which encoder outputs and sums a decoder connects, and the cell it applies to each.

The text form is the paper's (Sect. 3.4 and Figs 10-12): `[[[3, 3], [3, 2], [3, 0]], [8, [0, 0, 5, 2], ...]]`.
This file is the only place that knows the encoding:

- three connection pairs; pair k reads the four encoder outputs (0..3, shallow to deep) and the sums of the pairs
  before it (4, 5);
- the cell: one operation on its input (index 0) gives index 1; branch k = 1, 2, 3 is `[p, q, a, b]`: operation a on
  index p gives u, operation b on index q gives v, and w = u + v; they join the pool as 3k-1, 3k, 3k+1.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fastnas.errors import FastnasError
from fastnas.models.operations import OPERATIONS

ENCODER_OUTPUTS = 4
BLOCKS = 3
BRANCHES = 3

Pair = tuple[int, int]
Branch = tuple[int, int, int, int]
Connections = tuple[Pair, ...]
Cell = tuple[int, Branch, Branch, Branch]


def decision_choices() -> tuple[int, ...]:
    """Number of choices of each of the controller's 19 decisions, in order: 6 connections, op 1, 3 branches of 4."""
    connections = [ENCODER_OUTPUTS + block for block in range(BLOCKS) for _ in range(2)]
    cell = [len(OPERATIONS)]
    for branch in range(1, BRANCHES + 1):
        cell += [3 * branch - 1] * 2 + [len(OPERATIONS)] * 2
    return tuple(connections + cell)


@dataclass(frozen=True, order=True)
class Genotype:
    """An architecture of the search space; always valid, hashable, and equal to others by its numbers.

    Attributes:
        connections: three pairs of indices.
        cell: the first operation, then three branches `(p, q, a, b)`.
    """

    connections: Connections
    cell: Cell

    def __post_init__(self) -> None:
        _validate(self.connections, self.cell)

    @classmethod
    def parse(cls, source: str | Sequence[Any] | dict[str, Any]) -> Genotype:
        """Read text, nested lists, or an object with `connections` and `cell`; the public `[cell, connections]` too.

        Raises:
            FastnasError: it is not a genotype; the message names the offending number and what is allowed.
        """
        value: Any = source
        if isinstance(source, str):
            try:
                value = json.loads(source.replace("(", "[").replace(")", "]"))
            except (ValueError, RecursionError) as error:
                raise FastnasError(f"genotype is not a nested list: {_shorten(source)}") from error
        if isinstance(value, dict):
            if set(value) != {"connections", "cell"}:
                raise FastnasError(
                    f"genotype needs exactly the keys 'connections' and 'cell', not {_shorten(sorted(map(str, value)))}"
                )
            value = [value["connections"], value["cell"]]
        if not isinstance(value, list | tuple) or len(value) != 2:
            raise FastnasError(f"genotype must be [connections, cell], not {_shorten(value)}")
        connections, cell = value
        if isinstance(connections, list | tuple) and connections and _is_int(connections[0]):
            connections, cell = cell, connections
        return cls(_freeze(connections), _freeze(cell))

    def __str__(self) -> str:
        return json.dumps(self.to_list())

    def to_list(self) -> list[Any]:
        """The nested lists of the paper's order, for JSON."""
        return [
            [list(pair) for pair in self.connections],
            [self.cell[0], *(list(branch) for branch in self.branches)],
        ]

    @property
    def branches(self) -> tuple[Branch, Branch, Branch]:
        """The three branches of the cell."""
        return self.cell[1:]

    def decisions(self) -> tuple[int, ...]:
        """The controller's 19 decisions, in the order of `decision_choices`."""
        return (
            *itertools.chain.from_iterable(self.connections),
            self.cell[0],
            *itertools.chain.from_iterable(self.branches),
        )

    @classmethod
    def from_decisions(cls, decisions: Sequence[int]) -> Genotype:
        """The inverse of `decisions`."""
        count = 2 * BLOCKS + 1 + 4 * BRANCHES
        if len(decisions) != count:
            raise FastnasError(f"a genotype is {count} decisions, not {len(decisions)}")
        numbers = [int(decision) for decision in decisions]
        first = 2 * BLOCKS
        pairs = tuple((numbers[i], numbers[i + 1]) for i in range(0, first, 2))
        branches = tuple(tuple(numbers[i : i + 4]) for i in range(first + 1, len(numbers), 4))
        return cls(pairs, (numbers[first], *branches))  # type: ignore[arg-type]

    @classmethod
    def random(cls, generator: random.Random) -> Genotype:
        """A genotype whose 19 decisions are sampled uniformly."""
        return cls.from_decisions([generator.randrange(choices) for choices in decision_choices()])

    def canonical(self) -> Genotype:
        """The one representative of all genotypes that describe the same network.

        Same network means: the members of a pair exchanged (with their operations, and later references to their
        results), or blocks and branches that do not depend on each other reordered. Of the equal forms, the smallest
        one in the order of its numbers is chosen.
        """
        return Genotype(min(_equal_connections(self.connections)), min(_equal_cells(self.cell)))


def is_genotype_text(text: str) -> bool:
    """Whether a text is meant as a genotype rather than as a name; it may still be a wrong one."""
    return text.lstrip().startswith(("[", "{", "("))


def _equal_connections(connections: Connections) -> Iterator[Connections]:
    for order in _orders(connections, lambda block: (ENCODER_OUTPUTS + block,)):
        index = {ENCODER_OUTPUTS + old: ENCODER_OUTPUTS + new for new, old in enumerate(order)}
        renamed = ([index.get(member, member) for member in connections[old]] for old in order)
        yield tuple((min(pair), max(pair)) for pair in renamed)


def _equal_cells(cell: Cell) -> Iterator[Cell]:
    branches = cell[1:]
    for order in _orders([branch[:2] for branch in branches], lambda k: (3 * k + 2, 3 * k + 3, 3 * k + 4)):
        for swaps in itertools.product((False, True), repeat=BRANCHES):
            index = {}
            for new, (old, swap) in enumerate(zip(order, swaps, strict=True)):
                u, v = (1, 0) if swap else (0, 1)
                index.update({3 * old + 2: 3 * new + 2 + u, 3 * old + 3: 3 * new + 2 + v, 3 * old + 4: 3 * new + 4})
            renamed = []
            for old, swap in zip(order, swaps, strict=True):
                p, q, a, b = branches[old]
                p, q = index.get(p, p), index.get(q, q)
                renamed.append((q, p, b, a) if swap else (p, q, a, b))
            yield (cell[0], *renamed)  # type: ignore[misc]


def _orders(reads: Sequence[Sequence[int]], adds: Callable[[int], tuple[int, ...]]) -> Iterator[tuple[int, ...]]:
    """The orders of the items in which each comes after those whose results it reads."""
    for order in itertools.permutations(range(len(reads))):
        place = {old: new for new, old in enumerate(order)}
        owner = {index: item for item in range(len(reads)) for index in adds(item)}
        if all(place[owner[i]] < place[item] for item in order for i in reads[item] if i in owner):
            yield order


def _validate(connections: Any, cell: Any) -> None:
    _require_length(connections, BLOCKS, "connections must be {} pairs")
    for number, pair in enumerate(connections, start=1):
        _require_length(pair, 2, f"connection {number} must be {{}} indices")
        for index in pair:
            _require_range(index, ENCODER_OUTPUTS + number - 1, f"connection {number}: index")
    _require_length(cell, 1 + BRANCHES, "cell must be an operation and three branches, {} items")
    _require_range(cell[0], len(OPERATIONS), "cell: first operation")
    for number, branch in enumerate(cell[1:], start=1):
        _require_length(branch, 4, f"cell branch {number} must be {{}} numbers [p, q, a, b]")
        for position in branch[:2]:
            _require_range(position, 3 * number - 1, f"cell branch {number}: position")
        for operation in branch[2:]:
            _require_range(operation, len(OPERATIONS), f"cell branch {number}: operation")


def _require_length(value: Any, length: int, sentence: str) -> None:
    if not isinstance(value, tuple) or len(value) != length:
        raise FastnasError(f"genotype: {sentence.format(length)}, not {_shorten(value)}")


def _require_range(value: Any, choices: int, what: str) -> None:
    if not _is_int(value) or not 0 <= value < choices:
        raise FastnasError(f"genotype: {what} {_shorten(value)} is not one of 0..{choices - 1}")


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _freeze(value: Any) -> Any:
    return tuple(_freeze(item) for item in value) if isinstance(value, list | tuple) else value


def _shorten(value: Any, length: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= length else text[: length - 3] + "..."
