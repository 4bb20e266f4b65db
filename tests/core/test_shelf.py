"""The shelf: names where a model file is taken, checksums, and what comes with fastnas."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from safetensors.torch import load_file

import fastnas
from fastnas import shelf
from fastnas.cli import main
from fastnas.data import open_dataset
from fastnas.data.base import Subset
from fastnas.errors import FastnasError
from fastnas.jetson import shelf as device_shelf
from fastnas.jetson.files import sha256_of
from fastnas.models.checkpoint import load_model, save_model
from fastnas.models.header import read_header
from fastnas.models.spec import ModelSpec
from fastnas.train.evaluate import evaluate
from tests.helpers.deploy_toys import unsettled
from tests.helpers.small_shelf import SIZE, STREET, use_shelf

MOST_BYTES, MOST_ARTIFACTS = 40 << 20, 12 << 20


@pytest.fixture
def small(made_shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return use_shelf(made_shelf, tmp_path, monkeypatch)


def found(name: str) -> Path:
    path = shelf.find(name)
    assert path is not None
    return path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def test_what_is_published_is_listed_and_found(small: Path) -> None:
    entry = shelf.entries()["street"]
    assert (entry.about, entry.data, entry.input_size) == ("Streets.", "CamVid", SIZE)
    assert entry.metrics == {"mean_iou": 0.7123, "pixel_accuracy": 0.9}
    path = found("street")
    assert path == small / "street.safetensors"
    assert (entry.bytes, entry.sha256) == (path.stat().st_size, sha256_of(str(path)))
    assert shelf.resolve("street") == str(path)
    assert [shelf.resolve(text) for text in ("arch0", "runs/a.safetensors", "")] == ["arch0", "runs/a.safetensors", ""]
    assert shelf.find("arch0") is None


def test_a_published_model_is_the_trained_one_in_half_the_bytes(small: Path) -> None:
    trained = small.parent / "runs" / "street" / "model.safetensors"
    path = small / "street.safetensors"
    assert path.stat().st_size < 0.55 * trained.stat().st_size
    halved, full = load_file(path), load_file(trained)
    assert {value.dtype for value in halved.values()} == {torch.float16, torch.int64}
    assert all(torch.equal(value, full[key].to(value.dtype)) for key, value in halved.items())
    ours, theirs = read_header(path), read_header(trained)
    assert ours == theirs
    model = load_model(path)
    assert model.name == "street"
    assert {value.dtype for value in model.network.state_dict().values()} == {torch.float32, torch.int64}


def test_fp16_weights_change_no_metric(tmp_path: Path) -> None:
    data = Subset(open_dataset("synthetic", None, "val"), range(0, 40, 10), "val")
    spec = ModelSpec("arch1", data.task, channels=8, sep_repeats=1)
    network = unsettled(spec)
    save_model(tmp_path / "half.safetensors", network, spec, half=True)
    halved = load_model(tmp_path / "half.safetensors").network
    full, half = (evaluate(each, data, (0, 0), torch.device("cpu")).compute() for each in (network, halved))
    assert full["mean_iou"] > 0
    assert half == pytest.approx(full, abs=1e-3, nan_ok=True)
    assert half != full


def test_what_fp16_cannot_hold_stays(tmp_path: Path) -> None:
    spec = ModelSpec("arch1", STREET, channels=8, sep_repeats=1)
    network = unsettled(spec)
    network.load_state_dict({"decoder.classifier.bias": torch.full((3,), 1e5)}, strict=False)
    save_model(tmp_path / "half.safetensors", network, spec, half=True)
    assert load_file(tmp_path / "half.safetensors")["decoder.classifier.bias"].dtype == torch.float32
    loaded = load_model(tmp_path / "half.safetensors").network
    assert loaded.state_dict()["decoder.classifier.bias"].tolist() == [1e5] * 3


@pytest.mark.parametrize(
    ("harm", "line"),
    [
        (lambda path: path.unlink(), "is missing: there is no"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "is damaged: "),
        (lambda path: path.write_bytes(path.read_bytes()[:-1] + b"?"), "is damaged: "),
    ],
    ids=["missing", "cut", "changed"],
)
def test_a_missing_or_damaged_model_is_one_line(small: Path, harm: Callable[[Path], object], line: str) -> None:
    harm(small / "street.safetensors")
    result = run("show", "street")
    assert result.exit_code == 1
    assert line in result.stderr
    assert result.stderr.endswith("install fastnas again\n")
    assert result.stderr.count("\n") == 1


def test_an_index_that_is_none_is_one_line(small: Path) -> None:
    (small / shelf.INDEX).write_text('{"street": {"file": 1}}')
    with pytest.raises(FastnasError, match=r"index\.json: street\.input_size is missing"):
        shelf.entries()


def test_show_describes_a_name(small: Path) -> None:
    shown = json.loads(run("show", "street", "--json").stdout)
    assert shown["name"] == "street"
    assert shown["model"]["task"]["classes"] == list(STREET.classes)
    assert shown["metrics"]["mean_iou"] == 0.71234


def test_unknown_names_list_what_there_is(small: Path) -> None:
    assert "trained models are street, rooms\n" in run("show", "strete").stderr


@pytest.mark.parametrize("command", ["show", "export", "eval"])
def test_help_lists_the_trained_models(command: str) -> None:
    code = "import sys; from fastnas.cli import main; main(sys.argv[1:], prog_name='fastnas')"
    shown = subprocess.run([sys.executable, "-c", code, command, "--help"], capture_output=True, text=True, check=True)
    for name, entry in shelf.entries().items():
        assert f"{name} " in shown.stdout
        assert entry.about in " ".join(shown.stdout.split())


def test_export_takes_a_name(small: Path, tmp_path: Path) -> None:
    result = run("export", "street", "--res", "96x128", "--out", str(tmp_path / "out"), "--json")
    assert result.exit_code == 0, result.output
    made = json.loads(result.stdout)["sidecar"]
    assert (made["name"], made["trained"]) == ("street", True)


def test_predict_and_load_export_a_name_and_a_model_file_once(small: Path, tmp_path: Path) -> None:
    Image.new("RGB", (160, 120), (90, 20, 200)).save(tmp_path / "wall.jpg")
    words = (str(tmp_path / "wall.jpg"), "--engine", "onnxruntime", "--out")
    first = run("predict", "rooms", *words, str(tmp_path / "one"))
    assert first.exit_code == 0, first.output
    assert "exporting rooms once" in first.stderr
    second = run("predict", str(small / "rooms.safetensors"), *words, str(tmp_path / "two"))
    assert second.exit_code == 0, second.output
    assert "exporting" not in second.stderr
    depths = [np.asarray(Image.open(tmp_path / folder / "depth" / "wall.png")) for folder in ("one", "two")]
    np.testing.assert_array_equal(*depths)
    with fastnas.load("rooms", "street", engine="onnxruntime") as model, Image.open(tmp_path / "wall.jpg") as image:
        result = model(image)
    assert result.depth is not None
    assert result.segmentation is not None
    known = result.depth > 0
    np.testing.assert_array_equal(np.where(known, np.rint(result.depth * 1000).clip(1, 65535), 0), depths[0])
    assert result.segmentation.shape == (120, 160)


def test_the_models_that_come_with_fastnas_are_whole_and_small() -> None:
    listed = shelf.entries()
    assert {path.name for path in shelf.folder().glob("*.safetensors")} == {entry.file for entry in listed.values()}
    assert sum(entry.bytes for entry in listed.values()) <= MOST_BYTES
    for name, entry in listed.items():
        assert name in device_shelf.NAMES
        header = read_header(found(name))
        assert header["recipe"]
        for metric, value in entry.metrics.items():
            assert header["metrics"][metric] == pytest.approx(value, abs=1e-4)


def test_the_artifacts_that_come_with_fastnas_are_the_models(tmp_path: Path) -> None:
    """A board runs what the host does: each artifact's output is that of the model of its name."""
    from fastnas.deploy.io_forms import forms_of
    from fastnas.deploy.parity import Reference
    from fastnas.jetson.engine.opening import open_engine
    from fastnas.jetson.options import EngineOptions

    total = 0
    for name in device_shelf.shipped():
        artifact = device_shelf.open_artifact(name)
        total += sum(file.bytes for file in artifact.sidecar.files)
        model = load_model(found(name))
        with open_engine(artifact, (128, 160), options=EngineOptions("onnxruntime", threads=1)) as engine:
            image = torch.randn(engine.input.shape, generator=torch.Generator().manual_seed(0))
            engine.input[...] = image.numpy()
            outputs = engine.run()
            for form in forms_of(model.spec.task, ()):
                wanted = Reference(model.network, [image]).output(image, form)
                assert abs(outputs[form.name] - wanted).max() <= 1e-2 * abs(wanted).max()
    assert total <= MOST_ARTIFACTS
