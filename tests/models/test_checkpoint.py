"""The model file: what goes in comes out, and everything else is refused with its own line."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from fastnas.errors import FastnasError
from fastnas.models.checkpoint import FILE_NAME, load_model, open_model, save_model
from fastnas.models.header import read_header
from fastnas.models.spec import ModelSpec, build
from fastnas.tasks import Depth, Pose, Segmentation, Task

TASKS: list[Task] = [
    Segmentation(("sky", "road"), ((0, 0, 255), (90, 90, 90))),
    Pose(("left", "right", "head"), ((0, 2), (1, 2)), (1, 0, 2)),
    Depth(0.5, 10.0),
]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    spec = ModelSpec("arch1", TASKS[0], channels=8, aux="cell")
    path = tmp_path / "model.safetensors"
    save_model(path, build(spec), spec, recipe={"epochs": 3}, metrics={"miou": 0.5})
    return path


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.kind)
@pytest.mark.parametrize("aux", ["none", "clf", "cell"])
def test_round_trip(task: Task, aux: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    spec = ModelSpec("arch2", task, channels=8, sep_repeats=1, aux=aux)
    network = build(spec).eval()
    save_model(tmp_path / "m.safetensors", network, spec, recipe={"name": "test"}, metrics={"score": 1.0})
    model = load_model(tmp_path / "m.safetensors")
    assert model.spec == ModelSpec("arch2", task, channels=8, sep_repeats=1)
    assert model.header["recipe"] == {"name": "test"}
    assert model.header["metrics"] == {"score": 1.0}
    x = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(model.network(x), network(x), rtol=0, atol=0)


def test_the_header_is_read_alone(saved: Path) -> None:
    header = read_header(saved)
    assert header["model"]["architecture"] == "arch1"
    assert header["model"]["task"]["classes"] == ["sky", "road"]
    assert header["normalisation"]["mean"] == [0.485, 0.456, 0.406]


def test_one_function_opens_a_file_a_name_and_a_genotype(saved: Path) -> None:
    shape = (TASKS[2], "mobilenet_v2", 8, 1)
    file = open_model(str(saved), *shape)
    assert (file.name, file.spec.architecture, file.spec.task) == (saved.parent.name, "arch1", TASKS[0])
    assert (file.recipe, file.metrics) == ({"epochs": 3}, {"miou": 0.5})
    assert saved.name == FILE_NAME
    assert open_model(str(saved.rename(saved.with_name("street.safetensors"))), *shape).name == "street"
    named = open_model("arch1", *shape)
    assert (named.name, named.spec, named.header) == ("arch1", ModelSpec("arch1", *shape), {})
    assert not named.network.training
    public = open_model("[[2,[1,0,3,6],[0,1,2,8],[2,0,6,1]], [[2,3],[3,1],[4,4]]]", *shape)
    assert public.spec.architecture == str(named.spec.genotype)  # the text in the public order becomes the paper's
    assert public.name.startswith("genotype-")
    counted = open_model("arch1", *shape, encoder_weights=None).network
    assert all(parameter.is_meta for parameter in counted.parameters())


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_truncated(saved: Path, keep: int) -> None:
    saved.write_bytes(saved.read_bytes()[:keep])
    with pytest.raises(FastnasError, match="truncated or not a safetensors file"):
        load_model(saved)


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(FastnasError, match="no model file"):
        load_model(tmp_path / "absent.safetensors")
    with pytest.raises(FastnasError, match="no model file"):
        load_model(tmp_path)


def test_foreign(tmp_path: Path) -> None:
    path = tmp_path / "foreign.safetensors"
    save_file({"weight": torch.zeros(1)}, path)
    with pytest.raises(FastnasError, match="not a fastnas model"):
        load_model(path)
    torch.save({"weight": torch.zeros(1)}, path)
    with pytest.raises(FastnasError, match="truncated or not a safetensors file"):
        load_model(path)


def rewrite(path: Path, change: dict[str, Any], weights: dict[str, torch.Tensor] | None = None) -> None:
    header = {**read_header(path), **change}
    save_file(weights or load_file(path), path, metadata={"fastnas": json.dumps(header)})


def test_newer_version(saved: Path) -> None:
    rewrite(saved, {"format": 99, "version": "9.0.0"})
    with pytest.raises(FastnasError, match=r"format 99, written by fastnas 9\.0\.0; .* upgrade fastnas"):
        load_model(saved)


@pytest.mark.parametrize("version", [0, -1, True, "1", None])
def test_a_format_that_never_was(saved: Path, version: Any) -> None:
    rewrite(saved, {"format": version})
    with pytest.raises(FastnasError, match="has format"):
        load_model(saved)


def test_wrong_shape(saved: Path) -> None:
    header = read_header(saved)
    rewrite(saved, {"model": {**header["model"], "channels": 16}})
    with pytest.raises(FastnasError, match=r"weight decoder.* is \[.*but the network of its header needs"):
        load_model(saved)


def test_missing_and_additional_weights(saved: Path) -> None:
    weights = load_file(saved)
    rewrite(saved, {}, {key: value for key, value in weights.items() if key != "decoder.classifier.bias"})
    with pytest.raises(FastnasError, match=r"lacks the weight decoder\.classifier\.bias"):
        load_model(saved)
    rewrite(saved, {}, {**weights, "extra": torch.zeros(1)})
    with pytest.raises(FastnasError, match="holds the weight extra"):
        load_model(saved)


@pytest.mark.parametrize("change", [{"channels": 0}, {"architecture": "arch9"}, {"task": {"kind": "x"}}, {"new": 1}])
def test_a_header_that_describes_no_model(saved: Path, change: dict[str, Any]) -> None:
    rewrite(saved, {"model": {**read_header(saved)["model"], **change}})
    with pytest.raises(FastnasError, match=saved.name):
        load_model(saved)


def test_an_interrupted_write_leaves_the_old_file(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = saved.read_bytes()
    spec = ModelSpec("arch1", TASKS[0], channels=8)

    def fail(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(FastnasError, match="No space left on device"):
        save_model(saved, build(spec), spec)
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]
