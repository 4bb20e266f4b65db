"""The newest picture as JPEG, for any number of viewers: encoded once, when somebody wants it."""

import threading
from contextlib import contextmanager
from typing import Iterator, NamedTuple, Optional

import numpy as np

from fastnas.jetson.camera.pipeline import Sink
from fastnas.jetson.system.opencv import import_cv2

QUALITY = 80


class Jpeg(NamedTuple):
    """An encoded picture, its number, and when it was captured (monotonic clock)."""

    number: int
    data: bytes
    captured: float


class Broadcast(Sink):
    """Keeps the last finished picture. A slow viewer misses pictures; it never makes the others wait.

    Attributes:
        viewers: how many watch now.
        most: how many may.
    """

    def __init__(self, most: int) -> None:
        self._cv2 = import_cv2()
        self.most = most
        self.viewers = 0
        self._change = threading.Condition()
        self._encoding = threading.Lock()
        self._number = 0
        self._picture: Optional[np.ndarray] = None
        self._captured = 0.0
        self._jpeg: Optional[Jpeg] = None
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether no more pictures come."""
        return self._closed

    def show(self, picture: np.ndarray, captured: float) -> None:
        """See `Sink.show`."""
        with self._change:
            self._number, self._picture, self._captured = self._number + 1, picture, captured
            self._change.notify_all()

    def close(self) -> None:
        """See `Sink.close`."""
        with self._change:
            self._closed = True
            self._change.notify_all()

    def newer(self, than: int, timeout: float) -> Optional[Jpeg]:
        """The newest picture if its number is larger than `than`, waiting for one; None when none came in time."""
        with self._change:
            if self._number <= than and not self._closed:
                self._change.wait(timeout)
            if self._number <= than:
                return None
        with self._encoding:
            with self._change:
                number, picture, captured = self._number, self._picture, self._captured
            if self._jpeg is None or self._jpeg.number != number:
                encoded = self._cv2.imencode(".jpg", picture, [self._cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
                self._jpeg = Jpeg(number, encoded.tobytes(), captured)
            return self._jpeg

    @contextmanager
    def watching(self) -> Iterator[bool]:
        """Count a viewer while it watches; False if there are too many."""
        with self._change:
            admitted = self.viewers < self.most
            self.viewers += admitted
        try:
            yield admitted
        finally:
            with self._change:
                self.viewers -= admitted
