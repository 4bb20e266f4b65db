"""A TensorRT engine's inputs and outputs by name: bindings up to TensorRT 8.4, tensors from 8.5 on."""

from typing import Any, Callable, Dict, List, Tuple

import numpy as np

from fastnas.jetson.errors import JetsonError

TYPES = {"FLOAT": "float32", "HALF": "float16", "INT32": "int32", "INT64": "int64", "INT8": "int8", "UINT8": "uint8"}
"""NumPy's types by TensorRT's names; its own `nptype` fails on old releases with NumPy from 1.24 on."""


class Tensors:
    """Names, shapes, types and addresses of an engine's inputs and outputs."""

    def __init__(self, trt: Any, engine: Any, context: Any) -> None:
        self._trt, self._engine, self._context = trt, engine, context
        self._modern = hasattr(engine, "num_io_tensors")
        if self._modern:
            self._names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        else:
            self._names = [engine.get_binding_name(index) for index in range(engine.num_bindings)]

    def expect(self, given: str, asked: List[str], dtype: str) -> None:
        """Compare names and the input's type with the sidecar's.

        Raises:
            JetsonError: they differ.
        """
        if sorted(self._names) != sorted([given] + asked):
            message = "the engine has the tensors {}, the sidecar has {}"
            raise JetsonError(message.format(", ".join(self._names), ", ".join([given] + asked)))
        if self.dtype(given) != np.dtype(dtype):
            raise JetsonError("the engine's input is {}, the sidecar has {}".format(self.dtype(given), dtype))

    def set_input_shape(self, name: str, shape: Tuple[int, ...]) -> None:
        """Fix the input's shape, for an engine that would take others."""
        self._call(self._context, "set_input_shape", "set_binding_shape", name, shape)

    def shape(self, name: str) -> List[int]:
        """A tensor's shape, which depends on the input's."""
        return list(self._call(self._context, "get_tensor_shape", "get_binding_shape", name))

    def dtype(self, name: str) -> Any:
        """A tensor's NumPy type."""
        kind = self._call(self._engine, "get_tensor_dtype", "get_binding_dtype", name)
        known = self._trt.DataType
        return np.dtype(next(TYPES[name] for name in TYPES if getattr(known, name, None) == kind))

    def bind_profiled(self, addresses: Dict[str, int], profiler: Any) -> Callable[[], Any]:
        """The function that runs one pass, and returns when `profiler` (an `IProfiler`) was told of its layers."""
        self._context.profiler = profiler
        context, bindings = self._context, [addresses[name] for name in self._names]
        return lambda: context.execute_v2(bindings)

    def bind(self, addresses: Dict[str, int], stream: int) -> Callable[[], Any]:
        """The function that enqueues one pass on `stream`; it returns True if TensorRT took it."""
        context = self._context
        if self._modern:
            for name, address in addresses.items():
                context.set_tensor_address(name, address)
            return lambda: context.execute_async_v3(stream)
        bindings = [addresses[name] for name in self._names]
        return lambda: context.execute_async_v2(bindings, stream)

    def _call(self, target: Any, modern: str, old: str, name: str, *rest: Any) -> Any:
        """A method by the tensor's name, or its predecessor by the binding's index."""
        if self._modern:
            return getattr(target, modern)(name, *rest)
        return getattr(target, old)(self._names.index(name), *rest)
