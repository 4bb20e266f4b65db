"""The task of a network that was not trained for one: what the paper's tables have for each kind."""

from __future__ import annotations

from importlib import import_module

from fastnas.tasks import Task

USUAL = {"segmentation": "voc", "pose": "mpii", "depth": "nyud"}
"""Kind of task -> the dataset whose task is taken."""


def usual_task(kind: str) -> Task:
    """VOC's 21 classes, MPII's 16 joints, or NYUDv2's depth."""
    task: Task = import_module(f"fastnas.data.formats.{USUAL[kind]}").TASK
    return task
