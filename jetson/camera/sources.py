"""Addresses of cameras, streams, files and a test pattern, and the interface of their sources; `opencv` opens them.

    /dev/video0 or 0               a USB or other V4L2 camera
    csi://0                        a camera of the CSI connector, through NVIDIA's Argus
    rtsp://USER:PASSWORD@HOST/...  a network camera
    ride.mp4                       a video file, played at its own speed
    images/                        a folder of images, in the order of their names
    test://                        a moving test pattern

Frames are uint8 [H, W, 3] in OpenCV's channel order B, G, R. A corrupt frame is skipped and counted.
"""

import glob
import os
import re
import time
from typing import Any, Iterator, List, NamedTuple, Optional, Tuple

import numpy as np

from fastnas.jetson.errors import JetsonError
from fastnas.jetson.system.opencv import import_cv2
from fastnas.jetson.system.sensors import is_raw_sensor

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm")

FOLDER_FPS = 5.0
"""Frame rate of a folder of images."""


class SourceLost(Exception):
    """A camera or a stream gives no more frames; opening it again may help."""


class Mode(NamedTuple):
    """What to ask a camera for: width and height in pixels, frames per second."""

    width: int = 1280
    height: int = 720
    fps: float = 30.0


class Address(NamedTuple):
    """A checked address: its `kind` (v4l2, csi, rtsp, file, folder, test), and the device, number, URL or path."""

    kind: str
    value: str

    @property
    def live(self) -> bool:
        """Whether frames come at their own time, instead of when they are read."""
        return self.hangs or self.kind == "test"

    @property
    def hangs(self) -> bool:
        """Whether it depends on a driver or a network, which may never answer."""
        return self.kind in ("v4l2", "csi", "rtsp")

    def __str__(self) -> str:
        """The address without the user and password of a URL."""
        return re.sub(r"//[^/@]*@", "//", self.value)


class Source:
    """Gives frames; a context manager.

    Attributes:
        pipeline: how they are obtained, in the syntax of the program that decodes them.
        fps: nominal frame rate.
        live: whether frames come at their own time (a camera), instead of when they are read (a file).
        corrupt: number of frames that were skipped.
    """

    def __init__(self, pipeline: str, fps: float, live: bool = False) -> None:
        self.pipeline, self.fps, self.live = pipeline, fps, live
        self.corrupt = 0

    def read(self) -> Optional[np.ndarray]:
        """The next frame; None at the end.

        Raises:
            SourceLost: the camera gives no more frames.
        """
        raise NotImplementedError

    def interrupt(self) -> None:
        """End a read that hangs in another thread, where that can be done."""

    def close(self) -> None:
        """Release the device. Call it from the thread that reads: OpenCV crashes when this happens during a read."""

    def __enter__(self) -> "Source":
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()


def parse_mode(text: str) -> Mode:
    """`WIDTHxHEIGHT` or `WIDTHxHEIGHT@FPS`, such as 1280x720@30."""
    found = re.match(r"^(\d{1,5})x(\d{1,5})(?:@(\d{1,3}))?$", text)
    if not found or "0" in (found.group(1), found.group(2), found.group(3)):
        raise JetsonError("a camera's mode is like 1280x720 or 1280x720@30, not {!r}".format(text))
    return Mode(int(found.group(1)), int(found.group(2)), float(found.group(3) or Mode().fps))


def parse_address(text: str) -> Address:
    """Parse an address without opening it.

    Raises:
        JetsonError: it is not valid, or names a file or device that is not there.
    """
    scheme, separator, rest = text.partition("://")
    if separator:
        if scheme in ("rtsp", "rtsps") and rest:
            return Address("rtsp", text)
        if scheme == "csi" and re.match(r"^\d+$", rest):
            return Address("csi", text)
        if scheme == "test" and not rest:
            return Address("test", text)
        raise JetsonError("no source {!r}; there are csi://NUMBER, rtsp://... and test://".format(text))
    if re.match(r"^\d+$", text):
        text = "/dev/video" + text
    if text.startswith("/dev/"):
        if not os.path.exists(text):
            there = ", ".join(sorted(glob.glob("/dev/video*"))) or "none"
            raise JetsonError("no camera at {} (cameras here: {}); is it plugged in?".format(text, there))
        if not os.access(text, os.R_OK | os.W_OK):
            raise JetsonError("{} may not be opened; run: sudo usermod -aG video $USER, and log in again".format(text))
        device = os.path.realpath(text)
        if is_raw_sensor(device):
            message = "{} is the raw sensor of a CSI camera, which gives no images; try --source csi://{}"
            raise JetsonError(message.format(text, re.sub(r"\D", "", device) or 0))
        return Address("v4l2", device)
    if os.path.isdir(text):
        return Address("folder", text)
    if os.path.isfile(text):
        return Address("file", text)
    raise JetsonError("no camera, stream or file {!r}; fastnas camera --help lists the kinds of source".format(text))


def files_of(folder: str, suffixes: Tuple[str, ...]) -> List[str]:
    """The files directly in a folder whose names end so, in the order of their names.

    Hidden files are left out: other systems leave ._NAME.jpg beside NAME.jpg.
    """
    names = sorted(n for n in os.listdir(folder) if n.lower().endswith(suffixes) and not n.startswith("."))
    return [os.path.join(folder, name) for name in names]


class Folder(Source):
    """The images of a folder."""

    def __init__(self, folder: str) -> None:
        super().__init__("the images of {}".format(folder), FOLDER_FPS)
        self._cv2 = import_cv2()
        paths = files_of(folder, IMAGE_SUFFIXES)
        if not paths:
            raise JetsonError("{} has no image ({})".format(folder, ", ".join(IMAGE_SUFFIXES)))
        self._paths: Iterator[str] = iter(paths)

    def read(self) -> Optional[np.ndarray]:
        """See `Source.read`."""
        for path in self._paths:
            frame = self._cv2.imread(path)
            if is_frame(frame):
                return frame
            self.corrupt += 1
        return None


class TestPattern(Source):
    """Colour bars, and a ball that crosses them once in four seconds, at the mode's rate."""

    __test__ = False  # pytest collects classes of such names

    def __init__(self, mode: Mode) -> None:
        super().__init__("test pattern {}x{}".format(mode.width, mode.height), mode.fps, live=True)
        self._cv2 = import_cv2()
        colours = [(180, 130, 70), (35, 142, 107), (128, 64, 128), (60, 20, 220), (142, 0, 0), (190, 153, 153)]
        bars = np.array(colours, np.uint8)[None]
        self._bars = self._cv2.resize(bars, (mode.width, mode.height), interpolation=self._cv2.INTER_NEAREST)
        self._mode = mode
        self._start = time.monotonic()
        self._number = 0

    def read(self) -> Optional[np.ndarray]:
        """See `Source.read`."""
        self._number = max(self._number + 1, int((time.monotonic() - self._start) * self._mode.fps))
        time.sleep(max(self._start + self._number / self._mode.fps - time.monotonic(), 0))
        frame = self._bars.copy()
        seconds, (width, height, _) = self._number / self._mode.fps, self._mode
        centre = int(width * (seconds / 4 % 1)), int(height * (0.5 + 0.3 * np.sin(seconds * np.pi)))
        self._cv2.circle(frame, centre, height // 8, (255, 255, 255), -1, self._cv2.LINE_AA)
        return frame


def is_frame(frame: Any) -> bool:
    """Whether a decoder gave a frame: a broken cable or file results in empty arrays and wrong shapes too."""
    return isinstance(frame, np.ndarray) and frame.dtype == np.uint8 and frame.ndim == 3 and frame.size > 0
