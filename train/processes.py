"""Work of one training process on behalf of all."""

from __future__ import annotations

from collections.abc import Callable

from lightning_fabric import Fabric

from fastnas.errors import FastnasError


def in_first_process(fabric: Fabric, action: Callable[[], object]) -> None:
    """Run an action in the first process alone. If it fails there, every process raises its error, so that none hangs.

    Raises:
        FastnasError: the action raised it.
    """
    reason: str | None = None
    if fabric.is_global_zero:
        try:
            action()
        except FastnasError as error:
            reason = str(error)
    if reason := fabric.broadcast(reason):
        raise FastnasError(reason)
