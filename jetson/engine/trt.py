"""TensorRT 8.0 to 11: memory allocated once, one stream, one owning thread.

TensorRT enqueues a network kernel by kernel. Recorded into a CUDA graph once, it is enqueued by one call; with small
inputs, or on a slow processor, the GPU would wait for the launches.
"""

import time
import traceback
from typing import Any, Callable, Dict, List, Optional, Tuple

import numpy as np

from fastnas.jetson.engine import verify
from fastnas.jetson.engine.base import Around, Engine, Log, OnGpu
from fastnas.jetson.engine.buffers import Buffer, choose_memory
from fastnas.jetson.engine.build import BuildOrder, make_logger
from fastnas.jetson.engine.cache import EngineCache
from fastnas.jetson.engine.cuda.interface import CudaError, Device
from fastnas.jetson.engine.cuda.opening import open_cuda, tell_once
from fastnas.jetson.engine.trt_tensors import Tensors
from fastnas.jetson.engine.weights import plain_graph
from fastnas.jetson.errors import MORE_MEMORY, JetsonError, Unsupported, import_package
from fastnas.jetson.options import EngineOptions
from fastnas.jetson.sidecar import Artifact, ModelFile, Size
from fastnas.jetson.system.machine import Machine

NO_INT8 = ((5, 3), (6, 2))
"""Compute capabilities without INT8 instructions: Nano and TX1, TX2."""


TYPED = "tensorrt-typed"
"""The target of files for networks that are strongly typed alone."""


def import_tensorrt() -> Any:
    """The module `tensorrt`; JetsonError where it does not load."""
    return import_package(
        "tensorrt", "TensorRT does not load ({}); on a Jetson run: sudo apt-get install python3-libnvinfer"
    )


def has_fp16_flag(trt: Any) -> bool:
    """Whether TensorRT casts an fp32 graph to fp16 itself (up to 10); a later one needs an fp16 file."""
    return hasattr(trt.BuilderFlag, "FP16")


def choose_graph(trt: Any, artifact: Artifact, precision: str, size: Size) -> Tuple[ModelFile, Tuple[str, ...], bool]:
    """The file to build, the builder flags, and whether the graph is strongly typed, for this TensorRT.

    With its FP16 flag TensorRT keeps fp32 where that is as fast.

    Raises:
        Unsupported: this TensorRT needs an fp16 file, and the artifact has none.
        JetsonError: the artifact has no file of the precision and size.
    """
    if precision == "fp32":
        return artifact.choose("tensorrt", "fp32", size), (), False
    if precision == "fp16" and has_fp16_flag(trt):
        return artifact.choose("tensorrt", "fp32", size), ("FP16",), False
    if precision == "int8" and hasattr(trt.BuilderFlag, "INT8"):
        return artifact.choose("tensorrt", "int8", size), ("FP16", "INT8"), False
    typed = [file for file in artifact.sidecar.files if file.precision == "fp16" and "tensorrt" in file.targets]
    if precision == "fp16" and not typed:
        message = "{0} has no fp16 file for tensorrt, and TensorRT 11 needs one: fastnas export {0} --fp16"
        raise Unsupported(message.format(artifact.sidecar.name))
    own = any(file.precision == precision and TYPED in file.targets for file in artifact.sidecar.files)
    return artifact.choose(TYPED if own else "tensorrt", precision, size), (), True


class TensorRTEngine(Engine):
    """An artifact in TensorRT. The engine is built on first use and cached."""

    _runtime: Any
    _engine: Any
    _context: Any
    _stream: Any
    _enqueue: Any
    _marks: Any
    _buffers: List[Buffer]
    _results: List[Buffer]
    _around: Optional[Around] = None

    def __init__(self, artifact: Artifact, size: Size, precision: str, options: EngineOptions, log: Log) -> None:
        super().__init__(artifact, size)
        trt, self._cuda = import_tensorrt(), open_cuda(log, options.graph)
        self._logger = make_logger(trt)
        self._name = "{} {} at {}x{}".format(artifact.sidecar.name, precision, *size)
        try:
            self._open(trt, precision, options, log)
        except BaseException as error:
            # The frames of the failed calls hold what TensorRT made; it must go before the CUDA context does.
            traceback.clear_frames(error.__traceback__)
            self.close()
            if isinstance(error, CudaError):
                raise error.during("preparing " + self._name) from error
            raise

    def _open(self, trt: Any, precision: str, options: EngineOptions, log: Log) -> None:
        """Find or build the engine, enter the CUDA context, load, allocate, and compare a new engine with its graph."""
        order, identity = self._order(trt, precision, options)
        cache, name = EngineCache(), "{}-{}-{}x{}".format(self._artifact.sidecar.name, precision, *self._size)
        path = cache.get(name, identity, order, log)
        self._resources.callback(self._cuda.enter())
        self._hold("_runtime", trt.Runtime(self._logger))
        if options.dla is not None:
            self._runtime.DLA_core = options.dla
        if self._load(path) is None:
            cache.forget(path)
            if self._load(cache.get(name, identity, order, log)) is None:
                raise JetsonError("TensorRT cannot load the engine that it built: {}".format(self._logger.last_error))
        memory, reason = choose_memory(options.memory, self._cuda.device)
        tell_once(log, "memory: {}, {} (--memory)".format(memory, reason))
        self.about = dict(identity, engine="tensorrt", version=trt.__version__, path=path)
        self.about.update(CUDA=self._cuda.about, memory=memory)
        self._allocate(trt, order.shape, memory)
        if not cache.compared(path):
            self._compare(cache, path, order.onnx, precision, log)
        self.about["graph"] = options.graph and self._record(precision, log)

    def _order(self, trt: Any, precision: str, options: EngineOptions) -> Tuple[BuildOrder, Dict[str, Any]]:
        """How to build the engine, and everything that decides whether a built one fits."""
        device = self._cuda.device
        if precision == "int8" and device.capability in NO_INT8:
            raise Unsupported("{} has no INT8 instructions; use --precision fp16".format(device.name))
        if options.dla is not None:
            _require_dla(trt, self._logger, device, options.dla, precision)
        file, flags, typed = choose_graph(trt, self._artifact, precision, self._size)
        spec, machine = self._artifact.sidecar.input, Machine()
        order = BuildOrder(
            onnx=plain_graph(self._artifact.verified_path(file), file.sha256, self._size),
            engine="",
            input=spec.name,
            shape=spec.shape(self._size),
            flags=flags,
            typed=typed,
            workspace_mb=options.workspace_mb,
            pools=hasattr(trt, "MemoryPoolType"),
            dla=options.dla,
        )
        identity = {
            "graph": file.sha256,
            "flags": list(flags),
            "dla": options.dla,
            "workspace": options.workspace_mb,
            "size": list(self._size),
            "TensorRT": trt.__version__,
            # Orin Nano, NX and AGX share a name and a capability, and differ in multiprocessors and in clocks.
            "GPU": "{} sm_{}{} x{}".format(device.name, *device.capability + (device.multiprocessors,)),
            "module": machine.module,
            "L4T": machine.l4t,
        }
        return order, identity

    def _load(self, path: str) -> Any:
        """Load an engine file; None if this TensorRT refuses it."""
        with open(path, "rb") as file:
            return self._hold("_engine", self._runtime.deserialize_cuda_engine(file.read()))

    def _allocate(self, trt: Any, shape: Tuple[int, ...], memory: str) -> None:
        """Allocate memory of a kind, check names, shapes and types, and bind."""
        spec = self._artifact.sidecar
        if self._hold("_context", self._engine.create_execution_context()) is None:
            raise JetsonError("there is not enough memory to run {}; {}".format(self._name, MORE_MEMORY))
        tensors = Tensors(trt, self._engine, self._context)
        names = [output.name for output in spec.outputs]
        tensors.expect(spec.input.name, names, spec.input.dtype)
        tensors.set_input_shape(spec.input.name, shape)
        for output in spec.outputs:
            self._check_output(output, tensors.shape(output.name), tensors.dtype(output.name))
        # Arrays that a caller still holds after `close` are freed when it drops them.
        self._hold("_buffers", [])
        for name, kind in [(spec.input.name, spec.input.dtype)] + [(name, tensors.dtype(name)) for name in names]:
            self._buffers.append(self._close_later(Buffer(self._cuda, memory, tuple(tensors.shape(name)), kind)))
        self._hold("_results", self._buffers[1:])
        self._hold("input", self._buffers[0].array)
        self._hold("outputs", {name: buffer.array for name, buffer in zip(names, self._buffers[1:])})
        self._hold("_stream", self._close_later(self._cuda.stream()))
        addresses = {name: buffer.address for name, buffer in zip([spec.input.name] + names, self._buffers)}
        self._hold("_enqueue", self._bind(trt, tensors, addresses))
        self._hold("on_gpu", OnGpu(self._cuda, memory, addresses))
        self._hold("_marks", [self._close_later(self._cuda.event()) for _ in range(4)])
        self.input.fill(0)

    def attach(self, around: Around) -> None:
        """See `Engine.attach`."""
        self._hold("_around", self._close_later(around))
        self._results = [
            buffer for name, buffer in zip(self.outputs, self._buffers[1:]) if name not in around.arrays
        ]  # what it makes arrays of is not copied to the host
        self.outputs = dict(self.outputs, **around.arrays)

    def _bind(self, trt: Any, tensors: Tensors, addresses: Dict[str, int]) -> Callable[[], Any]:
        """The function that enqueues one pass; it returns True if TensorRT took it."""
        return tensors.bind(addresses, self._stream.handle)

    def _record(self, precision: str, log: Log) -> bool:
        """Let one launch of a CUDA graph enqueue the network; False, and a line why, where that does not work."""
        spec, plain, stream = self._artifact.sidecar, self._enqueue, self._stream
        try:
            verify.fill(self.input, spec, self._size)
            wanted = {name: np.array(array) for name, array in self.run().items()}  # TensorRT must run once before
            graph = self._close_later(self._cuda.capture(stream, self._enqueue_network))
            self._enqueue = lambda: graph.launch(stream) or True
            found = verify.largest_share(self.run(), wanted, spec)
            if found > verify.ALLOWED[precision]:
                raise JetsonError("its outputs differ by {:.3g} of the largest value".format(found))
        except JetsonError as error:
            self._enqueue = plain
            tell_once(log, "CUDA graph: none, the host enqueues kernel by kernel: {}".format(error))
            return False
        finally:
            self.input.fill(0)
            self.stages = None
        tell_once(log, "CUDA graph: one launch enqueues a network (--no-graph)")
        return True

    def _enqueue_network(self) -> None:
        if not self._enqueue():
            raise JetsonError("TensorRT refused to run {}: {}".format(self._name, self._logger.last_error))

    def _close_later(self, resource: Any) -> Any:
        """Have `close` close it."""
        self._resources.callback(resource.close)
        return resource

    def _compare(self, cache: EngineCache, path: str, onnx: str, precision: str, log: Log) -> None:
        """Compare a new engine with its graph; one that differs is not kept."""
        found = verify.difference(self, self._artifact.sidecar, self._size, onnx, log)
        if found is not None:
            if found > verify.ALLOWED[precision]:
                cache.forget(path)
                raise JetsonError(verify.complaint(self._name, found, precision))
            cache.note(path, found)
        self.input.fill(0)
        self.stages = None

    def _run(self) -> Tuple[Optional[float], Optional[float], Optional[float], Optional[float]]:
        # No local names for what `close` frees: the traceback of an error would keep it alive beyond its context.
        try:
            self._marks[0].record(self._stream)
            if self._around is None:
                self._buffers[0].copy_in(self._stream)
            else:
                self._around.enqueue_input(self._stream)
            self._marks[1].record(self._stream)
            start = time.perf_counter()
            self._enqueue_network()
            enqueue = (time.perf_counter() - start) * 1000
            self._marks[2].record(self._stream)
            for index in range(len(self._results)):
                self._results[index].copy_out(self._stream)
            if self._around is not None:
                self._around.enqueue_outputs(self._stream)
            self._marks[3].record(self._stream)
            self._marks[3].synchronize()
            compute = self._marks[2].milliseconds_since(self._marks[1])
            if self._around is None and not self._buffers[0].copied:
                return None, compute, None, enqueue
            return (
                self._marks[1].milliseconds_since(self._marks[0]),
                compute,
                self._marks[3].milliseconds_since(self._marks[2]),
                enqueue,
            )
        except CudaError as error:
            raise error.during("running " + self._name) from error


def _require_dla(trt: Any, logger: Any, device: Device, core: int, precision: str) -> None:
    """Refuse a deep learning accelerator that is not there, and what it does not compute.

    It has no fp32; for INT8 it wants, up to TensorRT 10, ranges from a calibration instead of a quantised graph.
    """
    cores = getattr(trt.Builder(logger), "num_DLA_cores", 0)
    if cores == 0:
        raise JetsonError("{} has no DLA; leave out --dla".format(device.name))
    if core >= cores:
        raise JetsonError("{} has no DLA {}: it has {}, counted from 0".format(device.name, core, cores))
    if precision != "fp16":
        raise Unsupported("a DLA runs fp16 alone, not {}; use --precision fp16, or leave out --dla".format(precision))
