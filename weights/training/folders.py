"""Writes the datasets `folder` that the scripts here make."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from fastnas.jetson.files import write_text
from fastnas.tasks import Segmentation

PERSON = 15
"""Pascal VOC's class id."""


def write_folder(
    out: Path,
    splits: Mapping[str, Iterable[tuple[Path, ...]]],
    task: Segmentation,
    mask_map: Mapping[int, int] | None = None,
) -> None:
    """A list for each split, of files relative to `out`, and the description; `mask_map` from stored ids to classes."""
    for split, samples in splits.items():
        lines = ["\t".join(os.path.relpath(path, out) for path in sample) for sample in samples]
        write_text(out / f"{split}.txt", "\n".join(lines) + "\n")
    mapped = {} if mask_map is None else {"mask_map": mask_map}
    write_text(out / "dataset.json", json.dumps({**task.to_dict(), **mapped}))
