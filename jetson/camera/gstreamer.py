"""GStreamer with and without OpenCV: the pipelines of cameras, and a process that runs one."""

import subprocess
import tempfile
from typing import List, Optional

from fastnas.jetson.errors import JetsonError
from fastnas.jetson.system.machine import run_quietly

APPSINK = "appsink drop=true max-buffers=1 sync=false"
"""Where OpenCV takes pictures: the newest only."""

DECODER = "nvv4l2decoder"
"""A Jetson's hardware decoder of video."""


def has_element(name: str) -> bool:
    """Whether GStreamer on this machine has an element."""
    return run_quietly(["gst-inspect-1.0", "--exists", name], timeout=30) is not None  # the first looks at all plugins


def argus_pipeline(sensor: int, width: int, height: int, fps: float) -> List[str]:
    """From a CSI sensor to pictures in the order B, G, R; the board's hardware scales and converts."""
    return [
        "nvarguscamerasrc sensor-id={}".format(sensor),
        "video/x-raw(memory:NVMM),width={},height={},framerate={:.0f}/1,format=NV12".format(width, height, fps),
    ] + _TO_BGR


def rtsp_pipeline(url: str) -> List[str]:
    """From a network camera's H.264 or H.265, without its sound, to pictures in the order B, G, R."""
    location = url.replace("\\", "%5C").replace('"', "%22")  # inside GStreamer's quotes
    return [
        'rtspsrc location="{}" protocols=tcp latency=100 drop-on-latency=true'.format(location),
        "application/x-rtp,media=video",
        "parsebin",
        DECODER,
    ] + _TO_BGR


_TO_BGR = ["nvvidconv", "video/x-raw,format=BGRx", "videoconvert", "video/x-raw,format=BGR"]
"""The board's converter knows no BGR, and the processor's no memory of the GPU."""


def spell(parts: List[str], *more: str) -> str:
    """A pipeline as GStreamer writes it."""
    return " ! ".join(parts + list(more))


class PipeReader:
    """Runs a pipeline in `gst-launch-1.0` and reads its raw bytes."""

    def __init__(self, pipeline: str) -> None:
        command = ["gst-launch-1.0", "-q"] + (pipeline + " ! fdsink fd=1").split()
        self._errors = tempfile.TemporaryFile()
        try:
            self._child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._errors
            )
        except OSError as error:
            self._errors.close()
            raise JetsonError(
                "this OpenCV has no GStreamer, and gst-launch-1.0 does not start ({}); "
                "run: sudo apt-get install gstreamer1.0-tools".format(error.strerror)
            ) from error

    def read(self, count: int) -> Optional[bytes]:
        """Exactly `count` bytes, or None when the pipeline has ended."""
        assert self._child.stdout is not None
        data = self._child.stdout.read(count)
        return data if len(data) == count else None

    def complaint(self) -> str:
        """The last line that GStreamer wrote about its end."""
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else "it gave no reason"

    def kill(self) -> None:
        """End the process at once, and with it a read that waits for it in another thread."""
        self._child.kill()

    def close(self) -> None:
        """End the process."""
        self._child.terminate()
        try:
            self._child.wait(5)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        assert self._child.stdout is not None
        self._child.stdout.close()
        self._errors.close()
