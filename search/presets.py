"""Sizes of a search: the paper's, and one that a laptop's CPU gets through."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from fastnas.errors import FastnasError
from fastnas.search.settings import Group, SearchSettings

PRESETS: dict[str, dict[str, Any]] = {
    "paper": {},
    # Half the paper's crop has a quarter of its pixels. Smaller batches keep the number of steps up; they are still so
    # few in stage 2, about 20, that the paper's average of 100 steps would judge weights from before it.
    "small": {
        "images": 400,
        "evaluation": {
            "stage1_crop": 128, "stage1_short_side": 150, "stage1_batch": 16, "stage1_epochs": 3,
            "stage2_crop": 160, "stage2_short_side": 180, "stage2_batch": 16, "polyak_stage2": 0.9,
        },
    },
    "tiny": {
        "images": 220,
        "evaluation": {
            "channels": 24, "stage1_crop": 96, "stage1_short_side": 96, "stage1_batch": 16, "stage1_epochs": 3,
            "stage2_crop": 96, "stage2_short_side": 96, "stage2_batch": 16, "polyak_stage2": 0.9,
        },
    },
}  # fmt: skip
"""Name -> what differs from the defaults."""


def override(settings: SearchSettings, assignments: Sequence[str]) -> SearchSettings:
    """Settings with fields changed by `NAME=VALUE`, such as `evaluation.stage1_batch=32`; VALUE is JSON or text.

    Raises:
        FastnasError: no such field, or a value that it refuses.
    """
    values = settings.to_dict()
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise FastnasError(f"--set {assignment}: write it as NAME=VALUE, such as evaluation.stage1_batch=32")
        *path, last = name.split(".")
        group = values
        for step in path:
            group = group.get(step, {})
            if not isinstance(group, dict):
                raise FastnasError(f"--set {assignment}: {step} is no group of settings")
        if last not in group:
            raise FastnasError(f"--set {assignment}: there is no setting {name}; {_near(settings, last)}")
        try:
            group[last] = json.loads(text)
        except ValueError:
            group[last] = text
    return SearchSettings.from_dict(values)


def preset(name: str) -> SearchSettings:
    """The settings of a preset."""
    return SearchSettings.from_dict(PRESETS[name])


def _near(settings: SearchSettings, last: str) -> str:
    """Names of settings that end alike or share a group, for the message."""
    names = []
    for entry in dataclasses.fields(settings):
        value = getattr(settings, entry.name)
        inner = [f"{entry.name}.{f.name}" for f in dataclasses.fields(value)] if isinstance(value, Group) else []
        names += inner or [entry.name]
    close = [name for name in names if last in name] or names
    return f"there are {', '.join(close)}"
