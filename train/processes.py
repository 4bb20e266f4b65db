"""What one of several training processes does for all."""

from __future__ import annotations

from collections.abc import Callable

from lightning_fabric import Fabric

from fastnas.errors import FastnasError


def in_first_process(fabric: Fabric, action: Callable[[], object]) -> None:
    """Do it in the first process alone. If it fails there, every process ends with the reason; none waits for it.

    Raises:
        FastnasError: the action did.
    """
    reason: str | None = None
    if fabric.is_global_zero:
        try:
            action()
        except FastnasError as error:
            reason = str(error)
    if reason := fabric.broadcast(reason):
        raise FastnasError(reason)
