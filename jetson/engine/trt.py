"""TensorRT 8.0 to 11 with pycuda: page-locked and device memory allocated once, one stream, one owning thread."""

import traceback
from typing import Any, Optional, Tuple

from fastnas.jetson.engine import verify
from fastnas.jetson.engine.base import Engine, Progress
from fastnas.jetson.engine.build import DEFAULT_WORKSPACE_MB, BuildOrder, make_logger
from fastnas.jetson.engine.cache import EngineCache
from fastnas.jetson.engine.cuda import explain, import_cuda, make_current
from fastnas.jetson.engine.trt_tensors import Tensors
from fastnas.jetson.errors import MORE_MEMORY, JetsonError, Unsupported
from fastnas.jetson.sidecar import Artifact, ModelFile, Size
from fastnas.jetson.system.machine import Machine

NO_INT8 = ((5, 3), (6, 2))
"""Compute capabilities without INT8 instructions: Nano and TX1, TX2."""


def choose_graph(trt: Any, artifact: Artifact, precision: str, size: Size) -> Tuple[ModelFile, Tuple[str, ...], bool]:
    """The file to build, the builder flags, and whether the graph is strongly typed, for this TensorRT.

    While TensorRT has an FP16 flag (up to 10) it casts the fp32 graph itself, keeping fp32 where that is as fast.
    """
    if precision == "fp32":
        return artifact.choose("tensorrt", "fp32", size), (), False
    if precision == "fp16" and hasattr(trt.BuilderFlag, "FP16"):
        return artifact.choose("tensorrt", "fp32", size), ("FP16",), False
    if precision == "int8" and hasattr(trt.BuilderFlag, "INT8"):
        return artifact.choose("tensorrt", "int8", size), ("FP16", "INT8"), False
    return artifact.choose("tensorrt", precision, size), (), True


class TensorRTEngine(Engine):
    """An artifact in TensorRT. The engine is built on first use and cached."""

    def __init__(
        self,
        artifact: Artifact,
        size: Size,
        precision: str,
        progress: Progress,
        workspace_mb: int = DEFAULT_WORKSPACE_MB,
        dla: Optional[int] = None,
    ) -> None:
        trt, self._cuda = _import_tensorrt(), import_cuda()
        self._name = "{} {} at {}x{}".format(artifact.sidecar.name, precision, *size)
        self._cuda_context = None  # type: Any
        try:
            self._open(trt, artifact, size, precision, progress, workspace_mb, dla)
        except BaseException as error:
            # The frames of the failed calls hold what TensorRT made; it must go before the CUDA context does.
            traceback.clear_frames(error.__traceback__)
            self.close()
            if isinstance(error, self._cuda.Error):
                raise explain(self._cuda, error, "preparing " + self._name) from error
            raise

    def _open(
        self,
        trt: Any,
        artifact: Artifact,
        size: Size,
        precision: str,
        progress: Progress,
        workspace_mb: int,
        dla: Optional[int],
    ) -> None:
        """Find or build the engine, enter the CUDA context, and load."""
        device = self._cuda.Device(0)
        capability = tuple(device.compute_capability())
        if precision == "int8" and capability in NO_INT8:
            raise Unsupported("{} has no INT8 instructions; use --precision fp16".format(device.name()))
        self._logger = make_logger(trt)
        if dla is not None:
            _require_dla(trt, self._logger, device, dla, precision)
        cache, name = EngineCache(), "{}-{}-{}x{}".format(artifact.sidecar.name, precision, *size)
        file, flags, typed = choose_graph(trt, artifact, precision, size)
        shape, pools = artifact.sidecar.input.shape(size), hasattr(trt, "MemoryPoolType")
        onnx = artifact.verified_path(file)
        order = BuildOrder(onnx, "", artifact.sidecar.input.name, shape, flags, typed, workspace_mb, pools, dla)
        identity = {
            "graph": file.sha256,
            "flags": list(flags),
            "dla": dla,
            "workspace": workspace_mb,
            "size": list(size),
            "TensorRT": trt.__version__,
            "GPU": "{} sm_{}{}".format(device.name(), *capability),
            "L4T": Machine().l4t,
        }
        path = cache.get(name, identity, order, progress)
        self._cuda_context = make_current(device)
        self._runtime = trt.Runtime(self._logger)
        if dla is not None:
            self._runtime.DLA_core = dla
        self._engine = self._load(path)
        if self._engine is None:
            cache.forget(path)
            self._engine = self._load(cache.get(name, identity, order, progress))
        if self._engine is None:
            raise JetsonError("TensorRT cannot load the engine that it built: {}".format(self._logger.last_error))
        super().__init__(artifact, size, dict(identity, engine="tensorrt", version=trt.__version__, path=path))
        self._prepare(trt, shape)
        if not cache.compared(path):
            self._compare(cache, path, onnx, precision, progress)

    def _compare(self, cache: EngineCache, path: str, onnx: str, precision: str, progress: Progress) -> None:
        """See that a new engine computes what its graph says; one that does not is not kept."""
        found = verify.difference(self, self._artifact.sidecar, self._size, onnx, progress)
        if found is not None:
            if found > verify.ALLOWED[precision]:
                cache.forget(path)
                raise JetsonError(verify.complaint(self._name, found, precision))
            cache.note(path, found)
        self.input.fill(0)
        self.stages = None

    def _prepare(self, trt: Any, shape: Tuple[int, ...]) -> None:
        """Allocate the memory, check names, shapes and types, and bind."""
        cuda, spec = self._cuda, self._artifact.sidecar
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise JetsonError("there is not enough memory to run {}; {}".format(self._name, MORE_MEMORY))
        tensors = Tensors(trt, self._engine, self._context)
        tensors.expect(spec.input.name, spec.output.name, spec.input.dtype)
        tensors.set_input_shape(spec.input.name, shape)
        output_shape, output_type = tensors.shape(spec.output.name), tensors.dtype(spec.output.name)
        self._check_output(output_shape, output_type)
        self.input = cuda.pagelocked_empty(shape, spec.input.dtype)
        self.output = cuda.pagelocked_empty(tuple(output_shape), output_type)
        self._device_input = cuda.mem_alloc(self.input.nbytes)
        self._device_output = cuda.mem_alloc(self.output.nbytes)
        addresses = {spec.input.name: int(self._device_input), spec.output.name: int(self._device_output)}
        self._stream = cuda.Stream()
        self._enqueue = tensors.bind(addresses, self._stream.handle)
        self._marks = [cuda.Event() for _ in range(4)]
        self.input.fill(0)

    def _load(self, path: str) -> Any:
        """The engine in a file, or None if this TensorRT refuses it."""
        with open(path, "rb") as file:
            return self._runtime.deserialize_cuda_engine(file.read())

    def _run(self) -> Tuple[Optional[float], Optional[float], Optional[float]]:
        # No local names for what `close` frees: the traceback of an error would keep it alive beyond its context.
        try:
            self._marks[0].record(self._stream)
            self._cuda.memcpy_htod_async(self._device_input, self.input, self._stream)
            self._marks[1].record(self._stream)
            if not self._enqueue():
                raise JetsonError("TensorRT refused to run {}: {}".format(self._name, self._logger.last_error))
            self._marks[2].record(self._stream)
            self._cuda.memcpy_dtoh_async(self.output, self._device_output, self._stream)
            self._marks[3].record(self._stream)
            self._marks[3].synchronize()
            return (
                self._marks[0].time_till(self._marks[1]),
                self._marks[1].time_till(self._marks[2]),
                self._marks[2].time_till(self._marks[3]),
            )
        except self._cuda.Error as error:
            raise explain(self._cuda, error, "running " + self._name) from error

    def close(self) -> None:
        """Free everything, each before what it stands on, and leave the CUDA context."""
        for name in _HELD:
            self.__dict__.pop(name, None)
        context, self._cuda_context = self._cuda_context, None
        if context is not None:
            context.pop()


_HELD = (
    "_enqueue",  # TensorRT, which frees its own device memory
    "_context",
    "_engine",
    "_runtime",
    "_marks",
    "_stream",
    "_device_input",
    "_device_output",
    "input",  # page-locked, as is the output: arrays that a caller still holds are freed when it lets go
    "output",
)
"""The attributes that hold memory, in the order in which it is freed."""


def _require_dla(trt: Any, logger: Any, device: Any, core: int, precision: str) -> None:
    """Refuse a deep learning accelerator that is not there, and what it does not compute.

    It has no fp32; for INT8 it wants, up to TensorRT 10, ranges from a calibration instead of a quantised graph.
    """
    cores = getattr(trt.Builder(logger), "num_DLA_cores", 0)
    if cores == 0:
        raise JetsonError("{} has no DLA; leave out --dla".format(device.name()))
    if core >= cores:
        raise JetsonError("{} has no DLA {}: it has {}, counted from 0".format(device.name(), core, cores))
    if precision != "fp16":
        raise Unsupported("a DLA runs fp16 alone, not {}; use --precision fp16, or leave out --dla".format(precision))


def _import_tensorrt() -> Any:
    try:
        import tensorrt
    except ImportError as error:
        raise JetsonError(
            "TensorRT does not load ({}); on a Jetson run: sudo apt-get install python3-libnvinfer".format(error)
        ) from error
    return tensorrt
