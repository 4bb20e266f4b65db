"""What ctypes knows of CUDA's functions, against NVIDIA's own libraries and headers of CUDA 11, 12 and 13.

libcudart loads without a GPU, and its functions then fail with an error: the test is that each is there, is called with
arguments that it understands, and that its error is one line. The types of all functions, libcuda's included, are
compared with the headers by a C++ compiler.
"""

import ctypes
import glob
import os
import shutil
import subprocess
import sys
import zipfile

import pytest

from fastnas.jetson.engine.cuda.functions import DRIVER, INSTANTIATE, RUNTIME, runtime_functions
from fastnas.jetson.engine.cuda.interface import CudaError
from fastnas.jetson.system.libraries import runtime_paths

WHEELS = {
    "11": "nvidia-cuda-runtime-cu11==11.8.89",
    "12": "nvidia-cuda-runtime-cu12==12.9.79",
    "13": "nvidia-cuda-runtime==13.0.96",
}


@pytest.fixture(scope="module", params=sorted(WHEELS))
def wheel(request, tmp_path_factory):
    """A CUDA release, and the folder of its unpacked runtime, which is downloaded."""
    folder = tmp_path_factory.mktemp("cuda" + request.param)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    done = subprocess.run(
        command + ["--dest", str(folder), WHEELS[request.param]],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
    )
    if done.returncode:
        pytest.skip("{} cannot be downloaded: {}".format(WHEELS[request.param], done.stderr.strip()[-100:]))
    (path,) = glob.glob(str(folder / "*.whl"))
    with zipfile.ZipFile(path) as archive:
        archive.extractall(str(folder))
    return request.param, folder


def check_runtime(path):
    """Every function is there; where there is no GPU, each error is a line that names the call."""
    functions = runtime_functions(ctypes.CDLL(path))
    for name in list(RUNTIME) + ["cudaGraphInstantiateWithFlags"]:
        assert callable(getattr(functions, name)), name
    count = ctypes.c_int()
    try:
        functions.cudaGetDeviceCount(ctypes.byref(count))
    except CudaError:
        pass
    if count.value:
        pytest.skip("this machine has a GPU: the `gpu` tests call all functions")
    pointer, number, milliseconds = ctypes.c_void_p(), ctypes.c_int(), ctypes.c_float()
    arguments = {
        "cudaDeviceGetAttribute": (ctypes.byref(number), 75, 0),
        "cudaMalloc": (ctypes.byref(pointer), 64),
        "cudaHostAlloc": (ctypes.byref(pointer), 64, 2),
        "cudaMallocManaged": (ctypes.byref(pointer), 64, 1),
        "cudaHostGetDevicePointer": (ctypes.byref(pointer), pointer, 0),
        "cudaMemcpyAsync": (None, None, 64, 1, None),
        "cudaStreamCreateWithFlags": (ctypes.byref(pointer), 1),
        "cudaEventCreateWithFlags": (ctypes.byref(pointer), 0),
        "cudaEventElapsedTime": (ctypes.byref(milliseconds), None, None),
        "cudaStreamBeginCapture": (None, 1),
        "cudaStreamEndCapture": (None, ctypes.byref(pointer)),
        "cudaGraphInstantiateWithFlags": (ctypes.byref(pointer), None, 0),
        "cudaGraphLaunch": (None, None),
    }
    lines = {}
    for name, values in sorted(arguments.items()):
        with pytest.raises(CudaError) as caught:
            getattr(functions, name)(*values)
        lines[name] = str(caught.value)
    for name, line in lines.items():
        assert line.startswith(name + " failed: "), line
        assert "\n" not in line
    text = "CUDA driver version is insufficient for CUDA runtime version (cudaErrorInsufficientDriver)"
    assert lines["cudaMalloc"] == "cudaMalloc failed: " + text


def test_the_runtime_that_is_installed_has_every_function():
    paths = [path for path in runtime_paths("/") if os.path.isabs(path) and os.path.exists(path)]
    if not paths:
        pytest.skip("no libcudart is installed; pip install nvidia-cuda-runtime brings one")
    check_runtime(paths[0])


@pytest.mark.slow
def test_the_runtime_of_a_release_has_every_function(wheel):
    (path,) = glob.glob(str(wheel[1] / "nvidia" / "*" / "lib" / "libcudart.so.*"))
    check_runtime(path)


# `p` for pointers and handles, `f` for floating point, else the size in bytes: that is what a call hands over.
SPELL = """
#include <cstdio>
#include <type_traits>
#include <cuda_runtime_api.h>
#include <cuda.h>
template <class T> char letter() {
    return std::is_pointer<T>::value ? 'p' : std::is_floating_point<T>::value ? 'f' : char('0' + sizeof(T));
}
template <class R, class... A> void spell(const char *name, R (*)(A...)) {
    const char letters[] = {letter<A>()..., 0};
    std::printf("%s %c %s\\n", name, letter<R>(), letters);
}
int main() {
CALLS
}
"""
# The wheel lacks this header of the compiler; it only defines attributes.
HOST_DEFINES = """
#pragma once
#define __host__
#define __device__
#define __cudart_builtin__
#define __device_builtin__
#define __device_builtin_texture_type__
#define __device_builtin_surface_type__
#define __builtin_align__(n) __attribute__((aligned(n)))
#define __align__(n) __attribute__((aligned(n)))
#define __inline__ inline
#define __forceinline__ inline
#define CUDARTAPI
#define CUDARTAPI_CDECL
#define CUDA_CB
"""
LETTERS = {ctypes.c_int: "4", ctypes.c_uint: "4", ctypes.c_size_t: "8", ctypes.c_ulonglong: "8"}


def spelled(types):
    """The same letters for ctypes."""
    return "".join(LETTERS.get(each, "p") for each in types)


@pytest.mark.slow
def test_the_types_of_every_function_are_those_of_the_headers(wheel, tmp_path):
    compiler = shutil.which("c++") or shutil.which("g++")
    if compiler is None:
        pytest.skip("there is no C++ compiler; sudo apt-get install g++")
    release, folder = wheel
    (include,) = glob.glob(str(folder / "nvidia" / "*" / "include"))
    (tmp_path / "crt").mkdir()
    (tmp_path / "crt" / "host_defines.h").write_text(HOST_DEFINES)
    wanted = dict(RUNTIME, **DRIVER)
    wanted["cudaGraphInstantiateWithFlags"] = INSTANTIATE["cudaGraphInstantiateWithFlags"]
    if release == "11":  # a fourth and a fifth argument until CUDA 12
        wanted["cudaGraphInstantiate"] = INSTANTIATE["cudaGraphInstantiate"]
    lines = ['    spell("{0}", &{0});'.format(name) for name in wanted]
    (tmp_path / "spell.cpp").write_text(SPELL.replace("CALLS", "\n".join(lines)))
    command = [compiler, "-std=c++14", "-I", str(tmp_path), "-I", include, str(tmp_path / "spell.cpp")]
    done = subprocess.run(
        command + ["-Wl,--unresolved-symbols=ignore-all", "-o", str(tmp_path / "spell")],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        universal_newlines=True,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    output = subprocess.check_output([str(tmp_path / "spell")]).decode().splitlines()
    found = {name: (result, letters) for name, result, letters in (line.split(" ") for line in output)}
    assert found == {name: ("4", spelled(types)) for name, types in wanted.items()}
