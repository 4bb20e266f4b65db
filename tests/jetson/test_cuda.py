"""Both bindings of CUDA keep one contract, against stand-ins that count; what a GPU does is in the `gpu` tests.

The names and types that ctypes uses are compared with NVIDIA's own libraries and headers in `test_cuda_libraries`.
"""

import ctypes
import ctypes.util
import gc
import os
import subprocess
import sys
import threading
from typing import Any

import numpy as np
import pytest

from fastnas.jetson.engine.cuda.by_ctypes import CtypesCuda
from fastnas.jetson.engine.cuda.by_pycuda import PyCuda
from fastnas.jetson.engine.cuda.functions import driver_functions, runtime_functions
from fastnas.jetson.engine.cuda.interface import HOST_KINDS, CudaError, Device
from fastnas.jetson.errors import JetsonError
from tests.helpers import paths
from tests.helpers.fake_cuda import ADD_ONE, VERSIONS, build_fake_cuda

FAKES = ("pycuda",) + tuple("ctypes " + version for version in VERSIONS)


class Fake:
    """A binding on a stand-in, and the record of what it did."""

    def __init__(self, cuda, record):
        self.cuda, self.record = cuda, record

    def again(self):
        """The same binding, opened once more."""
        if isinstance(self.cuda, PyCuda):
            return PyCuda(self.cuda._driver)
        return CtypesCuda(self.cuda._runtime, self.cuda._driver)


@pytest.fixture(scope="module")
def libraries(tmp_path_factory):
    return tmp_path_factory.mktemp("libraries")


@pytest.fixture(params=FAKES)
def fake(request, libraries, monkeypatch):
    monkeypatch.syspath_prepend(paths.FAKES)
    for name in ("cuda_record", "pycuda", "pycuda.driver"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    kind, _, version = request.param.partition(" ")
    if kind == "ctypes":
        library = os.path.join(build_fake_cuda(libraries, version), "libcuda.so.1")
        monkeypatch.setenv("FAKE_CUDA_LIBRARY", library)
    import cuda_record

    cuda_record.clear()
    cuda: Any
    if kind == "ctypes":
        cuda = CtypesCuda(runtime_functions(ctypes.CDLL(library)), driver_functions(ctypes.CDLL(library)))
    else:
        import pycuda.driver

        cuda = PyCuda(pycuda.driver)
    yield Fake(cuda, cuda_record)
    for name in ("cuda_record", "pycuda", "pycuda.driver"):
        sys.modules.pop(name, None)


def check_copies(cuda):
    """What goes to the device comes back, in order, and events tell the time between."""
    stream, events = cuda.stream(), [cuda.event() for _ in range(2)]
    source = np.arange(1000, dtype=np.float32).reshape(10, 100)
    block, target = cuda.allocate(source.nbytes), np.zeros_like(source)
    events[0].record(stream)
    cuda.copy_in(block, source, stream)
    cuda.copy_out(target, block, stream)
    events[1].record(stream)
    events[1].synchronize()
    stream.synchronize()
    np.testing.assert_array_equal(target, source)
    assert events[1].milliseconds_since(events[0]) > 0
    assert block.address > 0
    assert stream.handle != 0
    for each in events + [stream, block]:
        each.close()


def check_kernel(cuda):
    """A kernel runs over the elements that its arguments say."""
    stream, module = cuda.stream(), cuda.module(ADD_ONE)
    block, values = cuda.allocate(400), np.arange(100, dtype=np.float32)
    cuda.copy_in(block, values, stream)
    arguments = [np.uint64(block.address), np.uint32(70)]
    for _ in range(2):
        module.launch("add_one", (2, 1, 1), (64, 1, 1), arguments, stream)
    cuda.copy_out(values, block, stream)
    stream.synchronize()
    np.testing.assert_array_equal(values, np.arange(100) + 2 * (np.arange(100) < 70))
    with pytest.raises(CudaError, match="cuModuleGetFunction failed: named symbol not found"):
        module.launch("add_two", (1, 1, 1), (1, 1, 1), [], stream)
    for each in (module, block, stream):
        each.close()


def check_host_memory(cuda, kinds):
    """The GPU writes into mapped and managed memory through its own address; page-locked memory has none."""
    stream, module = cuda.stream(), cuda.module(ADD_ONE)
    for kind in kinds:
        memory = cuda.host_memory(kind, (3, 5), np.float32)
        assert (memory.array.shape, memory.array.dtype) == ((3, 5), np.float32)
        assert memory.array.flags.writeable
        memory.array[...] = 2
        assert (memory.address is None) == (kind == "pinned")
        if memory.address is not None:
            module.launch("add_one", (1, 1, 1), (32, 1, 1), [np.uint64(memory.address), np.uint32(15)], stream)
            stream.synchronize()
            np.testing.assert_array_equal(memory.array, np.full((3, 5), 3, np.float32))
        del memory
    module.close()
    stream.close()


def check_graph(cuda):
    """What is captured does not run; each launch runs all of it."""
    stream, module = cuda.stream(), cuda.module(ADD_ONE)
    block, values = cuda.allocate(40), np.zeros(10, np.float32)
    cuda.copy_in(block, values, stream)

    def enqueue():
        for _ in range(3):
            module.launch("add_one", (1, 1, 1), (32, 1, 1), [np.uint64(block.address), np.uint32(10)], stream)

    graph = cuda.capture(stream, enqueue)
    cuda.copy_out(values, block, stream)
    stream.synchronize()
    assert values.sum() == 0
    for _ in range(2):
        graph.launch(stream)
    cuda.copy_out(values, block, stream)
    stream.synchronize()
    np.testing.assert_array_equal(values, np.full(10, 6, np.float32))

    def fail():
        enqueue()
        raise RuntimeError("while capturing")

    with pytest.raises(RuntimeError, match="while capturing"):
        cuda.capture(stream, fail)
    check_copies(cuda)  # the stream has left the capture
    cuda.capture(stream, enqueue).close()
    for each in (graph, module, block, stream):
        each.close()


CHECKS = {
    "copies": check_copies,
    "kernel": check_kernel,
    "host memory": lambda cuda: check_host_memory(cuda, HOST_KINDS),
    "graph": check_graph,
}


@pytest.mark.parametrize("name", sorted(CHECKS))
def test_a_binding_computes_and_frees_everything_it_allocates(fake, name):
    if name == "graph" and not fake.cuda.has_graphs:
        with pytest.raises(CudaError, match="pycuda has no graphs"):
            fake.cuda.capture(None, lambda: None)
        return
    leave = fake.cuda.enter()
    CHECKS[name](fake.cuda)
    gc.collect()  # the frame of an error that was expected
    leave()
    del leave
    gc.collect()
    assert fake.record.live() == {}
    assert not [each for each in fake.record.freed() if "leaked" in each or "cuda" in each]
    assert fake.record.freed()[-1] == "context"
    assert len(fake.record.freed()) > 3


def test_the_device_is_described(fake, monkeypatch):
    assert fake.cuda.device == Device("Fake GPU", (8, 7), False, 8)
    monkeypatch.setenv("FAKE_COMPUTE", "6.2")
    monkeypatch.setenv("FAKE_INTEGRATED", "1")
    again = fake.again()
    assert again.device == Device("Fake GPU", (6, 2), True, 8)
    assert again.about.endswith("through pycuda" if isinstance(again, PyCuda) else "through ctypes")


@pytest.mark.parametrize(
    ("fault", "kind", "text", "advice"),
    [
        ("pinned", "memory", "Alloc failed: out of memory", "add swap"),
        ("copy", "other", "failed: invalid device context", "fastnas doctor"),
        ("launch", "launch", "ventSynchronize failed: unspecified launch failure", "dmesg"),
        ("context", "memory", "failed: out of memory", "add swap"),
    ],
)
def test_an_error_names_the_call_and_the_reason_and_nothing_leaks(fake, monkeypatch, fault, kind, text, advice):
    kinds = []

    def work():
        try:
            leave = fake.cuda.enter()
        except CudaError as error:
            kinds.append(error.kind)
            raise error.during("testing") from None
        try:
            stream, event, block = fake.cuda.stream(), fake.cuda.event(), fake.cuda.allocate(40)
            try:
                memory = fake.cuda.host_memory("pinned", (10,), np.float32)
                fake.cuda.copy_in(block, memory.array, stream)
                event.synchronize()
            finally:
                for each in (event, stream, block):
                    each.close()
                memory = None
        except CudaError as error:
            kinds.append(error.kind)
            raise error.during("testing") from None  # before the context goes
        finally:
            leave()

    monkeypatch.setenv("FAKE_CUDA_FAULT", fault)
    with pytest.raises(JetsonError) as caught:
        work()
    line = str(caught.value)
    assert kinds == [kind]
    assert line.startswith("CUDA failed while testing: cu")
    assert text in line
    assert advice in line
    assert "\n" not in line
    del caught
    gc.collect()
    assert fake.record.live() == {}
    assert not [each for each in fake.record.freed() if "leaked" in each]


# pycuda does these itself, and its stand-in does not.
ONLY_CTYPES = pytest.mark.parametrize("fake", FAKES[1:], indirect=True)


@ONLY_CTYPES
def test_an_array_outlives_the_engine_that_made_it(fake):
    """Its context lasts as long, so that it can still be read and is freed after."""
    leave = fake.cuda.enter()
    array = fake.cuda.host_memory("mapped", (4,), np.int32).array
    view = array[1:]
    leave()
    del leave, array
    view[...] = 7
    assert fake.record.freed() == []
    del view
    gc.collect()
    assert fake.record.freed() == ["mapped", "context"]


@ONLY_CTYPES
def test_what_is_dropped_in_another_thread_is_freed_in_its_context(fake):
    leave, held = fake.cuda.enter(), []
    held.append(fake.cuda.allocate(10))
    thread = threading.Thread(target=held.clear)
    thread.start()
    thread.join()
    assert fake.record.freed() == ["device"]
    leave()


def test_closing_twice_frees_once(fake):
    leave = fake.cuda.enter()
    block = fake.cuda.allocate(10)
    block.close()
    block.close()
    leave()
    assert fake.record.freed()[0] == "device"
    assert fake.record.freed().count("device") == 1


def test_outside_a_context_nothing_is_made(fake):
    for make in (lambda: fake.cuda.allocate(10), fake.cuda.stream, fake.cuda.event):
        with pytest.raises(CudaError, match="context"):
            make()
    assert fake.record.live() == {}


def test_no_gpu_is_one_line(fake, monkeypatch):
    monkeypatch.setenv("FAKE_NO_DRIVER", "1")
    with pytest.raises(JetsonError, match=r"no usable NVIDIA driver here \(cuInit failed: no CUDA-capable device"):
        fake.again()


OPEN = """
import sys
from fastnas.jetson.engine.cuda.opening import open_cuda
from fastnas.jetson.errors import JetsonError
try:
    print(open_cuda(print, *map(bool, sys.argv[1:])).about)
except JetsonError as error:
    print("ERROR", error)
"""


def opened(search_path, *arguments, **more):
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(search_path), **more)
    output = subprocess.check_output([sys.executable, "-c", OPEN] + list(arguments), env=environment, timeout=60)
    return output.decode().splitlines()


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ("1", "does not load (libcurand.so.10: cannot open shared object file: No such file or directory)"),
        ("numpy", "does not load (initialization of _driver raised unreported exception)"),
    ],
)
def test_pycuda_that_does_not_load_is_replaced_with_one_line(libraries, broken, reason):
    folder = build_fake_cuda(libraries)
    lines = opened([paths.FAKES, paths.ROOT], LD_LIBRARY_PATH=folder, FAKE_BROKEN_PYCUDA=broken)
    assert lines == ["CUDA 12.0 through ctypes: pycuda " + reason, "CUDA 12.0 through ctypes"]


def test_pycuda_is_used_where_it_loads_and_is_not_needed_where_it_is_missing(libraries):
    assert opened([paths.FAKES, paths.ROOT]) == ["CUDA 10.2 through pycuda"]
    if "pycuda" in sys.modules or ctypes.util.find_library("cuda"):
        pytest.skip("this machine has CUDA of its own")
    lines = opened([paths.ROOT], LD_LIBRARY_PATH=build_fake_cuda(libraries, "12.0"))
    assert lines == ["CUDA 12.0 through ctypes: pycuda is not installed", "CUDA 12.0 through ctypes"]


def test_graphs_are_ctypes_even_where_pycuda_loads(libraries):
    if ctypes.util.find_library("cuda"):
        pytest.skip("this machine has CUDA of its own")
    both, folder = [paths.FAKES, paths.ROOT], build_fake_cuda(libraries, "12.0")
    assert opened(both, LD_LIBRARY_PATH=folder) == ["CUDA 10.2 through pycuda"]
    lines = opened(both, "graphs", LD_LIBRARY_PATH=folder)
    assert lines == ["CUDA 12.0 through ctypes: pycuda has no graphs", "CUDA 12.0 through ctypes"]
    why, about = opened(both, "graphs")
    assert why.startswith("CUDA 10.2 through pycuda, without graphs: there is no usable NVIDIA driver here (")
    assert about == "CUDA 10.2 through pycuda"


def test_without_any_cuda_there_is_one_line():
    if ctypes.util.find_library("cuda"):
        pytest.skip("this machine has CUDA of its own")
    (line,) = opened([paths.ROOT])
    assert line == "ERROR there is no usable NVIDIA driver here (libcuda.so.1 is not installed)"


def test_a_library_without_a_function_is_named():
    """The C library is none of CUDA's."""
    with pytest.raises(JetsonError, match="has no cudaGetErrorName: it is older than CUDA 10.2, or no library of CUDA"):
        runtime_functions(ctypes.CDLL("libc.so.6"))


# On a real GPU.


def real(kind):
    if kind == "ctypes":
        from fastnas.jetson.engine.cuda.by_ctypes import load_ctypes_cuda

        try:
            return load_ctypes_cuda()
        except JetsonError as error:
            pytest.skip(str(error))
    driver = pytest.importorskip("pycuda.driver")
    try:
        return PyCuda(driver)
    except JetsonError as error:
        pytest.skip(str(error))


@pytest.mark.gpu
@pytest.mark.parametrize("kind", ["ctypes", "pycuda"])
@pytest.mark.parametrize("name", sorted(CHECKS))
def test_a_binding_computes_on_a_gpu(kind, name):
    cuda = real(kind)
    if name == "graph" and not cuda.has_graphs:
        pytest.skip("pycuda has no graphs")
    leave = cuda.enter()
    try:
        CHECKS[name](cuda)
    finally:
        leave()


@pytest.mark.gpu
def test_what_is_freed_comes_back_on_a_gpu():
    """200 blocks of 64 MiB one after another: more than a small board has."""
    cuda = real("ctypes")
    leave = cuda.enter()
    for _ in range(200):
        cuda.allocate(64 << 20).close()
    with pytest.raises(CudaError, match=r"cudaMalloc failed: out of memory \(cudaErrorMemoryAllocation\)") as caught:
        cuda.allocate(1 << 50)
    assert caught.value.kind == "memory"
    leave()
