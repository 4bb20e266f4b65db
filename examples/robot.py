"""Steer by a segmentation network, inside a robot's own loop. Run: python examples/robot.py ARTIFACT [CAMERA]

Needs only what a board has: `pip install ./jetson` on Python 3.6 or later, OpenCV, and TensorRT or ONNX Runtime. The
engine belongs to the thread that opens it. CAMERA is an address as `fastnas camera` takes it, or a test pattern.
"""

import sys

import numpy as np

from fastnas.jetson import sidecar
from fastnas.jetson.camera import opencv, sources
from fastnas.jetson.inference.predictor import Predictor

FRAMES = 20


def steering(ids: np.ndarray, road: int) -> float:
    """Where the road is in the lower half: -1 is left, 0 ahead, 1 right, and 0 where there is none."""
    columns = np.nonzero(ids[ids.shape[0] // 2 :] == road)[1]
    return 2 * float(columns.mean()) / (ids.shape[1] - 1) - 1 if len(columns) else 0.0


def main() -> None:
    artifact = sidecar.load(sys.argv[1])
    address = sources.parse_address(sys.argv[2] if len(sys.argv) > 2 else "test://")
    with opencv.open_source(address, sources.Mode()) as camera:
        frame = camera.read()
        if frame is None:
            raise SystemExit("the camera gives no frame")
        with Predictor({"segmentation": artifact}, frame.shape[:2], progress=print) as predict:
            for _ in range(FRAMES):
                predictions = predict(frame)
                if predictions.segmentation is not None:
                    angle = steering(predictions.segmentation, 0)
                    print("steer {:+.2f}, {:.1f} ms".format(angle, predictions.milliseconds))
                frame = camera.read()
                if frame is None:
                    break


if __name__ == "__main__":
    main()
