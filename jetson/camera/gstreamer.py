"""GStreamer with and without OpenCV: the pipelines of cameras, and a source that runs one in a process."""

import os
import signal
import subprocess
import tempfile
from typing import List, Optional

import numpy as np

from fastnas.jetson.camera.sources import Mode, Source, SourceLost
from fastnas.jetson.errors import JetsonError
from fastnas.jetson.system.machine import run_quietly

APPSINK = "appsink drop=true max-buffers=1 sync=false"
"""Where OpenCV takes frames: the newest only."""

DECODER = "nvv4l2decoder"
"""A Jetson's hardware decoder of video."""

TO_BGR = ["nvvidconv", "video/x-raw,format=BGRx", "videoconvert", "video/x-raw,format=BGR"]
"""The board's converter has no BGR, and the CPU's cannot read the GPU's memory."""


def has_element(name: str) -> bool:
    """Whether GStreamer on this machine has an element."""
    return run_quietly(["gst-inspect-1.0", "--exists", name], timeout=30) is not None  # the first scans all plugins


def argus_pipeline(sensor: int, mode: Mode) -> str:
    """From a CSI sensor to frames in the order B, G, R; the board's hardware scales and converts."""
    caps = "video/x-raw(memory:NVMM),width={},height={},framerate={:.0f}/1,format=NV12".format(*mode)
    return " ! ".join(["nvarguscamerasrc sensor-id={}".format(sensor), caps] + TO_BGR)


def rtsp_pipeline(url: str) -> str:
    """From a network camera's H.264 or H.265, without audio, to frames in the order B, G, R."""
    location = url.replace("\\", "%5C").replace('"', "%22")  # inside GStreamer's quotes
    parts: List[str] = [
        'rtspsrc location="{}" protocols=tcp latency=100 drop-on-latency=true'.format(location),
        "application/x-rtp,media=video",
        "parsebin",
        DECODER,
    ]
    return " ! ".join(parts + TO_BGR)


class GStreamerProcess(Source):
    """A pipeline in `gst-launch-1.0`, whose raw bytes are read, for an OpenCV that was built without GStreamer."""

    def __init__(self, pipeline: str, mode: Mode) -> None:
        super().__init__("gst-launch-1.0 " + pipeline, mode.fps, live=True)
        self._shape = (mode.height, mode.width, 3)
        # A descriptor of its own for the frames: nvarguscamerasrc prints to the standard output.
        frames, sink = os.pipe()
        command = ["gst-launch-1.0", "-q"] + "{} ! fdsink fd={}".format(pipeline, sink).split()
        self._frames = os.fdopen(frames, "rb")
        self._errors = tempfile.TemporaryFile()
        try:
            self._child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=self._errors, stderr=self._errors, pass_fds=[sink]
            )
        except OSError as error:
            self._errors.close()
            self._frames.close()
            raise JetsonError(
                "this OpenCV has no GStreamer, and gst-launch-1.0 does not start ({}); "
                "run: sudo apt-get install gstreamer1.0-tools".format(error.strerror)
            ) from error
        finally:
            os.close(sink)

    def read(self) -> Optional[np.ndarray]:
        """See `Source.read`."""
        count = self._shape[0] * self._shape[1] * 3
        data = self._frames.read(count)
        if len(data) == count:
            return np.frombuffer(data, np.uint8).reshape(self._shape)
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        raise SourceLost("{} ended: {}".format(self.pipeline, lines[-1] if lines else "it gave no reason"))

    def interrupt(self) -> None:
        """See `Source.interrupt`."""
        self._end(0.5)

    def close(self) -> None:
        """See `Source.close`."""
        self._end(5)
        self._frames.close()
        self._errors.close()

    def _end(self, seconds: float) -> None:
        """End the process by SIGINT, as Ctrl-C does: only that closes Argus's session, which otherwise hangs."""
        self._child.send_signal(signal.SIGINT)
        try:
            self._child.wait(seconds)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
