"""Statistics of a running camera: rates, latencies, losses. Written by its threads, read by the page."""

import threading
import time
from typing import Any, Dict, List, Optional

import numpy as np

from fastnas.jetson.camera.budget import Budget, RecentValues
from fastnas.jetson.inference.predictions import Predictions
from fastnas.jetson.system.sensors import Sensors, total_power

COUNTS = ("captured", "dropped", "shown", "corrupt", "reconnects")


class Statistics:
    """Counts and recent values of one camera.

    Attributes:
        lost: the camera was lost, and is being opened again.
        ended: there are no more frames.
        message: the last line for the user.
        pipeline: `Source.pipeline`.
        captured, dropped, shown, corrupt, reconnects: counts since the start. Frames are dropped for newer ones while
            the networks are busy.
        budget: where the time of a frame goes.
    """

    def __init__(self, sensors: Optional[Sensors] = None) -> None:
        self.lost = self.ended = False
        self.message = self.pipeline = ""
        self.captured = self.dropped = self.shown = self.corrupt = self.reconnects = 0
        self.budget = Budget()
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

    def add_inference(self, predictions: Predictions, milliseconds: float) -> None:
        """The networks ran; it took `milliseconds` with what comes before and after."""
        self._inference.add(predictions.milliseconds)
        self.budget.add("pre", predictions.preparing)
        self.budget.add("inference", predictions.milliseconds)
        self.budget.add("post", max(milliseconds - predictions.preparing - predictions.milliseconds, 0.0))

    def add_shown(self, latency: float) -> None:
        """A frame was finished, `latency` milliseconds after its capture; it is drawn where anything shows it."""
        self.shown += 1
        self._shown_at = time.monotonic()
        self._latency.add(latency)

    def seconds_since_shown(self) -> Optional[float]:
        """Since the last finished frame; None before the first."""
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
            budget=self.budget.snapshot(),
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
