"""The two pretrained networks that teach ours, by LiteRT: `pip install ai-edge-litert`.

- DeepLab-v3 with MobileNet-v2 on Pascal VOC (TensorFlow's deeplabv3_mnv2_pascal_quant, Apache-2.0): 21 classes.
- MoveNet SinglePose Lightning (TensorFlow Hub, Apache-2.0): 17 joints of one person.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.float32]


class DeepLab:
    """Logits of Pascal VOC's 21 classes for an RGB image.

    Args:
        path: the `.tflite` file.
    """

    SIDE, STRIDE = 513, 16
    LOGITS = "ResizeBilinear_1"
    """The last tensor before the arg-max that is not yet upsampled: int8 or uint8 [1, 33, 33, 21]."""

    def __init__(self, path: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self.interpreter = Interpreter(str(path), num_threads=1, experimental_preserve_all_tensors=True)
        self.interpreter.allocate_tensors()
        self.input = self.interpreter.get_input_details()[0]["index"]
        self.logits: dict[str, Any] = next(
            tensor for tensor in self.interpreter.get_tensor_details() if tensor["name"] == self.LOGITS
        )

    def __call__(self, image: Pixels, step: int = 8) -> Numbers:
        """Logits [21, h, w] of an image [H, W, 3] and its mirror image, averaged; h = ceil(H / step), w likewise."""
        mirrored = self._run(np.ascontiguousarray(image[:, ::-1]), step)[:, :, ::-1]
        return (self._run(image, step) + mirrored) / 2

    def _run(self, image: Pixels, step: int) -> Numbers:
        height, width = image.shape[:2]
        scale = self.SIDE / max(height, width)
        resized = cv2.resize(image, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_LINEAR)
        padded = np.full((1, self.SIDE, self.SIDE, 3), 127, np.uint8)
        padded[0, : resized.shape[0], : resized.shape[1]] = resized
        self.interpreter.set_tensor(self.input, padded)
        self.interpreter.invoke()
        factor, zero = self.logits["quantization"]
        stored = self.interpreter.get_tensor(self.logits["index"])[0].astype(np.float32)
        logits: Numbers = np.float32(factor) * (stored - np.float32(zero))
        # Cell i of the logits lies at pixel 16 i of the padded image.
        rows = ((np.arange(-(-height // step)) + 0.5) * height / -(-height // step) - 0.5) * scale / self.STRIDE
        columns = ((np.arange(-(-width // step)) + 0.5) * width / -(-width // step) - 0.5) * scale / self.STRIDE
        x, y = np.meshgrid(columns.astype(np.float32), rows.astype(np.float32))
        planes = [
            cv2.remap(plane, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            for plane in logits.transpose(2, 0, 1).copy()
        ]
        return np.stack(planes)


class MoveNet:
    """The 17 COCO joints of one person.

    Args:
        path: the `.tflite` file.
    """

    SIDE = 192

    def __init__(self, path: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self.interpreter = Interpreter(str(path), num_threads=1)
        self.interpreter.allocate_tensors()
        self.input = self.interpreter.get_input_details()[0]["index"]
        self.output = self.interpreter.get_output_details()[0]["index"]

    def __call__(self, image: Pixels, box: tuple[float, float, float, float]) -> Numbers:
        """Joints [17, 3] (x, y in pixels of the image, score) of the person in a box (left, top, right, bottom).

        The network sees a square around the box, 1.25 times its longer side, with black outside the image.
        """
        left, top, right, bottom = box
        side = 1.25 * max(right - left, bottom - top)
        x, y = (left + right - side) / 2, (top + bottom - side) / 2
        zoom = self.SIDE / side
        matrix = np.array([[zoom, 0, (0.5 - x) * zoom - 0.5], [0, zoom, (0.5 - y) * zoom - 0.5]])
        crop = cv2.warpAffine(image, matrix, (self.SIDE, self.SIDE), flags=cv2.INTER_LINEAR)
        self.interpreter.set_tensor(self.input, crop[None])
        self.interpreter.invoke()
        found = self.interpreter.get_tensor(self.output)[0, 0]
        return np.stack([found[:, 1] * side + x - 0.5, found[:, 0] * side + y - 0.5, found[:, 2]], 1).astype(np.float32)
