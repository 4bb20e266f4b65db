"""Recordings and snapshots: complete, playable files, or none."""

import os
import shutil
import time
from typing import Any, Callable, Optional, Tuple

import numpy as np

from fastnas.jetson.camera.controls import Controls
from fastnas.jetson.camera.mosaic import fit
from fastnas.jetson.camera.pipeline import Sink
from fastnas.jetson.camera.video import h264
from fastnas.jetson.camera.video.pace import Pace
from fastnas.jetson.errors import FastnasError, JetsonError
from fastnas.jetson.files import atomic_path
from fastnas.jetson.partial_files import PartialFile, abandoned
from fastnas.jetson.system.opencv import import_cv2

CODECS = {".mp4": "mp4v", ".avi": "MJPG", ".mkv": "mp4v"}

RESERVE = 64 << 20
"""Bytes of disk that stay free: a video's index is written at its end, and a board needs free disk to boot."""

CHECK_EVERY = 0.5
"""Seconds between checks of the free disk: at 100 MB/s the reserve still suffices."""

CODECS_BY_NAME = ("auto", "h264", "mpeg4")
"""What a user can ask for: `auto` is H.264 where GStreamer has an encoder."""


class DiskFull(JetsonError):
    """There is no room to continue; what was recorded is kept."""


class Video:
    """A video file that grows under a hidden name and is renamed when it is finished.

    Frames are repeated or left out so that it plays at the speed of their capture; with `every_frame` each is written
    once. `codec` is one of `CODECS_BY_NAME`, for .mp4 and .mkv; .avi has its own.
    """

    def __init__(self, path: str, fps: float, every_frame: bool = False, codec: str = "mpeg4") -> None:
        self._cv2 = import_cv2()
        self.path = path
        self._folder, self._suffix = os.path.dirname(os.path.abspath(path)), os.path.splitext(path)[1].lower()
        if self._suffix not in CODECS:
            raise JetsonError("cannot record {}: the name must end in {}".format(path, ", ".join(sorted(CODECS))))
        try:
            os.makedirs(self._folder, exist_ok=True)
        except OSError as error:
            raise self._error(error) from error
        self._encoder = h264.encoder() if codec != "mpeg4" and self._suffix in h264.MUXERS else None
        if codec == "h264" and self._encoder is None:
            raise JetsonError(h264.NO_ENCODER if self._suffix in h264.MUXERS else "H.264 is for .mp4 and .mkv files")
        self._fps, self._pace = fps, Pace(fps, every_frame)
        self._partial: Optional[PartialFile] = None
        self._writer: Any = None
        self._size = (0, 0)
        self._checked = -1.0

    def write(self, image: np.ndarray, when: float) -> None:
        """Add an image that was captured at a time (seconds of any clock).

        Raises:
            DiskFull: the file should now be closed.
            JetsonError: it cannot be written.
        """
        if when - self._checked >= CHECK_EVERY or self._checked < 0:
            self._checked = when
            check_free_disk(self._folder)
        if self._partial is None:
            self._partial = self._open(image)
        due = self._pace.due(when)
        if due > 0:
            self._writer.write(fit(self._cv2, image, self._size), due)

    def close(self) -> Optional[str]:
        """Finish the file and return its path; None if nothing was recorded.

        Raises:
            JetsonError: the file does not play, and was removed.
        """
        partial, self._partial = self._partial, None
        if partial is None:
            return None
        try:
            self._writer.close()
            partial.finish()
        except JetsonError as error:
            raise JetsonError("the recording {} is removed: {}".format(self.path, error)) from error
        except OSError as error:
            raise self._error(error) from error
        finally:
            partial.close()
        return self.path

    def _open(self, image: np.ndarray) -> PartialFile:
        # Even sides: most players' chroma has half the resolution.
        self._size = (image.shape[0] // 2 * 2, image.shape[1] // 2 * 2)
        try:
            partial = PartialFile(self.path)
        except OSError as error:
            raise self._error(error) from error
        try:
            if self._encoder is not None:
                self._writer = h264.file_encoder(self._encoder, partial.path, self._size, self._fps)
            else:
                self._writer = OpenCVWriter(partial.path, self._suffix, self._fps, self._size)
        except JetsonError:
            partial.close()
            raise
        return partial

    @property
    def codec(self) -> str:
        """What the video is encoded as, for the user."""
        return "H.264 by " + self._encoder if self._encoder is not None else CODECS[self._suffix]

    def _error(self, error: OSError) -> JetsonError:
        return JetsonError("cannot record into {}: {}".format(self._folder, error.strerror))


class OpenCVWriter:
    """A video file that OpenCV writes, with the interface of `h264.Encoder`."""

    def __init__(self, path: str, suffix: str, fps: float, size: Tuple[int, int]) -> None:
        cv2 = import_cv2()
        self._path = path
        self._writer = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*CODECS[suffix]), fps, size[::-1])
        if not self._writer.isOpened():
            raise JetsonError("this OpenCV cannot write {} files; try the name of an .avi file".format(suffix))

    def write(self, image: np.ndarray, count: int = 1) -> None:
        """Add an image so many times."""
        for _ in range(count):
            self._writer.write(image)

    def close(self) -> None:
        """Finish.

        Raises:
            JetsonError: the file does not play.
        """
        self._writer.release()
        if not plays(self._path):
            raise JetsonError("it was damaged (is the disk full?)")


class Recording(Sink):
    """`--out`: everything into one video file. A full disk ends it, keeping what was recorded."""

    records = True

    def __init__(
        self, path: str, fps: float, every_frame: bool, say: Callable[[str], None], codec: str = "mpeg4"
    ) -> None:
        self._video, self._say = Video(path, fps, every_frame, codec), say
        recover(os.path.dirname(path) or ".", say)

    def show(self, image: np.ndarray, captured: float) -> None:
        """See `Sink.show`."""
        self._video.write(image, captured)

    def close(self) -> None:
        """See `Sink.close`."""
        path = self._video.close()
        if path is not None:
            self._say("wrote {} ({})".format(path, self._video.codec))


class Captures(Sink):
    """Snapshots and recordings that are requested while the camera runs, in one folder, named by the time.

    A full disk ends a recording, not the camera.
    """

    records = True

    def __init__(
        self, folder: str, fps: float, controls: Controls, say: Callable[[str], None], codec: str = "mpeg4"
    ) -> None:
        self._folder, self._fps, self._controls, self._say = folder, fps, controls, say
        self._codec = codec
        self._cv2 = import_cv2()
        self._video: Optional[Video] = None
        recover(folder, say)

    def wants(self) -> bool:
        """See `Sink.wants`: while a capture is requested, or a recording is to be finished."""
        return self._controls.captures or self._video is not None

    def show(self, image: np.ndarray, captured: float) -> None:
        """See `Sink.show`."""
        try:
            if self._controls.take_snapshot_request():
                self._snapshot(image)
            if self._controls.recording:
                if self._video is None:
                    self._video = Video(self._name(".mp4"), self._fps, codec=self._codec)
                self._video.write(image, captured)
            else:
                self.close()
        except FastnasError as error:
            self._say(str(error))
            self._controls.apply({"recording": False})
            self.close()

    def close(self) -> None:
        """See `Sink.close`: finish the recording, if there is one."""
        video, self._video = self._video, None
        if video is not None:
            try:
                path = video.close()
            except FastnasError as error:
                self._say(str(error))
            else:
                self._say("recorded {}".format(path) if path else "nothing was recorded")

    def _snapshot(self, image: np.ndarray) -> None:
        check_free_disk(self._folder)
        path = self._name(".jpg")
        encoded = self._cv2.imencode(".jpg", image, [self._cv2.IMWRITE_JPEG_QUALITY, 95])[1]
        with atomic_path(path) as temporary:
            temporary.write_bytes(encoded.tobytes())
        self._say("snapshot {}".format(path))

    def _name(self, suffix: str) -> str:
        now = time.time()
        stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(now))
        return os.path.join(self._folder, "{}-{:03d}{}".format(stamp, int(now * 1000) % 1000, suffix))


def plays(path: str) -> bool:
    """Whether a video's first frame can be read."""
    capture = import_cv2().VideoCapture(path)
    try:
        return bool(capture.isOpened() and capture.read()[0])
    finally:
        capture.release()


def recover(folder: str, say: Callable[[str], None]) -> None:
    """Rename the unfinished recordings of killed processes in a folder that play, and remove those that do not.

    A finished file is neither modified nor replaced.
    """
    for path, final in abandoned(folder):
        try:
            if plays(path):
                kept = _free_name(final)
                os.rename(path, kept)
                say("kept {}: its recording was cut off, but it plays".format(kept))
            else:
                os.unlink(path)
                say("removed what was left of {}: its recording was cut off, and does not play".format(final))
        except OSError as error:
            say("cannot tidy up {}: {}".format(path, error.strerror))


def _free_name(path: str) -> str:
    """`ride-recovered.avi` for `ride.avi`, with a number if that is taken."""
    stem, suffix = os.path.splitext(path)
    name, number = "{}-recovered{}".format(stem, suffix), 2
    while os.path.exists(name):
        name, number = "{}-recovered-{}{}".format(stem, number, suffix), number + 1
    return name


def check_free_disk(folder: str) -> None:
    """Raise DiskFull if the disk of a folder (or of its nearest parent that exists) has no more than the reserve."""
    existing = os.path.abspath(folder)
    while not os.path.isdir(existing):
        existing = os.path.dirname(existing)
    free = shutil.disk_usage(existing).free
    if free < RESERVE:
        raise DiskFull("the disk of {} is full ({} MB left): stopped recording".format(existing, free >> 20))
