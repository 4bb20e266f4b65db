"""Predictions as files that programs read: class ids, depth and joints; drawings of them beside.

Arrays are of the image's size: ids uint8 [H, W], metres float32 [H, W], joints float32 [J, 3] of (x, y, score).
"""

import os
import struct
import zlib
from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

import numpy as np

from fastnas.jetson.errors import JetsonError
from fastnas.jetson.inference.predictions import MIN_SCORE
from fastnas.jetson.system.opencv import import_cv2

MILLIMETRES = 1000
FARTHEST = 2**16 - 1
"""Millimetres that a depth image can hold."""

JPEG_QUALITY = 92


class Person(NamedTuple):
    """The joints that were found in one image.

    Attributes:
        image: its name, such as `ride.jpg`.
        size: its height and width.
        joints: float32 [J, 3].
    """

    image: str
    size: Tuple[int, int]
    joints: np.ndarray


def write_ids(path: str, ids: np.ndarray, colours: Sequence[Sequence[int]]) -> None:
    """Class ids as a PNG with a palette: its pixels are the ids, and viewers show the classes' colours (R, G, B)."""
    rows = np.zeros((ids.shape[0], ids.shape[1] + 1), np.uint8)  # each row begins with its filter: 0 is none
    rows[:, 1:] = ids
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(colours)] = colours
    head = struct.pack(">IIBBBBB", ids.shape[1], ids.shape[0], 8, 3, 0, 0, 0)  # 8 bits a pixel, of a palette
    chunks = (
        (b"IHDR", head),
        (b"PLTE", palette.tobytes()),
        (b"IDAT", zlib.compress(rows.tobytes(), 3)),
        (b"IEND", b""),
    )
    _write(path, b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks))


def write_depth(path: str, metres: np.ndarray) -> None:
    """Depth as a 16-bit PNG of `millimetres`."""
    write_image(path, millimetres(metres))


def millimetres(metres: np.ndarray) -> np.ndarray:
    """Depth as uint16; 0 is unknown, and 65535 is that far or farther."""
    known = metres > 0  # false for NaN
    values = np.clip(np.rint(np.where(known, metres, 0) * MILLIMETRES), 1, FARTHEST)
    return np.where(known, values, 0).astype(np.uint16)


def write_image(path: str, image: np.ndarray) -> None:
    """An image in OpenCV's channel order, in the format of the name's ending."""
    cv2 = import_cv2()
    suffix = os.path.splitext(path)[1]
    done, data = cv2.imencode(suffix, image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if suffix == ".jpg" else [])
    if not done:
        raise JetsonError("OpenCV cannot encode {}".format(path))
    _write(path, data.tobytes())


def coco(people: Sequence[Person], task: Dict[str, Any]) -> Dict[str, Any]:
    """Joints as COCO's annotations of keypoints; those below `MIN_SCORE` count as not labelled.

    Args:
        people: one for each image.
        task: of the network, as its sidecar has it.
    """
    images: List[Dict[str, Any]] = []
    annotations: List[Dict[str, Any]] = []
    for number, person in enumerate(people, start=1):
        height, width = person.size
        images.append({"id": number, "file_name": person.image, "width": width, "height": height})
        found = person.joints[:, 2] >= MIN_SCORE
        if not found.any():
            continue
        points, scores = person.joints[:, :2].astype(float), person.joints[:, 2].astype(float)
        (left, top), (right, bottom) = points[found].min(0), points[found].max(0)
        keypoints = [
            value
            for point, each in zip(points.round(2).tolist(), found)
            for value in (point + [2] if each else [0, 0, 0])
        ]
        annotations.append({
            "id": len(annotations) + 1, "image_id": number, "category_id": 1, "iscrowd": 0, "keypoints": keypoints,
            "num_keypoints": int(found.sum()), "area": round((right - left) * (bottom - top), 2),
            "bbox": [round(value, 2) for value in (left, top, right - left, bottom - top)],
            "score": round(float(scores[found].mean()), 4), "scores": scores.round(4).tolist(),
        })  # fmt: skip
    skeleton = [[one + 1, other + 1] for one, other in task["skeleton"]]  # COCO counts joints from 1
    category = {"id": 1, "name": "person", "keypoints": task["joints"], "skeleton": skeleton}
    return {"images": images, "annotations": annotations, "categories": [category]}


def _chunk(kind: bytes, data: bytes) -> bytes:
    """A part of a PNG file: its length, kind, content and checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data) & 0xFFFFFFFF)


def _write(path: str, data: bytes) -> None:
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)
