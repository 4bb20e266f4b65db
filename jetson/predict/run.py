"""Predicting inputs one after the other, each frame with its files and its record."""

import json
import os
import time
from contextlib import ExitStack
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence

import numpy as np

from fastnas.jetson.camera.recorder import Video
from fastnas.jetson.camera.sources import Mode, Source, SourceLost
from fastnas.jetson.errors import FastnasError
from fastnas.jetson.files import write_text
from fastnas.jetson.inference.model import FOLDERS, Model, Result
from fastnas.jetson.inference.results import Person, coco
from fastnas.jetson.predict.inputs import Input, open_input
from fastnas.jetson.predict.records import JOINTS, Record, Records


class Options(NamedTuple):
    """How inputs are predicted.

    Attributes:
        mode: what to ask a camera for.
        frames: of each video, camera and stream at most; None is to its end.
        overlays: whether to draw the predictions, too.
    """

    mode: Mode = Mode()
    frames: Optional[int] = None
    overlays: bool = True


class Totals:
    """What a run did.

    Attributes:
        images, videos, frames: that were predicted; a camera or stream is a video, frames are those of videos.
        skipped: inputs that were predicted before.
        failed: inputs that could not be read, with the reason.
        milliseconds: inference time of all images and frames.
        stopped: whether it was interrupted.
    """

    def __init__(self) -> None:
        self.images = self.videos = self.frames = self.skipped = 0
        self.failed: Dict[str, str] = {}
        self.milliseconds = 0.0
        self.stopped = False

    def to_dict(self) -> Dict[str, Any]:
        """The totals as JSON values."""
        done = self.images + self.frames
        mean = round(self.milliseconds / done, 3) if done else None
        return {
            "images": self.images, "videos": self.videos, "frames": self.frames, "skipped": self.skipped,
            "failed": self.failed, "inference_ms": mean, "stopped": self.stopped,
        }  # fmt: skip


class Run:
    """Predicts inputs into a folder.

    Args:
        model: what predicts.
        folder: of the output.
        records: of the folder.
        options: how.
        advance: called with a number of frames that are done.
        say: receives a line about an input that fails.
        stopped: whether to stop after the current frame.
    """

    def __init__(
        self,
        model: Model,
        folder: str,
        records: Records,
        options: Options,
        advance: Callable[[int], Any],
        say: Callable[[str], None],
        stopped: Callable[[], bool],
    ) -> None:
        self._model, self._folder, self._records, self._options = model, folder, records, options
        self._advance, self._say, self._stopped = advance, say, stopped
        self.totals = Totals()

    def predict(self, inputs: Sequence[Input]) -> Totals:
        """Predict every input that is not finished yet; one that cannot be read is left out.

        Raises:
            FastnasError: the network fails, or a file cannot be written.
        """
        for given in inputs:
            if self._stopped():
                break
            if self._records.finished(given.name, given.source, self._stamp(given)):
                self.totals.skipped += 1
                self._advance(given.expected(self._options.frames) or 0)
                continue
            try:
                source = open_input(given, self._options.mode)
            except FastnasError as error:
                self._fail(given, error)
                continue
            with source:
                if given.address is None:
                    self._image(given, source)
                else:
                    self._video(given, source)
        self.totals.stopped = self._stopped()
        if "pose" in self._model.tasks:
            write_text(os.path.join(self._folder, JOINTS), json.dumps(self._joints()) + "\n")
        return self.totals

    def _image(self, given: Input, source: Source) -> None:
        stamp = self._stamp(given)
        frame = source.read()
        assert frame is not None
        result = self._model.predict(frame)
        result.save_maps(self._folder, given.name, self._options.overlays)
        self._records.add(dict(_record(given.name, result), source=given.source, stamp=stamp))
        self.totals.images += 1
        self.totals.milliseconds += result.milliseconds
        self._advance(1)

    def _video(self, given: Input, source: Source) -> None:
        """Predict frame by frame. A video that is interrupted is not finished; a camera or stream always is."""
        stamp, number = self._stamp(given), 0
        self._records.add({"name": given.name, "started": True})
        with ExitStack() as stack:
            video: Optional[Video] = None
            if self._options.overlays:
                video = Video(
                    os.path.join(self._folder, FOLDERS["overlay"], given.name + ".mp4"), source.fps, not source.live
                )
                stack.callback(video.close)
            while number != self._options.frames and not self._stopped():
                frame = self._read(given, source)
                if frame is None:
                    break
                when = time.monotonic()
                result = self._model.predict(frame, tracked=number > 0)
                name = "{}/{:06d}".format(given.name, number)
                result.save_maps(self._folder, name, overlay=False)
                if video is not None:
                    video.write(result.overlay(), when)
                self._records.add(dict(_record(name, result), video=given.name))
                number += 1
                self.totals.frames += 1
                self.totals.milliseconds += result.milliseconds
                self._advance(1)
        if not number:
            self._fail(given, FastnasError("it has no frame that can be read"))
            return
        self.totals.videos += 1
        if given.live or not self._stopped():
            end = {"name": given.name, "source": given.source, "stamp": stamp, "frames": number}
            self._records.add(end)

    def _read(self, given: Input, source: Source) -> Optional[np.ndarray]:
        try:
            return source.read()
        except SourceLost as error:
            self._fail(given, error)
            return None

    def _stamp(self, given: Input) -> Optional[List[int]]:
        """By which a change of an input, or of how much of it is wanted, is noticed."""
        stamp = given.stamp()
        limited = given.address is not None and self._options.frames is not None
        return stamp + [self._options.frames or 0] if stamp is not None and limited else stamp

    def _fail(self, given: Input, error: Exception) -> None:
        self.totals.failed[given.source] = str(error)
        self._say("left out {}: {}".format(given.source, error))

    def _joints(self) -> Dict[str, Any]:
        people = [
            Person(
                str(record.get("source", record["name"])),
                (record["size"][0], record["size"][1]),
                np.array(record.get("pose") or [], np.float32).reshape(-1, 3),
            )
            for record in self._records.frames()
        ]
        return coco(people, self._model.tasks["pose"])


def _record(name: str, result: Result) -> Record:
    """What is kept of an image or frame besides its files."""
    person = result.person(name)
    record: Record = {"name": name, "size": list(person.size), "ms": round(result.milliseconds, 3)}
    if "pose" in result.tasks:
        record["pose"] = person.joints.astype(float).round(4).tolist()
    return record
