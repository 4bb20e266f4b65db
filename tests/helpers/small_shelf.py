"""A shelf of small models with random weights, in place of the one that comes with fastnas."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from fastnas.deploy import publish
from fastnas.models.checkpoint import FILE_NAME, load_model, save_model
from fastnas.models.spec import ModelSpec
from fastnas.tasks import Depth, Pose, Segmentation, Task
from tests.helpers.deploy_toys import unsettled

STREET = Segmentation(("background", "road", "person"), ((0, 0, 0), (128, 64, 128), (220, 20, 60)))
ROOMS = Depth(0.5, 10.0)
SIZE = (96, 128)


def write_model(path: Path, task: Task = STREET, network: str = "arch1") -> Path:
    """A model file as a training leaves it."""
    spec = ModelSpec(network, task, channels=8, sep_repeats=1)
    metrics = {"mean_iou": 0.71234, "pixel_accuracy": 0.9, "rmse": 0.6543, "PCK@0.2": 0.5}
    save_model(path, unsettled(spec), spec, recipe={"name": "camvid"}, metrics=metrics)
    return path


def make_shelf(folder: Path, street: Segmentation = STREET, others: Mapping[str, Task] | None = None) -> Path:
    """Publish `street`, which gets an artifact, and `rooms` and the others, which get none; for `use_shelf`."""
    for name in ("weights", "artifacts"):
        (folder / name).mkdir()
    (folder / "weights" / "index.json").write_text("{}")
    with pytest.MonkeyPatch.context() as monkeypatch:
        _patch(folder, monkeypatch)
        trained = write_model(folder / "runs" / "street" / FILE_NAME, street)
        publish.publish("street", trained, "Streets.", "CamVid", SIZE, ("mean_iou", "pixel_accuracy"))
        publish.publish_artifact(load_model(folder / "weights" / "street.safetensors"), SIZE)
        publish.publish("rooms", write_model(folder / "rooms.safetensors", ROOMS), "Rooms.", "NYUD", SIZE, ("rmse",))
        for name, task in (others or {}).items():
            metric = "PCK@0.2" if isinstance(task, Pose) else "mean_iou"
            trained = write_model(folder / f"{name}.safetensors", task, "arch2")
            publish.publish(name, trained, f"{name.title()}.", "Photos", SIZE, (metric,))
    return folder


def use_shelf(made: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what `make_shelf` made as the shelf for one test, and an empty cache; returns the models' folder."""
    shutil.copytree(made, folder, dirs_exist_ok=True)
    _patch(folder, monkeypatch)
    monkeypatch.setenv("FASTNAS_CACHE", str(folder / "cache"))
    return folder / "weights"


def _patch(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastnas.shelf.folder", lambda: folder / "weights")
    monkeypatch.setattr("fastnas.jetson.shelf.folder", lambda: str(folder / "artifacts"))
