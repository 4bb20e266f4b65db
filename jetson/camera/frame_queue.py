"""A queue between threads that holds at most one item of each feed."""

import threading
from typing import Any, List, Optional

TICK = 0.1
"""Seconds after which a waiting thread checks whether it should stop."""


class FrameQueue:
    """Hands items to one consumer, those of several feeds in turn.

    Args:
        stop: ends the wait of `put`.
        feeds: how many put items into it.
    """

    def __init__(self, stop: threading.Event, feeds: int = 1) -> None:
        self._stop = stop
        self._change = threading.Condition()
        self._items: List[Any] = [None] * feeds
        self._open = set(range(feeds))
        self._turn = 0

    def put(self, item: Any, feed: int = 0) -> None:
        """Add an item once there is no other of its feed, or at `stop`."""
        with self._change:
            while self._items[feed] is not None and not self._stop.is_set():
                self._change.wait(TICK)
            self._items[feed] = item
            self._change.notify_all()

    def put_latest(self, item: Any, feed: int = 0) -> bool:
        """Add an item at once; True if an older one of its feed was dropped for it."""
        with self._change:
            dropped = self._items[feed] is not None
            self._items[feed] = item
            self._change.notify_all()
            return dropped

    def take(self, timeout: float = TICK) -> Any:
        """Remove and return an item; None if none was added within `timeout` seconds."""
        with self._change:
            if self._empty() and self._open:
                self._change.wait(timeout)
            for _ in self._items:
                feed = self._turn
                self._turn = (feed + 1) % len(self._items)
                item, self._items[feed] = self._items[feed], None
                if item is not None:
                    self._change.notify_all()
                    return item
            return None

    def close(self, feed: Optional[int] = None) -> None:
        """A feed, or None for all: it adds nothing more; what is in the queue can still be taken."""
        with self._change:
            self._open = set() if feed is None else self._open - {feed}
            self._change.notify_all()

    @property
    def done(self) -> bool:
        """Closed and empty."""
        return not self._open and self._empty()

    def _empty(self) -> bool:
        return all(item is None for item in self._items)
