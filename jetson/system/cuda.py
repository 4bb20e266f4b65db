"""CUDA layer by layer: driver, runtime, pycuda. Each is loaded, for what is installed may be of another release.

On a board CUDA comes with the system; on a host the driver does, and the runtime usually with PyTorch.
"""

import ctypes
import shutil
from typing import Any, Optional

from fastnas.jetson.errors import raise_if_interrupted
from fastnas.jetson.system.findings import FAIL, OK, WARN, Finding, Findings, check, version_of
from fastnas.jetson.system.libraries import load_library, runtime_paths, spell_version
from fastnas.jetson.system.machine import Machine

IN_CONTAINER = "start the container with docker/run.sh, or with --runtime nvidia"


def check_cuda(machine: Machine) -> Findings:
    """Whether driver, runtime and pycuda are there, load, and fit together."""
    driver = yield from _check_driver(machine)
    yield from _check_runtime(machine, driver)
    if version_of("tensorrt")[0] is not None:
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
        version = _ask(library.cudaRuntimeGetVersion)
        seen = "{} ({})".format(spell_version(version), path)
        newer = driver is not None and version // 1000 > driver // 1000
        if driver is not None and newer:
            seen += " is newer than the driver, which knows CUDA {}".format(spell_version(driver))
        install = "sudo apt-get install --reinstall nvidia-jetpack" if machine.l4t else "sudo ubuntu-drivers install"
        yield check(not newer, "CUDA runtime", seen, install, FAIL)
        return
    fix = _fix(machine, "sudo apt-get install nvidia-jetpack", "pip install nvidia-cuda-runtime")
    yield Finding(FAIL if machine.l4t else WARN, "CUDA runtime", seen, fix)


def _fix(machine: Machine, board: str, host: str) -> str:
    """The command that installs a library; a container has those of its machine."""
    return IN_CONTAINER if machine.in_container else board if machine.l4t else host


def _check_pycuda(machine: Machine) -> Findings:
    """pycuda is compiled where it is installed, and loads only beside the CUDA that it was compiled with."""
    install = "pip3 install {}".format("'pycuda<=2022.1'" if machine.generation == 32 else "pycuda")
    if shutil.which("nvcc") is None:
        install = "export PATH=/usr/local/cuda/bin:$PATH && " + install
    version, seen = version_of("pycuda")
    if version is None:
        yield Finding(FAIL, "pycuda", seen + ", without it TensorRT is not used", install)
        return
    try:
        import pycuda.driver as cuda
    except ImportError as error:
        raise_if_interrupted(error)
        fix = install + " --force-reinstall --no-deps --no-cache-dir"
        yield Finding(FAIL, "pycuda", "{} does not load: {}".format(version, error), fix)
        return
    seen = "{}, compiled with CUDA {}".format(version, ".".join(map(str, cuda.get_version()[:2])))
    try:
        cuda.init()
    except cuda.Error as error:
        yield Finding(FAIL, "pycuda", "{}: {}".format(seen, error), "sudo reboot")
    else:
        yield Finding(OK, "pycuda", seen)


def _ask(function: Any) -> int:
    """The number that a CUDA function gives: 1000 times the major version and 10 times the minor one."""
    number = ctypes.c_int()
    function(ctypes.byref(number))
    return number.value
