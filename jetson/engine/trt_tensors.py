"""A TensorRT engine's inputs and outputs by name, over both generations of its interface."""

from typing import Any, Dict, List, Tuple

import numpy as np

from fastnas.jetson.errors import JetsonError


class Tensors:
    """Names, shapes, types and addresses: of bindings, and from TensorRT 8.5 on of tensors."""

    def __init__(self, trt: Any, engine: Any, context: Any) -> None:
        self._trt, self._engine, self._context = trt, engine, context
        self._modern = hasattr(engine, "num_io_tensors")
        if self._modern:
            self._names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        else:
            self._names = [engine.get_binding_name(index) for index in range(engine.num_bindings)]

    def expect(self, given: str, asked: str, dtype: str) -> None:
        """Compare names and the input's type with the sidecar's.

        Raises:
            JetsonError: they differ.
        """
        if sorted(self._names) != sorted([given, asked]):
            message = "the engine has the tensors {}, the sidecar says {} and {}"
            raise JetsonError(message.format(", ".join(self._names), given, asked))
        if self.dtype(given) != np.dtype(dtype):
            raise JetsonError("the engine's input is {}, the sidecar says {}".format(self.dtype(given), dtype))

    def set_input_shape(self, name: str, shape: Tuple[int, ...]) -> None:
        """Fix the input's shape, for an engine that would take others."""
        if self._modern:
            self._context.set_input_shape(name, shape)
        else:
            self._context.set_binding_shape(self._names.index(name), shape)

    def shape(self, name: str) -> List[int]:
        """A tensor's shape, as the input's decides it."""
        if self._modern:
            return list(self._context.get_tensor_shape(name))
        return list(self._context.get_binding_shape(self._names.index(name)))

    def dtype(self, name: str) -> Any:
        """A tensor's NumPy type. TensorRT's own `nptype` fails on old releases with NumPy from 1.24 on."""
        if self._modern:
            kind = self._engine.get_tensor_dtype(name)
        else:
            kind = self._engine.get_binding_dtype(self._names.index(name))
        return np.dtype(_numpy_types(self._trt)[kind])

    def bind(self, addresses: Dict[str, int], stream: int) -> Any:
        """The function that enqueues one pass on `stream`; True if TensorRT took it."""
        context = self._context
        if self._modern:
            for name, address in addresses.items():
                context.set_tensor_address(name, address)
            return lambda: context.execute_async_v3(stream)
        bindings = [addresses[name] for name in self._names]
        return lambda: context.execute_async_v2(bindings, stream)


def _numpy_types(trt: Any) -> Dict[Any, Any]:
    names = {"FLOAT": np.float32, "HALF": np.float16, "INT32": np.int32, "INT8": np.int8, "UINT8": np.uint8}
    names["INT64"] = np.int64
    return {getattr(trt.DataType, name): kind for name, kind in names.items() if hasattr(trt.DataType, name)}
