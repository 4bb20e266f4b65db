"""Frames at a steady rate: repeated or left out, so that a video plays at the speed of its capture."""

MAX_GAP = 1.0
"""Seconds without a frame (a pause) that are bridged; longer ones are cut out."""


class Pace:
    """How often each image is written.

    Args:
        fps: frames per second of the video.
        every_frame: write each image once, whenever it was captured.
    """

    def __init__(self, fps: float, every_frame: bool = False) -> None:
        self._fps, self._every_frame = fps, every_frame
        self._written, self._start, self._last = 0, 0.0, 0.0

    def due(self, when: float) -> int:
        """The number of frames that an image captured at a time (seconds of any clock) gives; they count as written."""
        if self._every_frame:
            return 1
        if not self._written:
            self._start = self._last = when
        if when - self._last > MAX_GAP:
            self._start += when - self._last - 1 / self._fps
        self._last = max(self._last, when)
        count = max(int(round((when - self._start) * self._fps)) + 1 - self._written, 0)
        self._written += count
        return count
