"""From a model to ONNX, reduced precision and TensorRT engines, with parity checked."""
