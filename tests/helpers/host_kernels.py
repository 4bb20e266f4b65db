"""The text of the kernels compiled by a host's C++ compiler, behind the interface of CUDA: host memory, loops."""

import ctypes
import os
import re
import shutil
import subprocess

import numpy as np
import pytest

from fastnas.jetson.engine.cuda.interface import Cuda, Device, HostMemory, Memory, Module, Stream
from fastnas.jetson.engine.kernels.compiled import TEXT
from tests.helpers import paths

LAUNCH = """
extern "C" int launch(const char *name, const unsigned *grid, const unsigned *block, void **arguments) {{
{}
    return 1;
}}
"""
ONE = '    if (!strcmp(name, "{0}")) return run({0}, grid, block, arguments), 0;'


def build_host_kernels(folder):
    """The path of a library that runs the kernels by name; skips where there is no C++ compiler."""
    compiler = shutil.which("c++") or shutil.which("g++")
    if compiler is None:
        pytest.skip("there is no C++ compiler; sudo apt-get install g++")
    with open(TEXT) as file:
        names = re.findall(r"__global__ void (\w+)\(", file.read())
    library, source = os.path.join(str(folder), "kernels.so"), os.path.join(str(folder), "kernels.cpp")
    with open(source, "w") as file:
        header = os.path.join(paths.HELPERS, "kernel_host.h")
        file.write(f'#include "{header}"\n#include "{TEXT}"\n')
        file.write(LAUNCH.format("\n".join(map(ONE.format, names))))
    options = ["-std=c++14", "-shared", "-fPIC", "-O2", "-ffp-contract=off", "-Wall", "-Werror"]
    subprocess.check_call([compiler, *options, "-o", library, source])
    return library


class HostModule(Module):
    """The kernels of a library that `build_host_kernels` made."""

    def __init__(self, library):
        self._launch = ctypes.CDLL(library).launch

    def launch(self, name, grid, block, arguments, stream):
        values = [np.array(argument) for argument in arguments]
        pointers = (ctypes.c_void_p * len(values))(*[value.ctypes.data for value in values])
        sizes = (ctypes.c_uint * 3)(*grid), (ctypes.c_uint * 3)(*block)
        assert self._launch(name.encode(), sizes[0], sizes[1], pointers) == 0, name

    def close(self):
        pass


class _Block(Memory):
    def __init__(self, size):
        self._array = np.zeros(size, np.uint8)
        self.address = self._array.ctypes.data

    def close(self):
        del self._array


class _Stream(Stream):
    handle = 1

    def synchronize(self):
        pass

    def close(self):
        pass


class HostCuda(Cuda):
    """Memory of the host in the place of a GPU's; what is enqueued is done at once."""

    about, has_graphs = "no CUDA", False
    device = Device("host", (8, 7), False, 1)

    def __init__(self, library):
        self._library = library

    def allocate(self, size):
        return _Block(size)

    def host_memory(self, kind, shape, dtype):
        array = np.zeros(shape, dtype)
        return HostMemory(array, None if kind == "pinned" else array.ctypes.data)

    def copy_in(self, target, source, stream):
        assert source.flags.c_contiguous
        ctypes.memmove(target.address, source.ctypes.data, source.nbytes)

    def copy_out(self, target, source, stream):
        ctypes.memmove(target.ctypes.data, source.address, target.nbytes)

    def stream(self):
        return _Stream()

    def module(self, image):
        return HostModule(self._library)
