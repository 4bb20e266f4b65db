"""ONNX Runtime, which every machine can have."""

from typing import Any, Optional, Tuple

import numpy as np

from fastnas.jetson.engine.base import Engine
from fastnas.jetson.errors import JetsonError, first_line, import_package
from fastnas.jetson.sidecar import Artifact, Size
from fastnas.jetson.system.machine import Machine, onnxruntime_install

_TYPES = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8, "tensor(int32)": np.int32, "tensor(int64)": np.int64}


class OnnxRuntimeEngine(Engine):
    """An artifact in ONNX Runtime, its input and output bound to arrays that are allocated once.

    Where the provider is not the CPU, copying is part of `compute`: ONNX Runtime does not tell them apart.
    """

    _session: Any
    _binding: Any

    def __init__(self, artifact: Artifact, size: Size, precision: str, provider: str, threads: int = 0) -> None:
        install = onnxruntime_install(Machine().generation)
        runtime = import_package("onnxruntime", "ONNX Runtime does not load ({}); run: " + install)
        path = artifact.verified_path(artifact.choose("onnxruntime", precision, size))
        options = self._session_options(runtime, threads)
        # An engine serves one size: known in advance, it lets ONNX Runtime fuse sums whose shapes it compares.
        for name, side in zip(("height", "width"), size):
            options.add_free_dimension_override_by_name(name, side)
        if provider not in runtime.get_available_providers():
            raise JetsonError("this ONNX Runtime has no {}; run: pip install onnxruntime-gpu".format(provider))
        super().__init__(artifact, size)
        try:
            self._hold("_session", runtime.InferenceSession(path, options, providers=[provider]))
        except Exception as error:  # its exceptions share no base class but this one
            raise JetsonError("ONNX Runtime cannot load {}: {}".format(path, first_line(error))) from error
        running = self._session.get_providers()[0]
        if running != provider:
            raise JetsonError("{} was asked for, but ONNX Runtime fell back to {}".format(provider, running))
        self.about = {"engine": "onnxruntime", "version": runtime.__version__, "provider": running, "threads": threads}
        self._bind(path)

    def _session_options(self, runtime: Any, threads: int) -> Any:
        """How the session runs, whatever the size."""
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        return options

    def _bind(self, path: str) -> None:
        """Allocate and bind the arrays; names and types must be the sidecar's."""
        sidecar, session = self._artifact.sidecar, self._session
        given, names = session.get_inputs()[0], [output.name for output in sidecar.outputs]
        if given.name != sidecar.input.name:
            raise JetsonError(
                "{}: the input is {!r}, the sidecar has {!r}".format(path, given.name, sidecar.input.name)
            )
        asked = sorted(output.name for output in session.get_outputs())
        if asked != sorted(names):
            raise JetsonError(
                "{}: the outputs are {}, the sidecar has {}".format(path, ", ".join(asked), ", ".join(names))
            )
        if _TYPES.get(given.type) != np.dtype(sidecar.input.dtype):
            raise JetsonError("{}: the input is {}, the sidecar has {}".format(path, given.type, sidecar.input.dtype))
        self.input = np.zeros(sidecar.input.shape(self._size), sidecar.input.dtype)
        try:
            found = session.run(names, {given.name: self.input})
        except Exception as error:  # as above
            raise JetsonError("{} does not run at {}: {}".format(path, self._size, first_line(error))) from error
        self.outputs = dict(zip(names, map(np.ascontiguousarray, found)))
        for output in sidecar.outputs:
            array = self.outputs[output.name]
            self._check_output(output, list(array.shape), array.dtype)
        self._hold("_binding", session.io_binding())
        for name, array in self.outputs.items():
            self._binding.bind_output(name, *placed(array))
        self.feed(self.input)

    def feed(self, array: np.ndarray) -> None:
        """See `Engine.feed`; nothing is copied."""
        self.input = array
        self._binding.bind_input(self._artifact.sidecar.input.name, *placed(array))

    def _run(self) -> Tuple[Optional[float], Optional[float], Optional[float], Optional[float]]:
        try:
            self._session.run_with_iobinding(self._binding)
        except Exception as error:  # as above: memory that ran out, a GPU that was lost
            message = "{} failed at {}x{} in ONNX Runtime: {}"
            raise JetsonError(
                message.format(self._artifact.sidecar.name, *self._size + (first_line(error),))
            ) from error
        return None, None, None, None


def placed(array: np.ndarray) -> Tuple[Any, ...]:
    """Where an array is, and what it holds, as a binding of ONNX Runtime takes it."""
    return "cpu", 0, array.dtype.type, list(array.shape), array.ctypes.data
