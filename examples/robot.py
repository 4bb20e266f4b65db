"""Steer by a segmentation network, inside a robot's own loop. Run: python examples/robot.py ARTIFACT [CAMERA]

Needs only what a board has: `pip install ./jetson` on Python 3.6 or later, OpenCV, and TensorRT or ONNX Runtime. The
engine belongs to the thread that opens it. CAMERA is an address as `fastnas camera` takes it, or a test pattern.
"""

import sys

import numpy as np

from fastnas.jetson import sidecar
from fastnas.jetson.camera import opening, sources
from fastnas.jetson.inference import networks

FRAMES = 20


def steering(ids: np.ndarray, road: int) -> float:
    """Where the road is in the lower half: -1 is left, 0 ahead, 1 right, and 0 where there is none."""
    columns = np.nonzero(ids[ids.shape[0] // 2 :] == road)[1]
    return 2 * float(columns.mean()) / (ids.shape[1] - 1) - 1 if len(columns) else 0.0


def main() -> None:
    artifact = sidecar.load(sys.argv[1])
    address = sources.parse_address(sys.argv[2] if len(sys.argv) > 2 else "test://")
    camera = opening.open_source(address, sources.Mode())
    try:
        picture = camera.read()
        if picture is None:
            raise SystemExit("the camera gives no picture")
        opened = networks.Networks({"segmentation": artifact}, picture.shape[:2], networks.Choice(), print)
        try:
            for _ in range(FRAMES):
                seen = opened(picture, ["segmentation"])
                if seen.segmentation is not None:
                    print("steer {:+.2f}, {:.1f} ms".format(steering(seen.segmentation, 0), seen.milliseconds))
                picture = camera.read()
                if picture is None:
                    break
        finally:
            opened.close()
    finally:
        camera.close()


if __name__ == "__main__":
    main()
