"""Statistics of a running camera: rates, latencies, losses. Written by its threads, read by the page."""

import threading
import time
from collections import deque
from typing import Any, Deque, Dict, List, Optional, Tuple

import numpy as np

from fastnas.jetson.system.sensors import Sensors, total_power

SECONDS = 5.0
"""Window of rates and percentiles."""

MAX_VALUES = 1500
"""Limit of the values that are kept, so that memory does not grow with the rate."""

COUNTS = ("captured", "dropped", "shown", "corrupt", "reconnects")


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

    def _recent(self) -> List[Tuple[float, float]]:
        since = time.monotonic() - SECONDS
        return [item for item in list(self._items) if item[0] >= since]


class Statistics:
    """Counts and recent values of one camera.

    Attributes:
        lost: the camera was lost, and is being opened again.
        ended: there are no more frames.
        message: the last line for the user.
        pipeline: `Source.pipeline`.
        captured, dropped, shown, corrupt, reconnects: counts since the start. Frames are dropped for newer ones while
            the networks are busy.
    """

    def __init__(self, sensors: Optional[Sensors] = None) -> None:
        self.lost = self.ended = False
        self.message = self.pipeline = ""
        self.captured = self.dropped = self.shown = self.corrupt = self.reconnects = 0
        self._shown_at: Optional[float] = None
        self._lock = threading.Lock()
        self._camera, self._inference, self._latency = RecentValues(), RecentValues(), RecentValues()
        self._sensors = sensors or Sensors()
        self._read_at = -10.0
        self._reading: Dict[str, Any] = {}

    @property
    def state(self) -> str:
        """`starting`, `running`, `reconnecting` or `ended`."""
        if self.ended:
            return "ended"
        if self.lost:
            return "reconnecting"
        return "running" if self.shown else "starting"

    def add_captured(self) -> None:
        """A frame was captured."""
        self.captured += 1
        self._camera.add(0.0)

    def add_dropped(self, dropped: bool) -> None:
        """A frame may have been dropped for a newer one; two threads call this."""
        with self._lock:
            self.dropped += dropped

    def add_inference(self, milliseconds: float) -> None:
        """The networks ran."""
        self._inference.add(milliseconds)

    def add_shown(self, latency: float) -> None:
        """An image was finished, `latency` milliseconds after its capture."""
        self.shown += 1
        self._shown_at = time.monotonic()
        self._latency.add(latency)

    def seconds_since_shown(self) -> Optional[float]:
        """Since the last finished image; None before the first."""
        return None if self._shown_at is None else time.monotonic() - self._shown_at

    def snapshot(self) -> Dict[str, Any]:
        """All statistics now, as JSON values; what is not known is None."""
        inference = self._inference.values()
        busy = sum(inference)
        return dict(
            {name: getattr(self, name) for name in ("state", "message", "pipeline") + COUNTS},
            camera_fps=round(self._camera.rate(), 1),
            inference_fps=round(1000 * len(inference) / busy, 1) if busy else None,
            shown_fps=round(self._latency.rate(), 1),
            inference_ms=percentiles(inference),
            latency_ms=percentiles(self._latency.values()),
            **self._read_sensors(),
        )

    def _read_sensors(self) -> Dict[str, Any]:
        """Hottest zone and total power, read at most once a second."""
        with self._lock:
            if time.monotonic() - self._read_at > 1:
                temperatures = self._sensors.temperature()
                hottest = max(temperatures, key=lambda zone: temperatures[zone]) if temperatures else None
                power = total_power(self._sensors.power())
                self._reading = {
                    "temperature_c": None if hottest is None else round(temperatures[hottest], 1),
                    "hottest": hottest,
                    "power_w": None if power is None else round(power, 2),
                }
                self._read_at = time.monotonic()
            return self._reading


def percentiles(values: List[float]) -> Optional[Dict[str, float]]:
    """Median, 90th and 99th percentile, as the benchmark computes them; None without values."""
    if not values:
        return None
    return dict(zip(("p50", "p90", "p99"), np.percentile(values, (50, 90, 99)).round(1).tolist()))
