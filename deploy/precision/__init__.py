"""Reduced precision: fp16, INT8 and what stays in fp32."""
