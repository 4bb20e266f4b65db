"""The machine's OpenCV: loading it, and what it was built with."""

import os
import re
from typing import Any, Optional

from fastnas.jetson.errors import JetsonError, import_package
from fastnas.jetson.system.machine import Machine


def import_cv2() -> Any:
    """OpenCV, without its own warnings on stderr.

    Raises:
        JetsonError: it is not installed, or does not load.
    """
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
    try:
        return import_package("cv2", "OpenCV does not load ({})")
    except JetsonError as error:
        install = "sudo apt-get install {}".format(opencv_package(Machine().generation))
        raise JetsonError("{}; run: {}".format(error, install)) from error


def opencv_has(name: str) -> bool:
    """Whether this OpenCV was built with `GStreamer`, `FFMPEG` or `v4l/v4l2`."""
    return built_with(import_cv2().getBuildInformation(), name)


def built_with(information: str, name: str) -> bool:
    """Whether an OpenCV's build information says that it has a backend."""
    found = re.search(r"^\s*{}:\s*(\w+)".format(name), information, re.MULTILINE)
    return found is not None and found.group(1) == "YES"


def opencv_package(generation: Optional[int]) -> str:
    """The system's package of OpenCV: NVIDIA's own up to JetPack 6, for Ubuntu's of the same releases lacks GStreamer.

    On JetPack 4 Ubuntu's is version 3.2, and installing it removes NVIDIA's 4.1.1.
    """
    return "libopencv-python" if generation in (32, 35, 36) else "python3-opencv"
