"""The processes of a training, and the work of one on behalf of all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy

from fastnas.errors import FastnasError


@dataclass(frozen=True)
class Machine:
    """The options that say how this machine carries out a run, so that a resumed run may have others."""

    workers: int
    accelerator: str
    devices: int | str
    nodes: int
    save_every: float
    channels_last: bool
    compile: bool

    def fabric(self, precision: str) -> Fabric:
        """Lightning Fabric on this machine, launched."""
        precisions: dict[str, Any] = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}
        fabric = Fabric(
            accelerator=self.accelerator,
            devices=self.devices,
            num_nodes=self.nodes,
            # A genotype may leave out encoder outputs, so that some weights get no gradient.
            strategy="auto" if (self.devices, self.nodes) == (1, 1) else DDPStrategy(find_unused_parameters=True),
            precision=precisions[precision],
        )
        fabric.launch()
        return fabric


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
