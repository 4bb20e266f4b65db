"""From a frame to the network's input, in preallocated memory."""

from typing import List

import numpy as np

from fastnas.jetson.sidecar import Input, Size
from fastnas.jetson.system.opencv import import_cv2


class Preprocessor:
    """Resizes frames to one size and normalises them as the sidecar says.

    Attributes:
        size: (H, W) of the network's input.
    """

    def __init__(self, spec: Input, size: Size) -> None:
        self.size = size
        self._spec = spec
        self._cv2 = import_cv2()
        self._resized = np.empty(size + (3,), np.uint8)
        self._scale = [1 / (255 * std) for std in spec.std]
        self._shift = [-mean / std for mean, std in zip(spec.mean, spec.std)]

    def __call__(self, frame: np.ndarray, out: np.ndarray) -> None:
        """Write a frame into the network's input.

        Args:
            frame: uint8 [H0, W0, 3] in OpenCV's channel order B, G, R.
            out: float32 [1, 3, H, W] (NCHW) or uint8 [1, H, W, 3] (NHWC), R, G, B.
        """
        if frame.shape[:2] == self.size:
            resized = frame
        else:
            resized = self._resized
            frame = self._halved(frame)
            self._cv2.resize(frame, self.size[::-1], dst=resized, interpolation=self._cv2.INTER_LINEAR)
        if self._spec.layout == "NHWC":
            self._cv2.cvtColor(resized, self._cv2.COLOR_BGR2RGB, dst=out[0])
            return
        for channel in range(3):
            plane = out[0, channel]
            np.multiply(resized[:, :, 2 - channel], self._scale[channel], out=plane, casting="unsafe")
            np.add(plane, self._shift[channel], out=plane)

    def _halved(self, frame: np.ndarray) -> np.ndarray:
        """The frame, halved while it is more than twice too large: 10 times faster than INTER_AREA, as smooth."""
        for rows, columns in halvings(frame.shape[:2], self.size):
            frame = self._cv2.resize(frame, (columns, rows), interpolation=self._cv2.INTER_LINEAR)
        return frame


def halvings(frame: Size, size: Size) -> List[Size]:
    """The sizes (H, W) through which a frame is halved, rounded down, before it is resized to `size`."""
    found = []
    rows, columns = frame
    while rows >= 2 * size[0] and columns >= 2 * size[1]:
        rows, columns = rows // 2, columns // 2
        found.append((rows, columns))
    return found
