"""H.264 by GStreamer in a process of its own: the board's hardware encodes where it can, else the processor.

Images go to it as I420 through a pipe; its end is the end of the video, also when this process is killed.
"""

import fcntl
import functools
import os
import select
import subprocess
import tempfile
import time
from typing import Dict, List, Optional, Tuple

import numpy as np

from fastnas.jetson.camera.gstreamer import has_element
from fastnas.jetson.errors import JetsonError
from fastnas.jetson.system.machine import run_quietly
from fastnas.jetson.system.opencv import import_cv2

BITS_PER_PIXEL = 0.1
"""Of a frame: 2.8 Mbit/s at 1280x720 and 30 frames per second."""

ENCODERS: Dict[str, str] = {
    "nvv4l2h264enc": "nvvidconv ! video/x-raw(memory:NVMM),format=NV12 ! "
    "nvv4l2h264enc bitrate={bits} iframeinterval={fps} idrinterval={fps} insert-sps-pps=true",
    "x264enc": "x264enc tune=zerolatency speed-preset=ultrafast bitrate={kilobits} key-int-max={fps}",
    "openh264enc": "openh264enc bitrate={bits} gop-size={fps}",
}
"""Encoders, the best first, with what comes before them: a Jetson's hardware, then software. A key frame a second."""

MUXERS = {".mp4": "mp4mux", ".mkv": "matroskamux"}
"""Of the files, by the endings of their names."""

HANG = 10.0
"""Seconds in which an encoder takes an image, or finishes, before it counts as hanging."""

PIPE_BYTES, F_SETPIPE_SZ = 1 << 20, 1031
"""Size of a pipe that Linux lets anybody ask for, and how: Python has the name since 3.10."""

NO_ENCODER = (
    "GStreamer has no H.264 encoder here; run: sudo apt-get install gstreamer1.0-tools gstreamer1.0-plugins-base "
    "gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly"
)


@functools.lru_cache(maxsize=None)
def encoder() -> Optional[str]:
    """The best of `ENCODERS` that encodes here, tried once; None without any. An Orin Nano has the element alone."""
    return next((name for name in ENCODERS if has_element(name) and _encodes(name)), None)


def _encodes(name: str) -> bool:
    source = "videotestsrc num-buffers=3 ! video/x-raw,format=I420,width=320,height=240,framerate=30/1"
    pipeline = "{} ! {} ! fakesink".format(source, _encoding(name, (240, 320), 30))
    return run_quietly(["gst-launch-1.0", "-q"] + pipeline.split(), timeout=30) is not None


def _encoding(name: str, size: Tuple[int, int], fps: int) -> str:
    bits = max(int(size[0] * size[1] * fps * BITS_PER_PIXEL), 200000)
    return ENCODERS[name].format(bits=bits, kilobits=bits // 1000, fps=fps) + " ! h264parse"


class Encoder:
    """A process that encodes images.

    Args:
        name: of the encoder, one of `ENCODERS`.
        size: (H, W) of the images, even.
        fps: frames per second.
        rest: the pipeline behind the encoder; its `{fd}` becomes the number of `output`.
        output: descriptor that the process writes to.

    Raises:
        JetsonError: it does not start.
    """

    def __init__(self, name: str, size: Tuple[int, int], fps: float, rest: str, output: int) -> None:
        self._cv2 = import_cv2()
        self._name = name
        self._said: List[str] = []
        rate = max(int(round(fps)), 1)
        caps = "video/x-raw,format=I420,width={1},height={0},framerate={2}/1,colorimetry=bt601".format(*size + (rate,))
        images, self._pipe = os.pipe()
        parts = ["fdsrc fd={}".format(images), caps, "rawvideoparse use-sink-caps=true", _encoding(name, size, rate)]
        command = ["gst-launch-1.0", "-q"] + " ! ".join(parts + [rest.format(fd=output)]).split()
        self._errors = tempfile.TemporaryFile()
        try:
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=self._errors,
                stderr=self._errors,
                pass_fds=[images, output],
                start_new_session=True,  # Ctrl-C is for this process, which ends it in order
            )
        except OSError as error:
            os.close(self._pipe)
            self._errors.close()
            raise JetsonError("gst-launch-1.0 does not start: {}".format(error.strerror)) from error
        finally:
            os.close(images)
        os.set_blocking(self._pipe, False)
        _enlarge(self._pipe)

    def write(self, image: np.ndarray, count: int = 1) -> None:
        """Add an image, uint8 [H, W, 3] in OpenCV's channel order, so many times.

        Raises:
            JetsonError: the encoder failed or hangs.
        """
        data = self._cv2.cvtColor(image, self._cv2.COLOR_BGR2YUV_I420).tobytes()
        for _ in range(count):
            self._send(memoryview(data))

    def close(self) -> None:
        """Finish.

        Raises:
            JetsonError: the encoder failed or hung; what it wrote is not whole.
        """
        self._end()
        if self._child.returncode != 0:
            raise self._error()

    def kill(self) -> None:
        """End at once, whatever becomes of the output."""
        self._child.kill()
        self._end()

    def _end(self) -> None:
        """Close the pipe, which is the end of the video, and wait for the process; the second time nothing happens."""
        if self._pipe < 0:
            return
        os.close(self._pipe)
        self._pipe = -1
        try:
            self._child.wait(HANG)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._errors.seek(0)
        self._said = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        self._errors.close()

    def _send(self, left: memoryview) -> None:
        due = time.monotonic() + HANG
        while left:
            if not select.select([], [self._pipe], [], max(due - time.monotonic(), 0))[1]:
                raise JetsonError("the encoder {} hangs: it took no image for {:g} s".format(self._name, HANG))
            try:
                left = left[os.write(self._pipe, left) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                self._end()
                raise self._error() from None

    def _error(self) -> JetsonError:
        lines = [line for line in self._said if "ERROR" in line or "erroneous" in line] or self._said
        return JetsonError("the encoder {} ended: {}".format(self._name, lines[0] if lines else "it gave no reason"))


def file_encoder(name: str, path: str, size: Tuple[int, int], fps: float) -> Encoder:
    """An encoder into an existing file, whose name's ending is one of `MUXERS`."""
    muxer = MUXERS[os.path.splitext(path)[1].lower()]
    with open(path, "r+b") as file:  # by its descriptor: a name may hold what GStreamer takes for syntax
        return Encoder(name, size, fps, muxer + " ! filesink location=/proc/self/fd/{fd}", file.fileno())


def _enlarge(pipe: int) -> None:
    try:
        fcntl.fcntl(pipe, F_SETPIPE_SZ, PIPE_BYTES)
    except OSError:
        pass  # it is a matter of speed
