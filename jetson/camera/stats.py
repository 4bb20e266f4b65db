"""The live figures of a camera: rates, latencies, losses. Written by its threads, read by the page."""

import threading
import time
from collections import deque
from typing import Any, Deque, Dict, List, Optional

from fastnas.jetson.system.sensors import Sensors, total_power

SECONDS = 5.0
"""Rates and percentiles are of the last so many seconds."""

MOST = 1500
"""Samples that are kept at the most: memory stays flat whatever the rate."""


class Window:
    """Values with the time they came, of the last seconds."""

    def __init__(self) -> None:
        self._items: Deque[Any] = deque(maxlen=MOST)

    def add(self, value: float) -> None:
        """Add a value now."""
        self._items.append((time.monotonic(), value))

    def values(self) -> List[float]:
        """The values of the last seconds, in order of time."""
        since = time.monotonic() - SECONDS
        return [value for when, value in list(self._items) if when >= since]

    def rate(self) -> float:
        """Values in a second; 0 when fewer than two came lately."""
        since = time.monotonic() - SECONDS
        times = [when for when, _ in list(self._items) if when >= since]
        return (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 and times[-1] > times[0] else 0.0


class Figures:
    """Counts and windows of one camera.

    Attributes:
        lost: the camera is gone, and we try to get it back.
        ended: no more pictures come.
        message: the last thing worth telling.
        pipeline: what the pictures come through.
        captured, dropped, shown, corrupt, reconnects: counts since the start. Dropped pictures came while the networks
            were busy: they make room for newer ones.
    """

    def __init__(self, sensors: Optional[Sensors] = None) -> None:
        self.lost = self.ended = False
        self.message = ""
        self.pipeline = ""
        self.captured = self.dropped = self.shown = self.corrupt = self.reconnects = 0
        self._shown_at: Optional[float] = None
        self._lock = threading.Lock()
        self._camera, self._inference, self._latency = Window(), Window(), Window()
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
        """A picture came from the camera."""
        self.captured += 1
        self._camera.add(0.0)

    def add_dropped(self, dropped: bool) -> None:
        """A picture may have made room for a newer one; two threads tell."""
        with self._lock:
            self.dropped += dropped

    def add_inference(self, milliseconds: float) -> None:
        """The networks ran."""
        self._inference.add(milliseconds)

    def add_shown(self, latency: float) -> None:
        """A picture was finished, `latency` milliseconds after it came."""
        self.shown += 1
        self._shown_at = time.monotonic()
        self._latency.add(latency)

    def seconds_since_shown(self) -> Optional[float]:
        """Since the last finished picture; None before the first."""
        return None if self._shown_at is None else time.monotonic() - self._shown_at

    def snapshot(self) -> Dict[str, Any]:
        """All figures now, as JSON values; what is not known is None."""
        inference = self._inference.values()
        busy = sum(inference)
        return {
            "state": self.state,
            "message": self.message,
            "pipeline": self.pipeline,
            "captured": self.captured,
            "dropped": self.dropped,
            "shown": self.shown,
            "corrupt": self.corrupt,
            "reconnects": self.reconnects,
            "camera_fps": round(self._camera.rate(), 1),
            "inference_fps": round(1000 * len(inference) / busy, 1) if busy else None,
            "shown_fps": round(self._latency.rate(), 1),
            "inference_ms": percentiles(inference),
            "latency_ms": percentiles(self._latency.values()),
            **self._sensor_figures(),
        }

    def _sensor_figures(self) -> Dict[str, Any]:
        """Hottest zone and whole power, read once a second however many ask."""
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
    """Median, 90th and 99th percentile by nearest rank; None without values."""
    if not values:
        return None
    ranked = sorted(values)
    return {"p{}".format(share): round(ranked[-(-len(ranked) * share // 100) - 1], 1) for share in (50, 90, 99)}
