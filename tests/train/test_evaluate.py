"""`fastnas eval`: the metrics are the same whatever the batches, the processes, or the kind of model."""

from __future__ import annotations

import contextlib
import io
import json
import re
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from rich.console import Console
from torch import Tensor

from fastnas.cli import main
from fastnas.data import open_dataset
from fastnas.data.base import Subset
from fastnas.data.synthetic.dataset import TASKS, SyntheticScenes
from fastnas.jetson import sidecar
from fastnas.jetson.sidecar import Artifact
from fastnas.models.checkpoint import save_model
from fastnas.models.spec import ModelSpec, build
from fastnas.published import evaluation
from fastnas.tasks.registry import head_for
from fastnas.train.eval_command import tables
from fastnas.train.evaluate import Predictor, at_scales, evaluate, flipped
from fastnas.train.predictors import open_predictors
from tests.helpers.datasets import MAKE
from tests.helpers.jetson_toys import write_toy

CPU = torch.device("cpu")
SEGMENTATION = TASKS["segmentation"]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["eval", *map(str, arguments), "--accelerator", "cpu", "--workers", "0"])


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    paths = {}
    for kind, task in TASKS.items():
        spec = ModelSpec("arch2", task, channels=4, sep_repeats=1)
        paths[kind] = folder / f"{kind}.safetensors"
        network = build(spec)
        torch.nn.init.constant_(network.get_parameter("decoder.classifier.bias"), 4)  # metres, not all below the least
        save_model(paths[kind], network, spec, recipe={"val_size": [64, 64]})
    return paths


def oracle(dataset: SyntheticScenes) -> Predictor:
    """A predictor that knows the answers."""
    masks = {i: dataset[i]["mask"] for i in range(len(dataset))}
    asked = iter(range(len(dataset)))

    def predict(images: Tensor) -> Tensor:
        ids = torch.stack([torch.as_tensor(masks[next(asked)]).long() for _ in images])
        return 9.0 * torch.nn.functional.one_hot(ids, SEGMENTATION.outputs).permute(0, 3, 1, 2).float()

    return predict


def test_the_right_answer_scores_one() -> None:
    dataset = SyntheticScenes("val", size=(64, 64), count=3)
    values = evaluate(oracle(dataset), dataset, (64, 64), CPU).compute()
    assert values["mean_iou"] == values["pixel_accuracy"] == 1


@pytest.mark.parametrize("kind", TASKS)
def test_shares_of_processes_merge_to_the_whole(kind: str, models: dict[str, Path]) -> None:
    dataset = SyntheticScenes("val", kind, (64, 64), count=5)
    with open_predictors(models[kind], "fp32", CPU) as predictors:
        (opened,) = predictors.values()
        assert opened.size == ((64, 64) if kind == "pose" else None)
        whole = evaluate(opened.predict, dataset, opened.size, CPU).compute()
        first, second = (
            evaluate(opened.predict, dataset, opened.size, CPU, workers=rank, rank=rank, world=2) for rank in (0, 1)
        )
    first.merge(second)
    assert first.compute() == pytest.approx(whole, nan_ok=True)


def test_flip_and_scales_are_means() -> None:
    def predict(images: Tensor) -> Tensor:
        ramp = torch.linspace(0, 1, images.shape[-1]).expand(len(images), 2, *images.shape[-2:]).clone()
        ramp[:, 1] = images.shape[-1] / 64
        return ramp

    images = torch.zeros(1, 3, 64, 64)
    even = flipped(predict, head_for(SEGMENTATION))(images)
    torch.testing.assert_close(even[:, 0], torch.full((1, 64, 64), 0.5))
    torch.testing.assert_close(at_scales(predict, [1.0])(images), predict(images).softmax(1))
    seen: list[tuple[int, ...]] = []

    def note(images: Tensor) -> Tensor:
        seen.append(tuple(images.shape[-2:]))
        return torch.stack([images.mean(1), images.mean(1) + images.shape[-1] / 64], 1)

    mean = at_scales(note, [0.5, 1.0, 1.6])(images)
    assert seen == [(32, 32), (64, 64), (96, 96)]
    expected = torch.tensor([0.5, 1.0, 1.5]).sigmoid().mean()
    torch.testing.assert_close(mean[:, 1], torch.full((1, 64, 64), expected.item()))


@pytest.mark.parametrize("kind", TASKS)
def test_command_prints_the_metrics(kind: str, models: dict[str, Path], tmp_path: Path) -> None:
    result = run(models[kind], "--limit", 3, "--json", "--no-flip", "--images", tmp_path)
    assert result.exit_code == 0, result.output
    shown = json.loads(result.stdout)
    chosen = SyntheticScenes("val", kind)
    indices = [0, 166, 333]
    with open_predictors(models[kind], "fp32", CPU) as predictors:
        (opened,) = predictors.values()
        head = head_for(opened.task)
        metrics = head.metrics()
        for i in indices:
            metrics.merge(evaluate(opened.predict, one_scene(chosen, i), opened.size, CPU))
    for key, value in metrics.compute().items():
        assert shown["metrics"][key] == (None if np.isnan(value) else pytest.approx(value)), key
    names = {f"val-{i:06d}" for i in indices}
    assert {path.stem for path in tmp_path.iterdir()} == names
    assert {one["name"] for one in shown["best"]} <= names
    scores = [one["score"] for one in shown["best"]]
    higher = head.score(metrics.compute()).higher_is_better
    assert scores == sorted(scores, reverse=higher)
    assert shown["worst"] == shown["best"][::-1]
    for path in tmp_path.iterdir():
        assert Image.open(path).size[0] > 900  # truth and prediction side by side


def one_scene(scenes: SyntheticScenes, index: int) -> Subset:
    return Subset(scenes, [index], "val")


def test_flip_is_on_for_pose_alone(models: dict[str, Path]) -> None:
    def metrics_of(kind: str, *more: str) -> dict[str, float]:
        found: dict[str, float] = json.loads(run(models[kind], "--limit", 2, "--json", *more).stdout)["metrics"]
        return found

    assert metrics_of("depth") == metrics_of("depth", "--no-flip") != metrics_of("depth", "--flip")
    assert metrics_of("pose") == metrics_of("pose", "--flip")


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["floats", "bytes"])
def test_an_artifact_scores_as_its_model(layout: str, models: dict[str, Path], tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    model = models["depth"]  # no ties between classes that rounding could break
    made = CliRunner().invoke(main, ["export", str(model), "--res", "256", "--input", layout, "--out", str(tmp_path)])
    assert made.exit_code == 0, made.output
    (artifact,) = (path.parent for path in tmp_path.rglob("model.json"))
    one, other = (json.loads(run(path, "--limit", 3, "--json").stdout)["metrics"] for path in (model, artifact))
    assert other == pytest.approx(one, abs=1e-3)


def test_tables_fit_the_terminal() -> None:
    values = {"mean_iou": 0.5, **{f"iou/class{i}": i / 20 for i in range(20)}, "iou/none": float("nan")}
    console = Console(file=io.StringIO(), width=60)
    for table in tables(values, 60):
        console.print(table)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "…" not in text
    assert all(f"class{i} " in text and f"{i / 20:.3f}" in text for i in range(20))
    assert " - " in text


@pytest.mark.parametrize(
    ("kind", "arguments", "line"),
    [
        ("segmentation", ["--data", "voc"], "voc"),
        ("pose", ["--scales", "0.5,1"], "--scales is for segmentation"),
        ("depth", ["--precision", "int8"], "int8 needs an artifact's folder"),
        ("depth", ["--data", "synthetic:extra"], "synthetic has no split 'extra'"),
    ],
)
def test_errors_are_one_line(kind: str, arguments: list[str], line: str, models: dict[str, Path]) -> None:
    result = run(models[kind], *arguments)
    assert result.exit_code == 1
    assert line in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_model_of_another_task(tmp_path: Path, models: dict[str, Path]) -> None:
    for split in ("train", "val"):
        Image.new("RGB", (64, 64)).save(tmp_path / f"{split}.png")
        Image.new("L", (64, 64)).save(tmp_path / f"{split}_mask.png")
        (tmp_path / f"{split}.txt").write_text(f"{split}.png {split}_mask.png\n")
    (tmp_path / "dataset.json").write_text('{"kind": "segmentation", "classes": ["a", "b"]}')
    result = run(models["segmentation"], "--data", "folder", "--root", tmp_path)
    assert result.exit_code == 1
    assert "predicts segmentation with 11 outputs, but folder has segmentation with 2" in result.stderr
    assert run(tmp_path / "absent.safetensors").stderr.startswith("Error: no model file")
    assert run(tmp_path).exit_code == 1  # a folder without an artifact


class CountingEngine:
    """An engine of zeros, of which the tests know whether it is closed."""

    opened: ClassVar[list[CountingEngine]] = []

    def __init__(self, artifact: Artifact, size: tuple[int, int], *_: object) -> None:
        self.input, self.size, self.closed = np.empty(artifact.sidecar.input.shape(size), np.float32), size, 0
        self.outputs = {"segmentation": np.zeros((1, 3, size[0] // 4, size[1] // 4), np.float32)}
        self.opened.append(self)

    def run(self) -> dict[str, np.ndarray[Any, Any]]:
        return self.outputs

    def __enter__(self) -> CountingEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self.closed += 1


@pytest.mark.parametrize("fails", [False, True])
def test_the_engines_of_an_evaluation_are_closed(fails: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    CountingEngine.opened.clear()
    monkeypatch.setattr("fastnas.jetson.engine.opening.open_engine", CountingEngine)
    folder = Path(write_toy(tmp_path, "segmentation"))
    with contextlib.suppress(ZeroDivisionError), open_predictors(folder, "fp32", CPU) as predictors:
        (opened,) = predictors.values()
        for side in (32, 64, 32):
            assert opened.predict(torch.zeros(2, 3, 32, side)).shape == (2, 3, 8, side // 4)
        assert [engine.closed for engine in CountingEngine.opened] == [0, 0]
        if fails:
            raise ZeroDivisionError
    assert [(engine.size, engine.closed) for engine in CountingEngine.opened] == [((32, 32), 1), ((32, 64), 1)]


def test_an_artifact_is_evaluated_at_its_own_size(tmp_path: Path) -> None:
    folder = Path(write_toy(tmp_path, "pose"))
    with open_predictors(folder, "fp32", CPU) as predictors:
        (opened,) = predictors.values()
        assert opened.size == (256, 256)
    artifact = sidecar.load(str(folder))
    sidecar.save(str(folder), artifact.sidecar._replace(input_size=(256, 192)))
    with open_predictors(folder, "fp32", CPU) as predictors:
        (opened,) = predictors.values()
        assert opened.size == (256, 192)


def test_res_is_the_size_of_pose_crops(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[tuple[int, int]] = []

    def noting(predict: Predictor, dataset: Any, size: tuple[int, int], *rest: Any, **more: Any) -> Any:
        sizes.append(size)
        return evaluate(predict, dataset, size, *rest, **more)

    monkeypatch.setattr("fastnas.train.evaluate.evaluate", noting)
    for more in ((), ("--res", "96x64")):
        assert run(models["pose"], "--limit", 1, "--json", *more).exit_code == 0
    assert sizes == [(64, 64), (96, 64)]


def test_the_papers_row_stands_below_ours_where_it_has_one(tmp_path: Path) -> None:
    root = MAKE["nyud"](tmp_path / "nyud")
    task = open_dataset("nyud", root, "val").task
    for name in ("arch2", "camvid1"):
        spec = ModelSpec(name, task, channels=4, sep_repeats=1)
        save_model(tmp_path / f"{name}.safetensors", build(spec), spec, recipe={})
    options = ["--root", root, "--data", "nyud"]
    printed = run(tmp_path / "arch2.safetensors", *options).stdout
    rows = [line for line in printed.splitlines() if "paper, Table 3" in line]
    assert re.findall(r"\d\.\d+", "".join(rows)) == ["0.525", "0.189", "0.140", "0.093", "0.820", "0.966", "0.992"]
    given = json.loads(run(tmp_path / "arch2.safetensors", *options, "--json").stdout)
    published = evaluation("nyud", "arch2")
    assert published is not None
    assert given["paper"] == {"table": "Table 3", "metrics": published.metrics}
    assert given["paper"]["metrics"].keys() <= given["metrics"].keys()
    assert json.loads(run(tmp_path / "camvid1.safetensors", *options, "--json").stdout)["paper"] is None
    options[-1] = "nyud:train"
    assert json.loads(run(tmp_path / "arch2.safetensors", *options, "--json").stdout)["paper"] is None


@pytest.mark.parametrize(
    ("data", "names"),
    [
        ("mpii", ("PCKh@0.5", "PCKh@0.11")),
        ("coco", ("AP", "AP50", "AP75", "APm", "APl", "AR")),
        ("voc", ("mean_iou",)),
        ("cityscapes", ("mean_iou",)),
    ],
)
def test_the_papers_metrics_have_our_names(data: str, names: tuple[str, ...]) -> None:
    found = evaluation(data, "arch1")
    assert found is not None
    assert tuple(found.metrics) == names
    assert all(0 < value < 1 for value in found.metrics.values())
    assert evaluation(data, "camvid0") is None
