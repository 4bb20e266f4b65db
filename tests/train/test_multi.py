"""One network for several tasks, trained on datasets that have the labels of one task each."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from lightning_fabric import Fabric
from PIL import Image

from fastnas.cli import main
from fastnas.data import DataName, open_dataset
from fastnas.data.base import DenseDataset, Sample, Subset, largest_people
from fastnas.data.synthetic.dataset import TASKS, SyntheticScenes
from fastnas.data.transforms import collate, eval_transform, train_transform
from fastnas.errors import FastnasError
from fastnas.models.checkpoint import FILE_NAME, load_model, save_model
from fastnas.models.spec import ModelSpec, build
from fastnas.tasks import Depth, Multi, Pose, channels_of
from fastnas.tasks.registry import head_for
from fastnas.train import evaluate as evaluate_module
from fastnas.train.loaders import EpochBatches
from fastnas.train.loop import Trainer, TrainerOptions
from fastnas.train.objective import known_targets
from fastnas.train.recipes import RECIPES
from fastnas.train.settings import Phase, RunSettings
from fastnas.train.teacher import load_teacher

TASK = Multi((TASKS["segmentation"], TASKS["pose"], TASKS["depth"]))  # type: ignore[arg-type]
ALL = ("segmentation=synthetic", "depth=synthetic", "pose=synthetic")
TINY = ["arch2", "--encoder-weights", "none", "--channels", "4", "--limit", "8", "--val-limit", "2", "--set", "batch=6",
        "--set", "crop=64,64", "--accelerator", "cpu", "--workers", "0"]  # fmt: skip


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def test_names_of_datasets() -> None:
    assert DataName.parse("nyud") == DataName("", "nyud", "nyud", "")
    assert DataName.parse("segmentation=folder@people:val") == DataName(
        "segmentation", "folder", "folder@people", "val"
    )
    assert DataName.parse("pose=coco:train").without_split == "pose=coco"
    with pytest.raises(FastnasError, match="flow=nyud: there is no task 'flow'; there are segmentation, pose, depth"):
        DataName.parse("flow=nyud")


def test_tasks_get_the_same_share_of_every_batch() -> None:
    batches = EpochBatches([10, 2, 6], 6, seed=3)
    epoch = [[index for _, index in batch] for batch in batches]
    assert len(epoch) == batches.steps == 3
    for batch in epoch:
        assert Counter(0 if index < 10 else 1 if index < 12 else 2 for index in batch) == {0: 2, 1: 2, 2: 2}
    seen = Counter(index for batch in epoch for index in batch)
    assert {seen[index] for index in (10, 11)} == {3}  # every small group comes whole before it comes again
    assert {seen[index] for index in range(12, 18)} == {1}
    batches.start = 1
    assert [[index for _, index in batch] for batch in batches] == epoch[1:]
    batches.start, batches.epoch = 0, 1
    assert [[index for _, index in batch] for batch in batches] != epoch
    shares = [list(EpochBatches([10, 2, 6], 6, 3, rank, 2)) for rank in (0, 1)]
    together = [sorted(key[1] for part in parts for key in part) for parts in zip(*shares, strict=True)]
    assert together == [sorted(batch) for batch in epoch]
    for rank in range(3):
        for keys in EpochBatches([10, 20, 30], 18, 3, rank, 3):
            assert Counter(0 if index < 10 else 1 if index < 30 else 2 for _, index in keys) == {0: 2, 1: 2, 2: 2}


class Kept(DenseDataset):
    """The samples of a dataset, rendered once."""

    def __init__(self, dataset: DenseDataset) -> None:
        self.name, self.split, self.task = dataset.name, dataset.split, dataset.task
        self.samples = [dataset[i] for i in range(len(dataset))]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]


def test_every_task_learns_at_once(tmp_path: Path) -> None:
    torch.manual_seed(0)
    recipe = replace(RECIPES["synthetic-trio"], phases=(Phase(ALL, 10),), batch=6, crop=(64, 64), polyak=0.5)
    spec = ModelSpec("arch2", TASK, channels=8, sep_repeats=1)
    data = {name: Kept(SyntheticScenes("train", name.partition("=")[0], (64, 64), count=8)) for name in ALL}
    val = [Kept(SyntheticScenes("val", kind, (64, 64), count=2)) for kind in TASKS]
    trainer = Trainer(
        Fabric(accelerator="cpu"), spec, build(spec), recipe, lambda name: data[name], val, tmp_path,
        options=TrainerOptions(workers=0, eval_every=10),
    )  # fmt: skip
    transform = train_transform(TASK, (64, 64), scale=(1.0, 1.0), mirror=False)
    batches = {kind: collate([transform(sample) for sample in data[f"{kind}=synthetic"].samples]) for kind in TASKS}

    def losses() -> dict[str, float]:
        with torch.no_grad():
            network = trainer.evaluated.train()
            return {
                kind: float(trainer.head.loss(network(batch["image"])[0], batch)) for kind, batch in batches.items()
            }

    before = losses()
    (row,) = trainer.run().rows
    after = losses()
    assert all(after[kind] < 0.8 * before[kind] for kind in TASKS), (before, after)
    assert {key.partition("/")[0] for key in row} == {"epoch", "loss", "seconds", "mean_score", *TASKS}
    model = load_model(tmp_path / FILE_NAME)
    assert (model.spec.task, model.network(torch.zeros(1, 3, 64, 64)).shape[1]) == (TASK, TASK.outputs)


def test_the_command_collects_the_tasks_of_its_datasets(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    made = run("train", *TINY, "--data", ",".join(ALL), "--epochs", "1", "--out", str(folder), "--json")
    assert made.exit_code == 0, made.output
    settings = RunSettings.load(folder)
    assert settings.model.task == TASK
    assert (settings.recipe.name, settings.recipe.phases[0].data, settings.val) == (
        "synthetic-trio",
        ALL,
        ",".join(ALL),
    )
    result = json.loads(made.stdout)
    assert result["score"] == "mean_score"
    assert 0 <= result["epochs"][0]["segmentation/mean_iou"] <= 1
    assert [line.split("--data ")[1] for line in made.stderr.splitlines() if line.startswith("next")] == list(ALL)
    assert len(list((folder / "images").iterdir())) == 1
    resumed = run("train", "--resume", str(folder))
    assert resumed.exit_code == 0, resumed.output


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of a network of three tasks with weights from seed 0, and its artifact beside."""
    torch.manual_seed(0)
    spec = ModelSpec("arch2", TASK, channels=4, sep_repeats=1)
    path = tmp_path_factory.mktemp("model") / "trio.safetensors"
    save_model(path, build(spec).eval(), spec, recipe={"name": "test", "val_size": [64, 64]}, metrics={})
    made = run("export", str(path), "--res", "64", "--out", str(path.parent))
    assert made.exit_code == 0, made.output
    return path


@pytest.mark.parametrize("kind", TASKS)
def test_the_task_of_the_dataset_is_evaluated(kind: str, model: Path) -> None:
    """As a network of that task alone would be, with its channels; the pose on the whole image, not averaged here."""
    network = load_model(model).network
    scenes = SyntheticScenes("val", kind)
    metrics = head_for(TASKS[kind]).metrics()
    transform = eval_transform(TASKS[kind], None, multiple=32)
    for index in (0, 250):
        batch = collate([transform(scenes[index])])
        with torch.no_grad():
            metrics.update(network(batch["image"])[:, channels_of(TASK)[kind]], batch)
    expected = {key: value for key, value in metrics.compute().items() if not math.isnan(value)}
    for place in (model, model.parent / "trio"):
        more = ["--data", f"{kind}=synthetic", "--limit", "2", "--workers", "0", "--no-flip", "--json"]
        shown = json.loads(run("eval", str(place), *more).stdout)
        found = {key: value for key, value in shown["metrics"].items() if value is not None}
        assert found == pytest.approx(expected, abs=1e-4), place
    assert shown["score"] == head_for(TASKS[kind]).score(expected).name


def write_people(folder: Path, people: list[tuple[int, int, int]], joints: tuple[str, ...], bones: Any = ()) -> None:
    """A dataset `keypoints` of black images: people as (image, width, height of the box), in train and val."""
    for image in {image for image, _, _ in people}:
        Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(folder / f"{image}.png")
    content: dict[str, Any] = {
        "images": [
            {"id": i, "file_name": f"{i}.png", "width": 64, "height": 64} for i in {image for image, _, _ in people}
        ],
        "categories": [
            {"id": 1, "name": "person", "keypoints": joints, "skeleton": [[a + 1, b + 1] for a, b in bones]}
        ],
        "annotations": [
            {"id": i, "image_id": image, "category_id": 1, "keypoints": [5, 5, 2] * len(joints), "bbox": [0, 0, *box]}
            for i, (image, *box) in enumerate(people)
        ],
    }
    for split in ("train", "val"):
        (folder / f"{split}.json").write_text(json.dumps(content))


def test_of_a_whole_image_the_largest_person_is_evaluated_of_crops_everybody(model: Path, tmp_path: Path) -> None:
    task = TASKS["pose"]
    assert isinstance(task, Pose)
    write_people(tmp_path, [(1, 10, 10), (1, 40, 30), (2, 5, 5)], task.joints, task.skeleton)
    counts = []
    for more in ((), ("--res", "64x64")):
        where = ["--data", "keypoints", "--root", str(tmp_path), "--workers", "0", "--json"]
        done = run("eval", str(model), *where, *more)
        assert done.exit_code == 0, done.output
        counts.append(json.loads(done.stdout)["images"])
    assert counts == [2, 3]


def test_people_are_cropped_if_a_size_is_given(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    real = evaluate_module.evaluate

    def noting(predict: Any, dataset: Any, size: Any, *rest: Any, **more: Any) -> Any:
        sizes.append(size)
        return real(predict, dataset, size, *rest, **more)

    monkeypatch.setattr(evaluate_module, "evaluate", noting)
    for more in ((), ("--res", "96x64")):
        done = run("eval", str(model), "--data", "pose=synthetic", "--limit", "1", "--workers", "0", *more)
        assert done.exit_code == 0, done.output
    assert sizes == [None, (96, 64)]


def test_a_dataset_of_another_task_is_not_evaluated(model: Path, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(np.zeros((32, 32), np.uint8)).save(tmp_path / "b.png")
    (tmp_path / "dataset.json").write_text('{"kind": "segmentation", "classes": ["x", "y"]}')
    (tmp_path / "val.txt").write_text("a.png b.png\n")
    done = run("eval", str(model), "--data", "folder", "--root", str(tmp_path))
    assert done.exit_code == 1
    assert (
        "segmentation with 11 outputs and pose with 16 outputs and depth with 1 outputs, but folder has" in done.stderr
    )


def test_teachers_of_some_tasks_fill_in_what_is_missing(tmp_path: Path) -> None:
    """Each teaches its own channels; what came with a sample goes before what they say."""
    torch.manual_seed(0)
    networks = {}
    for kind in ("depth", "segmentation"):
        spec = ModelSpec("arch2", TASKS[kind], channels=4, sep_repeats=1)
        networks[kind] = build(spec).eval()
        save_model(tmp_path / f"{kind}.safetensors", networks[kind], spec)
    sources = ",".join(str(tmp_path / f"{kind}.safetensors") for kind in networks)
    images = torch.randn(2, 3, 64, 64)
    logits = load_teacher(sources, TASK, torch.device("cpu"), (64, 64))(images)
    with torch.no_grad():
        for kind, network in networks.items():
            torch.testing.assert_close(logits[:, channels_of(TASK)[kind]], network(images))
    assert logits[:, channels_of(TASK)["pose"]].isnan().all()
    stored = torch.full((2, TASK.outputs, 1, 1), math.nan)
    stored[1, -1] = 7.0
    both = known_targets(stored, logits)
    assert (both[1, -1] == 7).all()
    torch.testing.assert_close(both[0], logits[0], equal_nan=True)
    assert known_targets(None, logits) is logits
    spec = ModelSpec("arch2", Depth(1.0, 2.0), channels=4, sep_repeats=1)
    save_model(tmp_path / "other.safetensors", build(spec), spec)
    with pytest.raises(FastnasError, match="has no task of the network: depth with 1 outputs"):
        load_teacher(str(tmp_path / "other.safetensors"), TASK, torch.device("cpu"), (64, 64))


def test_a_dataset_of_no_task_of_the_network_is_refused(tmp_path: Path) -> None:
    other = ["--data", "segmentation=synthetic,depth=synthetic", "--val", "segmentation=synthetic,pose=synthetic"]
    made = run("train", *TINY, *other, "--recipe", "synthetic-trio", "--out", str(tmp_path))
    assert made.exit_code == 1
    assert "has the task depth with 1 outputs, but the model has multi with 27 outputs" in made.stderr
    wrong = run("train", *TINY, "--data", "flow=synthetic", "--out", str(tmp_path / "b"))
    assert (wrong.exit_code, "there is no task 'flow'" in wrong.stderr) == (1, True)


def test_of_every_image_the_largest_person(tmp_path: Path) -> None:
    write_people(tmp_path, [(1, 10, 10), (1, 40, 30), (2, 5, 5), (1, 20, 20), (2, 4, 4)], ("head",))
    dataset = open_dataset("keypoints", tmp_path, "train")
    assert [largest_people(dataset)[i]["name"] for i in range(2)] == ["1-1", "2-2"]
    assert len(largest_people(dataset)) == 2
    # A part of the people that lacks the largest of an image has none of that image.
    part = largest_people(Subset(dataset, [0, 2, 3], "train"))
    assert [part[i]["name"] for i in range(len(part))] == ["2-2"]
    scenes = SyntheticScenes("train", "depth", count=3)
    assert largest_people(scenes) is scenes
    assert len(largest_people(Subset(scenes, [0, 1], "train"))) == 2
