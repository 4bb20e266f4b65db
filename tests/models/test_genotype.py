"""The genotype: reading, writing, validation, symmetry, and the size of the space."""

from __future__ import annotations

import itertools
import json
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastnas.errors import FastnasError
from fastnas.models.cell_plan import collected_sums
from fastnas.models.genotype import Genotype, _equal_connections, decision_choices
from fastnas.models.operations import OPERATIONS
from fastnas.models.zoo import ZOO
from tests.helpers.strategies import genotypes

ARCH0 = "[[[3, 3], [3, 2], [3, 0]], [8, [0, 0, 5, 2], [0, 2, 8, 8], [0, 5, 1, 4]]]"


def test_paper_order_is_written() -> None:
    assert str(ZOO["arch0"]) == ARCH0


def test_public_order_is_read() -> None:
    connections, cell = json.loads(ARCH0)
    assert Genotype.parse(json.dumps([cell, connections])) == ZOO["arch0"]


@given(genotypes)
def test_every_form_is_read_back(genotype: Genotype) -> None:
    connections, cell = genotype.to_list()
    assert Genotype.parse(str(genotype)) == genotype
    assert Genotype.parse([cell, connections]) == genotype
    assert Genotype.parse({"cell": cell, "connections": connections}) == genotype
    assert Genotype.parse(repr((genotype.connections, genotype.cell))) == genotype
    assert Genotype.from_decisions(genotype.decisions()) == genotype


def test_there_are_19_decisions() -> None:
    assert decision_choices() == (4, 4, 5, 5, 6, 6, 11, 2, 2, 11, 11, 5, 5, 11, 11, 8, 8, 11, 11)
    assert len(OPERATIONS) == 11
    assert ZOO["arch0"].decisions() == (3, 3, 3, 2, 3, 0, 8, 0, 0, 5, 2, 0, 2, 8, 8, 0, 5, 1, 4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[[[4, 3], [3, 2], [3, 0]], [8, [0,0,5,2], [0,2,8,8], [0,5,1,4]]]",
            "connection 1: index 4 is not one of 0..3",
        ),
        (
            "[[[3, 3], [3, 5], [3, 0]], [8, [0,0,5,2], [0,2,8,8], [0,5,1,4]]]",
            "connection 2: index 5 is not one of 0..4",
        ),
        (
            "[[[3, 3], [3, 2], [-1, 0]], [8, [0,0,5,2], [0,2,8,8], [0,5,1,4]]]",
            "connection 3: index -1 is not one of 0..5",
        ),
        ("[[[3, 3], [3, 2], [3, 0]], [11, [0,0,5,2], [0,2,8,8], [0,5,1,4]]]", "first operation 11 is not one of 0..10"),
        (
            "[[[3, 3], [3, 2], [3, 0]], [8, [0,2,5,2], [0,2,8,8], [0,5,1,4]]]",
            "cell branch 1: position 2 is not one of 0..1",
        ),
        (
            "[[[3, 3], [3, 2], [3, 0]], [8, [0,0,5,2], [0,2,8,8], [0,8,1,4]]]",
            "cell branch 3: position 8 is not one of 0..7",
        ),
        (
            "[[[3, 3], [3, 2], [3, 0]], [8, [0,0,5,2], [0,2,8,99], [0,5,1,4]]]",
            "branch 2: operation 99 is not one of 0..10",
        ),
        ("[[[3, 3], [3, 2], [3, 0]], [8, [0,0,5,2], [0,2,8,true], [0,5,1,4]]]", "operation True is not one of 0..10"),
        ("[[[3, 3], [3, 2]], [8, [0,0,5,2], [0,2,8,8], [0,5,1,4]]]", "connections must be 3 pairs"),
        ("[[[3, 3], [3, 2], [3]], [8, [0,0,5,2], [0,2,8,8], [0,5,1,4]]]", "connection 3 must be 2 indices"),
        ("[[[3, 3], [3, 2], [3, 0]], [8, [0,0,5,2], [0,2,8,8]]]", "three branches, 4 items"),
        ("[[[3, 3], [3, 2], [3, 0]], [8, [0,0,5], [0,2,8,8], [0,5,1,4]]]", "cell branch 1 must be 4 numbers"),
        ("[1, 2, 3]", r"must be \[connections, cell\]"),
        ("[[], []]", "connections must be 3 pairs"),
        ("arch", "not a nested list"),
        ('{"cell": []}', "exactly the keys"),
    ],
)
def test_errors_name_the_number_and_the_range(text: str, message: str) -> None:
    with pytest.raises(FastnasError, match=message) as caught:
        Genotype.parse(text)
    assert "\n" not in str(caught.value)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=30))
def test_anything_else_is_refused_with_one_line(value: object) -> None:
    with pytest.raises(FastnasError):
        Genotype.parse(json.dumps(value))


@given(genotypes, st.randoms(use_true_random=False))
def test_symmetric_genotypes_are_equal_in_canonical_form(genotype: Genotype, generator: random.Random) -> None:
    canonical = genotype.canonical()
    assert canonical.canonical() == canonical
    assert _swapped(genotype, generator).canonical() == canonical


def _swapped(genotype: Genotype, generator: random.Random) -> Genotype:
    """The same network, with random pairs and branches written the other way round."""
    connections = tuple(tuple(generator.sample(pair, 2)) for pair in genotype.connections)
    index = {0: 0, 1: 1}
    branches = []
    for k, (p, q, a, b) in enumerate(genotype.branches, start=1):
        u, v, w = 3 * k - 1, 3 * k, 3 * k + 1
        p, q = index[p], index[q]
        swap = generator.random() < 0.5
        branches.append((q, p, b, a) if swap else (p, q, a, b))
        index.update({u: v, v: u, w: w} if swap else {u: u, v: v, w: w})
    return Genotype(connections, (genotype.cell[0], *branches))  # type: ignore[arg-type]


def test_independent_blocks_and_branches_have_no_order() -> None:
    a = Genotype.parse("[[[3, 3], [2, 1], [4, 0]], [0, [0, 0, 1, 2], [1, 1, 3, 4], [2, 3, 5, 6]]]")
    b = Genotype.parse("[[[2, 1], [3, 3], [5, 0]], [0, [1, 1, 3, 4], [0, 0, 1, 2], [5, 6, 5, 6]]]")
    assert a.canonical() == b.canonical()


def test_different_networks_stay_different() -> None:
    a = Genotype.parse("[[[3, 3], [3, 2], [3, 0]], [8, [0, 0, 5, 2], [0, 2, 8, 8], [0, 5, 1, 4]]]")
    b = Genotype.parse("[[[3, 3], [3, 2], [3, 0]], [8, [0, 0, 5, 2], [0, 3, 8, 8], [0, 5, 1, 4]]]")
    assert a.canonical() != b.canonical()  # one reads the result of op 5, the other of op 2


def test_the_connection_space() -> None:
    """14,400 sequences of indices are 1,225 structures. The paper's footnote 1 estimates 120 and does not say how.

    120 is what three natural shortcuts give, none of which is the number of distinct networks: the product 4 x 5 x 6 of
    one index per pair (14,400 is its square); the sets of three different unordered pairs of encoder outputs alone.
    """
    sequences = list(itertools.product(*(range(choices) for choices in decision_choices()[:6])))
    assert len(sequences) == 14_400
    unordered = {tuple(tuple(sorted(s[i : i + 2])) for i in (0, 2, 4)) for s in sequences}
    assert len(unordered) == 10 * 15 * 21 == 3_150
    structures = {min(_equal_connections(tuple(zip(s[::2], s[1::2], strict=True)))) for s in sequences}
    assert len(structures) == 1_225
    by_outputs = [sum(len(collected_sums(s)) == n for s in structures) for n in (1, 2, 3)]
    assert by_outputs == [355, 650, 220]

    assert 4 * 5 * 6 == math.isqrt(14_400) == 120
    encoder_pairs = list(itertools.combinations_with_replacement(range(4), 2))
    assert len(list(itertools.combinations(encoder_pairs, 3))) == math.comb(10, 3) == 120


def test_the_cell_space_is_about_ten_to_the_ten() -> None:
    """The paper's 10^10 cells: a first operation, and three unordered pairs of (position, operation)."""
    unordered = [n * 11 * (n * 11 + 1) // 2 for n in (2, 5, 8)]
    assert 11 * math.prod(unordered) == 16_783_271_120  # 1.7e10


def test_random_genotypes_follow_the_generator() -> None:
    assert Genotype.random(random.Random(7)) == Genotype.random(random.Random(7))
    sampled = [Genotype.random(random.Random(seed)).decisions() for seed in range(2_000)]
    for position, choices in enumerate(decision_choices()):
        assert {decisions[position] for decisions in sampled} == set(range(choices))
