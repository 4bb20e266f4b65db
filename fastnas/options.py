"""Types of options that several commands share."""

from __future__ import annotations

import re
from typing import Any

import click


class Resolution(click.ParamType[tuple[int, int]]):
    """An image size: `512` is square, `360x480` is height x width."""

    name = "size"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """What the help shows."""
        return "SIZE|HxW"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Text -> (height, width) in pixels."""
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"(\d+)(?:x(\d+))?", str(value))
        height, width = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 1 <= height <= 16384 or not 1 <= width <= 16384:
            self.fail(f"{value!r} is not a size in pixels such as 512 or 360x480 (height x width)", param, ctx)
        return height, width


RESOLUTION = Resolution()
