"""The functions of CUDA's two libraries as ctypes calls them: names, types, and a check of every result.

CUDA 10.2 to 13 have all of them, with the same arguments, but for what `INSTANTIATE` names.
"""

import ctypes
from ctypes import POINTER, c_char_p, c_float, c_int, c_size_t, c_uint, c_ulonglong, c_void_p
from typing import Any, Callable, Dict, Tuple

from fastnas.jetson.engine.cuda.interface import CudaError
from fastnas.jetson.errors import JetsonError

Types = Tuple[Any, ...]
HANDLE = POINTER(c_void_p)
"""Where a function puts a pointer or a handle that it makes."""

RUNTIME: Dict[str, Types] = {
    "cudaRuntimeGetVersion": (POINTER(c_int),),
    "cudaGetDeviceCount": (POINTER(c_int),),
    "cudaDeviceGetAttribute": (POINTER(c_int), c_int, c_int),
    "cudaMalloc": (HANDLE, c_size_t),
    "cudaFree": (c_void_p,),
    "cudaHostAlloc": (HANDLE, c_size_t, c_uint),
    "cudaFreeHost": (c_void_p,),
    "cudaHostGetDevicePointer": (HANDLE, c_void_p, c_uint),
    "cudaMallocManaged": (HANDLE, c_size_t, c_uint),
    "cudaMemcpyAsync": (c_void_p, c_void_p, c_size_t, c_int, c_void_p),
    "cudaStreamCreateWithFlags": (HANDLE, c_uint),
    "cudaStreamSynchronize": (c_void_p,),
    "cudaStreamDestroy": (c_void_p,),
    "cudaEventCreateWithFlags": (HANDLE, c_uint),
    "cudaEventRecord": (c_void_p, c_void_p),
    "cudaEventSynchronize": (c_void_p,),
    "cudaEventElapsedTime": (POINTER(c_float), c_void_p, c_void_p),
    "cudaEventDestroy": (c_void_p,),
    "cudaGetLastError": (),
    "cudaStreamBeginCapture": (c_void_p, c_int),
    "cudaStreamEndCapture": (c_void_p, HANDLE),
    "cudaGraphLaunch": (c_void_p, c_void_p),
    "cudaGraphDestroy": (c_void_p,),
    "cudaGraphExecDestroy": (c_void_p,),
}
"""Of libcudart, beside one of `INSTANTIATE`, and the names and texts of errors."""

DRIVER: Dict[str, Types] = {
    "cuInit": (c_uint,),
    "cuDeviceGet": (POINTER(c_int), c_int),
    "cuDeviceGetName": (c_char_p, c_int, c_int),
    "cuDevicePrimaryCtxRetain": (HANDLE, c_int),
    "cuDevicePrimaryCtxRelease": (c_int,),
    "cuCtxPushCurrent_v2": (c_void_p,),
    "cuCtxPopCurrent_v2": (HANDLE,),
    "cuModuleLoadData": (HANDLE, c_void_p),
    "cuModuleGetFunction": (HANDLE, c_void_p, c_char_p),
    "cuModuleUnload": (c_void_p,),
    "cuLaunchKernel": (c_void_p,) + (c_uint,) * 7 + (c_void_p, POINTER(c_void_p), POINTER(c_void_p)),
}
"""Of libcuda: contexts and kernels, which the runtime has no stable functions for."""

MEMORY_ERRORS = (2,)
"""cudaErrorMemoryAllocation, which is CUDA_ERROR_OUT_OF_MEMORY too."""

LAUNCH_ERRORS = (700, 701, 702, 719)
"""Illegal address, too many resources, a kernel that took too long, and an unspecified failure, in both libraries."""


INSTANTIATE: Dict[str, Types] = {
    "cudaGraphInstantiateWithFlags": (HANDLE, c_void_p, c_ulonglong),
    "cudaGraphInstantiate": (HANDLE, c_void_p, HANDLE, c_char_p, c_size_t),
}
"""Making a graph that can be launched: the first of these that a runtime has.

`cudaGraphInstantiate` lost two arguments with CUDA 12; the other, from 11.4 on, is the same in all releases.
"""


class Functions:
    """Functions of a library; calling one that fails raises CudaError, and what it returns is never ignored.

    Args:
        library: loaded by ctypes, this object's own: types are set in it.
        types: of the functions' arguments, by name.
        text: what describes a result that is not 0.

    Raises:
        JetsonError: a function is missing.
    """

    def __init__(self, library: Any, types: Dict[str, Types], text: Callable[[int], str]) -> None:
        self._library, self._text = library, text
        self.add(types)

    def add(self, types: Dict[str, Types]) -> None:
        """Declare more functions."""
        for name, arguments in types.items():
            setattr(self, name, self._checked(name, function(self._library, name, arguments, c_int)))

    def _checked(self, name: str, function: Any) -> Callable[..., None]:
        def call(*arguments: Any) -> None:
            result = function(*arguments)
            if result:
                kind = "memory" if result in MEMORY_ERRORS else "launch" if result in LAUNCH_ERRORS else "other"
                raise CudaError("{} failed: {}".format(name, self._text(result)), kind)

        return call

    def __getattr__(self, name: str) -> Callable[..., None]:  # what `add` sets is found before
        raise AttributeError("{} is not declared in functions.py".format(name))


def function(library: Any, name: str, arguments: Types, result: Any) -> Any:
    """A function of a library with its types.

    Raises:
        JetsonError: the library has none of this name.
    """
    try:
        found = getattr(library, name)
    except AttributeError as error:
        message = "{} has no {}: it is older than CUDA 10.2, or no library of CUDA"
        raise JetsonError(message.format(getattr(library, "_name", "the library"), name)) from error
    found.argtypes, found.restype = list(arguments), result
    return found


def runtime_functions(library: Any) -> Functions:
    """The functions of a libcudart."""
    name = function(library, "cudaGetErrorName", (c_int,), c_char_p)
    text = function(library, "cudaGetErrorString", (c_int,), c_char_p)

    def describe(result: int) -> str:
        return "{} ({})".format(_decode(text(result)), _decode(name(result)))

    functions = Functions(library, RUNTIME, describe)
    instantiate = next(each for each in INSTANTIATE if hasattr(library, each) or each == "cudaGraphInstantiate")
    functions.add({instantiate: INSTANTIATE[instantiate]})
    return functions


def driver_functions(library: Any) -> Functions:
    """The functions of a libcuda."""
    name = function(library, "cuGetErrorName", (c_int, POINTER(c_char_p)), c_int)
    text = function(library, "cuGetErrorString", (c_int, POINTER(c_char_p)), c_int)

    def describe(result: int) -> str:
        found = [c_char_p(), c_char_p()]
        text(result, ctypes.byref(found[0])), name(result, ctypes.byref(found[1]))
        return "{} ({})".format(*(_decode(each.value) for each in found))

    return Functions(library, DRIVER, describe)


def _decode(text: Any) -> str:
    return (text or b"unknown error").decode("utf-8", "replace")
