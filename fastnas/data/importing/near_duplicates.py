"""Training and validation images, with the frames of one video on one side.

Neighbouring frames of a video show the same scene: a network that was trained on one has seen the other, and a
validation score on it says nothing. Frames are found to be alike by two signs together: their names follow each other
(same folder, same text around the number), and their difference hashes are close. Such a hash has 64 bits: whether
each pixel of the grey image at 9x8 is darker than its right neighbour. Files of the same bytes, and the copies of one
image that Roboflow augments, are alike whatever their names.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from PIL import Image

FARTHEST = 16
"""Bits of 64 that may differ between frames that are alike. Unrelated images differ in about 31, and 300 of Pascal VOC
in 18 or more from the next; frames of a bicycle ride, 0.1 s apart, differ in 5 (median), three in four in up to 14."""

NUMBERED = re.compile(r"^(.*?)(\d{1,18})([^\d/]*)$")
ROBOFLOW = re.compile(r"_(?:jpe?g|png)\.rf\.[0-9a-f]+$", re.IGNORECASE)
"""What Roboflow adds to the name of an image."""


@dataclass(frozen=True)
class Frame:
    """What is compared of an image.

    Attributes:
        name: path without suffix, with `/`.
        digest: of the file's bytes.
        bits: `difference_hash` of its pixels.
    """

    name: str
    digest: bytes
    bits: int


def difference_hash(image: Image.Image) -> int:
    """64 bits: each pixel of the grey image at 9x8 is darker than its right neighbour."""
    small = np.asarray(image.convert("L").resize((9, 8), Image.Resampling.BOX)).astype(np.int16)
    return int.from_bytes(np.packbits(small[:, 1:] > small[:, :-1]).tobytes(), "big")


def group_frames(frames: Sequence[Frame]) -> list[list[int]]:
    """Indices of frames that are alike, each index in one group, in the order of their first one."""
    leader = list(range(len(frames)))

    def find(index: int) -> int:
        while leader[index] != index:
            index = leader[index]
        return index

    def join(one: int, other: int) -> None:
        first, second = sorted((find(one), find(other)))
        leader[second] = first

    originals: dict[object, int] = {}
    numbered: list[tuple[tuple[str, str], int, int]] = []
    for index, frame in enumerate(frames):
        original = ROBOFLOW.sub("", frame.name)
        for key in (original, frame.digest):
            join(originals.setdefault(key, index), index)
        parts = NUMBERED.match(original)
        if parts:
            numbered.append(((parts[1], parts[3]), int(parts[2]), index))
    numbered.sort()
    for (series, _, one), (next_series, _, other) in pairwise(numbered):
        if series == next_series and (frames[one].bits ^ frames[other].bits).bit_count() <= FARTHEST:
            join(one, other)

    groups: dict[int, list[int]] = {}
    for index in range(len(frames)):
        groups.setdefault(find(index), []).append(index)
    return list(groups.values())


def choose_validation(groups: Sequence[list[int]], share: float, seed: int) -> tuple[set[int], bool]:
    """Indices of validation images: whole groups at random, about `share` of all images.

    Where every group is too large, as with one single video, the largest is cut: its last frames are validation.

    Returns:
        The indices, and whether a group was cut.
    """
    count = sum(map(len, groups))
    wanted = min(max(round(share * count), 1), count - 1)
    chosen: list[int] = []
    for i in np.random.default_rng(seed).permutation(len(groups)):
        if len(chosen) + len(groups[i]) <= wanted:
            chosen += groups[i]
    if chosen:
        return set(chosen), False
    return set(max(groups, key=len)[-wanted:]), True
