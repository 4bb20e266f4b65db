"""A stand-in for TensorRT with the names of one version, given by FAKE_TENSORRT: 8.0, 8.2, 8.6, 10 or 11.

Only names that the version documents exist, so that using another fails as it would on a board. An engine is the ONNX
file behind a header; running it runs ONNX Runtime, so that results can be compared. FAKE_TENSORRT_FAULT makes builds
fail: `parse`, `build`, `exhausted` (no memory on the GPU), `killed` (as the kernel does for want of memory) or `hang`;
`memory` leaves none for running; `wrong` and `nan` spoil one value of the output; `capture` refuses to be recorded into
a CUDA graph, and `graph` spoils what one computes. FAKE_LAYERS is what a profiler is
told of a pass: a list of layers and milliseconds as JSON. FAKE_DLA is the number of deep learning accelerators, 0 by
default.
"""

import ctypes
import enum
import json
import os
import signal
import time
import weakref

import cuda_record
import numpy as np

__version__ = {"8.0": "8.0.1.6", "8.2": "8.2.1.8", "8.6": "8.6.2.3", "10": "10.3.0.30", "11": "11.4.0.5"}[
    os.environ["FAKE_TENSORRT"]
]
_VERSION = tuple(int(part) for part in __version__.split(".")[:2])
_FAULT = os.environ.get("FAKE_TENSORRT_FAULT", "")


class DataType(enum.Enum):
    FLOAT = 0
    HALF = 1
    INT8 = 2
    INT32 = 3
    if _VERSION >= (8, 5):
        UINT8 = 5
    if _VERSION >= (10, 0):
        INT64 = 8


class DeviceType(enum.Enum):
    GPU = 0
    DLA = 1


class BuilderFlag(enum.Enum):
    if _VERSION < (11, 0):
        FP16 = 0
        INT8 = 1
    TF32 = 7
    GPU_FALLBACK = 3
    if _VERSION >= (8, 6):
        VERSION_COMPATIBLE = 13


class NetworkDefinitionCreationFlag(enum.IntEnum):
    if _VERSION < (11, 0):
        EXPLICIT_BATCH = 0
    if _VERSION >= (10, 0):
        STRONGLY_TYPED = 1


if _VERSION >= (8, 4):

    class MemoryPoolType(enum.Enum):
        WORKSPACE = 0


if _VERSION >= (8, 5):

    class TensorIOMode(enum.Enum):
        NONE = 0
        INPUT = 1
        OUTPUT = 2


class ILogger:
    class Severity(enum.Enum):
        INTERNAL_ERROR = 0
        ERROR = 1
        WARNING = 2
        INFO = 3
        VERBOSE = 4

    INTERNAL_ERROR, ERROR, WARNING = Severity.INTERNAL_ERROR, Severity.ERROR, Severity.WARNING

    def __init__(self):
        self.ready = True


if _VERSION >= (10, 0):

    class IProgressMonitor:
        def __init__(self):
            self.ready = True


if _VERSION >= (8, 2):

    class IProfiler:
        def __init__(self):
            self.ready = True


class _Tensor:
    def __init__(self, name, shape):
        self.name, self.shape = name, shape


class _Network:
    def __init__(self, flags):
        self.flags, self.onnx = flags, None

    def get_input(self, index):
        return _Tensor("image", (1, 3, -1, -1))


class _Profile:
    def set_shape(self, input, min, opt, max):
        self.shapes = {input: list(opt)}
        assert list(min) == list(opt) == list(max)


class _Memory:
    """IHostMemory: bytes through the buffer protocol."""

    def __init__(self, data):
        self._data = data

    def __bytes__(self):
        return self._data


class _TimingCache:
    def __init__(self, data):
        self.data = data

    def serialize(self):
        return _Memory((self.data or __version__.encode()) + b"t")


class _Config:
    def __init__(self):
        self.flags, self.shapes, self.workspace = [], {}, None
        self.default_device_type, self.DLA_core = DeviceType.GPU, -1
        if _VERSION < (10, 0):
            self.max_workspace_size = 0

    def __setattr__(self, name, value):
        known = {"flags", "shapes", "workspace", "default_device_type", "DLA_core", "timings"}
        known |= {"max_workspace_size"} if _VERSION < (10, 0) else {"progress_monitor"}
        if name not in known:
            raise AttributeError("IBuilderConfig has no {} in TensorRT {}".format(name, __version__))
        object.__setattr__(self, name, value)

    def set_flag(self, flag):
        self.flags.append(flag.name)

    if _VERSION >= (8, 4):

        def set_memory_pool_limit(self, pool, pool_size):
            assert pool is MemoryPoolType.WORKSPACE
            self.workspace = pool_size

    def add_optimization_profile(self, profile):
        self.shapes.update(profile.shapes)

    def create_timing_cache(self, serialized_timing_cache):
        fits = not serialized_timing_cache or serialized_timing_cache.startswith(__version__.encode())
        return _TimingCache(serialized_timing_cache) if fits else None

    def set_timing_cache(self, cache, ignore_mismatch):
        if not isinstance(cache, _TimingCache):
            raise TypeError("set_timing_cache(): incompatible function arguments")
        fits = ignore_mismatch or not (cache.data or b"").endswith(b"of another GPU")
        self.timings = cache if fits else None
        return fits

    def get_timing_cache(self):
        return getattr(self, "timings", None)


class _ParserError:
    def desc(self):
        return "No importer registered for op: Loop"


class OnnxParser:
    def __init__(self, network, logger):
        assert logger.ready, "ILogger.__init__ was not called"
        self._network, self.num_errors = network, 0

    def parse_from_file(self, model):
        if _FAULT == "parse":
            self.num_errors = 1
            return False
        with open(model, "rb") as file:
            self._network.onnx = file.read()
        return True

    def get_error(self, index):
        return _ParserError()


class Builder:
    num_DLA_cores = int(os.environ.get("FAKE_DLA", "0"))

    def __init__(self, logger):
        self._logger = logger

    def create_network(self, flags=0):
        if _VERSION < (10, 0) and not flags & 1:
            raise AssertionError("TensorRT 8 parses ONNX only into an EXPLICIT_BATCH network")
        return _Network(flags)

    def create_builder_config(self):
        return _Config()

    def create_optimization_profile(self):
        return _Profile()

    def build_serialized_network(self, network, config):
        if _FAULT == "build":
            self._logger.log(ILogger.ERROR, "Could not find any implementation for node Resize_1")
            return None
        if _FAULT == "exhausted":
            self._logger.log(ILogger.ERROR, "Requested amount of GPU memory: OutOfMemory (no further information)")
            return None
        if _FAULT == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if _FAULT == "hang":
            time.sleep(60)
        assert config.DLA_core < self.num_DLA_cores
        if _VERSION < (8, 4):
            config.workspace = config.max_workspace_size
        header = {
            "version": __version__,
            "flags": config.flags,
            "shapes": config.shapes,
            "typed": bool(network.flags & 2),
            "workspace": config.workspace,
            "dla": config.DLA_core if config.default_device_type is DeviceType.DLA else None,
        }
        return _Memory(json.dumps(header).encode() + b"\n" + network.onnx)


class _Counted:
    """An object whose allocation and end are noted, as `what`; as in TensorRT it must end in CUDA's context."""

    what = ""

    def __init__(self):
        cuda_record.note("+" + self.what)

    def __del__(self):
        contexts = {"+context": 1, "-context": -1}
        cuda_record.note("-" + self.what, sum(contexts.get(line, 0) for line in cuda_record.lines()) > 0)


def _array(address, shape):
    """The memory at an address."""
    count = int(np.prod(shape))
    return np.ctypeslib.as_array((ctypes.c_float * count).from_address(address)).reshape(shape)


class Runtime(_Counted):
    DLA_core = -1
    what = "runtime"

    def __init__(self, logger):
        super().__init__()
        self._logger = logger

    def deserialize_cuda_engine(self, serialized_engine):
        header, _, onnx = serialized_engine.partition(b"\n")
        try:
            header = json.loads(header.decode())
        except ValueError:
            header = {"version": "none"}
        if header["version"] != __version__:
            self._logger.log(ILogger.ERROR, "The engine plan file is not compatible with this version of TensorRT")
            return None
        assert self.DLA_core == (-1 if header["dla"] is None else header["dla"]), "the runtime is told the DLA too"
        return _Engine(header, onnx, self._logger)


class _Engine(_Counted):
    what = "engine"

    def __init__(self, header, onnx, logger):
        import onnxruntime

        super().__init__()
        self.logger = logger
        self.session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
        self.header = header
        # On a board the order is the builder's: here the outputs come first, the last of the graph's before others.
        self.tensors = [*reversed(self.session.get_outputs()), self.session.get_inputs()[0]]

    def create_execution_context(self):
        return None if _FAULT == "memory" else _Context(self)

    if _VERSION >= (8, 5):

        @property
        def num_io_tensors(self):
            return len(self.tensors)

        def get_tensor_name(self, index):
            return self.tensors[index].name

        def get_tensor_dtype(self, name):
            return {"tensor(float)": DataType.FLOAT, "tensor(uint8)": DataType.UINT8}[
                next(tensor.type for tensor in self.tensors if tensor.name == name)
            ]

    if _VERSION < (10, 0):

        @property
        def num_bindings(self):
            return len(self.tensors)

        def get_binding_name(self, index):
            return self.tensors[index].name

        def get_binding_dtype(self, index):
            return {"tensor(float)": DataType.FLOAT}[self.tensors[index].type]


class _Context(_Counted):
    what = "execution context"

    def __init__(self, engine):
        super().__init__()
        self._engine, self._shape, self._addresses = engine, (), {}
        self._ran = False
        self.profiler = None

    def execute_v2(self, bindings):
        done = self._infer(bindings)
        if self.profiler is not None:  # the only calls that a profiler is told of in every version
            assert self.profiler.ready, "IProfiler.__init__ was not called"
            for name, milliseconds in json.loads(os.environ["FAKE_LAYERS"]):
                self.profiler.report_layer_time(name, milliseconds)
        return done

    def _enqueue(self, addresses, stream):
        """Have the pass done, now or by a CUDA graph; as TensorRT, only after a pass without one."""
        library = cuda_record._library
        if library is not None and library.cudaPeekAtLastError():
            self._engine.logger.log(ILogger.ERROR, "the launch of a kernel failed")  # whoever launched it
            return False
        if library is None or not library.fake_capturing():
            self._ran = True
            return self._infer(addresses)
        if _FAULT == "capture" or not self._ran:
            self._engine.logger.log(ILogger.ERROR, "operation not permitted when stream is capturing")
            return False
        again = weakref.WeakMethod(self._infer)

        def infer():
            method = again()
            assert method is not None
            method(list(addresses), True)

        self._captured = ctypes.CFUNCTYPE(None)(infer)
        return library.fake_run(self._captured, ctypes.c_void_p(stream)) == 0

    def _infer(self, addresses, captured=False):
        *outputs, image = addresses
        given = _array(image, self._shape)
        names = [tensor.name for tensor in self._engine.tensors[:-1]]
        spoilt = captured and _FAULT == "graph"
        for address, found in zip(outputs, self._engine.session.run(names, {"image": given})):
            if _FAULT in ("wrong", "nan"):
                found[0, 0, -1, -1] = {"wrong": found.max() * 1.5, "nan": float("nan")}[_FAULT]
            _array(address, found.shape)[...] = found * 2 if spoilt else found
        return True

    def _get_shape(self, name):
        if name == "image":
            return self._shape
        channels = next(tensor.shape[1] for tensor in self._engine.tensors if tensor.name == name)
        return (1, channels) + tuple(side // 4 for side in self._shape[2:])

    if _VERSION >= (8, 5):

        def set_input_shape(self, name, shape):
            assert list(shape) == self._engine.header["shapes"][name]
            self._shape = tuple(shape)

        def get_tensor_shape(self, name):
            return self._get_shape(name)

        def set_tensor_address(self, name, memory):
            self._addresses[name] = memory

        def execute_async_v3(self, stream_handle):
            return self._enqueue([self._addresses[tensor.name] for tensor in self._engine.tensors], stream_handle)

    if _VERSION < (10, 0):

        def set_binding_shape(self, binding, shape):
            assert list(shape) == self._engine.header["shapes"][self._engine.tensors[binding].name]
            self._shape = tuple(shape)

        def get_binding_shape(self, binding):
            return self._get_shape(self._engine.tensors[binding].name)

        def execute_async_v2(self, bindings, stream_handle):
            return self._enqueue(bindings, stream_handle)
