"""TensorBoard's event files."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

_print_traceback = threading.excepthook


def event_writer(folder: Path, **options: Any) -> Any:
    """A `SummaryWriter` into `folder/tensorboard`.

    Its own thread writes. What fails there, such as on a full disk, is raised again by the next call of the writer, so
    the thread need not print it as well.
    """
    from torch.utils.tensorboard import SummaryWriter

    threading.excepthook = _without_system_errors
    return SummaryWriter(str(folder / "tensorboard"), **options)


def _without_system_errors(failed: threading.ExceptHookArgs) -> None:
    if not issubclass(failed.exc_type, OSError):
        _print_traceback(failed)
