"""Sides and parts in the names of joints: `left_hip`, `LHip`, `hip-r` and `hipLeft` are hips of a side.

One place for mirroring (left and right change places in a mirrored image) and for metrics by part of the body.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence

from fastnas.errors import FastnasError

_SIDES = {"left": "left", "right": "right", "l": "left", "r": "right", "lt": "left", "rt": "right"}
_OTHER = {"left": "right", "right": "left"}

_PARTS = (
    "ankle|arm|bigtoe|brow|calf|cheek|clavicle|collar|ear|elbow|eye|eyebrow|finger|foot|forearm|hand|heel|hip|index|"
    "iris|knee|leg|paw|pinky|pupil|shoulder|smalltoe|thigh|thumb|toe|wing|wrist"
)
"""Parts that come in pairs, to split names that are one word: `lhip`, `LEFTHIP`, `kneer`."""

_ONE_WORD = re.compile(rf"(left|right|l|r)({_PARTS})|({_PARTS})(left|right|l|r)")
_NUMBERED = re.compile(r"(?<![^\W\d_])[LR]\d", re.IGNORECASE)
"""`L1` to `L5` are sides only where there is `R1`: vertebrae are called so too."""

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_]+|\d+")


def words(joint: str) -> tuple[str, ...]:
    """The words of a joint's name in lower case, its side as `left` or `right`.

    Words are divided by `_`, `-`, spaces and the like, and by capitals (`leftHand`, `LHip`).
    """
    found: list[str] = []
    for word in _WORD.findall(re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", joint)):
        match = _ONE_WORD.fullmatch(word.lower())
        if match and word.lower() != "rear":
            found += [part for part in match.groups() if part]
        else:
            found.append(word.lower())
    return tuple(_SIDES.get(word, word) for word in found)


def mirrored(joints: Sequence[str]) -> tuple[int, ...]:
    """For each joint the index of that which takes its place in a mirrored image: itself, or that of the other side.

    Raises:
        FastnasError: a joint of one side has no partner, or several.
    """
    names = [_sided(joint, joints) for joint in joints]
    by_name: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for index, name in enumerate(names):
        by_name[name].append(index)
    order = []
    for index, name in enumerate(names):
        other = tuple(_OTHER.get(word, word) for word in name)
        other = other if {"left", "right"} <= set(name) else tuple(sorted(other))
        # Without a side's word two names may still differ in one letter, as FL_paw and FR_paw do.
        partners = by_name.get(other, []) if other != name else _one_letter_apart(index, joints, names)
        if len(partners) > 1 or (partners and len(by_name[name]) > 1):
            alike = partners if len(partners) > 1 else by_name[name]
            raise FastnasError(
                f"joints cannot be paired for mirroring: {', '.join(repr(joints[i]) for i in alike)} are alike; "
                'rename them, or list the pairs of joints as "mirror"'
            )
        if other != name and not partners and not _NUMBERED.search(joints[index]):
            raise FastnasError(
                f"joint {joints[index]!r} is of one side, and none is named as its other: without it, mirrored images "
                'teach wrong joints; rename it, or list the pairs of joints as "mirror"'
            )
        order.append(partners[0] if partners else index)
    return tuple(order)


def mirror_of_pairs(joints: Sequence[str], pairs: Sequence[Sequence[str]]) -> tuple[int, ...]:
    """For each joint the index of that which takes its place in a mirrored image, by pairs of names.

    Raises:
        FastnasError: no pairs, an unknown name, or one in two pairs.
    """
    order = list(range(len(joints)))
    if not isinstance(pairs, (list, tuple)) or not all(isinstance(pair, (list, tuple)) for pair in pairs):
        raise FastnasError(f"mirror must be a list of pairs of joints, not {pairs!r:.80}")
    used = Counter(name for pair in pairs for name in pair if isinstance(name, str))
    for pair in pairs:
        if len(pair) != 2 or any(name not in joints or used[name] > 1 for name in pair):
            raise FastnasError(f"mirror must list pairs of two joints, each in one pair, not {pair!r:.80}")
        a, b = (joints.index(name) for name in pair)
        order[a], order[b] = b, a
    return tuple(order)


def pairs_of(joints: Sequence[str], mirror: Sequence[int]) -> list[tuple[str, str]]:
    """The pairs of joints that change places, by name."""
    return [(joints[i], joints[other]) for i, other in enumerate(mirror) if i < other]


def _sided(joint: str, joints: Sequence[str]) -> tuple[str, ...]:
    """The words of a name in any order, so that `hip_left` and `right_hip` are a pair.

    Where single letters name the joints, l and r are no sides.
    """
    if len(joint) == 1 and sum(len(name) == 1 for name in joints) > 2:
        return (joint,)
    found = words(joint)
    return found if {"left", "right"} <= set(found) else tuple(sorted(found))


def _one_letter_apart(index: int, joints: Sequence[str], names: Sequence[tuple[str, ...]]) -> list[int]:
    name = joints[index]

    def apart(other: str) -> bool:
        unlike = [(a, b) for a, b in zip(name, other, strict=True) if a != b]
        return len(unlike) == 1 and set(unlike[0]) in ({"l", "r"}, {"L", "R"})

    sided = {"left", "right"}
    return [
        i
        for i, other in enumerate(joints)
        if len(other) == len(name) > 1 and not sided & set(names[i]) and apart(other)
    ]
