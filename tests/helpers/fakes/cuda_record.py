"""What the stand-ins of CUDA and TensorRT note, in order: `+device`, `=htod`, `-device`, `-leaked device`.

FAKE_CUDA_LIBRARY is the compiled `cuda.c`, whose log is used then.
"""

import ctypes
import os
from collections import Counter

_lines = []
_library = None
if os.environ.get("FAKE_CUDA_LIBRARY"):
    _library = ctypes.CDLL(os.environ["FAKE_CUDA_LIBRARY"])
    _library.fake_log.restype = ctypes.c_char_p


def note(line, has_context=True):
    """Add a line; what is freed outside a context has leaked."""
    if _library is not None:
        _library.fake_note(line.encode())
    else:
        _lines.append(line if has_context or line[0] != "-" else "-leaked " + line[1:])


def lines():
    """All lines so far."""
    return _lines if _library is None else _library.fake_log().decode().splitlines()


def clear():
    """Forget everything so far."""
    if _library is not None:
        _library.fake_clear()
    del _lines[:]


def calls():
    """The calls so far."""
    return [line[1:] for line in lines() if line[0] == "="]


def freed():
    """What was freed, in order, and what was freed by the wrong function."""
    return [line.lstrip("-") for line in lines() if line[0] in "-!"]


def live():
    """How many of each kind were allocated and are not freed."""
    counts = Counter(line[1:] for line in lines() if line[0] == "+")
    counts.subtract(freed())
    return {what: count for what, count in counts.items() if count}
