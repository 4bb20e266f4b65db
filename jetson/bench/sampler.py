"""Power, temperature, clocks and memory over a measurement, and what they come to."""

import threading
import time
from typing import Any, Dict, Iterable, List, Optional

from fastnas.jetson.system.sensors import Sensors, total_power

HERTZ = 2.0
"""Rarely enough to leave the measured passes alone: a reading is some twenty small files, a few milliseconds."""


class Sampler:
    """Reads the sensors at a steady rate in a thread of its own, between `with` and its end.

    Attributes:
        readings: what was read, each with `seconds` since the start; the first right at the start.
    """

    def __init__(self, sensors: Sensors, hertz: float = HERTZ) -> None:
        self.readings = []  # type: List[Dict[str, Any]]
        self._sensors = sensors
        self._period = 1 / hertz
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, name="sensors", daemon=True)

    def __enter__(self) -> "Sampler":
        self._thread.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self._stop.set()
        self._thread.join()

    def _read(self) -> None:
        start = time.perf_counter()
        while True:
            now = time.perf_counter() - start
            self.readings.append(dict(self._sensors.read(), seconds=round(now, 3)))
            if self._stop.wait(self._period):
                return


def summarise_readings(readings: List[Dict[str, Any]]) -> Dict[str, Any]:
    """Mean and highest watts, °C of the hottest zone, clocks and memory; what is absent is None."""
    hottest = [max(((value, zone) for zone, value in each["temperature"].items()), default=None) for each in readings]
    known = [pair for pair in hottest if pair is not None]
    found = dict(_statistics("power_w", (total_power(each["power"]) for each in readings)))
    found.update(_statistics("temperature_c", (value for value, _ in known)))
    found["hottest"] = max(known)[1] if known else None
    for name in ("gpu_mhz", "cpu_mhz", "memory_mb"):
        found.update(_statistics(name, (each[name] for each in readings)))
    return found


def _statistics(name: str, values: Iterable[Optional[float]]) -> Dict[str, Optional[float]]:
    """The mean as `name`, the lowest as `name_min`, the highest as `name_max`."""
    known = [value for value in values if value is not None]
    mean = sum(known) / len(known) if known else None
    return {name: mean, name + "_min": min(known, default=None), name + "_max": max(known, default=None)}
