"""The newest image as JPEG, for any number of viewers: wanted while one of them is there, and encoded once."""

import threading
import time
from contextlib import contextmanager
from typing import Callable, Iterator, NamedTuple, Optional

import numpy as np

from fastnas.jetson.camera.pipeline import Sink
from fastnas.jetson.system.opencv import import_cv2

QUALITY = 80


class Jpeg(NamedTuple):
    """An encoded image, its number, and its time of capture (monotonic clock)."""

    number: int
    data: bytes
    captured: float


class Broadcast(Sink):
    """Keeps the last finished image. A slow viewer misses images; it never makes the others wait.

    Attributes:
        viewers: how many are connected.
        max_viewers: how many may be.
        closed: whether there are no more images.

    Args:
        max_viewers: see above.
        encoded: receives the milliseconds of each encoding.
    """

    def __init__(self, max_viewers: int, encoded: Callable[[float], None] = lambda milliseconds: None) -> None:
        self._cv2, self._encoded = import_cv2(), encoded
        self._requests = 0
        self.max_viewers = max_viewers
        self.viewers = 0
        self._change = threading.Condition()
        self._encoding = threading.Lock()
        self._number = 0
        self._image: Optional[np.ndarray] = None
        self._captured = 0.0
        self._jpeg: Optional[Jpeg] = None
        self.closed = False

    def wants(self) -> bool:
        """See `Sink.wants`: while somebody watches or asks. An image from before that is no longer the newest."""
        with self._change:
            if self.viewers + self._requests == 0:
                self._image = None
            return self.viewers + self._requests > 0

    def show(self, image: np.ndarray, captured: float) -> None:
        """See `Sink.show`."""
        with self._change:
            self._number, self._image, self._captured = self._number + 1, image, captured
            self._change.notify_all()

    def close(self) -> None:
        """See `Sink.close`."""
        with self._change:
            self.closed = True
            self._change.notify_all()

    def newer(self, than: int, timeout: float) -> Optional[Jpeg]:
        """The newest image if its number is larger than `than`, waiting for one; None after `timeout` seconds."""
        with self._change:
            if not self._is_newer(than) and not self.closed:
                self._change.wait(timeout)
            if not self._is_newer(than):
                return None
        with self._encoding:
            with self._change:
                number, image, captured = self._number, self._image, self._captured
            if image is None:
                return None
            if self._jpeg is None or self._jpeg.number != number:
                start = time.perf_counter()
                encoded = self._cv2.imencode(".jpg", image, [self._cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
                self._encoded((time.perf_counter() - start) * 1000)
                self._jpeg = Jpeg(number, encoded.tobytes(), captured)
            return self._jpeg

    def newest(self, timeout: float) -> Optional[Jpeg]:
        """The newest image, for one that does not watch; None if there is none within `timeout` seconds."""
        with self._change:
            self._requests += 1
        try:
            return self.newer(0, timeout)
        finally:
            with self._change:
                self._requests -= 1

    def _is_newer(self, than: int) -> bool:
        return self._number > than and self._image is not None

    @contextmanager
    def watching(self) -> Iterator[bool]:
        """Count a viewer while it watches; False if there are too many."""
        with self._change:
            admitted = self.viewers < self.max_viewers
            self.viewers += admitted
        try:
            yield admitted
        finally:
            with self._change:
                self.viewers -= admitted
