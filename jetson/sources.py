"""Pictures from cameras, streams, files and a test pattern, all opened by one kind of address.

    /dev/video0 or 0               a USB or other V4L2 camera
    csi://0                        a camera of the CSI connector, through NVIDIA's Argus
    rtsp://USER:PASSWORD@HOST/...  a network camera
    ride.mp4                       a video file, played at its own speed
    pictures/                      a folder of pictures, in the order of their names
    test://                        a moving test pattern

Pictures are uint8 [H, W, 3] in OpenCV's order B, G, R. A corrupt picture is skipped and counted.
"""

import glob
import os
import re
import time
from typing import Any, Iterator, NamedTuple, Optional

import numpy as np

from fastnas.jetson.errors import JetsonError
from fastnas.jetson.gstreamer import PipeReader, argus_pipeline, opencv_has, spell
from fastnas.jetson.preprocess import import_cv2

FOLDER_FPS = 5.0
"""How fast the pictures of a folder follow each other."""

FAILURES = 10
"""So many failed reads in a row mean that the source is lost (a camera) or over (a file)."""

RTSP_OPTIONS = "rtsp_transport;tcp|stimeout;5000000|timeout;5000000"
"""For FFmpeg: no smeared pictures from lost packets, and 5 s (in µs, under its old and new name) until it gives up."""


class SourceLost(Exception):
    """A camera or a stream stopped giving pictures; opening it again may help."""


class Mode(NamedTuple):
    """What to ask a camera for: width and height in pixels, pictures in a second."""

    width: int = 1280
    height: int = 720
    fps: float = 30.0


class Address(NamedTuple):
    """A checked address: its `kind` (v4l2, csi, rtsp, file, folder, test), and the device, number, URL or path."""

    kind: str
    value: str

    @property
    def live(self) -> bool:
        """Whether pictures come when they come, instead of when they are asked for."""
        return self.kind in ("v4l2", "csi", "rtsp", "test")

    def __str__(self) -> str:
        """For people: without the password of a URL."""
        return re.sub(r"//[^/@]*@", "//", self.value)


class Source:
    """Something that gives pictures.

    Attributes:
        pipeline: how they are got, in the words of the program that gets them.
        fps: pictures in a second, as the source says.
        corrupt: how many pictures were skipped.
    """

    def __init__(self, pipeline: str, fps: float) -> None:
        self.pipeline = pipeline
        self.fps = fps
        self.corrupt = 0

    def read(self) -> Optional[np.ndarray]:
        """The next picture; None at the end.

        Raises:
            SourceLost: the camera is gone.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Give the device back."""


def parse_mode(text: str) -> Mode:
    """`WIDTHxHEIGHT` or `WIDTHxHEIGHT@FPS`, such as 1280x720@30."""
    found = re.match(r"^(\d{1,5})x(\d{1,5})(?:@(\d{1,3}))?$", text)
    if not found or "0" in (found.group(1), found.group(2), found.group(3)):
        raise JetsonError("a camera's mode is like 1280x720 or 1280x720@30, not {!r}".format(text))
    return Mode(int(found.group(1)), int(found.group(2)), float(found.group(3) or Mode().fps))


def parse_address(text: str) -> Address:
    """Understand an address without opening it.

    Raises:
        JetsonError: it is none, or names a file or device that is not there.
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
        return Address("v4l2", os.path.realpath(text))
    if os.path.isdir(text):
        return Address("folder", text)
    if os.path.isfile(text):
        return Address("file", text)
    raise JetsonError("no camera, stream or file {!r}; see fastnas camera --help for what can be named".format(text))


def open_source(address: Address, mode: Mode) -> Source:
    """Open a source. `mode` counts for cameras and the test pattern; the others have a size and rate of their own.

    Raises:
        JetsonError: it cannot be opened.
    """
    if address.kind == "test":
        return TestPattern(mode)
    if address.kind == "folder":
        return Folder(address.value)
    if address.kind == "csi":
        return _open_csi(int(address.value.partition("://")[2]), mode)
    if address.kind == "v4l2":
        return _open_v4l2(address, mode)
    cv2 = import_cv2()
    if address.kind == "rtsp":
        if not opencv_has("FFMPEG"):
            raise JetsonError("this OpenCV has no FFmpeg to read RTSP with; run: sudo apt-get install python3-opencv")
        os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", RTSP_OPTIONS)
        return Capture(cv2.VideoCapture(address.value, cv2.CAP_FFMPEG), "FFmpeg {}, over TCP".format(address), True)
    return Capture(cv2.VideoCapture(address.value), "OpenCV {}".format(address), False)


class Capture(Source):
    """What OpenCV can open."""

    def __init__(self, capture: Any, pipeline: str, live: bool) -> None:
        if not capture.isOpened():
            raise JetsonError("cannot open {}".format(pipeline))
        cv2 = import_cv2()
        fps = capture.get(cv2.CAP_PROP_FPS)
        super().__init__(pipeline, fps if 1 <= fps <= 1000 else Mode().fps)
        self._capture = capture
        self._live = live

    def read(self) -> Optional[np.ndarray]:
        """See `Source.read`. A file is over when nothing readable follows."""
        for _ in range(FAILURES):
            found, picture = self._capture.read()
            if found and is_picture(picture):
                return picture
            self.corrupt += bool(found)
            if self._live:
                time.sleep(0.01)
        if self._live:
            raise SourceLost("no more pictures from {}".format(self.pipeline))
        return None

    def close(self) -> None:
        """See `Source.close`."""
        self._capture.release()


class Pipe(Source):
    """A GStreamer pipeline in a process of its own, for an OpenCV that was built without GStreamer."""

    def __init__(self, pipeline: str, mode: Mode) -> None:
        super().__init__("gst-launch-1.0 " + pipeline, mode.fps)
        self._shape = (mode.height, mode.width, 3)
        self._reader = PipeReader(pipeline)

    def read(self) -> Optional[np.ndarray]:
        """See `Source.read`."""
        data = self._reader.read(self._shape[0] * self._shape[1] * 3)
        if data is None:
            raise SourceLost("{} ended: {}".format(self.pipeline, self._reader.complaint()))
        return np.frombuffer(data, np.uint8).reshape(self._shape)

    def close(self) -> None:
        """See `Source.close`."""
        self._reader.close()


class Folder(Source):
    """The pictures of a folder."""

    def __init__(self, folder: str) -> None:
        super().__init__("the pictures of {}".format(folder), FOLDER_FPS)
        self._cv2 = import_cv2()
        suffixes = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm")
        names = sorted(name for name in os.listdir(folder) if name.lower().endswith(suffixes))
        if not names:
            raise JetsonError("{} has no picture ({})".format(folder, ", ".join(suffixes)))
        self._paths: Iterator[str] = iter([os.path.join(folder, name) for name in names])

    def read(self) -> Optional[np.ndarray]:
        """See `Source.read`."""
        for path in self._paths:
            picture = self._cv2.imread(path)
            if is_picture(picture):
                return picture
            self.corrupt += 1
        return None


class TestPattern(Source):
    """Colour bars, and a ball that crosses them once in four seconds, at the mode's rate."""

    __test__ = False  # pytest takes the name for a test's

    def __init__(self, mode: Mode) -> None:
        super().__init__("test pattern {}x{} at {:g} FPS".format(*mode), mode.fps)
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
        picture = self._bars.copy()
        seconds, (width, height, _) = self._number / self._mode.fps, self._mode
        centre = int(width * (seconds / 4 % 1)), int(height * (0.5 + 0.3 * np.sin(seconds * np.pi)))
        self._cv2.circle(picture, centre, height // 8, (255, 255, 255), -1, self._cv2.LINE_AA)
        return picture


def is_picture(picture: Any) -> bool:
    """Whether it is what a source promises: a broken cable or file gives empty arrays and wrong shapes too."""
    return isinstance(picture, np.ndarray) and picture.dtype == np.uint8 and picture.ndim == 3 and picture.size > 0


def _open_v4l2(address: Address, mode: Mode) -> Source:
    cv2 = import_cv2()
    capture = cv2.VideoCapture(address.value, cv2.CAP_V4L2)
    wanted = (
        (cv2.CAP_PROP_FOURCC, cv2.VideoWriter_fourcc(*"MJPG")),  # raw pictures of this size do not fit through USB 2
        (cv2.CAP_PROP_FRAME_WIDTH, mode.width),
        (cv2.CAP_PROP_FRAME_HEIGHT, mode.height),
        (cv2.CAP_PROP_FPS, mode.fps),
        (cv2.CAP_PROP_BUFFERSIZE, 1),
    )
    for name, value in wanted:
        capture.set(name, value)
    name = "V4L2 {}".format(address)
    if capture.isOpened():  # what it gives, which may be something else: it takes the nearest mode that it has
        width, height = (int(capture.get(side)) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        code = int(capture.get(cv2.CAP_PROP_FOURCC))
        name += " {}x{}, {}".format(width, height, "".join(chr(code >> shift & 127) for shift in (0, 8, 16, 24)))
    return Capture(capture, name, True)


def _open_csi(number: int, mode: Mode) -> Source:
    cv2 = import_cv2()
    parts = argus_pipeline(number, mode.width, mode.height, mode.fps)
    if not opencv_has("GStreamer"):
        return Pipe(spell(parts), mode)
    text = spell(parts + ["appsink drop=true max-buffers=1 sync=false"])
    return Capture(cv2.VideoCapture(text, cv2.CAP_GSTREAMER), "GStreamer " + text, True)
