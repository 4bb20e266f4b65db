"""Arrays as the fields of ROS messages, and images of messages as arrays.

The fields of `sensor_msgs/Image` and `sensor_msgs/PointCloud2` are the same in ROS 1 and ROS 2. cv_bridge is not used:
it is compiled for one Python and one OpenCV, and a board often has others.
"""

from typing import Any, Dict, NamedTuple

import numpy as np

from fastnas.jetson.checks import SIDE
from fastnas.jetson.errors import JetsonError
from fastnas.jetson.system.opencv import import_cv2


class Encoding(NamedTuple):
    """How an image's pixels are stored.

    Attributes:
        channels: values of a pixel.
        size: bytes of a value.
        conversion: name of OpenCV's conversion to B, G, R; empty where they are that.
    """

    channels: int
    size: int
    conversion: str


ENCODINGS = {
    "rgb8": Encoding(3, 1, "COLOR_RGB2BGR"),
    "bgr8": Encoding(3, 1, ""),
    "rgba8": Encoding(4, 1, "COLOR_RGBA2BGR"),
    "bgra8": Encoding(4, 1, "COLOR_BGRA2BGR"),
    "mono8": Encoding(1, 1, "COLOR_GRAY2BGR"),
    "mono16": Encoding(1, 2, "COLOR_GRAY2BGR"),
}
"""Of images that the node takes, named as in `sensor_msgs/image_encodings`."""

FLOAT32 = 7
"""The value of `sensor_msgs/PointField` for it, in both versions of ROS."""

JOINT = ("x", "y", "score")
"""The fields of a joint. There is no z: x and y are pixels of the image, not a place in space."""


def to_frame(message: Any) -> np.ndarray:
    """The pixels of a `sensor_msgs/Image` as uint8 [H, W, 3] in OpenCV's channel order; 16 bits are cut to the upper 8.

    The array may share the message's memory: it is for reading.

    Raises:
        JetsonError: the encoding is none of `ENCODINGS`, a side is not within `SIDE`, or rows and data do not fit them.
    """
    encoding = ENCODINGS.get(message.encoding)
    if encoding is None:
        line = "images of encoding {!r:.40} are not taken, but {}; image_proc or the camera's driver converts them"
        raise JetsonError(line.format(message.encoding, ", ".join(ENCODINGS)))
    height, width, step = int(message.height), int(message.width), int(message.step)
    if not SIDE[0] <= min(height, width) <= max(height, width) <= SIDE[1]:
        raise JetsonError("an image of {}x{} (height x width); a side has {} to {} pixels".format(height, width, *SIDE))
    row = width * encoding.channels * encoding.size
    if step < row or len(message.data) != step * height:
        line = "an image of {}x{} in {} has rows of {} bytes or more; this one has a step of {} and {} bytes in all"
        raise JetsonError(line.format(height, width, message.encoding, row, step, len(message.data)))
    values = np.ascontiguousarray(np.frombuffer(message.data, np.uint8).reshape(height, step)[:, :row])
    if encoding.size == 2:
        values = values[:, 0 if message.is_bigendian else 1 :: 2]  # the upper byte
    pixels = np.ascontiguousarray(values).reshape(height, width, encoding.channels)
    if not encoding.conversion:
        return pixels
    cv2 = import_cv2()
    return cv2.cvtColor(pixels, getattr(cv2, encoding.conversion))


def image_fields(array: np.ndarray, encoding: str) -> Dict[str, Any]:
    """The fields of a `sensor_msgs/Image` but for its header, least byte first.

    Args:
        array: [H, W] or [H, W, C], of the encoding's type.
        encoding: as `sensor_msgs/image_encodings` names it, such as `mono8` or `32FC1`.
    """
    data = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
    height, width = array.shape[:2]
    return {
        "height": height, "width": width, "encoding": encoding, "is_bigendian": 0, "step": len(data) // height,
        "data": data,
    }  # fmt: skip


def cloud_fields(joints: np.ndarray) -> Dict[str, Any]:
    """The fields of a `sensor_msgs/PointCloud2` but for its header; its own `fields` are those of `PointField`.

    Args:
        joints: float32 [J, 3] of `JOINT`.
    """
    data = joints.astype("<f4", copy=False).tobytes()
    fields = [
        {"name": name, "offset": 4 * number, "datatype": FLOAT32, "count": 1} for number, name in enumerate(JOINT)
    ]
    return {
        "height": 1, "width": len(joints), "fields": fields, "is_bigendian": False, "point_step": 4 * len(JOINT),
        "row_step": len(data), "data": data, "is_dense": True,
    }  # fmt: skip
