"""What a user can change while the camera runs: the state that the page writes and the threads read."""

import threading
from typing import Any, Dict, List, Sequence, Tuple

from fastnas.jetson.checks import Fields
from fastnas.jetson.errors import JetsonError

ALL = "all"


class Controls:
    """The task that is shown, how strong the overlay is, pause, and wishes for a snapshot or a recording.

    Attributes:
        tasks: what can be chosen; `all` is among them where there are several.
        version: grows with every change, so that a paused picture is drawn again.
    """

    def __init__(self, kinds: Sequence[str], alpha: float = 0.5) -> None:
        self.kinds = tuple(kinds)
        self.tasks = ((ALL,) if len(kinds) > 1 else ()) + self.kinds
        self.version = 0
        self._lock = threading.Lock()
        self._task, self._alpha, self._paused = self.tasks[0], alpha, False
        self._recording, self._snapshots = False, 0

    @property
    def alpha(self) -> float:
        """Strength of the overlay, 0 to 1."""
        return self._alpha

    @property
    def paused(self) -> bool:
        """Whether the picture stands still."""
        return self._paused

    @property
    def recording(self) -> bool:
        """Whether a recording is wanted."""
        return self._recording

    def active(self) -> Tuple[str, ...]:
        """The kinds of task to run now."""
        task = self._task  # read once: the page may change it meanwhile
        return self.kinds if task == ALL else (task,)

    def take_snapshot_wish(self) -> bool:
        """Whether a snapshot is wanted; the wish is then spent."""
        with self._lock:
            wanted = self._snapshots > 0
            self._snapshots = 0
            return wanted

    def stop_recording(self) -> None:
        """The recording ended by itself."""
        with self._lock:
            self._recording = False

    def apply(self, wishes: Any) -> None:
        """Change what `wishes` names: `task`, `alpha`, `paused`, `recording`, or `snapshot`: true.

        Raises:
            JetsonError: it names something else, or a value that cannot be; then nothing changes.
        """
        fields = Fields(wishes, "control")
        unknown = sorted(set(fields.values) - {"task", "alpha", "paused", "recording", "snapshot"})
        if unknown or not fields.values:
            raise JetsonError("control takes task, alpha, paused, recording and snapshot, not {}".format(unknown))
        task = fields.take("task", str, self.tasks, optional=True)
        alpha = fields.take("alpha", float, optional=True)
        if alpha is not None and not 0 <= alpha <= 1:
            raise fields.error("alpha", "must be from 0 to 1")
        flags: List[Any] = [fields.take(name, bool, optional=True) for name in ("paused", "recording", "snapshot")]
        with self._lock:
            self._task = self._task if task is None else task
            self._alpha = self._alpha if alpha is None else float(alpha)
            self._paused = self._paused if flags[0] is None else flags[0]
            self._recording = self._recording if flags[1] is None else flags[1]
            self._snapshots += bool(flags[2])
            self.version += 1

    def snapshot(self) -> Dict[str, Any]:
        """The state as JSON values."""
        return {
            "task": self._task,
            "tasks": list(self.tasks),
            "alpha": self._alpha,
            "paused": self._paused,
            "recording": self._recording,
        }
