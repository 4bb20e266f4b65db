"""Power, temperature, clocks and memory, read from sysfs and procfs. What a machine has not got is absent, never zero.

Rails: the TX2 generation names them in `rail_name_N` and gives milliwatts; from L4T 35 on they are hwmon channels of
millivolts and milliamperes, and Thor's input is one of microwatts (INA238). `root` stands for `/`, so that recorded
trees can be read.
"""

import glob
import os
from typing import Any, Dict, List, Optional, Tuple

TOTAL_RAILS = ("VDD_IN", "POM_5V_IN", "VIN")
"""Rails through which all of a board's power flows, by generation."""

CONSTANT_ZONES = ("PMIC-Die",)
"""Zones that always read 100 °C on the older boards."""

GPU_DEVFREQ = ("*.gp10b", "*.gv11b", "*.ga10b", "*.gpu", "gpu-gpc-0")
"""The GPU's clock by generation: TX2, Xavier, Orin on JetPack 5, Orin later, Thor."""


def read_text(path: str) -> Optional[str]:
    """A small file's text without its ends, or None where it is absent or refuses to be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip("\0 \n")
    except OSError:
        return None


def read_number(path: str, scale: float = 1.0) -> Optional[float]:
    """A file's number times `scale`, or None where there is none."""
    text = read_text(path)
    try:
        return None if text is None else float(text) * scale
    except ValueError:
        return None


class Sensors:
    """One machine's sensors, found once and read often."""

    def __init__(self, root: str = "/") -> None:
        self._root = root
        self._gpu = self._first_gpu()
        self._rails = self._find_rails()
        zones = ((zone, read_text(zone + "/type")) for zone in self._glob("sys/class/thermal/thermal_zone*"))
        self._zones = {zone + "/temp": name for zone, name in zones if name and name not in CONSTANT_ZONES}
        self._cores = self._glob("sys/devices/system/cpu/cpu*/cpufreq/scaling_cur_freq")

    def read(self) -> Dict[str, Any]:
        """All readings now: `power` W by rail, `temperature` °C by zone, `gpu_mhz`, `cpu_mhz`, `memory_mb` in use."""
        return {
            "power": self.power(),
            "temperature": self.temperature(),
            "gpu_mhz": None if self._gpu is None else read_number(self._gpu + "/cur_freq", 1e-6),
            "cpu_mhz": self.cpu_mhz(),
            "memory_mb": self.memory_mb(),
        }

    def power(self) -> Dict[str, float]:
        """Watts by rail; empty where there is no power monitor."""
        found = {}
        for name, (paths, watts) in self._rails.items():
            for path in paths:
                value = read_number(path)
                if value is None:
                    break
                watts *= value
            else:
                found[name] = watts
        return found

    def temperature(self) -> Dict[str, float]:
        """Degrees Celsius by thermal zone; a zone that is off (it refuses, or says -256) is left out."""
        found = {}
        for path, name in self._zones.items():
            value = read_number(path, 1e-3)
            if value is not None and -50 < value < 200:
                found[name] = value
        return found

    def cpu_mhz(self) -> Optional[float]:
        """The fastest core's clock."""
        clocks = [read_number(path, 1e-3) for path in self._cores]
        return max((clock for clock in clocks if clock is not None), default=None)

    def memory_mb(self) -> Optional[float]:
        """Memory in use on the machine; the GPU of a Jetson shares it."""
        meminfo = self.meminfo()
        total, available = meminfo.get("MemTotal"), meminfo.get("MemAvailable")
        return None if total is None or available is None else (total - available) / 1024

    def meminfo(self) -> Dict[str, float]:
        """/proc/meminfo, KiB by name."""
        text = read_text(os.path.join(self._root, "proc/meminfo")) or ""
        pairs = (line.split(":") for line in text.splitlines() if ":" in line)
        return {name: float(rest.split()[0]) for name, rest in pairs if rest.split()}

    def clocks(self) -> Dict[str, Dict[str, Any]]:
        """The clock limits of `gpu` and `cpu` in MHz and the governors; `pinned` if the lowest is the highest."""
        found = {}
        if self._gpu is not None:
            found["gpu"] = _limits(self._gpu, "min_freq", "max_freq", "governor", 1e-6)
        policies = self._glob("sys/devices/system/cpu/cpu[0-9]*/cpufreq")
        if policies:
            limits = [
                _limits(path, "scaling_min_freq", "scaling_max_freq", "scaling_governor", 1e-3) for path in policies
            ]
            found["cpu"] = dict(limits[0], pinned=all(limit["pinned"] for limit in limits))
        return found

    def throttle_events(self) -> Optional[float]:
        """Over-current events since boot (Orin counts them), or None."""
        counts = [read_number(path) for path in self._glob("sys/class/hwmon/hwmon*/oc*_event_cnt")]
        known = [count for count in counts if count is not None]
        return sum(known) if known else None

    def absent(self) -> List[str]:
        """Names of the kinds of sensor that this machine has not got."""
        reading = self.read()
        return [name for name in ("power", "temperature", "gpu_mhz", "cpu_mhz", "memory_mb") if not reading[name]]

    def _glob(self, pattern: str) -> List[str]:
        return sorted(glob.glob(os.path.join(glob.escape(self._root), pattern)))

    def _first_gpu(self) -> Optional[str]:
        for name in GPU_DEVFREQ:
            for path in self._glob("sys/class/devfreq/" + name):
                return path
        return None

    def _find_rails(self) -> Dict[str, Tuple[List[str], float]]:
        """The files of each rail, whose product is its power, and the unit of that in watts."""
        rails = {}
        for path in self._glob("sys/bus/i2c/drivers/ina3221x/*/iio:device*/rail_name_*"):
            name = read_text(path)
            if name:
                rails[name] = [path.replace("rail_name_", "in_power") + "_input"], 1e-3
        for path in self._glob("sys/bus/i2c/drivers/ina3221/*/hwmon/hwmon*/in*_label"):
            name = read_text(path)
            folder, channel = os.path.dirname(path), os.path.basename(path)[2 : -len("_label")]
            current = os.path.join(folder, "curr{}_input".format(channel))
            if name and os.path.exists(current):  # channels 4 to 7 are sums and shunts, with no current
                rails[name] = [os.path.join(folder, "in{}_input".format(channel)), current], 1e-6
        for folder in self._glob("sys/class/hwmon/hwmon*"):
            if read_text(os.path.join(folder, "name")) == "ina238":
                rails["VIN"] = [os.path.join(folder, "power1_input")], 1e-6
        return rails


def total_power(power: Dict[str, float]) -> Optional[float]:
    """The whole board's watts: its input rail, or the sum where there is none (AGX boards), or None."""
    for name in TOTAL_RAILS:
        if name in power:
            return power[name]
    return sum(power.values()) if power else None


def _limits(folder: str, low: str, high: str, governor: str, scale: float) -> Dict[str, Any]:
    minimum = read_number(os.path.join(folder, low), scale)
    maximum = read_number(os.path.join(folder, high), scale)
    return {
        "min_mhz": minimum,
        "max_mhz": maximum,
        "governor": read_text(os.path.join(folder, governor)),
        "pinned": minimum is not None and minimum == maximum,
    }


def is_raw_sensor(device: str, root: str = "/") -> bool:
    """Whether a /dev/video* is a CSI camera's sensor itself, which gives a Bayer pattern and no images."""
    name = read_text(os.path.join(root, "sys/class/video4linux", os.path.basename(device), "name")) or ""
    return name.startswith("vi-output")
