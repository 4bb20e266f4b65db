"""Statistics of a running camera: rates, latencies, losses. Written by its threads, read by the page."""

import threading
import time
from typing import Any, Dict, List, Optional

import numpy as np

from fastnas.jetson.camera.budget import Budget, RecentValues
from fastnas.jetson.inference.predictions import Predictions
from fastnas.jetson.system.sensors import Sensors, total_power

COUNTS = ("captured", "dropped", "shown", "corrupt", "reconnects")


class CameraStatistics:
    """Counts and recent values of one camera.

    Args:
        total: of all cameras together, which is counted along.

    Attributes:
        name: of the camera, for the page.
        lost: the camera was lost, and is being opened again.
        ended: there are no more frames.
        message: the last line for the user.
        pipeline: `Source.pipeline`.
        captured, dropped, shown, corrupt, reconnects: counts since the start. Frames are dropped for newer ones while
            the networks are busy.
    """

    def __init__(self, total: Optional["CameraStatistics"] = None) -> None:
        self._total = total
        self.lost = self.ended = False
        self.name = self.message = self.pipeline = ""
        self.captured = self.dropped = self.shown = self.corrupt = self.reconnects = 0
        self._shown_at: Optional[float] = None
        self._lock = threading.Lock()
        self._camera, self._latency = RecentValues(), RecentValues()

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
        with self._lock:
            self.captured += 1
        self._camera.add(0.0)
        if self._total is not None:
            self._total.add_captured()

    def add_dropped(self, dropped: bool) -> None:
        """A frame may have been dropped for a newer one; two threads call this."""
        with self._lock:
            self.dropped += dropped
        if self._total is not None:
            self._total.add_dropped(dropped)

    def add_shown(self, latency: float) -> None:
        """A frame was finished, `latency` milliseconds after its capture; it is drawn where anything shows it."""
        self.shown += 1
        self._shown_at = time.monotonic()
        self._latency.add(latency)
        if self._total is not None:
            self._total.add_shown(latency)

    def seconds_since_shown(self) -> Optional[float]:
        """Since the last finished frame; None before the first."""
        return None if self._shown_at is None else time.monotonic() - self._shown_at

    def figures(self) -> Dict[str, Any]:
        """What is known of this camera now, as JSON values."""
        return dict(
            {name: getattr(self, name) for name in ("name", "state", "message", "pipeline") + COUNTS},
            camera_fps=round(self._camera.rate(), 1),
            shown_fps=round(self._latency.rate(), 1),
            latency_ms=percentiles(self._latency.values()),
        )


class Statistics(CameraStatistics):
    """Statistics of one or several cameras.

    Attributes:
        cameras: of each; a single one's are these themselves.
        budget: where the time of a frame goes.
    """

    def __init__(self, sensors: Optional[Sensors] = None, cameras: int = 1) -> None:
        super().__init__()
        several = cameras > 1
        self.cameras: List[CameraStatistics] = [CameraStatistics(self) for _ in range(cameras)] if several else [self]
        self.budget = Budget(cameras)
        self._inference = RecentValues()
        self._sensors = sensors or Sensors()
        self._read_at = -10.0
        self._reading: Dict[str, Any] = {}

    def add_inference(self, predictions: Predictions, milliseconds: float) -> None:
        """The networks ran; it took `milliseconds` with what comes before, of the inference too, and after."""
        self._inference.add(predictions.milliseconds)
        self.budget.add("inference", predictions.preparing + predictions.milliseconds)
        self.budget.add("post", max(milliseconds - predictions.preparing - predictions.milliseconds, 0.0))

    def snapshot(self) -> Dict[str, Any]:
        """All statistics now, as JSON values; what is not known is None. `cameras` has those of each, if several."""
        several = self.cameras if len(self.cameras) > 1 else []
        if several:
            self.lost = all(camera.lost for camera in several)
            self.corrupt, self.reconnects = (
                sum(getattr(camera, count) for camera in several) for count in ("corrupt", "reconnects")
            )
        inference = self._inference.values()
        busy = sum(inference)
        return dict(
            self.figures(),
            inference_fps=round(1000 * len(inference) / busy, 1) if busy else None,
            inference_ms=percentiles(inference),
            budget=self.budget.snapshot(),
            cameras=[camera.figures() for camera in several],
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
