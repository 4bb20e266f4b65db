"""Which binding of CUDA is used: pycuda where it is installed and loads, else ctypes."""

from importlib.util import find_spec
from typing import Callable, Set

from fastnas.jetson.engine.cuda.by_ctypes import load_ctypes_cuda
from fastnas.jetson.engine.cuda.by_pycuda import PyCuda
from fastnas.jetson.engine.cuda.interface import Cuda
from fastnas.jetson.errors import first_line, raise_if_interrupted


def open_cuda(log: Callable[[str], None]) -> Cuda:
    """CUDA on the first GPU; where pycuda does not do, a line in the log says so.

    Raises:
        JetsonError: there is no driver, no GPU, or no CUDA runtime.
    """
    if find_spec("pycuda") is None:
        reason = "is not installed"
    else:
        try:
            import pycuda.driver as driver

            return PyCuda(driver)
        except (ImportError, SystemError, AttributeError, ValueError) as error:
            # Compiled with another CUDA or with a newer NumPy, of which the second is a SystemError.
            raise_if_interrupted(error)
            reason = "does not load ({})".format(first_line(error))
    cuda = load_ctypes_cuda()
    tell_once(log, "{}: pycuda {}".format(cuda.about, reason))
    return cuda


_told: Set[str] = set()


def tell_once(log: Callable[[str], None], line: str) -> None:
    """Log a line that would be the same for every engine of a process."""
    if line not in _told:
        _told.add(line)
        log(line)
