"""COCO JSON with people's joints: COCO's own and CVAT's export.

https://cocodataset.org/#format-data
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from fastnas.data.formats.keypoints import pose_task
from fastnas.data.images import noted_size
from fastnas.data.importing.export import Export, LabelledImage, Log, People
from fastnas.data.importing.formats.coco import read_files, sniffed
from fastnas.data.importing.source import Source
from fastnas.data.progress import Track
from fastnas.errors import FastnasError
from fastnas.tasks import Pose, checked_names

TITLE = "COCO JSON with keypoints"


def found(source: Source) -> bool:
    """Some JSON has keypoints."""
    return any(b'"keypoints"' in content and b'"category_id"' in content for content in sniffed(source))


def read(source: Source, log: Log, track: Track, colours: Path | None) -> Export:
    """The people of the first category that names joints."""
    files = [one for one in read_files(source) if one.has_joints]
    if not files:
        raise FastnasError(f"{source.root}: no category of a JSON file names keypoints")
    first = next(row for row in files[0].categories if row.get("keypoints"))
    task = _task(first, files[0].path)
    export = Export(task, [])
    for one in files:
        category = next((row for row in one.categories if row.get("name") == first["name"]), None)
        if category is None or category.get("keypoints") != first["keypoints"]:
            raise FastnasError(f"{one.path} and {files[0].path} name different joints: import them one by one")
        for row in one.categories:
            if row.get("keypoints") and row is not category:
                log.notes.append(
                    f"{source.relative(one.path)}: only people of {first['name']} are read, not {row['name']}"
                )
        for image, entry, objects_of in one.matched(source, log, export.used):
            where, people = source.relative(image), []
            for row in objects_of:
                if row.get("category_id") != category.get("id") or row.get("iscrowd"):
                    continue
                try:
                    people.append(_person(row, task))
                except FastnasError as error:
                    log.dropped.append(f"{where}: person {row.get('id')!r:.20}: {error}")
            try:
                size = noted_size(entry.get("width"), entry.get("height"))
                if not people:
                    raise FastnasError("no person has a labelled joint")
            except FastnasError as error:
                log.dropped.append(f"{where}: {error}")
                continue
            export.samples.append(LabelledImage(image, People(people, size), one.split))
    return export


def _task(category: dict[str, Any], path: Path) -> Pose:
    try:
        joints = checked_names(category["keypoints"], path)
        bones = [(a - 1, b - 1) for a, b in category.get("skeleton") or ()]
        if not all(type(joint) is int for bone in bones for joint in bone):
            raise ValueError("a skeleton is pairs of joint numbers from 1")
        return pose_task(joints, bones, category.get("mirror"))
    except (TypeError, ValueError, FastnasError) as error:
        raise FastnasError(f"{path}: the joints or the skeleton are not of COCO's form: {error}") from error


def _person(row: dict[str, Any], task: Pose) -> dict[str, Any]:
    """Box, joints and area, checked.

    Raises:
        FastnasError: no labelled joint, another number of joints, or values that are no places.
    """
    box: Any = row.get("bbox")
    points: Any = row.get("keypoints")
    area: Any = row.get("area")
    if not _numbers(box, 4) or box[2] <= 0 or box[3] <= 0:
        raise FastnasError(f"its box must be x, y, width and height, not {box!r:.60}")
    if not _numbers(points, 3 * task.outputs):
        raise FastnasError(f"{task.outputs} joints need {3 * task.outputs} numbers (x, y, visibility)")
    if not set(points[2::3]) <= {0, 1, 2}:
        raise FastnasError("the visibility of a joint must be 0, 1 or 2")
    if not any(points[2::3]):
        raise FastnasError("no joint is labelled")
    if not _numbers([area], 1) or area <= 0:
        area = box[2] * box[3]
    return {"bbox": list(box), "keypoints": list(points), "area": area}


def _numbers(values: Any, count: int) -> bool:
    """A list of `count` finite numbers that could be pixels."""
    return (
        isinstance(values, list)
        and len(values) == count
        and all(type(v) in (int, float) and math.isfinite(v) and abs(v) < 1e9 for v in values)
    )
