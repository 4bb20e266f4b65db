"""Live sources whose driver may hang. Each is opened, read and closed by a thread of its own, and left behind with it.

A read of a camera or stream that stalls may never come back, and cannot be interrupted: OpenCV does not survive it. So
the thread waits for the driver, we wait for the thread, and only so long; the source then counts as lost. A thread
that comes back after all closes its source and ends.
"""

import threading
from typing import Any, Callable, List, Optional

import numpy as np

from fastnas.jetson.camera.opencv import SILENCE
from fastnas.jetson.camera.pipeline import Slot
from fastnas.jetson.camera.sources import Source, SourceLost
from fastnas.jetson.errors import JetsonError

FIRST = 15.0
"""Seconds until a source is open, and until its first picture: daemons start, and streams begin with a key frame."""

CLOSING = 1.0
"""Seconds that a thread has to close its source before it is interrupted, and again before it is left behind."""

MOST_HANGING = 3
"""Threads that may hang before we open no more: each holds memory, and perhaps the camera."""


class Watch:
    """Opens one live source, again after it was lost: what `Feed.open` asks for."""

    def __init__(self, open_source: Callable[[], Source]) -> None:
        self._open = open_source
        self._threads: List[threading.Thread] = []

    def __call__(self) -> "Watched":
        """The source, watched.

        Raises:
            JetsonError: it cannot be opened, or takes too long.
        """
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        if len(self._threads) >= MOST_HANGING:
            raise JetsonError(
                "the driver hangs and gives the camera back to nobody; plug it in again, or, where it is a CSI camera: "
                "sudo systemctl restart nvargus-daemon"
            )
        source = Watched(self._open)
        self._threads.append(source.thread)
        source.wait_open()
        return source


class Watched(Source):
    """A source that is read in a thread of its own.

    Attributes:
        thread: it.
    """

    def __init__(self, open_source: Callable[[], Source]) -> None:
        self._left = threading.Event()
        self._slot = Slot(True, self._left)
        self._source: Optional[Source] = None
        self._patience = FIRST
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
        super().__init__(opened.pipeline, opened.fps)

    def read(self) -> Optional[np.ndarray]:
        """See `Source.read`."""
        assert self._source is not None
        picture: Optional[np.ndarray] = self._take()
        self.corrupt = self._source.corrupt
        if picture is None and not self._slot.done:
            raise SourceLost("no picture for {:g} s from {}".format(self._patience, self.pipeline))
        self._patience = SILENCE
        return picture

    def interrupt(self) -> None:
        """See `Source.interrupt`: a read that waits ends at once, as if the source were over."""
        self._left.set()
        self._slot.close()

    def close(self) -> None:
        """See `Source.close`; from any thread, and not for ever."""
        self._left.set()
        self.thread.join(CLOSING)
        if self.thread.is_alive() and self._source is not None:
            self._source.interrupt()
            self.thread.join(CLOSING)

    def _take(self) -> Any:
        """What the thread hands over next, or None if nothing comes in time; what failed there is raised here."""
        item = self._slot.take(self._patience)
        if isinstance(item, BaseException):
            raise item
        return item

    def _work(self, open_source: Callable[[], Source]) -> None:
        source: Optional[Source] = None
        try:
            source = open_source()
            self._slot.put(source)
            while not self._left.is_set():
                picture = source.read()
                if picture is None:
                    return
                self._slot.put(picture)
        except BaseException as error:
            self._slot.put(error)
        finally:
            if source is not None:
                source.close()
            self._slot.close()
