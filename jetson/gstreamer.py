"""GStreamer with and without OpenCV: the pipeline of a CSI camera, and a process that runs it."""

import re
import subprocess
import tempfile
from typing import List, Optional

from fastnas.jetson.errors import JetsonError
from fastnas.jetson.preprocess import import_cv2


def opencv_has(name: str) -> bool:
    """Whether this OpenCV was built with `GStreamer` or `FFMPEG`."""
    found = re.search(r"^\s*{}:\s*(\w+)".format(name), import_cv2().getBuildInformation(), re.MULTILINE)
    return found is not None and found.group(1) == "YES"


def argus_pipeline(sensor: int, width: int, height: int, fps: float) -> List[str]:
    """From a CSI sensor to pictures in the order B, G, R; the board's hardware scales and converts."""
    return [
        "nvarguscamerasrc sensor-id={}".format(sensor),
        "video/x-raw(memory:NVMM),width={},height={},framerate={:.0f}/1,format=NV12".format(width, height, fps),
        "nvvidconv",
        "video/x-raw,format=BGRx",
        "videoconvert",
        "video/x-raw,format=BGR",
    ]


def spell(parts: List[str]) -> str:
    """A pipeline as GStreamer writes it."""
    return " ! ".join(parts)


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
