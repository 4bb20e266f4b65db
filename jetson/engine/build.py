"""Building a TensorRT engine from an ONNX file, for TensorRT 8.0 to 11, in a process of its own.

A build takes minutes and may need more memory than a board has. In a process of its own it can be cancelled at any
moment, and being killed for memory is an outcome that the caller sees. Versions differ in names, so the names
that exist decide what is done, never a version number:

- up to 8.3 the workspace is `max_workspace_size`, from 8.4 a memory pool;
- up to 10 FP16 and INT8 are builder flags on the fp32 and the Q/DQ graph; TensorRT 11 has neither, its networks are
  strongly typed and the ONNX itself is fp16;
- up to 9 a network is made with EXPLICIT_BATCH; 10 ignores that, 11 has no such name.
"""

import ctypes
import json
import os
import shlex
import shutil
import signal
import sys
from typing import Any, List, NamedTuple, Optional, Tuple

from fastnas.jetson.errors import FastnasError
from fastnas.jetson.files import atomic_path
from fastnas.jetson.options import EngineOptions

TRTEXEC = "/usr/src/tensorrt/bin/trtexec"


class BuildOrder(NamedTuple):
    """What a build needs, as it is passed to the building process.

    Attributes:
        onnx: path of the graph.
        engine: path to write.
        input: name of the graph's input.
        shape: of the input, fixed in the engine.
        flags: builder flags, such as `FP16`.
        typed: whether the graph's own types decide (a strongly typed network).
        workspace_mb: limit of the scratch memory.
        pools: whether this TensorRT limits memory by pools (from 8.4 on) or by a number of its own.
        dla: number of the deep learning accelerator, or None; what it cannot run falls back to the GPU.
        timing_cache: path of measured tactics, read if it is there and written after; or None.
    """

    onnx: str
    engine: str
    input: str
    shape: Tuple[int, ...]
    flags: Tuple[str, ...] = ()
    typed: bool = False
    workspace_mb: int = EngineOptions().workspace_mb
    pools: bool = True
    dla: Optional[int] = None
    timing_cache: Optional[str] = None

    def trtexec(self) -> str:
        """The command of NVIDIA's own tool that builds the same."""
        command = [_trtexec_path(), "--onnx=" + self.onnx, "--saveEngine=" + self.engine]
        command.append("--shapes={}:{}".format(self.input, "x".join(map(str, self.shape))))
        command.append(("--memPoolSize=workspace:{}" if self.pools else "--workspace={}").format(self.workspace_mb))
        command += ["--" + flag.lower() for flag in self.flags] + ["--stronglyTyped"] * self.typed
        command += [] if self.dla is None else ["--useDLACore={}".format(self.dla), "--allowGPUFallback"]
        return " ".join(map(shlex.quote, command))


class BuildError(Exception):
    """TensorRT refused; the text is its own message."""


def build(trt: Any, order: BuildOrder) -> bytes:
    """The serialised engine, by the module `trt`.

    Raises:
        BuildError: the graph does not parse, or TensorRT finds no way to run it.
    """
    logger = make_logger(trt)
    builder = trt.Builder(logger)
    network = builder.create_network(_network_flags(trt, order.typed))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(order.onnx):
        errors = [parser.get_error(index).desc() for index in range(parser.num_errors)]
        raise BuildError("TensorRT {} cannot parse the graph: {}".format(trt.__version__, "; ".join(errors)))
    config = builder.create_builder_config()
    if order.pools:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, order.workspace_mb << 20)
    else:
        config.max_workspace_size = order.workspace_mb << 20
    for flag in order.flags:
        config.set_flag(getattr(trt.BuilderFlag, flag))
    if order.dla is not None:
        config.default_device_type = trt.DeviceType.DLA
        config.DLA_core = order.dla
        config.set_flag(trt.BuilderFlag.GPU_FALLBACK)
    if -1 in tuple(network.get_input(0).shape):
        profile = builder.create_optimization_profile()
        profile.set_shape(order.input, order.shape, order.shape, order.shape)
        config.add_optimization_profile(profile)
    _load_timings(config, order.timing_cache)
    if hasattr(trt, "IProgressMonitor"):
        config.progress_monitor = make_monitor(trt)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise BuildError("TensorRT {} could not build the engine: {}".format(trt.__version__, logger.last_error))
    _save_timings(config, order.timing_cache)
    return bytes(engine)


def make_logger(trt: Any) -> Any:
    """A logger that prints warnings and worse to stderr and keeps the last error."""

    class Logger(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.last_error = "no reason is given"

        def log(self, severity: Any, msg: str) -> None:
            if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR):
                self.last_error = msg
                sys.stderr.write(msg + "\n")
            # The graphs keep 64-bit integers to shapes, where TensorRT's narrowing of them is harmless.
            elif severity == trt.ILogger.WARNING and "INT64" not in msg:
                sys.stderr.write(msg + "\n")

    return Logger()


def make_monitor(trt: Any) -> Any:
    """Prints the phases of a build (TensorRT 10 and later) to stderr."""

    class Monitor(trt.IProgressMonitor):
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: Optional[str], num_steps: int) -> None:
            if parent_phase is None or num_steps > 20:
                sys.stderr.write("{} ({} steps)\n".format(phase_name, num_steps))

        def phase_finish(self, phase_name: str) -> None:
            pass

        def step_complete(self, phase_name: str, step: int) -> bool:
            return True

    return Monitor()


def _trtexec_path() -> str:
    """The tool's name, or where JetPack puts it, which is not on the path."""
    there = os.path.exists(TRTEXEC) and shutil.which("trtexec") is None
    return TRTEXEC if there else "trtexec"


def _network_flags(trt: Any, typed: bool) -> int:
    wanted = ["EXPLICIT_BATCH"] + ["STRONGLY_TYPED"] * typed
    names = trt.NetworkDefinitionCreationFlag
    return sum(1 << int(getattr(names, name)) for name in wanted if hasattr(names, name))


def _load_timings(config: Any, path: Optional[str]) -> None:
    """Give the builder what earlier builds measured; where TensorRT refuses the file it begins with an empty one."""
    if path is None:
        return
    try:
        with open(path, "rb") as file:
            known = file.read()
    except OSError:  # none yet, or it cannot be read
        known = b""
    cache = config.create_timing_cache(known)  # None if they are damaged or of another release
    if cache is None or not config.set_timing_cache(cache, False):  # False if they are of another GPU
        config.set_timing_cache(config.create_timing_cache(b""), False)


def _save_timings(config: Any, path: Optional[str]) -> None:
    """Keep what was measured; an engine that took minutes to build is not lost if that fails."""
    cache = None if path is None else config.get_timing_cache()
    if path is None or cache is None:
        return
    try:
        with atomic_path(path) as temporary:
            temporary.write_bytes(bytes(cache.serialize()))
    except (OSError, FastnasError) as error:
        sys.stderr.write("the measured timings were not kept: {}\n".format(error))


def main(arguments: List[str]) -> int:
    """Build from the JSON of a `BuildOrder`, for the process of a number; a failure's reason is stderr's last line."""
    try:
        # The kernel ends this process with its parent, so that no forgotten build keeps a board's memory.
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    except (OSError, AttributeError):
        pass
    if os.getppid() != int(arguments[1]):  # it ended before the kernel was told
        return 1
    values = json.loads(arguments[0])
    order = BuildOrder(**dict(values, shape=tuple(values["shape"]), flags=tuple(values["flags"])))
    import tensorrt

    try:
        engine = build(tensorrt, order)
        with open(order.engine, "wb") as file:
            file.write(engine)
            file.flush()
            os.fsync(file.fileno())
    except MemoryError:
        sys.stderr.write("out of memory\n")
        return 1
    except (BuildError, FastnasError, OSError) as error:
        sys.stderr.write(" ".join(str(error).split()) + "\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
