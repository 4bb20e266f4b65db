"""The machine's OpenCV: loading it, and what it was built with."""

import os
import re
from typing import Any

from fastnas.jetson.errors import import_package


def import_cv2() -> Any:
    """OpenCV, without its own warnings on stderr.

    Raises:
        JetsonError: it is not installed, or does not load.
    """
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
    return import_package("cv2", "OpenCV does not load ({}); run: sudo apt-get install python3-opencv")


def opencv_has(name: str) -> bool:
    """Whether this OpenCV was built with `GStreamer`, `FFMPEG` or `v4l/v4l2`."""
    found = re.search(r"^\s*{}:\s*(\w+)".format(name), import_cv2().getBuildInformation(), re.MULTILINE)
    return found is not None and found.group(1) == "YES"
