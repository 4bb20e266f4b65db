"""Capture, inference and drawing, each in a thread of its own, with a queue of one frame of each camera between them.

A frame that was not taken yet is replaced by a newer one, so the lag does not grow: at most one frame waits while
one is computed. The inference thread opens, runs and closes the engines; no other thread uses them. Where the processor
makes the networks' inputs of whole frames, the capturing threads do, while the networks run.
"""

import threading
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Set, Tuple

import numpy as np

from fastnas.jetson.camera.controls import Controls
from fastnas.jetson.camera.frame_queue import TICK, FrameQueue
from fastnas.jetson.camera.mosaic import side_by_side
from fastnas.jetson.camera.sources import Source
from fastnas.jetson.camera.stats import Statistics
from fastnas.jetson.inference.predictions import Predictions
from fastnas.jetson.inference.predictor import Inputs, Predictor
from fastnas.jetson.sidecar import Size

HANG = 5.0
"""Seconds to wait at the end for a driver that hangs or an engine that is being built; the thread then ends with the
process."""

LATE = 0.5
"""Seconds that a file may be behind its own clock; beyond them (after a pause) it continues from where it is."""


class Frame(NamedTuple):
    """A frame on its way to the networks.

    Attributes:
        image: uint8 [H, W, 3].
        captured: time of its capture on the monotonic clock.
        camera: number of its camera.
        inputs: what `Predictor.make_inputs` made of it.
    """

    image: np.ndarray
    captured: float
    camera: int
    inputs: Inputs


class Sink:
    """Takes the finished images. All calls come from the drawing thread.

    Attributes:
        records: whether `show` writes the image, which takes time, instead of keeping it for another thread.
    """

    records = False

    def wants(self) -> bool:
        """Whether it takes an image now; False: it goes without this one. Nothing is drawn while no sink wants one."""
        return True

    def show(self, image: np.ndarray, captured: float) -> None:
        """Take an image that was captured at a time of the monotonic clock; it is not modified afterwards."""
        raise NotImplementedError

    def close(self) -> None:
        """There are no more images."""


class Pipeline:
    """Cameras from source to sinks: `start`, then `wait`, then `join`.

    The networks take the frames of several cameras in turn, and their images are shown side by side.

    Args:
        sources: each is read by a thread of its own, which closes it at the end.
        open_predictor: called once in the inference thread with the first frame's size (H, W).
        draw: makes the finished image from a frame's image, its predictions and the overlay's opacity.
        sinks: take the finished images.
        controls: what the user can change meanwhile.
        statistics: of the pipeline, written by its threads.
        every_frame: of a file: wait for the networks instead of dropping frames, as fast as they are.
        say: receives lines for the user.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        open_predictor: Callable[[Size], Predictor],
        draw: Callable[[np.ndarray, Predictions, float], np.ndarray],
        sinks: Sequence[Sink],
        controls: Controls,
        statistics: Statistics,
        every_frame: bool = False,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._sources, self._open_predictor, self._draw, self._sinks = sources, open_predictor, draw, list(sinks)
        self._controls, self._statistics, self._every_frame, self._say = controls, statistics, every_frame, say
        self._stop = threading.Event()
        self._frames, self._predictions = (FrameQueue(self._stop, len(sources)) for _ in range(2))
        self._predictor: Optional[Predictor] = None
        self._error: Optional[BaseException] = None
        works: List[Tuple[Any, ...]] = [(self._capture, number) for number in range(len(sources))]
        self._threads = [
            threading.Thread(target=self._guard, args=work, name=work[0].__name__.strip("_"), daemon=True)
            for work in works + [(self._infer,), (self._show,)]
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def wait(self, seconds: float) -> bool:
        """Wait; True once the last image is finished or something failed."""
        self._threads[-1].join(seconds)
        return not self._threads[-1].is_alive()

    def stop(self) -> None:
        """Ask all threads to end. Safe in a signal handler."""
        self._stop.set()

    def join(self) -> None:
        """Wait until all threads ended, with sinks, engines and source closed; at most `HANG` for what is stuck.

        Raises:
            BaseException: of the first thread that failed.
        """
        self._threads[-1].join()
        for source in self._sources:
            source.interrupt()
        due = time.monotonic() + HANG
        for thread in self._threads:
            thread.join(max(due - time.monotonic(), 0))
        self._statistics.ended = True
        if self._error is not None:
            raise self._error

    def _guard(self, work: Callable[..., None], *arguments: int) -> None:
        """Run a thread's work; the first error ends all threads and is kept for `join`, later ones are printed."""
        try:
            work(*arguments)
        except BaseException as error:
            if self._error is None:
                self._error = error
            else:
                self._say("{}: {}".format(type(error).__name__, error))
            self._stop.set()

    def _hand_over(self, queue: FrameQueue, item: Any, camera: int) -> None:
        if self._every_frame:
            queue.put(item, camera)
        else:
            self._statistics.cameras[camera].add_dropped(queue.put_latest(item, camera))

    def _capture(self, camera: int) -> None:
        source, statistics, due = self._sources[camera], self._statistics.cameras[camera], time.monotonic()
        try:
            while not self._stop.is_set():
                if self._controls.paused and not source.live:
                    self._stop.wait(TICK)
                    continue
                with self._statistics.budget.measured("capture"):
                    image = source.read()
                statistics.corrupt, statistics.pipeline = source.corrupt, source.pipeline
                if image is None:
                    return
                if not source.live and not self._every_frame:
                    due = max(due + 1 / source.fps, time.monotonic() - LATE)
                    self._stop.wait(max(due - time.monotonic(), 0))
                captured = time.monotonic()
                statistics.add_captured()
                if not self._controls.paused:
                    frame = Frame(image, captured, camera, self._make_inputs(image))
                    self._hand_over(self._frames, frame, camera)
        finally:
            source.close()
            statistics.ended = len(self._sources) > 1  # one alone has ended when its last frame is shown
            self._frames.close(camera)

    def _make_inputs(self, image: np.ndarray) -> Inputs:
        """Inputs of the networks, made while they work on the frame before; none until they are open."""
        predictor, start = self._predictor, time.perf_counter()
        inputs = predictor.make_inputs(image, self._controls.active()) if predictor is not None else {}
        if inputs:
            self._statistics.budget.add("pre", (time.perf_counter() - start) * 1000)
        return inputs

    def _infer(self) -> None:
        predictor: Optional[Predictor] = None
        try:
            while not self._frames.done and not self._stop.is_set():
                frame = self._frames.take()
                if frame is None:
                    continue
                if predictor is None:
                    predictor = self._predictor = self._open_predictor(frame.image.shape[:2])
                start = time.perf_counter()
                predictions = predictor(frame.image, self._controls.active(), frame.camera, frame.inputs)
                self._statistics.add_inference(predictions, (time.perf_counter() - start) * 1000)
                self._hand_over(self._predictions, (frame, predictions), frame.camera)
        finally:
            if predictor is not None:
                predictor.close()
            self._predictions.close()

    def _show(self) -> None:
        """Draw until the end, then close every sink, whatever failed before."""
        for work in [self._show_all] + [sink.close for sink in self._sinks]:
            self._guard(work)

    def _show_all(self) -> None:
        newest: Dict[int, Tuple[Frame, Predictions]] = {}
        undrawn: Set[int] = set()
        images: List[Optional[np.ndarray]] = [None] * len(self._sources)
        version, waiting = self._controls.version, list(self._sinks)
        while not self._predictions.done and not self._stop.is_set():
            item = self._predictions.take()
            if item is not None:
                newest[item[0].camera] = item
                undrawn.add(item[0].camera)
            if version != self._controls.version:
                version, undrawn = self._controls.version, set(newest)
                waiting = list(self._sinks)
            elif item is not None:
                waiting = list(self._sinks)
            taking = [sink for sink in waiting if sink.wants()] if newest else []
            if taking:
                with self._statistics.budget.measured("draw"):
                    for camera in undrawn:
                        frame, predictions = newest[camera]
                        images[camera] = self._draw(frame.image, predictions, self._controls.alpha)
                    image = side_by_side(images)
                self._give(image, max(frame.captured for frame, _ in newest.values()), taking)
                undrawn, waiting = set(), [sink for sink in waiting if sink not in taking]
            if item is not None:
                self._statistics.cameras[item[0].camera].add_shown((time.monotonic() - item[0].captured) * 1000)

    def _give(self, image: np.ndarray, captured: float, sinks: Sequence[Sink]) -> None:
        recording = [sink for sink in sinks if sink.records]
        for sink in sinks:
            if not sink.records:
                sink.show(image, captured)
        if recording:
            with self._statistics.budget.measured("record"):
                for sink in recording:
                    sink.show(image, captured)
