"""What machine this is: the facts that decide a latency and that a report must carry."""

import os
import platform
import re
import subprocess
from typing import Any, Dict, List, Optional

from fastnas.jetson.system.power import power_modes
from fastnas.jetson.system.sensors import Sensors, read_text

JETPACK = (
    ((32, 6), "4.6"),
    ((32, 7), "4.6.1 to 4.6.6"),
    ((35, 1), "5.0.2"),
    ((35, 2), "5.1"),
    ((35, 3), "5.1.1"),
    ((35, 4), "5.1.2"),
    ((35, 5), "5.1.3"),
    ((35, 6), "5.1.4"),
    ((36, 3), "6.0"),
    ((36, 4), "6.1 or 6.2"),
    ((36, 5), "6.2.2"),
    ((38, 2), "7.0"),
    ((38, 4), "7.1"),
    ((39, 2), "7.2"),
)
"""JetPack versions by L4T release and major revision, from NVIDIA's archive page."""

MAX_OPSET = {32: 13, 35: 17, 36: 20, 39: 24}
"""The newest ONNX opset that each generation's TensorRT takes."""


class Machine:
    """Facts of one machine.

    Attributes:
        root: what stands for `/`, so that recorded trees can be read.
        sensors: its sensors.
    """

    def __init__(self, root: str = "/") -> None:
        self.root = root
        self.sensors = Sensors(root)

    @property
    def module(self) -> Optional[str]:
        """The board's own name, or None on a machine without a device tree.

        A container cannot read the device tree: `docker/run.sh` hands the name over in $FASTNAS_MODULE.
        """
        return os.environ.get("FASTNAS_MODULE") or self._read("proc/device-tree/model")

    @property
    def l4t(self) -> Optional[str]:
        """The L4T release, such as `32.7.1`, or None where this is no Jetson."""
        text = self._read("etc/nv_tegra_release") or ""
        found = re.search(r"R(\d+)\s*\(release\),\s*REVISION:\s*([\d.]+)", text)
        return "{}.{}".format(*found.groups()) if found else None

    @property
    def generation(self) -> Optional[int]:
        """The major L4T release, such as 32, or None where this is no Jetson."""
        return None if self.l4t is None else int(self.l4t.split(".")[0])

    @property
    def jetpack(self) -> Optional[str]:
        """The JetPack that the L4T release belongs to, or None."""
        if self.l4t is None:
            return None
        major, minor = self.l4t.split(".")[:2]
        return dict(JETPACK).get((int(major), int(minor)), "unknown")

    @property
    def power_mode(self) -> Optional[str]:
        """The nvpmodel mode's name, or None. Read from its files, for `nvpmodel -q` asks for root on some releases."""
        found = re.search(r"pmode:(\d+)", self._read("var/lib/nvpmodel/status") or "")
        if found is None:
            return None
        number = int(found.group(1))
        names = {mode.number: mode.name for mode in power_modes(self.root)}
        return names.get(number, "mode {}".format(number))

    @property
    def cpu(self) -> str:
        """The processor's name."""
        found = re.search(r"model name\s*:\s*(.+)", self._read("proc/cpuinfo") or "")
        return found.group(1) if found else platform.machine()

    @property
    def gpu(self) -> Optional[str]:
        """The name of a discrete GPU with NVIDIA's driver, or None."""
        if not os.path.exists(os.path.join(self.root, "proc/driver/nvidia/gpus")):
            return None
        lines = run_quietly(["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"])
        return lines[0] if lines else None

    @property
    def swap_mb(self) -> Optional[float]:
        """The size of all swap, or None where /proc does not have it."""
        total = self.sensors.meminfo().get("SwapTotal")
        return None if total is None else total / 1024

    @property
    def in_container(self) -> bool:
        """Whether this runs in a container."""
        return os.path.exists(os.path.join(self.root, ".dockerenv"))

    def fingerprint(self) -> Dict[str, Any]:
        """Everything above, for a report; what is absent is None."""
        meminfo = self.sensors.meminfo()
        return {
            "module": self.module,
            "l4t": self.l4t,
            "jetpack": self.jetpack,
            "power_mode": self.power_mode,
            "clocks": self.sensors.clocks(),
            "fan_pwm": self._read("sys/devices/pwm-fan/target_pwm"),
            "cpu": self.cpu,
            "cores": os.cpu_count(),
            "gpu": self.gpu,
            "memory_mb": meminfo.get("MemTotal", 0) / 1024 or None,
            "swap_mb": self.swap_mb,
            "container": self.in_container,
            "display": bool(os.environ.get("DISPLAY")),
            "system": platform.platform(),
            "python": platform.python_version(),
            "absent_sensors": self.sensors.absent(),
        }

    def title(self) -> str:
        """The machine in one line, for reports."""
        if self.module is not None and self.l4t is not None:
            mode = self.power_mode or "power mode unknown"
            return "{}, L4T {} (JetPack {}), {}".format(self.module, self.l4t, self.jetpack, mode)
        return ", ".join(filter(None, [self.gpu, self.cpu, "{} cores".format(os.cpu_count())]))

    def _read(self, path: str) -> Optional[str]:
        return read_text(os.path.join(self.root, path))


def run_quietly(command: List[str], timeout: float = 10.0) -> Optional[List[str]]:
    """The lines that a command prints, or None where it is absent, fails or takes too long."""
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, universal_newlines=True, timeout=timeout
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip().splitlines() if done.returncode == 0 else None


def onnxruntime_install(generation: Optional[int]) -> str:
    """The command that installs ONNX Runtime; on JetPack 4 it alone would bring NumPy 1.19.5, which dies on a TX2."""
    return "pip3 install onnxruntime" + (" numpy==1.19.4" if generation == 32 else "")
