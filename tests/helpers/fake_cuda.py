"""Compiling the stand-in of CUDA's libraries, and a kernel that it, pycuda's stand-in and a real GPU all know."""

import os
import shutil
import subprocess

import pytest

from tests.helpers import paths

VERSIONS = {"10.2": 10020, "12.0": 12000}
"""CUDA's versions that the stand-in can be: before and after `cudaGraphInstantiate` changed."""

ADD_ONE = b"""
.version 5.0
.target sm_50
.address_size 64
.visible .entry add_one(.param .u64 data, .param .u32 count)
{
    .reg .pred %p<2>;
    .reg .f32 %f<3>;
    .reg .b32 %r<6>;
    .reg .b64 %rd<5>;
    ld.param.u64 %rd1, [data];
    ld.param.u32 %r2, [count];
    mov.u32 %r3, %ctaid.x;
    mov.u32 %r4, %ntid.x;
    mov.u32 %r5, %tid.x;
    mad.lo.s32 %r1, %r3, %r4, %r5;
    setp.ge.u32 %p1, %r1, %r2;
    @%p1 bra DONE;
    cvta.to.global.u64 %rd2, %rd1;
    mul.wide.u32 %rd3, %r1, 4;
    add.s64 %rd4, %rd2, %rd3;
    ld.global.f32 %f1, [%rd4];
    add.f32 %f2, %f1, 0f3F800000;
    st.global.f32 [%rd4], %f2;
DONE:
    ret;
}
"""
"""PTX of a kernel that adds 1 to the first `count` floats at `data`; every GPU's driver compiles it."""


def build_fake_cuda(folder, version="12.0"):
    """The folder of a stand-in for libcuda and libcudart, for LD_LIBRARY_PATH; skips where there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("there is no C compiler; sudo apt-get install gcc")
    folder = os.path.join(str(folder), "cuda-" + version)
    os.makedirs(folder, exist_ok=True)
    library = os.path.join(folder, "libcuda.so.1")
    if not os.path.exists(library):
        source = os.path.join(paths.FAKES, "cuda.c")
        options = ["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-DVERSION={}".format(VERSIONS[version])]
        subprocess.check_call([compiler] + options + ["-o", library, source, "-ldl"])
        for name in ("libcudart.so", "libcudart.so.10.2", "libcudart.so.11.0", "libcudart.so.12", "libcudart.so.13"):
            os.symlink("libcuda.so.1", os.path.join(folder, name))
    return folder


def ctypes_environment(folder):
    """What a process needs in which CUDA is called through ctypes, in a stand-in that lies in a folder."""
    libraries = build_fake_cuda(folder)
    library = os.path.join(libraries, "libcuda.so.1")
    return {"FAKE_BROKEN_PYCUDA": "1", "FAKE_CUDA_LIBRARY": library, "LD_LIBRARY_PATH": libraries}


def build_fake_nvrtc(folder):
    """The path of a stand-in for NVRTC: a real one would look into that of libcuda for more than it has."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("there is no C compiler; sudo apt-get install gcc")
    library = os.path.join(str(folder), "libnvrtc.so.12")
    source = os.path.join(paths.FAKES, "nvrtc.c")
    subprocess.check_call([compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", library, source])
    return library
