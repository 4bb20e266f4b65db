"""CUDA through pycuda: loading it, entering a context, and saying what its errors mean."""

from typing import Any

from fastnas.jetson.errors import MORE_MEMORY, JetsonError, import_package


def import_cuda() -> Any:
    """pycuda's driver, initialised; without a driver TensorRT's runtime would end the process."""
    cuda = import_package("pycuda.driver", "pycuda does not load ({}); run: pip install pycuda")
    try:
        cuda.init()
    except cuda.Error as error:
        raise JetsonError("there is no usable NVIDIA driver here ({})".format(error)) from error
    return cuda


def explain(cuda: Any, error: Exception, doing: str) -> JetsonError:
    """The line for an error of CUDA: what failed, while doing what, and what to do."""
    if isinstance(error, cuda.MemoryError):
        advice = MORE_MEMORY
    elif isinstance(error, cuda.LaunchError):
        advice = "start again; if it comes back, `sudo dmesg | tail` has the driver's reason, often heat or power"
    else:
        advice = "start again; if it comes back, fastnas doctor says whether CUDA, the driver and pycuda fit together"
    return JetsonError("CUDA failed while {}: {}; {}".format(doing, error, advice))


def make_current(device: Any) -> Any:
    """The device's primary context, current in this thread; pycuda before 2020.1 can only make a new one."""
    if not hasattr(device, "retain_primary_context"):
        return device.make_context()  # which enters it
    context = device.retain_primary_context()
    context.push()
    return context
