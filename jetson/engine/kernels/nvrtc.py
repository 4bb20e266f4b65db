"""NVRTC, CUDA's compiler as a library, through ctypes: from the text of kernels to PTX, which the driver finishes.

PTX and not machine code, for NVRTC of CUDA 10.2 makes no other.
"""

import ctypes
import glob
import os
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_void_p
from typing import Any, Dict, Sequence, Tuple

from fastnas.jetson.engine.cuda.functions import HANDLE, Functions, Types, function
from fastnas.jetson.engine.cuda.interface import CudaError
from fastnas.jetson.errors import JetsonError
from fastnas.jetson.system.libraries import load_library

NVRTC: Dict[str, Types] = {
    "nvrtcVersion": (POINTER(c_int), POINTER(c_int)),
    "nvrtcCreateProgram": (HANDLE, c_char_p, c_char_p, c_int, POINTER(c_char_p), POINTER(c_char_p)),
    "nvrtcCompileProgram": (c_void_p, c_int, POINTER(c_char_p)),
    "nvrtcGetProgramLogSize": (c_void_p, POINTER(c_size_t)),
    "nvrtcGetProgramLog": (c_void_p, c_char_p),
    "nvrtcGetPTXSize": (c_void_p, POINTER(c_size_t)),
    "nvrtcGetPTX": (c_void_p, c_char_p),
    "nvrtcDestroyProgram": (HANDLE,),
}

BUILTINS = "libnvrtc-builtins.so.*"
"""Name of the library beside NVRTC's own."""


def open_nvrtc(path: str) -> "Nvrtc":
    """NVRTC of a path. What is built into its language lies in a second library, which it finds only once loaded.

    Raises:
        JetsonError: it does not load, or is none.
    """
    for beside in sorted(glob.glob(os.path.join(glob.escape(os.path.dirname(path) or "."), BUILTINS))):
        load_library(beside)
    library = load_library(path)
    if isinstance(library, str):
        raise JetsonError("libnvrtc " + library)
    return Nvrtc(library)


class Nvrtc:
    """A library of NVRTC that is loaded.

    Raises:
        JetsonError: it lacks a function.

    Attributes:
        version: such as `12.6`.
    """

    def __init__(self, library: Any) -> None:
        text = function(library, "nvrtcGetErrorString", (c_int,), c_char_p)
        self._calls = Functions(library, NVRTC, lambda result: (text(result) or b"unknown error").decode())
        major, minor = c_int(), c_int()
        self._calls.nvrtcVersion(byref(major), byref(minor))
        self.version = "{}.{}".format(major.value, minor.value)

    def compile(self, text: bytes, name: str, options: Sequence[str]) -> bytes:
        """PTX.

        Args:
            text: of the kernels.
            name: of the text in messages.
            options: of NVRTC.

        Raises:
            JetsonError: it does not compile; the first line of the compiler's log.
        """
        program = c_void_p()
        self._calls.nvrtcCreateProgram(byref(program), text, name.encode(), 0, None, None)
        try:
            values = (c_char_p * len(options))(*[option.encode() for option in options])
            try:
                self._calls.nvrtcCompileProgram(program, len(options), values)
            except CudaError as error:
                log = self._text(program, "nvrtcGetProgramLog").decode("utf-8", "replace").strip()
                raise JetsonError("{}{}".format(error, ": " + log.splitlines()[0] if log else "")) from error
            return self._text(program, "nvrtcGetPTX")
        finally:
            self._calls.nvrtcDestroyProgram(byref(program))

    def _text(self, program: c_void_p, name: str) -> bytes:
        size = c_size_t()
        getattr(self._calls, name + "Size")(program, byref(size))
        found = ctypes.create_string_buffer(size.value)
        getattr(self._calls, name)(program, found)
        return found.value


def architecture(capability: Tuple[int, int]) -> str:
    """NVRTC's name of the architecture of a compute capability; Thor's was 10.1 in CUDA 12 and is 11.0 in CUDA 13."""
    return "compute_{}{}".format(*capability)
