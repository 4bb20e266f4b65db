"""Samples of a dataset with their labels drawn, on one sheet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fastnas.data.base import DenseDataset
from fastnas.errors import FastnasError
from fastnas.jetson.files import atomic_path
from fastnas.tasks.registry import head_for

COLUMNS = 3
TILE = 560
"""Pixels that a drawing is wide and high at most."""

MARGIN, CAPTION = 8, 14
INK, PAPER = (30, 30, 30), (255, 255, 255)


def draw_sheet(dataset: DenseDataset, out: Path, count: int = 6) -> list[str]:
    """Write a PNG with `count` samples, spread evenly over the dataset, each with its label and its name.

    Returns:
        The names of the samples.

    Raises:
        FastnasError: a sample is damaged, or `out` cannot be written.
    """
    head = head_for(dataset.task)
    indices = np.unique(np.linspace(0, len(dataset) - 1, min(count, len(dataset))).round().astype(int))
    tiles, names = [], []
    for index in indices:
        sample = dataset[int(index)]
        drawn = Image.fromarray(head.draw(sample["image"], head.truth(sample)))
        drawn.thumbnail((TILE, TILE))
        tiles.append(drawn)
        names.append(sample["name"])

    columns = min(COLUMNS, len(tiles))
    rows = [tiles[i : i + columns] for i in range(0, len(tiles), columns)]
    width = max(tile.width for tile in tiles) + MARGIN
    heights = [max(tile.height for tile in row) + CAPTION + 2 * MARGIN for row in rows]
    sheet = Image.new("RGB", (columns * width + MARGIN, sum(heights) + MARGIN), PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(CAPTION)
    for i, (tile, name) in enumerate(zip(tiles, names, strict=True)):
        x, y = MARGIN + i % columns * width, MARGIN + sum(heights[: i // columns])
        pen.text((x, y), _shortened(name, font, tile.width), INK, font)
        sheet.paste(tile, (x, y + CAPTION + MARGIN))
    if out.suffix.lower() != ".png":
        raise FastnasError(f"{out}: a sheet is written as PNG, so its name must end in .png")
    with atomic_path(out) as temporary:
        sheet.save(temporary, format="PNG", compress_level=1)
    return names


def _shortened(name: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """The end of a name that fits into `width` pixels."""
    shown = "".join(c if c.isprintable() else "?" for c in name)[-200:]
    while len(shown) > 1 and font.getlength(shown) > width:
        shown = "…" + shown[2:]
    return shown
