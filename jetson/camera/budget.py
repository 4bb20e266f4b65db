"""Where the time of a frame goes: milliseconds of each stage, and the share of the time in which it is busy.

A stage runs in one thread; the shares of one thread add up to at most 1, and the thread that is always busy limits the
camera. Capture of a camera or stream includes the wait for its next frame.
"""

import time
from collections import deque
from contextlib import contextmanager
from typing import Any, Deque, Dict, Iterator, List, Optional, Tuple

SECONDS = 5.0
"""Window of rates, percentiles and shares."""

MAX_VALUES = 1500
"""Limit of the values that are kept, so that memory does not grow with the rate."""

THREADS = {
    "capture": "capture",
    "pre": "capture",
    "inference": "inference",
    "post": "inference",
    "draw": "drawing",
    "record": "drawing",
    "encode": "page",
}
"""The stages in the order of a frame, and the thread of each. `encode` is of the page's JPEGs, `record` of videos."""

BUSY = 0.85
"""Share of the time from which a thread counts as always busy."""


class RecentValues:
    """Values of the last seconds, with the time of each."""

    def __init__(self) -> None:
        self._items: Deque[Tuple[float, float]] = deque(maxlen=MAX_VALUES)

    def add(self, value: float) -> None:
        """Add a value now."""
        self._items.append((time.monotonic(), value))

    def values(self) -> List[float]:
        """The values, oldest first."""
        return [value for _, value in self._recent()]

    def rate(self) -> float:
        """Values per second; 0 if there are fewer than two."""
        times = [when for when, _ in self._recent()]
        return (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 and times[-1] > times[0] else 0.0

    def busy(self, threads: int = 1) -> float:
        """The share of the time of so many threads that the values take, as milliseconds that ended when added."""
        items = self._recent()
        if not items:
            return 0.0
        seconds = time.monotonic() - items[0][0] + items[0][1] / 1000
        return min(sum(value for _, value in items) / 1000 / seconds / threads, 1.0) if seconds > 0 else 0.0

    def _recent(self) -> List[Tuple[float, float]]:
        since = time.monotonic() - SECONDS
        return [item for item in list(self._items) if item[0] >= since]


class Budget:
    """The stages of the last seconds. Written by the threads of a pipeline, read by the page.

    Args:
        cameras: how many threads capture.
    """

    def __init__(self, cameras: int = 1) -> None:
        self._cameras = cameras
        self._stages = {stage: RecentValues() for stage in THREADS}

    def add(self, stage: str, milliseconds: float) -> None:
        """A stage of one frame has ended."""
        self._stages[stage].add(milliseconds)

    @contextmanager
    def measured(self, stage: str) -> Iterator[None]:
        """Within the context a stage of one frame runs."""
        start = time.perf_counter()
        yield
        self.add(stage, (time.perf_counter() - start) * 1000)

    def snapshot(self) -> Dict[str, Any]:
        """The stages that ran, as JSON values: mean `ms` of one frame and `share` of the time; and what limits."""
        found: Dict[str, Dict[str, float]] = {}
        for stage, recent in self._stages.items():
            values = recent.values()
            if values:
                share = recent.busy(self._cameras if THREADS[stage] == "capture" else 1)
                found[stage] = {"ms": round(sum(values) / len(values), 2), "share": round(share, 3)}
        return {"stages": found, "limit": limit({stage: each["share"] for stage, each in found.items()})}


def limit(shares: Dict[str, float]) -> Optional[str]:
    """The stage that limits: the longest of the last thread that is always busy; `capture` where none is.

    A thread behind a busy one waits for it, so the last busy one counts. None without frames.
    """
    for thread in ("page", "drawing", "inference"):
        own = {stage: share for stage, share in shares.items() if THREADS[stage] == thread}
        if own and sum(own.values()) >= BUSY:
            return max(own, key=lambda stage: own[stage])
    return "capture" if "capture" in shares else None


def describe(budget: Dict[str, Any]) -> str:
    """A `Budget.snapshot` in one line; empty without frames."""
    parts = ["{} {ms:.1f} ms ({share:.0%})".format(stage, **each) for stage, each in budget["stages"].items()]
    if not parts:
        return ""
    return "a frame, and the share of the time: {}; the limit is {}".format(", ".join(parts), budget["limit"])
