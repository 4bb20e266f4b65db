"""Recordings and snapshots: files that are whole and playable, or not there."""

import os
import shutil
import time
from typing import Any, Callable, Optional

import numpy as np

from fastnas.jetson.camera.controls import Controls
from fastnas.jetson.camera.pipeline import Sink
from fastnas.jetson.errors import FastnasError, JetsonError
from fastnas.jetson.files import atomic_path
from fastnas.jetson.partial_files import PartialFile, abandoned
from fastnas.jetson.system.opencv import import_cv2

CODECS = {".mp4": "mp4v", ".avi": "MJPG", ".mkv": "mp4v"}

RESERVE = 64 << 20
"""Bytes that stay free: a video's index is written at its end, and a board without free disk does not boot."""

CHECK_EVERY = 0.5
"""Seconds between looks at the free space: at 100 MB/s the reserve still holds."""

LONGEST_GAP = 1.0
"""Seconds without a picture (a pause) that a recording bridges; longer ones are cut out."""


class DiskFull(JetsonError):
    """There is no room to go on; what was recorded is kept."""


class Video:
    """A video file that grows under a hidden name and gets its own when it is finished.

    Pictures are repeated or left out so that it plays at the speed at which they came; with `every` each is one frame.
    """

    def __init__(self, path: str, fps: float, every: bool = False) -> None:
        self._cv2 = import_cv2()
        check_video_path(path)
        self.path = path
        self._folder = os.path.dirname(os.path.abspath(path))
        try:
            os.makedirs(self._folder, exist_ok=True)
        except OSError as error:
            raise JetsonError("cannot record into {}: {}".format(self._folder, error.strerror)) from error
        self._fps, self._every = fps, every
        self._part: Optional[PartialFile] = None
        self._writer: Any = None
        self._size = (0, 0)
        self._written, self._start, self._last, self._checked = 0, 0.0, 0.0, -1.0

    def write(self, picture: np.ndarray, when: float) -> None:
        """Add a picture that was taken at a time (seconds of any clock).

        Raises:
            DiskFull: the file should now be closed.
            JetsonError: it cannot be written.
        """
        self._check_room(when)
        if self._part is None:
            self._part = self._open(picture)
            self._start = self._last = when
        if when - self._last > LONGEST_GAP:
            self._start += when - self._last - 1 / self._fps
        self._last = max(self._last, when)
        due = 1 if self._every else int(round((when - self._start) * self._fps)) + 1 - self._written
        if due > 0:
            fitted = fit(self._cv2, picture, self._size)
            for _ in range(due):
                self._writer.write(fitted)
            self._written += due

    def close(self) -> Optional[str]:
        """Finish the file and return its path; None if nothing was recorded.

        Raises:
            JetsonError: the file does not play, and was removed.
        """
        part, self._part = self._part, None
        if part is None:
            return None
        self._writer.release()
        try:
            if not plays(part.path):
                raise JetsonError("the recording {} was damaged (is the disk full?) and is removed".format(self.path))
            part.finish()
        except OSError as error:
            raise JetsonError("cannot write {}: {}".format(self.path, error.strerror)) from error
        finally:
            part.close()
        return self.path

    def _open(self, picture: np.ndarray) -> PartialFile:
        codec = self._cv2.VideoWriter_fourcc(*CODECS[os.path.splitext(self.path)[1].lower()])
        # Even sides: most players' chroma is half as fine.
        self._size = (picture.shape[0] // 2 * 2, picture.shape[1] // 2 * 2)
        try:
            part = PartialFile(self.path)
        except OSError as error:
            raise JetsonError("cannot record into {}: {}".format(self._folder, error.strerror)) from error
        self._writer = self._cv2.VideoWriter(part.path, codec, self._fps, self._size[::-1])
        if not self._writer.isOpened():
            part.close()
            raise JetsonError("this OpenCV cannot write {}; try the name of an .avi file".format(self.path))
        return part

    def _check_room(self, when: float) -> None:
        if when - self._checked >= CHECK_EVERY or self._checked < 0:
            self._checked = when
            check_room(self._folder)


class Recording(Sink):
    """`--out`: everything into one video file. A full disk ends it, keeping what was recorded."""

    def __init__(self, path: str, fps: float, every: bool, say: Callable[[str], None]) -> None:
        self._video = Video(path, fps, every)
        self._say = say

    def show(self, picture: np.ndarray, captured: float) -> None:
        """See `Sink.show`."""
        self._video.write(picture, captured)

    def close(self) -> None:
        """See `Sink.close`."""
        path = self._video.close()
        if path is not None:
            self._say("wrote {}".format(path))


class Captures(Sink):
    """Snapshots and recordings that are asked for while the camera runs, in one folder, named by the time.

    A full disk ends a recording, not the camera.
    """

    def __init__(self, folder: str, fps: float, controls: Controls, say: Callable[[str], None]) -> None:
        self._folder, self._fps, self._controls, self._say = folder, fps, controls, say
        self._cv2 = import_cv2()
        self._video: Optional[Video] = None

    def show(self, picture: np.ndarray, captured: float) -> None:
        """See `Sink.show`."""
        try:
            if self._controls.take_snapshot_wish():
                self._snapshot(picture)
            if self._controls.recording:
                if self._video is None:
                    self._video = Video(self._name(".mp4"), self._fps)
                self._video.write(picture, captured)
            else:
                self._finish()
        except FastnasError as error:
            self._say(str(error))
            self._controls.stop_recording()
            self._finish()

    def close(self) -> None:
        """See `Sink.close`."""
        self._finish()

    def _snapshot(self, picture: np.ndarray) -> None:
        check_room(self._folder)
        path = self._name(".jpg")
        encoded = self._cv2.imencode(".jpg", picture, [self._cv2.IMWRITE_JPEG_QUALITY, 95])[1]
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            file.write(encoded.tobytes())
        self._say("snapshot {}".format(path))

    def _finish(self) -> None:
        video, self._video = self._video, None
        if video is not None:
            try:
                path = video.close()
            except FastnasError as error:
                self._say(str(error))
            else:
                self._say("recorded {}".format(path) if path else "nothing was recorded")

    def _name(self, suffix: str) -> str:
        now = time.time()
        stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(now))
        return os.path.join(self._folder, "{}-{:03d}{}".format(stamp, int(now * 1000) % 1000, suffix))


def check_video_path(path: str) -> None:
    """Raise JetsonError unless the name is one of a video file that can be written."""
    if os.path.splitext(path)[1].lower() not in CODECS:
        raise JetsonError("cannot record {}: the name must end in {}".format(path, ", ".join(sorted(CODECS))))


def plays(path: str) -> bool:
    """Whether a video's first picture can be read."""
    capture = import_cv2().VideoCapture(path)
    try:
        return bool(capture.isOpened() and capture.read()[0])
    finally:
        capture.release()


def recover(folder: str, say: Callable[[str], None]) -> None:
    """Deal with what killed recordings left in a folder: what plays gets a name of its own, the rest goes.

    A finished file is neither touched nor replaced.
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


def check_room(folder: str) -> None:
    """Raise DiskFull if the disk of a folder (or of the nearest one that is there) has no more than the reserve."""
    there = os.path.abspath(folder)
    while not os.path.isdir(there):
        there = os.path.dirname(there)
    free = shutil.disk_usage(there).free
    if free < RESERVE:
        message = "the disk of {} is full ({} MB left): stopped recording"
        raise DiskFull(message.format(there, free >> 20))


def fit(cv2: Any, picture: np.ndarray, size: Any) -> np.ndarray:
    """A picture in a frame of (H, W): cut by a pixel, or scaled with black bars, where its size is another."""
    height, width = size
    if picture.shape[0] // 2 * 2 == height and picture.shape[1] // 2 * 2 == width:
        return np.ascontiguousarray(picture[:height, :width])
    scale = min(height / picture.shape[0], width / picture.shape[1])
    small = cv2.resize(picture, (int(picture.shape[1] * scale) or 1, int(picture.shape[0] * scale) or 1))
    frame = np.zeros((height, width, 3), np.uint8)
    top, left = (height - small.shape[0]) // 2, (width - small.shape[1]) // 2
    frame[top : top + small.shape[0], left : left + small.shape[1]] = small
    return frame
