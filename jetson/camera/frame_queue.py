"""A queue of one item between two threads."""

import threading
from typing import Any

TICK = 0.1
"""Seconds after which a waiting thread checks whether it should stop."""


class FrameQueue:
    """Hands items to one consumer; holds at most one.

    Args:
        stop: ends the wait of `put`.
    """

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._change = threading.Condition()
        self._item: Any = None
        self._closed = False

    def put(self, item: Any) -> None:
        """Add an item once the queue is empty, or at `stop`."""
        with self._change:
            while self._item is not None and not self._stop.is_set():
                self._change.wait(TICK)
            self._item = item
            self._change.notify_all()

    def put_latest(self, item: Any) -> bool:
        """Add an item at once; True if an older one was dropped for it."""
        with self._change:
            dropped = self._item is not None
            self._item = item
            self._change.notify_all()
            return dropped

    def take(self, timeout: float = TICK) -> Any:
        """Remove and return the item; None if none was added within `timeout` seconds."""
        with self._change:
            if self._item is None and not self._closed:
                self._change.wait(timeout)
            item, self._item = self._item, None
            self._change.notify_all()
            return item

    def close(self) -> None:
        """Nothing more will be added; an item that is in the queue can still be taken."""
        with self._change:
            self._closed = True
            self._change.notify_all()

    @property
    def done(self) -> bool:
        """Closed and empty."""
        return self._closed and self._item is None
