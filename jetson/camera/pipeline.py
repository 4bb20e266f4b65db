"""Capture, inference and drawing, each in a thread of its own, with one picture between them.

A picture that nobody has taken is replaced by a newer one, so the lag never grows: at the most, one picture waits while
one is computed. The inference thread opens, runs and closes the engines; no other thread touches them.
"""

import threading
import time
from typing import Any, Callable, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from fastnas.jetson.camera.controls import Controls
from fastnas.jetson.camera.sources import Source, SourceLost
from fastnas.jetson.camera.stats import Figures
from fastnas.jetson.errors import JetsonError
from fastnas.jetson.inference.predictions import Predictions
from fastnas.jetson.inference.predictor import Predictor
from fastnas.jetson.sidecar import Size

BACK_OFF = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds before each try to open a lost camera again; then the last, for ever."""

TICK = 0.1
"""Seconds after which a waiting thread looks whether it should stop."""

HANG = 5.0
"""Seconds that we wait at the end for a driver that hangs or an engine that is being built; the thread then dies with
the process."""

LATE = 0.5
"""A file that is so many seconds behind its own clock (after a pause) goes on from where it is."""


class Frame(NamedTuple):
    """A picture and when it came, on the monotonic clock."""

    picture: np.ndarray
    captured: float


class Slot:
    """A queue of one. A newer item replaces one that nobody took; with `wait` it waits instead, until `stop`."""

    def __init__(self, wait: bool, stop: threading.Event) -> None:
        self._wait = wait
        self._stop = stop
        self._change = threading.Condition()
        self._item: Any = None
        self._closed = False

    def put(self, item: Any) -> bool:
        """Hand over; True if an older item was dropped for it."""
        with self._change:
            while self._wait and self._item is not None and not self._stop.is_set():
                self._change.wait(TICK)
            dropped = self._item is not None and not self._wait
            self._item = item
            self._change.notify_all()
            return dropped

    def take(self, timeout: float = TICK) -> Any:
        """The item, or None if none came in time."""
        with self._change:
            if self._item is None and not self._closed:
                self._change.wait(timeout)
            item, self._item = self._item, None
            self._change.notify_all()
            return item

    def close(self) -> None:
        """Nothing more will be put; what is there can still be taken."""
        with self._change:
            self._closed = True
            self._change.notify_all()

    @property
    def done(self) -> bool:
        """Closed and empty."""
        return self._closed and self._item is None


class Sink:
    """Where finished pictures go. All calls come from the drawing thread."""

    def show(self, picture: np.ndarray, captured: float) -> None:
        """Take a finished picture that was captured at a time of the monotonic clock; it is not written to again."""
        raise NotImplementedError

    def close(self) -> None:
        """No more pictures come."""


class Feed(NamedTuple):
    """Where pictures come from.

    Attributes:
        open: opens the source; again after it was lost.
        live: it cannot wait (a camera), so it is opened again when it is lost.
        every: wait for the networks instead of dropping pictures, as fast as they are (a file).
        loop: begin again at the end.
    """

    open: Callable[[], Source]
    live: bool
    every: bool = False
    loop: bool = False


class Pipeline:
    """A camera from source to sinks; `start`, then `wait`, then `stop`.

    Args:
        feed: where the pictures come from.
        open_networks: called once in the inference thread with the pictures' size (H, W).
        draw: makes the finished picture of a picture, what was seen in it, and the overlay's strength.
        sinks: take it.
        say: receives lines for people.
    """

    def __init__(
        self,
        feed: Feed,
        open_networks: Callable[[Size], Predictor],
        draw: Callable[[np.ndarray, Predictions, float], np.ndarray],
        sinks: Sequence[Sink],
        controls: Controls,
        figures: Figures,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._feed, self._open_networks, self._draw = feed, open_networks, draw
        self._sinks, self._controls, self._figures, self._say = list(sinks), controls, figures, say
        self._source: Optional[Source] = None
        self._tries = 0
        self._stop = threading.Event()
        self._frames, self._seen = Slot(feed.every, self._stop), Slot(feed.every, self._stop)
        self._error: Optional[BaseException] = None
        self._threads = [
            threading.Thread(target=self._guard, args=(work,), name=work.__name__.strip("_"), daemon=True)
            for work in (self._capture, self._infer, self._show)
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def wait(self, seconds: float) -> bool:
        """Wait; True once the last picture is finished or something failed."""
        self._threads[-1].join(seconds)
        return not self._threads[-1].is_alive()

    def stop(self) -> None:
        """Ask all threads to end. Safe in a signal handler."""
        self._stop.set()

    def join(self) -> None:
        """Wait until all threads ended, with sinks and engines closed; not for ever for what cannot be interrupted.

        Raises:
            BaseException: what ended the first thread that failed.
        """
        capture, inference, drawing = self._threads
        drawing.join()
        source = self._source
        if source is not None:
            source.interrupt()
        inference.join(HANG)
        capture.join(HANG)
        self._figures.ended = True
        if self._error is not None:
            raise self._error

    def _guard(self, work: Callable[[], None]) -> None:
        """Run a thread's work; if it fails, all end, and `join` raises why. What fails after that is said at once."""
        try:
            work()
        except BaseException as error:
            if self._error is None:
                self._error = error
            else:
                self._say("{}: {}".format(type(error).__name__, error))
            self._stop.set()

    def _capture(self) -> None:
        try:
            self._play(self._feed.open())
            while self._feed.loop and not self._stop.is_set():
                self._play(self._feed.open())
        finally:
            self._frames.close()

    def _play(self, source: Optional[Source]) -> None:
        """Hand on a source's pictures until it is over; one that is lost is opened again and again."""
        while source is not None:
            self._source = source
            lost: Optional[SourceLost] = None
            try:
                self._read_all(source)
            except SourceLost as error:
                lost = error
            finally:
                source.close()
            source = None if lost is None else self._reopen(lost)

    def _read_all(self, source: Source) -> None:
        """Hand on pictures until the source is over."""
        figures, due = self._figures, time.monotonic()
        figures.pipeline = source.pipeline
        corrupt_before = figures.corrupt
        while not self._stop.is_set():
            if self._controls.paused and not self._feed.live:
                self._stop.wait(TICK)
                continue
            picture = source.read()
            figures.corrupt = corrupt_before + source.corrupt
            if picture is None:
                return
            if figures.lost:
                figures.lost, figures.message, self._tries = False, "connected again", 0
                figures.reconnects += 1
                self._say("connected again")
            if not self._feed.live and not self._feed.every:
                due = max(due + 1 / source.fps, time.monotonic() - LATE)
                self._stop.wait(max(due - time.monotonic(), 0))
            figures.add_captured()
            if not self._controls.paused:
                figures.add_dropped(self._frames.put(Frame(picture, time.monotonic())))

    def _reopen(self, error: Exception) -> Optional[Source]:
        """Try to open a lost source again until it works, or we stop; None then."""
        while True:
            pause = BACK_OFF[min(self._tries, len(BACK_OFF) - 1)]
            self._tries += 1
            self._figures.message = "{}; trying again in {:g} s".format(error, pause)
            if not self._figures.lost:
                self._figures.lost = True
                self._say("{}; trying again until it comes back".format(error))
            if self._stop.wait(pause):
                return None
            try:
                return self._feed.open()
            except JetsonError as again:
                error = again

    def _infer(self) -> None:
        networks: Optional[Predictor] = None
        try:
            while not self._frames.done and not self._stop.is_set():
                frame = self._frames.take()
                if frame is None:
                    continue
                if networks is None:
                    networks = self._open_networks(frame.picture.shape[:2])
                seen = networks(frame.picture, self._controls.active())
                self._figures.add_inference(seen.milliseconds)
                self._figures.add_dropped(self._seen.put((frame, seen)))
        finally:
            if networks is not None:
                networks.close()
            self._seen.close()

    def _show(self) -> None:
        """Draw until the end, then close every sink, whatever failed before."""
        for work in [self._show_all] + [sink.close for sink in self._sinks]:
            self._guard(work)

    def _show_all(self) -> None:
        last: Optional[Tuple[Frame, Predictions]] = None
        version = self._controls.version
        while not self._seen.done and not self._stop.is_set():
            item = self._seen.take()
            last = item or last
            if last is None or (item is None and version == self._controls.version):
                continue
            version = self._controls.version
            frame, seen = last
            picture = self._draw(frame.picture, seen, self._controls.alpha)
            for sink in self._sinks:
                sink.show(picture, frame.captured)
            if item is not None:
                self._figures.add_shown((time.monotonic() - frame.captured) * 1000)
