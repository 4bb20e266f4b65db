"""The kernels' text is compiled by NVIDIA's own NVRTC for every board, and kept; no GPU is needed for that."""

import glob
import os
import re
import subprocess
import sys
import zipfile

import pytest

from fastnas.jetson.engine.cuda.interface import Cuda, CudaError, Device, Module
from fastnas.jetson.engine.kernels import compiled
from fastnas.jetson.engine.kernels.nvrtc import architecture, open_nvrtc
from fastnas.jetson.errors import FastnasError, JetsonError
from fastnas.jetson.system.libraries import runtime_paths

KERNELS = {"resize", "resize_to_rgb", "resize_to_planes", "arg_max", "resize_arg_max", "highest_rows", "peaks"}
WHEELS = {"11": "nvidia-cuda-nvrtc-cu11==11.8.89", "12": "nvidia-cuda-nvrtc-cu12==12.9.86"}
BOARDS = {
    "11": [(5, 3), (6, 2), (7, 2), (8, 7)],
    "12": [(5, 3), (6, 2), (7, 2), (8, 7), (10, 1)],
    "13": [(8, 7), (11, 0)],
}
"""Compute capabilities of TX1 and Nano, TX2, Xavier, Orin and Thor that each CUDA compiles for."""


def installed():
    found = [path for path in runtime_paths("/", "nvrtc") if os.path.isabs(path)]
    if not found:
        pytest.skip("no libnvrtc is installed; pip install nvidia-cuda-nvrtc brings one")
    return found[0]


@pytest.fixture(scope="module", params=sorted(WHEELS))
def wheel(request, tmp_path_factory):
    """A CUDA release, and the path of its NVRTC, which is downloaded."""
    folder = tmp_path_factory.mktemp("nvrtc" + request.param)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    done = subprocess.run(
        [*command, "--dest", str(folder), WHEELS[request.param]],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
    )
    if done.returncode:
        pytest.skip("{} cannot be downloaded: {}".format(WHEELS[request.param], done.stderr.strip()[-100:]))
    (path,) = glob.glob(str(folder / "*.whl"))
    with zipfile.ZipFile(path) as archive:
        archive.extractall(str(folder))
    (library,) = glob.glob(str(folder / "nvidia" / "*" / "lib" / "libnvrtc.so.*"))
    return request.param, library


def check_boards(library):
    """The release; its PTX has every kernel, is of the architecture asked for, and has no double precision."""
    nvrtc = open_nvrtc(library)
    with open(compiled.TEXT, "rb") as file:
        text = file.read()
    release = nvrtc.version.partition(".")[0]
    for capability in BOARDS[release]:
        name = architecture(capability)
        ptx = nvrtc.compile(text, "processing.cu", (*compiled.OPTIONS, "--gpu-architecture=" + name)).decode()
        assert set(re.findall(r"\.entry (\w+)", ptx)) == KERNELS
        assert ".target {}\n".format(name.replace("compute", "sm")) in ptx
        assert ".f64" not in ptx
    return release


def test_the_nvrtc_that_is_installed_compiles_for_its_boards():
    check_boards(installed())


@pytest.mark.slow
def test_the_nvrtc_of_a_release_compiles_for_its_boards(wheel):
    assert check_boards(wheel[1]) == wheel[0]


def test_what_does_not_compile_is_one_line():
    nvrtc = open_nvrtc(installed())
    with pytest.raises(JetsonError) as caught:
        nvrtc.compile(b"nonsense;", "wrong.cu", ())
    assert str(caught.value).startswith("nvrtcCompileProgram failed: NVRTC_ERROR_COMPILATION: wrong.cu(1): error:")
    assert "\n" not in str(caught.value)


class Loads(Cuda):
    """Notes the PTX that is loaded, and refuses what is none."""

    def __init__(self, capability=(8, 7)):
        self.device, self.loaded = Device("Orin", capability, True, 8), []

    def module(self, image):
        if b".entry peaks" not in image:
            raise CudaError("cuModuleLoadData failed: a PTX JIT compilation failed")
        self.loaded.append(image)
        return Module()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    installed()
    monkeypatch.setenv("FASTNAS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "kernels"


def test_the_kernels_are_compiled_once(cache, monkeypatch):
    cuda = Loads()
    compiled.load_kernels(cuda)
    (kept,) = cache.iterdir()
    monkeypatch.setattr("fastnas.jetson.engine.kernels.nvrtc.Nvrtc.compile", None)  # calling it would fail
    compiled.load_kernels(cuda)
    assert cuda.loaded == [kept.read_bytes()] * 2


def test_another_gpu_and_another_text_are_compiled_anew(cache, tmp_path, monkeypatch):
    compiled.load_kernels(Loads((8, 7)))
    compiled.load_kernels(Loads((11, 0)))
    text = tmp_path / "other.cu"
    with open(compiled.TEXT) as file:
        text.write_text(file.read() + "// more\n")
    monkeypatch.setattr(compiled, "TEXT", str(text))
    compiled.load_kernels(Loads((8, 7)))
    assert len(list(cache.iterdir())) == 3


def test_damaged_kernels_are_compiled_anew(cache):
    compiled.load_kernels(Loads())
    (kept,) = cache.iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(whole[:100])
    compiled.load_kernels(Loads())
    assert kept.read_bytes() == whole


def test_a_gpu_that_nvrtc_does_not_know_is_one_line(cache):
    with pytest.raises(JetsonError, match=r"^nvrtcCompileProgram failed: .*--gpu-architecture[^\n]*$"):
        compiled.load_kernels(Loads((1, 0)))
    assert not cache.exists()


def test_a_cache_that_cannot_be_written_is_one_line(cache):
    cache.parent.write_text("a file where the folder should be")
    with pytest.raises(FastnasError, match="cannot write"):
        compiled.load_kernels(Loads())


def test_without_nvrtc_there_is_one_line(monkeypatch):
    monkeypatch.setattr(compiled, "runtime_paths", lambda root, name: [])
    with pytest.raises(JetsonError, match="^libnvrtc is not installed$"):
        compiled.load_kernels(Loads())
    monkeypatch.setattr(compiled, "runtime_paths", lambda root, name: ["libnvrtc.so.0"])
    with pytest.raises(JetsonError, match="^libnvrtc is not installed$"):
        compiled.load_kernels(Loads())
    monkeypatch.setattr(compiled, "runtime_paths", lambda root, name: ["libc.so.6"])
    with pytest.raises(JetsonError, match="libc.so.6 has no nvrtcGetErrorString"):
        compiled.load_kernels(Loads())
