"""CUDA layer by layer: driver, runtime, compiler, pycuda. Each is loaded: what is there may be of another release.

On a board CUDA comes with the system; on a host the driver does, and the runtime usually with PyTorch.
"""

import ctypes
import shutil
from typing import Any, Optional

from fastnas.jetson.system.findings import FAIL, OK, WARN, Finding, Findings, check
from fastnas.jetson.system.libraries import load_library, runtime_paths, spell_version
from fastnas.jetson.system.machine import Machine
from fastnas.jetson.system.probe import probe

IN_CONTAINER = "start the container with docker/run.sh"
"""Which hands over the board's libraries, devices and sockets."""

PYCUDA_INSTALL = {32: "pip3 install --no-build-isolation pycuda==2022.1"}
"""By L4T generation. Isolated, the build of the last release for Python 3.6 wants a NumPy that no longer compiles."""

PYCUDA = """
import pycuda
print("{}, compiled with CUDA {}".format(pycuda.VERSION_TEXT, ".".join(map(str, module.get_version()[:2]))))
module.init()
"""


def check_cuda(machine: Machine) -> Findings:
    """Whether driver, runtime, compiler and pycuda are there, load, and fit together."""
    driver = yield from _check_driver(machine)
    yield from _check_runtime(machine, driver)
    yield from _check_compiler(machine)
    yield from _check_pycuda(machine)


def _check_driver(machine: Machine) -> Any:
    """Findings about libcuda; returns the CUDA version that it knows, or None."""
    library = load_library("libcuda.so.1")
    if isinstance(library, str):
        fix = _fix(machine, "sudo apt-get install nvidia-l4t-cuda", "sudo ubuntu-drivers install")
        yield Finding(FAIL if machine.l4t or machine.gpu else WARN, "CUDA driver", library, fix)
        return None
    version, problem = _ask(library.cuDriverGetVersion), library.cuInit(0)
    seen = (
        "it does not start: error {}".format(problem) if problem else "for CUDA up to {}".format(spell_version(version))
    )
    yield check(not problem, "CUDA driver", seen, "sudo reboot", FAIL)
    return version


def _check_runtime(machine: Machine, driver: Optional[int]) -> Findings:
    """The newest libcudart that loads."""
    seen = "is not installed"
    for path in runtime_paths(machine.root):
        library = load_library(path)
        if isinstance(library, str):
            seen = library
            continue
        version = _ask(library.cudaRuntimeGetVersion)  # CUDA 11's gives none without a driver
        seen = "{} ({})".format(spell_version(version), path) if version else path
        newer = driver is not None and version // 1000 > driver // 1000
        if driver is not None and newer:
            seen += " is newer than the driver, which knows CUDA {}".format(spell_version(driver))
        install = "sudo apt-get install --reinstall nvidia-jetpack" if machine.l4t else "sudo ubuntu-drivers install"
        yield check(not newer, "CUDA runtime", seen, install, FAIL)
        return
    fix = _fix(machine, "sudo apt-get install nvidia-jetpack", "pip install nvidia-cuda-runtime")
    yield Finding(FAIL if machine.l4t else WARN, "CUDA runtime", seen, fix)


def _check_compiler(machine: Machine) -> Findings:
    """NVRTC; without it TensorRT runs all the same, and frames are processed on the CPU."""
    seen = "is not installed"
    for path in runtime_paths(machine.root, "nvrtc"):
        library = load_library(path)
        if not isinstance(library, str):
            yield Finding(OK, "NVRTC", path)
            return
        seen = library
    seen += ": the CPU makes inputs of frames, and class ids of outputs"
    fix = _fix(machine, "sudo apt-get install nvidia-jetpack", "pip install nvidia-cuda-nvrtc")
    yield Finding(WARN if machine.l4t else OK, "NVRTC", seen, fix)


def _fix(machine: Machine, board: str, host: str) -> str:
    """The command that installs a library; a container has those of its machine."""
    return IN_CONTAINER if machine.in_container else board if machine.l4t else host


def _check_pycuda(machine: Machine) -> Findings:
    """pycuda is compiled where it is installed, and loads only beside the CUDA and NumPy that it was compiled with."""
    found = probe("pycuda.driver", PYCUDA)
    if not found.installed:
        yield Finding(OK, "pycuda", "is not installed: CUDA is called through ctypes")
        return
    install = PYCUDA_INSTALL.get(machine.generation or 0, "pip3 install --no-build-isolation pycuda")
    if shutil.which("nvcc") is None:
        install = "export PATH=/usr/local/cuda/bin:$PATH && " + install
    if found.version is None:
        seen = found.seen + "; CUDA is called through ctypes instead"
        fix = "pip3 uninstall pycuda; or {} --force-reinstall --no-deps --no-cache-dir".format(install)
        yield Finding(WARN, "pycuda", seen, fix)
        return
    compiled, problem = (found.lines + ["", ""])[:2]
    yield check(not problem, "pycuda", "{}: {}".format(compiled, problem) if problem else compiled, "sudo reboot", FAIL)


def _ask(function: Any) -> int:
    """The number that a CUDA function gives: 1000 times the major version and 10 times the minor one."""
    number = ctypes.c_int()
    function(ctypes.byref(number))
    return number.value
