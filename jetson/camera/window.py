"""The camera's frames in a window of the desktop. OpenCV's windows belong to the main thread."""

from typing import Any, Optional

import numpy as np

from fastnas.jetson.camera.controls import Controls
from fastnas.jetson.camera.pipeline import Sink
from fastnas.jetson.errors import JetsonError
from fastnas.jetson.system.opencv import import_cv2

ESCAPE, QUIT, SPACE = 27, ord("q"), ord(" ")


class Window(Sink):
    """A window; a context manager. `refresh` it from the main thread.

    Space pauses, s takes a snapshot, r starts and ends a recording, q or Esc ends the camera.
    """

    def __init__(self, title: str, controls: Controls) -> None:
        self._cv2, self._title, self._controls = import_cv2(), title, controls
        self._image: Optional[np.ndarray] = None
        try:
            self._cv2.namedWindow(title, self._cv2.WINDOW_NORMAL | self._cv2.WINDOW_KEEPRATIO)
        except self._cv2.error as error:
            raise JetsonError(
                "this OpenCV cannot open a window (no desktop, or a headless build); leave out --window"
            ) from error

    def show(self, image: np.ndarray, captured: float) -> None:
        """See `Sink.show`."""
        self._image = image

    def refresh(self) -> bool:
        """Show the newest image and handle keys; False when the window was closed."""
        image, self._image = self._image, None
        if image is not None:
            self._cv2.imshow(self._title, image)
        key = self._cv2.waitKey(10) & 0xFF
        if key == SPACE:
            self._controls.apply({"paused": not self._controls.paused})
        elif key == ord("s"):
            self._controls.apply({"snapshot": True})
        elif key == ord("r"):
            self._controls.apply({"recording": not self._controls.recording})
        visible = self._cv2.getWindowProperty(self._title, self._cv2.WND_PROP_VISIBLE) >= 1
        return visible and key not in (ESCAPE, QUIT)

    def __enter__(self) -> "Window":
        return self

    def __exit__(self, *error: Any) -> None:
        self._cv2.destroyAllWindows()
