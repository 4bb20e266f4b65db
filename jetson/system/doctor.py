"""What this machine has, what is missing, and the command that fixes it.

No package is imported here: versions are read from the names of installed folders, or asked in another process, which
may die of what it imports.
"""

import glob
import grp
import os
import platform
import shutil
import signal
import sys
from importlib.util import find_spec
from typing import Dict, List

from fastnas.jetson.checks import Fields, parse_json
from fastnas.jetson.errors import ADD_SWAP, FastnasError, JetsonError
from fastnas.jetson.files import cache_root
from fastnas.jetson.system.cuda import IN_CONTAINER, check_cuda
from fastnas.jetson.system.findings import (
    FAIL,
    OK,
    WARN,
    Finding,
    Findings,
    check,
    distribution_version,
)
from fastnas.jetson.system.machine import MAX_OPSET, Machine, onnxruntime_install
from fastnas.jetson.system.opencv import built_with, opencv_package
from fastnas.jetson.system.power import highest, power_modes
from fastnas.jetson.system.probe import probe
from fastnas.jetson.system.sensors import is_raw_sensor, read_text

HOT_C = 80.0
LOW_DISK_GB = 2.0
SMALL_MEMORY_MB = 8500.0
PROVIDERS = 'print(", ".join(module.get_available_providers()))'


def examine(machine: Machine) -> Dict[str, List[Finding]]:
    """All findings by section; which sections there are depends on whether this is a Jetson."""
    checks = {"machine": check_machine, "python": check_python, "CUDA": check_cuda, "engines": check_engines}
    checks.update({"power": check_power} if machine.l4t else {"host": check_host})
    checks.update({"memory": check_memory, "cameras": check_cameras, "docker": check_docker})
    return {name: list(section(machine)) for name, section in checks.items()}


def check_machine(machine: Machine) -> Findings:
    """Module and L4T of a board; processor and GPU of a host."""
    if machine.l4t is None:
        yield Finding(OK, "processor", "{}, {} cores".format(machine.cpu, os.cpu_count()))
        no_gpu = "no NVIDIA driver: training and search run on the processor, slowly"
        yield check(machine.gpu, "GPU", machine.gpu or no_gpu)
        return
    yield Finding(OK, "module", machine.module or "unknown")
    opset = MAX_OPSET.get(machine.generation or 0)
    release = "{}, JetPack {}{}".format(
        machine.l4t, machine.jetpack, ", ONNX opset up to {}".format(opset) if opset else ""
    )
    known = machine.jetpack != "unknown"
    yield check(known, "L4T", release if known else machine.l4t + " is not one that this was written for")


def check_python(machine: Machine) -> Findings:
    """Python, NumPy and OpenCV."""
    yield Finding(OK, "Python", "{} ({})".format(platform.python_version(), sys.executable))
    numpy = probe("numpy")
    dies = machine.generation == 32 and distribution_version("numpy") == "1.19.5"
    if numpy.signal == signal.SIGILL or (dies and os.environ.get("OPENBLAS_CORETYPE") != "ARMV8"):
        seen = "{} dies with an illegal instruction on this board".format(distribution_version("numpy") or "it")
        fix = "export OPENBLAS_CORETYPE=ARMV8, or: pip3 install numpy==1.19.4"
        yield Finding(FAIL if numpy.signal else WARN, "NumPy", seen, fix)
    else:
        yield check(numpy.version, "NumPy", numpy.seen, "pip3 install numpy", FAIL)
    install = "sudo apt-get install " + opencv_package(machine.generation)
    cv2 = probe("cv2", "print(module.getBuildInformation())")
    if cv2.version is None:
        yield Finding(FAIL, "OpenCV", cv2.seen, install)
        return
    names = (("GStreamer", "GStreamer"), ("FFMPEG", "FFMPEG"), ("v4l/v4l2", "V4L2"))
    backends = [name for key, name in names if built_with("\n".join(cv2.lines), key)]
    yield Finding(OK, "OpenCV", "{} with {}".format(cv2.version, ", ".join(backends) or "no video backend"))
    if cv2.version.startswith(("2.", "3.")):
        yield Finding(FAIL, "OpenCV", "{} is too old: depth cannot be drawn".format(cv2.version), install)
    if machine.l4t and "GStreamer" not in backends:
        seen = "this build has no GStreamer: CSI cameras go through gst-launch instead"
        yield Finding(WARN, "OpenCV", seen, "pip3 uninstall opencv-python; " + install)


def check_engines(machine: Machine) -> Findings:
    """TensorRT, ONNX Runtime, and the folder of built engines."""
    tensorrt, onnxruntime = probe("tensorrt"), probe("onnxruntime", PROVIDERS)
    fix = "sudo apt-get install python3-libnvinfer" if machine.l4t else ""
    needed = machine.l4t and onnxruntime.version is None
    yield check(tensorrt.version, "TensorRT", tensorrt.seen, fix, FAIL if needed else WARN)
    if onnxruntime.version is None:
        status = FAIL if onnxruntime.installed or not tensorrt.version else OK
        yield Finding(status, "ONNX Runtime", onnxruntime.seen, onnxruntime_install(machine.generation))
    else:
        names = " ".join(onnxruntime.lines).replace("ExecutionProvider", "")
        yield Finding(OK, "ONNX Runtime", "{} built with {}".format(onnxruntime.version, names))
    if distribution_version("onnxruntime") and distribution_version("onnxruntime-gpu"):
        fix = "pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime-gpu"
        yield Finding(WARN, "ONNX Runtime", "onnxruntime and onnxruntime-gpu hide each other", fix)
    fix = "export FASTNAS_CACHE=/path/to/a/folder"
    try:
        folder = str(cache_root())
    except FastnasError as error:
        yield Finding(FAIL, "cache", str(error), fix)
        return
    writable = _writable(folder)
    yield check(writable, "cache", folder if writable else folder + " cannot be written", fix, FAIL)


def check_power(machine: Machine) -> Findings:
    """Power mode, clocks and temperature of a board."""
    mode = machine.power_mode
    best = highest(power_modes(machine.root))
    if mode is None or best is None:
        yield Finding(WARN, "power mode", mode or "unknown", "sudo nvpmodel -q")
    else:
        seen = mode if mode == best.name else "{} is not the highest, {}".format(mode, best.name)
        yield check(mode == best.name, "power mode", seen, "sudo nvpmodel -m {}".format(best.number))
    for name, limits in machine.sensors.clocks().items():
        seen = "{} {:.0f} to {:.0f} MHz, {}".format(
            name, limits["min_mhz"] or 0, limits["max_mhz"] or 0, limits["governor"] or "no governor"
        )
        pinned = limits["pinned"]
        yield check(pinned, "clocks", seen if pinned else seen + ": latency will vary", "sudo jetson_clocks")
    temperature = machine.sensors.temperature()
    if temperature:
        zone, value = max(temperature.items(), key=lambda item: item[1])
        yield check(value <= HOT_C, "temperature", "{:.0f} °C ({})".format(value, zone), "sudo jetson_clocks --fan")
    events = machine.sensors.throttle_events()
    if events:
        yield Finding(WARN, "supply", "over-current events since boot: {:.0f}".format(events))
    absent = machine.sensors.absent()
    if absent:
        yield Finding(WARN, "sensors", "absent: " + ", ".join(absent))


def check_host(machine: Machine) -> Findings:
    """What search, training and export need."""
    if find_spec("fastnas.deploy") is None and find_spec("fastnas.train") is None:
        seen = "the device half alone: it measures and runs; search, training and export are elsewhere"
        yield Finding(OK, "fastnas", seen)
        return
    for name in ("torch", "torchvision", "onnx"):
        version = distribution_version(name)
        yield check(version, name, version or "is not installed", "pip install fastnas", FAIL)
    ray = distribution_version("ray")
    missing = "is not installed; only search on several machines needs it"
    yield Finding(OK, "ray", ray or missing, "" if ray else "pip install 'fastnas[ray]'")


def check_memory(machine: Machine) -> Findings:
    """Memory, swap and disk."""
    total, swap = machine.sensors.meminfo().get("MemTotal", 0) / 1024, machine.swap_mb
    seen = "{:.0f} MB, swap {}".format(total, "unknown" if swap is None else "{:.0f} MB".format(swap))
    small = total < SMALL_MEMORY_MB and swap is not None and swap < 1024
    yield check(not small, "memory", seen + ": building an engine may fail" * small, ADD_SWAP)
    free = shutil.disk_usage(".").free / 1e9
    yield check(free >= LOW_DISK_GB, "disk", "{:.1f} GB free here".format(free), "df -h .")


def check_cameras(machine: Machine) -> Findings:
    """Video devices, and whether this user may open them."""
    devices = sorted(glob.glob(os.path.join(glob.escape(machine.root), "dev/video*")))
    if not devices:
        yield Finding(WARN, "cameras", "no /dev/video*: plug one in, or use a file or the test pattern")
    group = "video" if any(entry.gr_name == "video" for entry in grp.getgrall()) else "root"
    for device in devices:
        name = "/" + os.path.relpath(device, machine.root)
        title = read_text(os.path.join(machine.root, "sys/class/video4linux", os.path.basename(device), "name"))
        allowed = os.access(device, os.R_OK | os.W_OK)
        seen = "{} {}".format(name, title or "").strip() if allowed else name + " may not be opened"
        if allowed and is_raw_sensor(device, machine.root):
            sensor = name[len("/dev/video") :]
            yield Finding(OK, "cameras", seen + ": a raw sensor", "fastnas camera --source csi://" + sensor)
            continue
        yield check(allowed, "cameras", seen, "sudo usermod -aG {} $USER, then log in again".format(group), FAIL)
    if machine.l4t and not os.path.exists(os.path.join(machine.root, "tmp/argus_socket")):
        fix = IN_CONTAINER if machine.in_container else "sudo systemctl restart nvargus-daemon"
        yield Finding(WARN, "CSI cameras", "the argus service is not reachable", fix)


def check_docker(machine: Machine) -> Findings:
    """Docker with NVIDIA's runtime; needed only by the images."""
    if machine.in_container:
        yield Finding(OK, "docker", "this is a container")
        return
    if shutil.which("docker") is None:
        yield Finding(OK, "docker", "is not installed; only the images need it", "sudo apt-get install docker.io")
        return
    socket = os.path.join(machine.root, "var/run/docker.sock")
    if os.path.exists(socket) and not os.access(socket, os.R_OK | os.W_OK):
        yield Finding(WARN, "docker", "this user may not use it", "sudo usermod -aG docker $USER, then log in again")
    where = "/etc/docker/daemon.json"
    settings = read_text(os.path.join(machine.root, where[1:])) or "{}"
    try:
        nvidia = "nvidia" in (Fields(parse_json(settings, where), where).take("runtimes", dict, optional=True) or {})
    except JetsonError as error:
        yield Finding(FAIL, "docker", str(error), "python3 -m json.tool " + where)
        return
    seen = "with NVIDIA's runtime" if nvidia else "without NVIDIA's runtime: containers will not see the GPU"
    fix = "sudo apt-get install nvidia-container-toolkit && sudo nvidia-ctk runtime configure"
    yield check(nvidia, "docker", seen, fix)


def _writable(folder: str) -> bool:
    """Whether a folder can be written, or made."""
    folder = os.path.abspath(folder)
    while not os.path.exists(folder):
        folder = os.path.dirname(folder)
    return os.path.isdir(folder) and os.access(folder, os.W_OK)


def to_text(sections: Dict[str, List[Finding]]) -> str:
    """The findings as text: a line each, with the fix below."""
    lines = []
    for name, findings in sections.items():
        lines.append(name)
        for finding in findings:
            lines.append("  {:4}  {}: {}".format(finding.status, finding.what, finding.seen))
            lines += ["        {}".format(finding.fix)] if finding.fix else []
    counts = {status: sum(f.status == status for fs in sections.values() for f in fs) for status in (OK, WARN, FAIL)}
    return "\n".join(lines + ["", "{ok} ok, {warn} to improve, {fail} to fix".format(**counts)])
