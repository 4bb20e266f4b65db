"""ONNX files: the writer and the compatibility rules."""
