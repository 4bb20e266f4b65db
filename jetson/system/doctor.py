"""What this machine has, what is missing, and the command that fixes it.

Nothing large is imported: torch's version is read from the name of its installed folder.
"""

import glob
import grp
import json
import os
import platform
import re
import shutil
import sys
from importlib.util import find_spec
from typing import Dict, List

from fastnas.jetson.errors import ADD_SWAP
from fastnas.jetson.files import cache_root
from fastnas.jetson.system.cuda import check_cuda
from fastnas.jetson.system.findings import FAIL, OK, WARN, Finding, Findings, distribution_version, version_of
from fastnas.jetson.system.machine import MAX_OPSET, Machine
from fastnas.jetson.system.opencv import opencv_has
from fastnas.jetson.system.sensors import read_text

HOT_C = 80.0
LOW_DISK_GB = 2.0
SMALL_MEMORY_MB = 8500.0


def examine(machine: Machine) -> Dict[str, List[Finding]]:
    """All findings by section; which sections there are depends on whether this is a Jetson."""
    board = machine.l4t is not None
    checks = {"machine": check_machine, "python": check_python, "CUDA": check_cuda, "engines": check_engines}
    checks.update({"power": check_power} if board else {"host": check_host})
    checks.update({"memory": check_memory, "cameras": check_cameras, "docker": check_docker})
    return {name: list(check(machine)) for name, check in checks.items()}


def check_machine(machine: Machine) -> Findings:
    """Module and L4T of a board; processor and GPU of a host."""
    if machine.l4t is None:
        yield Finding(OK, "processor", "{}, {} cores".format(machine.cpu, os.cpu_count()))
        if machine.gpu:
            yield Finding(OK, "GPU", machine.gpu)
        else:
            yield Finding(WARN, "GPU", "no NVIDIA driver: training and search run on the processor, slowly")
        return
    yield Finding(OK, "module", machine.module or "unknown")
    generation = int(machine.l4t.split(".")[0])
    if generation >= 32 and machine.jetpack != "unknown":
        opset = MAX_OPSET.get(generation)
        note = ", ONNX opset up to {}".format(opset) if opset else ""
        yield Finding(OK, "L4T", "{}, JetPack {}{}".format(machine.l4t, machine.jetpack, note))
    else:
        yield Finding(WARN, "L4T", machine.l4t + " is not one that this was written for")


def check_python(machine: Machine) -> Findings:
    """Python, NumPy and OpenCV."""
    yield Finding(OK, "Python", "{} ({})".format(platform.python_version(), sys.executable))
    numpy, problem = version_of("numpy")
    old_arm = machine.l4t is not None and machine.l4t.startswith("32.")
    if numpy is None:
        yield Finding(FAIL, "NumPy", problem, "pip3 install numpy")
    elif old_arm and numpy == "1.19.5" and os.environ.get("OPENBLAS_CORETYPE") != "ARMV8":
        fix = "export OPENBLAS_CORETYPE=ARMV8"
        yield Finding(WARN, "NumPy", "1.19.5 dies with an illegal instruction on this generation", fix)
    else:
        yield Finding(OK, "NumPy", numpy)
    cv2, problem = version_of("cv2")
    if cv2 is None:
        yield Finding(FAIL, "OpenCV", problem, "sudo apt-get install python3-opencv")
        return
    backends = _opencv_backends()
    yield Finding(OK, "OpenCV", "{} with {}".format(cv2, ", ".join(backends) or "no video backend"))
    if machine.l4t is not None and "GStreamer" not in backends:
        fix = "pip3 uninstall opencv-python; sudo apt-get install python3-opencv"
        yield Finding(WARN, "OpenCV", "this build has no GStreamer: CSI cameras go through gst-launch instead", fix)


def check_engines(machine: Machine) -> Findings:
    """TensorRT, ONNX Runtime, and where built engines are kept."""
    board, tensorrt = machine.l4t is not None, version_of("tensorrt")
    onnxruntime = version_of("onnxruntime")
    if tensorrt[0] is None:
        fix = "sudo apt-get install python3-libnvinfer" if board else ""
        yield Finding(FAIL if board and onnxruntime[0] is None else WARN, "TensorRT", tensorrt[1], fix)
    else:
        yield Finding(OK, "TensorRT", tensorrt[0])
    if onnxruntime[0] is None:
        yield Finding(OK if tensorrt[0] else FAIL, "ONNX Runtime", onnxruntime[1], "pip3 install onnxruntime")
    else:
        import onnxruntime as runtime

        names = [name.replace("ExecutionProvider", "") for name in runtime.get_available_providers()]
        yield Finding(OK, "ONNX Runtime", "{} built with {}".format(onnxruntime[0], ", ".join(names)))
    if distribution_version("onnxruntime") and distribution_version("onnxruntime-gpu"):
        fix = "pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime-gpu"
        yield Finding(WARN, "ONNX Runtime", "onnxruntime and onnxruntime-gpu hide each other", fix)
    folder = str(cache_root())
    if _writable(folder):
        yield Finding(OK, "cache", folder)
    else:
        yield Finding(FAIL, "cache", folder + " cannot be written", "export FASTNAS_CACHE=/path/to/a/folder")


def check_power(machine: Machine) -> Findings:
    """Power mode, clocks and temperature of a board."""
    mode = machine.power_mode
    status = read_text(os.path.join(machine.root, "var/lib/nvpmodel/status")) or ""
    if mode is None:
        yield Finding(WARN, "power mode", "unknown", "sudo nvpmodel -q")
    elif re.search(r"pmode:0+\b", status):
        yield Finding(OK, "power mode", mode)
    else:
        yield Finding(WARN, "power mode", mode + " is not the highest", "sudo nvpmodel -m 0")
    for name, limits in machine.sensors.clocks().items():
        seen = "{} {:.0f} to {:.0f} MHz, {}".format(
            name, limits["min_mhz"] or 0, limits["max_mhz"] or 0, limits["governor"] or "no governor"
        )
        if limits["pinned"]:
            yield Finding(OK, "clocks", seen)
        else:
            yield Finding(WARN, "clocks", seen + ": latency will vary", "sudo jetson_clocks")
    temperature = machine.sensors.temperature()
    if temperature:
        zone, value = max(temperature.items(), key=lambda item: item[1])
        hot = value > HOT_C
        yield Finding(
            WARN if hot else OK,
            "temperature",
            "{:.0f} °C ({})".format(value, zone),
            "sudo jetson_clocks --fan" if hot else "",
        )
    if machine.sensors.throttle_events():
        yield Finding(
            WARN, "supply", "over-current events since boot: {:.0f}".format(machine.sensors.throttle_events() or 0)
        )
    absent = machine.sensors.absent()
    if absent:
        yield Finding(WARN, "sensors", "absent: " + ", ".join(absent))


def check_host(machine: Machine) -> Findings:
    """What search, training and export need."""
    if find_spec("fastnas.deploy") is None and find_spec("fastnas.train") is None:
        yield Finding(
            OK, "fastnas", "the device half alone: it measures and runs; search, training and export are elsewhere"
        )
        return
    for name, fix in (
        ("torch", "pip install fastnas"),
        ("torchvision", "pip install fastnas"),
        ("onnx", "pip install fastnas"),
    ):
        version = distribution_version(name)
        yield Finding(OK if version else FAIL, name, version or "is not installed", "" if version else fix)
    ray = distribution_version("ray")
    yield Finding(
        OK,
        "ray",
        ray or "is not installed; only search on several machines needs it",
        "" if ray else "pip install 'fastnas[ray]'",
    )


def check_memory(machine: Machine) -> Findings:
    """Memory, swap and disk."""
    total = machine.sensors.meminfo().get("MemTotal", 0) / 1024
    swap = machine.swap_mb
    if total < SMALL_MEMORY_MB and swap is not None and swap < 1024:
        yield Finding(
            WARN, "memory", "{:.0f} MB and {:.0f} MB of swap: building an engine may fail".format(total, swap), ADD_SWAP
        )
    else:
        yield Finding(
            OK, "memory", "{:.0f} MB, swap {}".format(total, "unknown" if swap is None else "{:.0f} MB".format(swap))
        )
    free = shutil.disk_usage(".").free / 1e9
    low = free < LOW_DISK_GB
    yield Finding(WARN if low else OK, "disk", "{:.1f} GB free here".format(free), "df -h ." if low else "")


def check_cameras(machine: Machine) -> Findings:
    """Video devices, and whether this user may open them."""
    devices = sorted(glob.glob(os.path.join(glob.escape(machine.root), "dev/video*")))
    if not devices:
        yield Finding(WARN, "cameras", "no /dev/video*: plug one in, or use a file or the test pattern")
    for device in devices:
        name = "/" + os.path.relpath(device, machine.root)
        if os.access(device, os.R_OK | os.W_OK):
            title = read_text(os.path.join(machine.root, "sys/class/video4linux", os.path.basename(device), "name"))
            yield Finding(OK, "cameras", "{} {}".format(name, title or "").strip())
        else:
            group = "video" if any(entry.gr_name == "video" for entry in grp.getgrall()) else "root"
            yield Finding(
                FAIL,
                "cameras",
                name + " may not be opened",
                "sudo usermod -aG {} $USER, then log in again".format(group),
            )
    if machine.l4t is not None and not os.path.exists(os.path.join(machine.root, "tmp/argus_socket")):
        where = (
            "mount /tmp/argus_socket into the container"
            if machine.in_container
            else "sudo systemctl restart nvargus-daemon"
        )
        yield Finding(WARN, "CSI cameras", "the argus service is not reachable", where)


def check_docker(machine: Machine) -> Findings:
    """Docker with NVIDIA's runtime; needed only by the images."""
    if machine.in_container:
        yield Finding(OK, "docker", "this is a container")
        return
    if shutil.which("docker") is None:
        yield Finding(OK, "docker", "is not installed; only the images need it", "sudo apt-get install docker.io")
        return
    settings = read_text(os.path.join(machine.root, "etc/docker/daemon.json")) or "{}"
    try:
        runtimes = json.loads(settings).get("runtimes", {})
    except ValueError:
        yield Finding(FAIL, "docker", "/etc/docker/daemon.json is not valid JSON")
        return
    if "nvidia" in runtimes:
        yield Finding(OK, "docker", "with NVIDIA's runtime")
    else:
        fix = "sudo apt-get install nvidia-container-toolkit && sudo nvidia-ctk runtime configure"
        yield Finding(WARN, "docker", "without NVIDIA's runtime: containers will not see the GPU", fix)


def _opencv_backends() -> List[str]:
    """The video backends that OpenCV was built with."""
    names = (("GStreamer", "GStreamer"), ("FFMPEG", "FFMPEG"), ("v4l/v4l2", "V4L2"))
    return [name for key, name in names if opencv_has(key)]


def _writable(folder: str) -> bool:
    """Whether a folder can be written, or made."""
    while not os.path.exists(folder):
        folder = os.path.dirname(folder)
    return os.path.isdir(folder) and os.access(folder, os.W_OK)


def to_text(sections: Dict[str, List[Finding]]) -> str:
    """The findings for people."""
    lines = []
    for name, findings in sections.items():
        lines.append(name)
        for finding in findings:
            lines.append("  {:4}  {}: {}".format(finding.status, finding.what, finding.seen))
            if finding.fix:
                lines.append("        {}".format(finding.fix))
    counts = {status: sum(f.status == status for fs in sections.values() for f in fs) for status in (OK, WARN, FAIL)}
    lines += ["", "{ok} ok, {warn} to improve, {fail} to fix".format(**counts)]
    return "\n".join(lines)
