"""What a user can change while the camera runs: the state that the page writes and the threads read."""

import threading
from typing import Any, Dict, Sequence, Tuple

from fastnas.jetson.checks import Fields
from fastnas.jetson.errors import JetsonError

ALL = "all"


class Controls:
    """The task that is shown, the overlay's opacity, pause, and requests for a snapshot or a recording.

    Attributes:
        tasks: what can be chosen; `all` is among them where there are several.
        task: the chosen one.
        alpha: opacity of the overlay, 0 to 1.
        paused: whether the last frame is frozen.
        recording: whether a recording is requested.
        version: grows with every change, so that a paused frame is drawn again.
    """

    def __init__(self, kinds: Sequence[str], alpha: float = 0.5) -> None:
        self._kinds = tuple(kinds)
        self._lock = threading.Lock()
        self._snapshot = False
        self.tasks = ((ALL,) if len(kinds) > 1 else ()) + self._kinds
        self.task, self.alpha, self.paused, self.recording = self.tasks[0], alpha, False, False
        self.version = 0

    def active(self) -> Tuple[str, ...]:
        """The kinds of task to run now."""
        task = self.task  # read once: the page may change it meanwhile
        return self._kinds if task == ALL else (task,)

    @property
    def captures(self) -> bool:
        """Whether a snapshot or a recording is requested."""
        return self.recording or self._snapshot

    def take_snapshot_request(self) -> bool:
        """Whether a snapshot was requested since the last call."""
        with self._lock:
            requested, self._snapshot = self._snapshot, False
            return requested

    def apply(self, changes: Any) -> None:
        """Change `task`, `alpha`, `paused` or `recording`, or request a `snapshot` (true), as in the object `changes`.

        Raises:
            JetsonError: an unknown name, or a value that is not allowed; then nothing changes.
        """
        fields = Fields(changes, "control")
        kinds = {"task": str, "alpha": float, "paused": bool, "recording": bool, "snapshot": bool}
        unknown = sorted(set(fields.values) - set(kinds))
        if unknown or not fields.values:
            raise JetsonError("control takes {}, not {}".format(", ".join(kinds), unknown))
        given = {
            name: fields.take(name, kind, self.tasks if name == "task" else (), optional=True)
            for name, kind in kinds.items()
        }
        if given["alpha"] is not None and not 0 <= given["alpha"] <= 1:
            raise fields.error("alpha", "must be from 0 to 1")
        with self._lock:
            self._snapshot = given.pop("snapshot") or self._snapshot
            for name, value in given.items():
                if value is not None:
                    setattr(self, name, value)
            self.version += 1

    def snapshot(self) -> Dict[str, Any]:
        """The state as JSON values."""
        return {name: getattr(self, name) for name in ("task", "tasks", "alpha", "paused", "recording")}
