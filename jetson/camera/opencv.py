"""Opening sources: cameras and streams through OpenCV or GStreamer, whichever this machine has and does better."""

import os
import re
import time
from typing import Any, Optional

import numpy as np

from fastnas.jetson.camera import gstreamer
from fastnas.jetson.camera.sources import Address, Folder, Mode, Source, SourceLost, TestPattern, is_frame
from fastnas.jetson.errors import JetsonError
from fastnas.jetson.system.machine import Machine
from fastnas.jetson.system.opencv import import_cv2, opencv_has, opencv_package

FAILURES = 10
"""Failed reads in a row after which a source is lost (a camera) or has ended (a file)."""

SILENCE = 5.0
"""Seconds without a frame after which a camera or stream counts as lost."""

ADVICE = {
    "v4l2": "is another program using it? `fastnas doctor` lists the cameras",
    "csi": "try: sudo systemctl restart nvargus-daemon",
    "rtsp": "check the address, user and password, and that the camera answers",
    "file": "it is no video, or none that this OpenCV can decode",
}
"""Advice where a source of a kind does not open."""


def open_source(address: Address, mode: Mode) -> Source:
    """Open a source. `mode` is for cameras and the test pattern; the others have a size and rate of their own.

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
    if address.kind == "rtsp":
        return _open_rtsp(address)
    return Capture(import_cv2().VideoCapture(address.value), "OpenCV {}".format(address), address.kind)


class Capture(Source):
    """A source that OpenCV opens, of a kind that `ADVICE` has."""

    def __init__(self, capture: Any, pipeline: str, kind: str) -> None:
        if not capture.isOpened():
            raise JetsonError("cannot open {}: {}".format(pipeline, ADVICE[kind]))
        cv2 = import_cv2()
        fps = capture.get(cv2.CAP_PROP_FPS)
        super().__init__(pipeline, fps if 1 <= fps <= 1000 else Mode().fps, live=kind != "file")
        self._capture = capture

    def read(self) -> Optional[np.ndarray]:
        """See `Source.read`. A file has ended when nothing readable follows."""
        start = time.monotonic()
        for _ in range(FAILURES):
            found, frame = self._capture.read()
            if found and is_frame(frame):
                return frame
            self.corrupt += bool(found)
            if self.live and time.monotonic() - start > SILENCE:
                break  # some drivers wait ten seconds before each of their failures
            if self.live:
                time.sleep(0.01)
        if self.live:
            raise SourceLost("no more frames from {}".format(self.pipeline))
        return None

    def close(self) -> None:
        """See `Source.close`."""
        self._capture.release()


def _open_v4l2(address: Address, mode: Mode) -> Source:
    cv2 = import_cv2()
    capture = cv2.VideoCapture(address.value, cv2.CAP_V4L2)
    wanted = (
        (cv2.CAP_PROP_FOURCC, cv2.VideoWriter_fourcc(*"MJPG")),  # raw frames of this size do not fit through USB 2
        (cv2.CAP_PROP_FRAME_WIDTH, mode.width),
        (cv2.CAP_PROP_FRAME_HEIGHT, mode.height),
        (cv2.CAP_PROP_FPS, mode.fps),
        (cv2.CAP_PROP_BUFFERSIZE, 1),
    )
    for name, value in wanted:
        capture.set(name, value)
    name = "V4L2 {}".format(address)
    if capture.isOpened():  # a camera takes the nearest mode that it has
        width, height = (int(capture.get(side)) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        code = int(capture.get(cv2.CAP_PROP_FOURCC))
        name += " {}x{}, {}".format(width, height, "".join(chr(code >> shift & 127) for shift in (0, 8, 16, 24)))
    return Capture(capture, name, address.kind)


def _open_csi(number: int, mode: Mode) -> Source:
    pipeline = gstreamer.argus_pipeline(number, mode)
    if not opencv_has("GStreamer"):
        return gstreamer.GStreamerProcess(pipeline, mode)
    return _open_gstreamer("csi", pipeline, pipeline)


def _open_rtsp(address: Address) -> Source:
    """Decoded by the board's hardware where GStreamer can reach it, else by FFmpeg."""
    if opencv_has("GStreamer") and gstreamer.has_element(gstreamer.DECODER):
        pipeline, shown = (gstreamer.rtsp_pipeline(url) for url in (address.value, str(address)))
        return _open_gstreamer("rtsp", pipeline, shown)
    cv2 = import_cv2()
    if not opencv_has("FFMPEG"):
        package = opencv_package(Machine().generation)
        raise JetsonError("this OpenCV has no FFmpeg to read RTSP with; run: sudo apt-get install " + package)
    os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", rtsp_options(cv2.getBuildInformation()))
    return Capture(cv2.VideoCapture(address.value, cv2.CAP_FFMPEG), "FFmpeg {}, over TCP".format(address), "rtsp")


def rtsp_options(build: str) -> str:
    """FFmpeg's options for RTSP, for an OpenCV of this build information.

    Over TCP, so that no packet is lost, and with a timeout of 5 s, in microseconds. Up to FFmpeg 4 that is `stimeout`,
    and `timeout` would make it a server that waits for the camera; from 5 on (libavformat 59) it is `timeout`.
    """
    found = re.search(r"avformat:\s+YES \((\d+)\.", build)
    name = "stimeout" if found and int(found.group(1)) < 59 else "timeout"
    return "rtsp_transport;tcp|{};{:.0f}".format(name, SILENCE * 1e6)


def _open_gstreamer(kind: str, pipeline: str, shown: str) -> Source:
    cv2, sink = import_cv2(), " ! " + gstreamer.APPSINK
    return Capture(cv2.VideoCapture(pipeline + sink, cv2.CAP_GSTREAMER), "GStreamer " + shown + sink, kind)
