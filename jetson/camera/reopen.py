"""Sources that are opened more than once: a file that is played in a loop, a camera that was lost."""

import threading
from functools import partial
from typing import Callable, Optional

import numpy as np

from fastnas.jetson.camera.opencv import open_source
from fastnas.jetson.camera.sources import Address, Mode, Source, SourceLost
from fastnas.jetson.camera.stats import CameraStatistics
from fastnas.jetson.camera.watchdog import Watchdog
from fastnas.jetson.errors import JetsonError

BACK_OFF = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds before each attempt to open a lost camera again; the last is repeated without end."""


class ReopenedSource(Source):
    """A source that is replaced by a new one of the same address.

    Args:
        open_source: opens it, now and later.
    """

    def __init__(self, open_source: Callable[[], Source]) -> None:
        self._open = open_source
        self._current = open_source()
        self._corrupt_before = 0
        super().__init__(self._current.pipeline, self._current.fps, self._current.live)

    def interrupt(self) -> None:
        """See `Source.interrupt`."""
        self._current.interrupt()

    def close(self) -> None:
        """See `Source.close`."""
        self._current.close()

    def _read_current(self) -> Optional[np.ndarray]:
        frame = self._current.read()
        self.corrupt = self._corrupt_before + self._current.corrupt
        return frame

    def _replace(self) -> None:
        """Open a new source for the one that was closed."""
        self._current = self._open()
        self._corrupt_before = self.corrupt
        self.pipeline = self._current.pipeline


class LoopingSource(ReopenedSource):
    """A file or folder that starts again at its end."""

    def read(self) -> Optional[np.ndarray]:
        """See `Source.read`; None if the source is empty."""
        frame = self._read_current()
        if frame is None:
            self._current.close()
            self._replace()
            frame = self._read_current()
        return frame


class ReconnectingSource(ReopenedSource):
    """A camera or stream that is opened again, with back-off, when it was lost.

    Args:
        open_source: opens it, now and later.
        statistics: receives what happens.
        say: receives lines for the user: when it is lost, and when frames come again.
    """

    def __init__(
        self,
        open_source: Callable[[], Source],
        statistics: CameraStatistics,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        super().__init__(open_source)
        self._statistics, self._say = statistics, say
        self._attempts = 0
        self._interrupted = threading.Event()

    def read(self) -> Optional[np.ndarray]:
        """See `Source.read`: the next frame, after however many attempts; None after `interrupt`."""
        while not self._interrupted.is_set():
            try:
                frame = self._read_current()
            except SourceLost as error:
                self._current.close()
                self._reconnect(error)
                continue
            if self._statistics.lost and frame is not None:
                self._attempts = 0
                self._statistics.lost = False
                self._statistics.reconnects += 1
                self._say("connected again")
            return frame
        return None

    def interrupt(self) -> None:
        """See `Source.interrupt`."""
        self._interrupted.set()
        super().interrupt()

    def _reconnect(self, error: Exception) -> None:
        """Try to open the source until it works, or until `interrupt`."""
        while True:
            pause = BACK_OFF[min(self._attempts, len(BACK_OFF) - 1)]
            self._attempts += 1
            if not self._statistics.lost:
                self._statistics.lost = True
                self._say("{}; trying again until it comes back".format(error))
            self._statistics.message = "{}; trying again in {:g} s".format(error, pause)
            if self._interrupted.wait(pause):
                return
            try:
                self._replace()
                return
            except JetsonError as again:
                error = again


def open_camera(
    address: Address,
    mode: Mode,
    loop: bool,
    statistics: CameraStatistics,
    say: Callable[[str], None] = lambda line: None,
) -> Source:
    """Open a source for a pipeline: a camera or stream with a watchdog and reconnection, a file once or in a loop.

    Raises:
        JetsonError: it cannot be opened now.
    """
    opener = partial(open_source, address, mode)
    if address.hangs:
        return ReconnectingSource(Watchdog(opener), statistics, say)
    return LoopingSource(opener) if loop else opener()
