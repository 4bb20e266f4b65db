"""Live sources whose driver may hang: each is opened, read and closed by a thread of its own, and abandoned with it.

A read of a camera or stream that stalls may never return, and cannot be interrupted: OpenCV crashes when a capture is
released during a read. So one thread waits for the driver, and the reader waits for that thread, with a limit; the
source then counts as lost. A thread that returns after all closes its source and ends.
"""

import threading
from typing import Any, Callable, List, Optional

import numpy as np

from fastnas.jetson.camera.frame_queue import FrameQueue
from fastnas.jetson.camera.opencv import SILENCE
from fastnas.jetson.camera.sources import Source, SourceLost
from fastnas.jetson.errors import JetsonError

FIRST = 15.0
"""Seconds until a source is open, and until its first frame: daemons start, and streams begin with a key frame."""

CLOSING = 1.0
"""Seconds that a thread has to close its source before it is interrupted, and again before it is abandoned."""

MAX_HANGING = 3
"""Threads that may hang before no more are started: each holds memory, and perhaps the camera."""


class Watchdog:
    """Opens one live source, any number of times; each call gives a new `WatchedSource`.

    Args:
        open_source: opens the source.
    """

    def __init__(self, open_source: Callable[[], Source]) -> None:
        self._open = open_source
        self._threads: List[threading.Thread] = []

    def __call__(self) -> "WatchedSource":
        """The source, watched.

        Raises:
            JetsonError: it cannot be opened, or takes too long.
        """
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        if len(self._threads) >= MAX_HANGING:
            raise JetsonError(
                "the driver hangs and does not release the camera; plug it in again, or, where it is a CSI camera: "
                "sudo systemctl restart nvargus-daemon"
            )
        source = WatchedSource(self._open)
        self._threads.append(source.thread)
        source.wait_open()
        return source


class WatchedSource(Source):
    """A source that is read in a thread of its own.

    Attributes:
        thread: it.
    """

    def __init__(self, open_source: Callable[[], Source]) -> None:
        self._abandoned = threading.Event()
        self._queue = FrameQueue(self._abandoned)
        self._source: Optional[Source] = None
        self._timeout = FIRST
        self.thread = threading.Thread(target=self._work, args=(open_source,), name="camera", daemon=True)
        self.thread.start()

    def wait_open(self) -> None:
        """Wait until the source is open.

        Raises:
            JetsonError: it cannot be opened, or takes too long.
        """
        opened = self._take()
        if opened is None:
            self.close()
            raise JetsonError("the camera or stream does not answer: it was not open after {:g} s".format(FIRST))
        self._source = opened
        super().__init__(opened.pipeline, opened.fps, live=True)

    def read(self) -> Optional[np.ndarray]:
        """See `Source.read`."""
        assert self._source is not None
        frame: Optional[np.ndarray] = self._take()
        self.corrupt = self._source.corrupt
        if frame is None and not self._queue.done:
            raise SourceLost("no frame for {:g} s from {}".format(self._timeout, self.pipeline))
        self._timeout = SILENCE
        return frame

    def interrupt(self) -> None:
        """See `Source.interrupt`: a read that waits returns None at once."""
        self._abandoned.set()
        self._queue.close()

    def close(self) -> None:
        """See `Source.close`; from any thread, and with a limit."""
        self._abandoned.set()
        self.thread.join(CLOSING)
        if self.thread.is_alive() and self._source is not None:
            self._source.interrupt()
            self.thread.join(CLOSING)

    def _take(self) -> Any:
        """What the thread hands over next, or None if nothing comes in time; its errors are raised here."""
        item = self._queue.take(self._timeout)
        if isinstance(item, BaseException):
            raise item
        return item

    def _work(self, open_source: Callable[[], Source]) -> None:
        source: Optional[Source] = None
        try:
            source = open_source()
            self._queue.put(source)
            while not self._abandoned.is_set():
                frame = source.read()
                if frame is None:
                    return
                self._queue.put(frame)
        except BaseException as error:
            self._queue.put(error)
        finally:
            if source is not None:
                source.close()
            self._queue.close()
