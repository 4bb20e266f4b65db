"""Running an artifact: ONNX Runtime and TensorRT behind one interface."""
