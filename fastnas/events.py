"""TensorBoard's event files."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Any

FLUSH_EVERY = 10.0
"""Seconds between flushes to disk."""


class EventWriter:
    """Writes scalars by step to a new file of `folder/tensorboard`, without a thread.

    `SummaryWriter` of PyTorch passes events to a thread through a queue: Ctrl-C can leave the queue locked, and closing
    the writer then never returns.

    Args:
        folder: of the run.
        purge_step: TensorBoard discards the events of earlier files from this step on.

    Raises:
        OSError: here and in every method: the file cannot be written.
    """

    def __init__(self, folder: Path, purge_step: int | None = None) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter

        place = folder / "tensorboard"
        place.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{time.time_ns()}.{socket.gethostname()}.{os.getpid()}"
        self._records = RecordWriter(open(place / name, "wb"))  # noqa: SIM115 - `close` closes it
        self._flushed = 0.0
        self._write(Event(file_version="brain.Event:2"))
        if purge_step is not None:
            self._write(Event(step=purge_step, session_log=SessionLog(status=SessionLog.START)))

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        """Add one point of the curve `tag`."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        self._write(Event(step=step, summary=Summary(value=[Summary.Value(tag=tag, simple_value=value)])))

    def flush(self) -> None:
        """Write everything to disk."""
        self._records.flush()
        self._flushed = time.monotonic()

    def close(self) -> None:
        """Write everything to disk and close the file."""
        self._records.close()

    def _write(self, event: Any) -> None:
        event.wall_time = time.time()
        self._records.write(event.SerializeToString())
        if time.monotonic() - self._flushed > FLUSH_EVERY:
            self.flush()
