"""Which binding of CUDA is used: ctypes for graphs and where pycuda is missing or does not load, else pycuda."""

from importlib.util import find_spec
from typing import Any, Callable, Set, Tuple

from fastnas.jetson.engine.cuda.by_ctypes import load_ctypes_cuda
from fastnas.jetson.engine.cuda.by_pycuda import PyCuda
from fastnas.jetson.engine.cuda.interface import Cuda
from fastnas.jetson.errors import JetsonError, first_line, raise_if_interrupted


def open_cuda(log: Callable[[str], None], graphs: bool = False) -> Cuda:
    """CUDA on the first GPU; a line in the log says why it is not pycuda's, or why there are no graphs.

    Args:
        log: receives the line.
        graphs: whether they are wanted.

    Raises:
        JetsonError: there is no driver, no GPU, or no CUDA runtime.
    """
    driver, reason = _import_pycuda()
    if driver is not None and not graphs:
        return PyCuda(driver)
    try:
        cuda = load_ctypes_cuda()
    except JetsonError as error:
        if driver is None:
            raise
        through_pycuda = PyCuda(driver)
        tell_once(log, "{}, without graphs: {}".format(through_pycuda.about, error))
        return through_pycuda
    tell_once(log, "{}: pycuda {}".format(cuda.about, reason))
    return cuda


def _import_pycuda() -> Tuple[Any, str]:
    """The module `pycuda.driver`, or None; and why it is not used where ctypes is."""
    if find_spec("pycuda") is None:
        return None, "is not installed"
    try:
        import pycuda.driver as driver

        return driver, "has no graphs"
    except (ImportError, SystemError, AttributeError, ValueError) as error:
        # Compiled with another CUDA or with a newer NumPy, of which the second is a SystemError.
        raise_if_interrupted(error)
        return None, "does not load ({})".format(first_line(error))


_told: Set[str] = set()


def tell_once(log: Callable[[str], None], line: str) -> None:
    """Log a line that would be the same for every engine of a process."""
    if line not in _told:
        _told.add(line)
        log(line)
