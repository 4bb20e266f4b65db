"""Training as its users need it: killed and resumed, on several processes, in parts, with averages and teachers."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import torchvision
from click.testing import CliRunner
from lightning_fabric import Fabric
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from fastnas.cli import main
from fastnas.data.base import Subset
from fastnas.data.synthetic.dataset import TASKS, SyntheticScenes
from fastnas.data.transforms import collate, train_transform
from fastnas.errors import FastnasError
from fastnas.files import locked
from fastnas.models.checkpoint import FILE_NAME, save_model
from fastnas.models.header import read_header
from fastnas.models.spec import ModelSpec, build
from fastnas.tasks.base import Score
from fastnas.train.loaders import EpochBatches, SeededSamples, train_loader
from fastnas.train.loop import STATE, Observer, RunProgress, Trainer, TrainerOptions, better
from fastnas.train.objective import decay_after
from fastnas.train.recipes import RECIPES
from fastnas.train.settings import Phase, Recipe, RunSettings, limited
from fastnas.train.teacher import load_teacher
from tests.helpers.datasets import make_folder

TINY = replace(
    RECIPES["synthetic"], phases=(Phase(("synthetic",), 2, 1.0, 0.15),), batch=4, crop=(32, 32), val_size=(64, 64)
)
FROZEN = replace(TINY, phases=(Phase(("synthetic",), 2, 1.0, 0.15, freeze_bn=True),))
"""Batch norm's statistics belong to what one process sees at a time, so equalities over its division freeze them."""
CPU = torch.device("cpu")
TASK = TASKS["segmentation"]


def make(folder: Path, recipe: Recipe = TINY, task: str = "segmentation", **options: Any) -> Trainer:
    """A trainer on eight small scenes, with weights from seed 0."""
    settings = {name: options.pop(name) for name in ("teacher", "observer") if name in options}
    torch.manual_seed(0)
    spec = ModelSpec("arch2", TASKS[task], channels=4, sep_repeats=1, aux=options.pop("aux", "cell"))

    def data(name: str) -> SyntheticScenes:
        # Larger than any crop: no pixel is ignored, so every image weighs the same in a mean over pixels.
        return SyntheticScenes("train", task, (64, 64), count=8, seed=1 if name == "other" else 0)

    return Trainer(
        Fabric(accelerator="cpu"), spec, build(spec), recipe, data, [SyntheticScenes("val", task, (64, 64), 2)], folder,
        options=TrainerOptions(**{"workers": 0, **options}), **settings,
    )  # fmt: skip


def weights(trainer: Trainer) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in trainer.raw.state_dict().items()}


def rows(trainer_or_state: Any) -> list[dict[str, float]]:
    found = trainer_or_state.progress.rows if isinstance(trainer_or_state, Trainer) else trainer_or_state
    return [{key: value for key, value in row.items() if key != "seconds"} for row in found]


def assert_same(one: Any, other: Any, **tolerance: float) -> None:
    torch.testing.assert_close(one, other, equal_nan=True, **tolerance)


# -- a real process, killed -------------------------------------------------------------------------------------------

COMMAND = [sys.executable, "-m", "fastnas", "train"]
SMALL = ["arch2", "--encoder-weights", "none", "--channels", "4", "--limit", "16", "--val-limit", "2", "--set",
         "batch=4", "--set", "crop=32,32", "--accelerator", "cpu"]  # fmt: skip


def state_of(folder: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(folder / STATE, weights_only=True)
    return state


def here(*arguments: str) -> None:
    """The same command without a process of its own."""
    result = CliRunner().invoke(main, ["train", *arguments])
    assert result.exit_code == 0, result.output


@pytest.mark.slow
def test_killed_and_resumed_is_never_killed(tmp_path: Path) -> None:
    """SIGKILL in the middle of an epoch; the resumed run even has other loader processes."""
    more = ["--epochs", "2", "--workers", "1", "--save-every", "0"]
    killed = subprocess.Popen([*COMMAND, *SMALL, *more, "--out", str(tmp_path / "killed")], stdout=subprocess.DEVNULL)
    state, seen = tmp_path / "killed" / STATE, 0
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        time.sleep(0.02)
        if state.exists() and state.stat().st_mtime_ns != seen:
            killed.send_signal(signal.SIGSTOP)  # or it would run on while its state is read
            seen, progress = state.stat().st_mtime_ns, state_of(tmp_path / "killed")["progress"]
            if progress["epoch"] == 1 and progress["step"] >= 1:
                break
            killed.send_signal(signal.SIGCONT)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait(10) == -signal.SIGKILL
    progress = state_of(tmp_path / "killed")["progress"]
    assert (progress["epoch"], progress["step"] in (1, 2, 3)) == (1, True)

    here("--resume", str(tmp_path / "killed"), "--workers", "0")
    here(*SMALL, *more, "--out", str(tmp_path / "whole"))
    whole, resumed = (state_of(tmp_path / name) for name in ("whole", "killed"))
    assert_same(*(rows(state["progress"].pop("rows")) for state in (resumed, whole)))
    assert_same(resumed, whole)
    assert_same(*(load_file(tmp_path / name / FILE_NAME) for name in ("whole", "killed")))
    left = {path.name for path in (tmp_path / "killed").iterdir()}
    assert left == {
        ".lock", "curves.png", "epochs.csv", "images", "model.safetensors", "settings.json", "state.pt", "tensorboard"
    }  # fmt: skip


@pytest.mark.slow
def test_two_processes_are_one(tmp_path: Path) -> None:
    """The same global batch on two processes (gloo) and on one: the same weights and metrics.

    Batch norm counts within a process, so its statistics are frozen; without ignored pixels every image has the same
    weight, so the mean of the processes' losses is the loss of the whole batch.
    """
    same = [*SMALL, "--epochs", "2", "--set", "phases.0.freeze_bn=true", "--workers", "0"]
    pair = [*COMMAND, *same, "--devices", "2", "--out", str(tmp_path / "2")]
    printed = subprocess.run(pair, check=True, capture_output=True, text=True, timeout=300).stdout
    assert printed.count("training into") == 1
    here(*same, "--out", str(tmp_path / "1"))
    one, two = (state_of(tmp_path / count) for count in ("1", "2"))
    assert one["progress"]["updates"] == two["progress"]["updates"] == 8
    assert_same(two["network"], one["network"], rtol=1e-3, atol=1e-5)
    assert_same(two["average"], one["average"], rtol=1e-3, atol=1e-5)
    for a, b in zip(rows(one["progress"]["rows"]), rows(two["progress"]["rows"]), strict=True):
        assert a == pytest.approx(b, rel=1e-3, nan_ok=True)


def test_a_folder_holds_one_run(tmp_path: Path) -> None:
    (tmp_path / STATE).touch()
    result = CliRunner().invoke(main, ["train", "arch2", "--out", str(tmp_path)])
    assert result.exit_code == 1
    assert "already holds a run: continue it with --resume" in result.stderr


@pytest.mark.parametrize(("has", "said"), [("avx512_bf16", False), ("amx_bf16", False), ("avx2", True)])
def test_bf16_without_the_hardware_is_said_to_be_slow(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, has: str, said: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {has: True})
    monkeypatch.setattr(Trainer, "run", lambda trainer: trainer.progress)
    arguments = [*SMALL, "--precision", "bf16", "--workers", "0", "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(main, ["train", *arguments])
    assert ("cpu has no bfloat16 arithmetic: --precision fp32 is many times faster here" in result.output) == said


def test_what_stops_the_first_process_stops_all_with_one_reason(tmp_path: Path) -> None:
    with locked(tmp_path, "training"):
        pair = [*COMMAND, *SMALL, "--devices", "2", "--out", str(tmp_path)]
        done = subprocess.run(pair, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "another process is training in" in done.stderr
    assert "Traceback" not in done.stderr


def test_data_without_labels_to_evaluate_on_is_an_error(tmp_path: Path) -> None:
    Image.new("RGB", (32, 32)).save(tmp_path / "image.png")
    Image.new("L", (32, 32), 255).save(tmp_path / "mask.png")
    (tmp_path / "dataset.json").write_text('{"kind": "segmentation", "classes": ["a", "b"]}')
    for split in ("train", "val"):
        (tmp_path / f"{split}.txt").write_text(2 * "image.png mask.png\n")
    data = ["--data", "folder", "--root", str(tmp_path), "--set", "batch=2", "--set", "crop=64,64", "--epochs", "1"]
    arguments = ["train", *SMALL[:5], *data, "--workers", "0", "--accelerator", "cpu", "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert "folder has no labels that mean_iou could be computed from" in result.stderr


def test_the_split_to_train_on_is_not_the_one_to_evaluate(tmp_path: Path) -> None:
    out = str(tmp_path / "run")
    here(*SMALL, "--data", "synthetic:train", "--epochs", "1", "--workers", "0", "--out", out)
    settings = RunSettings.load(tmp_path / "run")
    assert (settings.val, settings.recipe.phases[0].data) == ("synthetic", ("synthetic:train",))


def test_a_resumed_run_keeps_its_settings(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["train", "--resume", str(tmp_path), "--epochs", "3"])
    assert result.exit_code == 2
    assert "leave out --epochs" in result.stderr
    result = CliRunner().invoke(main, ["train", "--resume", str(tmp_path)])
    assert (result.exit_code, result.stderr) == (
        1, f"Error: {tmp_path} is not a run folder: cannot read {tmp_path}/settings.json: No such file or directory\n"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--recipe", "vok"], "no recipe 'vok'; there are voc, voc-ablation"),
        (["--recipe", "nyud"], "recipe nyud is for depth, but synthetic is opened for segmentation"),
        (["--recipe", "voc", "--epochs", "3"], "recipe voc has 4 phases"),
        (["--data", "camvid", "--root", "/nowhere"], "/nowhere"),
        (["--data", "coco", "--task", "segmentation", "--root", "/nowhere"], "/nowhere"),
        (["--set", "batch=64", "--limit", "63"], "has 63 samples, fewer than one batch of 64"),
        (["--set", "batch=3", "--accumulate", "2", "--limit", "3"], "3 images per process cannot be divided into 2"),
        (["--set", "batch=1"], "batch norm needs at least 2 images at a time"),
        (["--teacher", "big.pt"], "teacher 'big.pt' is not a .safetensors or .onnx file"),
    ],
)
def test_errors_are_one_line_and_leave_no_run(arguments: list[str], line: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["train", *SMALL[:5], *arguments, "--out", str(tmp_path / "run")])
    assert result.exit_code == 1, result.output
    assert line in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "run" / STATE).exists()


def test_an_empty_split(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text('{"kind": "segmentation", "classes": ["a", "b"]}')
    (tmp_path / "train.txt").touch()
    (tmp_path / "val.txt").touch()
    result = CliRunner().invoke(main, ["train", "arch2", "--data", "folder", "--root", str(tmp_path)])
    assert result.exit_code == 1
    assert "empty" in result.stderr


# -- the order of the data --------------------------------------------------------------------------------------------


def batches_of(workers: int, epoch: int = 0, start: int = 0, rank: int = 0, world: int = 1) -> list[dict[str, Any]]:
    scenes = SyntheticScenes("train", "segmentation", (48, 48), count=13)
    samples = SeededSamples([scenes, scenes], train_transform(scenes.task, (32, 32)), seed=5)
    order = EpochBatches([len(samples)], 4, 5, rank, world)
    order.epoch, order.start = epoch, start
    return [dict(batch) for batch in train_loader(samples, order, workers)]


def test_data_depends_on_neither_workers_nor_interruption() -> None:
    reference = batches_of(0)
    assert len(reference) == 6  # 26 samples; the last two are left out
    assert len({name for batch in reference for name in batch["name"]}) > 8
    for other in (batches_of(1), batches_of(2)):
        assert_same([batch["image"] for batch in other], [batch["image"] for batch in reference], rtol=0, atol=0)
    assert_same([b["mask"] for b in batches_of(2, start=4)], [b["mask"] for b in reference[4:]], rtol=0, atol=0)
    assert [batch["name"] for batch in batches_of(0, epoch=1)] != [batch["name"] for batch in reference]


def test_samples_without_a_teacher_share_batches_with_those_that_have_one() -> None:
    plain, taught = (SyntheticScenes("train", "segmentation", (48, 48), count=2) for _ in range(2))
    taught.taught = True
    outputs = {"teacher_mask": torch.ones(plain.task.outputs, 6, 6)}
    scene = SyntheticScenes.__getitem__
    samples = SeededSamples([plain, Subset(taught, [0], "train")], train_transform(plain.task, (32, 32)), seed=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            SyntheticScenes, "__getitem__", lambda self, i: {**scene(self, i), **(outputs if self is taught else {})}
        )
        batch = collate([samples[0, i] for i in range(3)])
    assert batch["teacher_mask"].shape == (3, plain.task.outputs, 8, 8)
    assert batch["teacher_mask"][:2].isnan().all()
    assert batch["teacher_mask"][2].isfinite().any()


def test_several_folders_train_one_network(tmp_path: Path) -> None:
    for name in ("one", "two"):
        make_folder(tmp_path / name)
    roots = ["--root", f"folder={tmp_path / 'one'}", "--root", f"folder@two={tmp_path / 'two'}"]
    names = "folder,folder@two,folder@two"
    options = ["--encoder-weights", "none", "--channels", "4", "--epochs", "1", "--workers", "0", "--aux", "none"]
    sizes = ["--set", "batch=3", "--set", "crop=32,32"]
    run = CliRunner().invoke(
        main, ["train", "arch2", "--data", names, *roots, *options, *sizes, "--out", str(tmp_path / "run")]
    )
    assert run.exit_code == 0, run.output
    settings = RunSettings.load(tmp_path / "run")
    assert settings.recipe.phases[0].data == ("folder", "folder@two", "folder@two")
    assert settings.val == "folder"
    trained = read_header(tmp_path / "run" / FILE_NAME)
    assert trained["recipe"]["phases"][0]["data"] == names.split(",")
    missing = CliRunner().invoke(
        main, ["train", "arch2", "--data", names, *roots[:2], *options, "--out", str(tmp_path / "no")]
    )
    assert missing.exit_code == 1
    assert missing.stderr == "Error: the folder of folder@two is needed: --root folder@two=DIR\n"


def test_processes_share_every_batch() -> None:
    shares = [batches_of(0, rank=rank, world=2) for rank in (0, 1)]
    for whole, one, two in zip(batches_of(0), *shares, strict=True):
        assert whole["name"] == list(itertools.chain(*zip(one["name"], two["name"], strict=True)))
    with pytest.raises(FastnasError, match="a batch of 4 cannot be divided among 3 processes"):
        batches_of(0, world=3)


def test_limited_data_is_spread_evenly() -> None:
    scenes = SyntheticScenes(count=10, size=(32, 32))
    assert [limited(scenes, 5)[i]["name"] for i in range(5)] == [f"train-{i:06d}" for i in (0, 2, 4, 6, 8)]
    assert limited(scenes, 0) is scenes
    assert limited(scenes, 11) is scenes


# -- the loop ---------------------------------------------------------------------------------------------------------


def test_a_batch_in_parts_is_the_whole_batch(tmp_path: Path) -> None:
    whole, parts = (make(tmp_path / str(n), FROZEN, accumulate=n) for n in (1, 2))
    whole.run(), parts.run()
    assert_same(weights(parts), weights(whole), rtol=1e-4, atol=1e-6)
    assert [row["loss"] for row in rows(parts)] == pytest.approx([row["loss"] for row in rows(whole)], rel=1e-5)


@pytest.mark.parametrize("task", TASKS)
def test_every_task_learns(task: str, tmp_path: Path) -> None:
    losses: list[float] = []

    class Watch(Observer):
        def step(self, progress: RunProgress, steps: int, loss: float) -> None:
            losses.append(loss)

    recipe = replace(TINY, task=task, phases=(Phase(("synthetic",), 8),), polyak=0.5)
    trainer = make(tmp_path, recipe, task, eval_every=4, observer=Watch())
    progress = trainer.run()
    assert [row["epoch"] for row in progress.rows] == [4, 8]
    assert np.mean(losses[-4:]) < 0.9 * np.mean(losses[:2])
    header = read_header(tmp_path / FILE_NAME)
    assert header["recipe"]["task"] == header["model"]["task"]["kind"] == task
    best = (max if trainer.head.score(progress.rows[0]).higher_is_better else min)(
        trainer.head.score(row).value for row in progress.rows
    )
    assert progress.best == best


def test_phases_change_data_rate_weight_and_batch_norm(tmp_path: Path) -> None:
    recipe = replace(
        TINY,
        schedule="constant",
        phases=(Phase(("synthetic", "other"), 1, 1.0, 0.3), Phase(("other",), 1, 0.5, 0.2, freeze_bn=True)),
    )
    seen: list[tuple[int, int, float]] = []
    statistics: list[Tensor] = []

    class Watch(Observer):
        def step(self, progress: RunProgress, steps: int, loss: float) -> None:
            seen.append((progress.epoch, steps, trainer.optimisers[1].param_groups[0]["lr"]))
            statistics.append(trainer.raw.get_buffer("encoder.stages.0.0.1.running_mean").clone())

    trainer = make(tmp_path, recipe, observer=Watch())
    trainer.run()
    assert seen == [(0, 4, 3e-3)] * 4 + [(1, 2, 1.5e-3)] * 2
    assert not torch.equal(statistics[2], statistics[3])
    assert torch.equal(statistics[3], statistics[4])
    assert torch.equal(statistics[4], statistics[5])


def test_a_frozen_encoder_stays_as_it_is(tmp_path: Path) -> None:
    trainer = make(tmp_path, replace(TINY, freeze_encoder=True, phases=(Phase(("synthetic",), 1),)))
    before = weights(trainer)
    trainer.run()
    changed = {key for key, value in weights(trainer).items() if not torch.equal(value, before[key])}
    assert not any(key.startswith("encoder.") for key in changed)
    assert {key for key, _ in trainer.raw.decoder.named_parameters(prefix="decoder")} <= changed


def test_the_average_is_the_plain_computation(tmp_path: Path) -> None:
    recipe = replace(TINY, polyak=0.7)
    expected: dict[str, Tensor] = {}

    class Watch(Observer):
        def step(self, progress: RunProgress, steps: int, loss: float) -> None:
            for name, value in trainer.raw.named_parameters():
                old = expected.get(name, value.detach().clone())
                decay = decay_after(progress.updates - 1, 0.7)
                expected[name] = decay * old + (1 - decay) * value.detach()

    trainer = make(tmp_path, recipe, observer=Watch())
    trainer.run()
    assert trainer.evaluated is not trainer.raw
    assert_same(dict(trainer.evaluated.named_parameters()), expected, rtol=1e-5, atol=1e-6)
    assert_same(dict(trainer.evaluated.named_buffers()), dict(trainer.raw.named_buffers()))
    saved = load_file(tmp_path / FILE_NAME)
    assert not any(key.startswith("decoder.auxiliary") for key in saved)


def test_the_loss_weighs_auxiliary_heads_and_teacher_as_the_recipe_says(tmp_path: Path) -> None:
    teacher = nn.Conv2d(3, TASK.outputs, 3, padding=1, stride=2).requires_grad_(False)
    trainer = make(tmp_path, replace(TINY, distillation=0.7))
    batch = next(iter(trainer.loaders[("synthetic",)][0]))
    trainer.network.train()

    def loss(auxiliary_weight: float) -> float:
        return trainer.loss(batch, Phase(("synthetic",), 1, aux_weight=auxiliary_weight)).item()

    plain, light, heavy = loss(0.0), loss(0.2), loss(0.4)
    assert heavy - plain == pytest.approx(2 * (light - plain), rel=1e-3)
    assert light - plain > 0.1
    trainer.teacher = teacher
    logits, *_ = trainer.network(batch["image"])
    target = nn.functional.interpolate(teacher(batch["image"]), logits.shape[-2:], mode="bilinear")
    assert loss(0.0) - plain == pytest.approx(0.7 * nn.functional.mse_loss(logits, target).item(), rel=1e-4)


@pytest.mark.slow
def test_compiled_is_the_same(tmp_path: Path) -> None:
    plain, compiled = (make(tmp_path / str(c), FROZEN, compile=c) for c in (False, True))
    plain.run(), compiled.run()
    assert_same(weights(compiled), weights(plain), rtol=1e-2, atol=1e-4)


def test_memory_layout_changes_nothing(tmp_path: Path) -> None:
    last, first = (make(tmp_path / str(c), FROZEN, channels_last=c) for c in (True, False))
    last.run(), first.run()
    assert_same(weights(last), weights(first), rtol=1e-3, atol=1e-5)


def test_scores() -> None:
    up, down = (lambda v: Score("iou", v, True)), (lambda v: Score("rmse", v, False))
    assert better(up(0.5), None)
    assert better(up(0.5), float("nan"))
    assert better(up(0.5), 0.4)
    assert not better(up(0.4), 0.4)
    assert not better(up(float("nan")), 0.4)
    assert better(down(0.4), 0.5)
    assert not better(down(0.5), 0.4)


# -- when something goes wrong ----------------------------------------------------------------------------------------


def poison(trainer: Trainer, epoch: int, step: int, change: Callable[[Tensor], Tensor]) -> None:
    """Change the loss of one batch."""
    honest = trainer.loss

    def loss(batch: Any, phase: Phase) -> Tensor:
        value = honest(batch, phase)
        here = (trainer.progress.epoch, trainer.progress.step) == (epoch, step)
        return change(value) if here else value

    trainer.loss = loss  # type: ignore[method-assign]


def test_a_loss_that_is_nan_stops_the_run(tmp_path: Path) -> None:
    trainer = make(tmp_path)
    poison(trainer, 1, 1, lambda loss: loss * float("nan"))
    with pytest.raises(FastnasError, match=r"the loss became nan in epoch 2, batch 2 of 2 \(images train-.*lower the"):
        trainer.run()
    assert state_of(tmp_path)["progress"]["epoch"] == 1
    again = make(tmp_path)
    again.restore()
    assert again.run().epoch == 2


def test_weights_that_are_nan_are_not_saved(tmp_path: Path) -> None:
    trainer = make(tmp_path)
    # A square root at 0: its value is finite and its gradient is not.
    poison(trainer, 1, 1, lambda loss: loss + (loss - loss).sqrt())
    with pytest.raises(FastnasError, match="a weight is NaN or infinite after update 4"):
        trainer.run()
    state = state_of(tmp_path)
    assert state["progress"]["epoch"] == 1
    assert all(value.isfinite().all() for value in state["network"].values())
    assert all(value.isfinite().all() for value in load_file(tmp_path / FILE_NAME).values())


def test_no_space_left_keeps_the_old_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make(tmp_path)
    trainer.save()
    before = (tmp_path / STATE).read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FastnasError, match=r"cannot write .*: No space left on device"):
        trainer.run()
    assert (tmp_path / STATE).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [STATE]


def test_what_cannot_be_resumed(tmp_path: Path) -> None:
    trainer = make(tmp_path)
    with pytest.raises(FastnasError, match="to resume; start without --resume"):
        trainer.restore()
    (tmp_path / STATE).write_bytes(b"no state")
    with pytest.raises(FastnasError, match="does not continue this run"):
        trainer.restore()
    make(tmp_path, aux="none").save()
    with pytest.raises(FastnasError, match="does not continue this run"):
        trainer.restore()


def test_data_of_another_task_is_refused(tmp_path: Path) -> None:
    spec = ModelSpec("arch2", TASKS["depth"], channels=4)
    scenes = SyntheticScenes(size=(64, 64), count=8)
    with pytest.raises(FastnasError, match=r"synthetic has the task segmentation .* but the model has depth"):
        Trainer(Fabric(accelerator="cpu"), spec, build(spec), TINY, lambda _: scenes, [scenes], tmp_path)


# -- teachers ---------------------------------------------------------------------------------------------------------


def onnx_teacher(path: Path, outputs: int, size: int | str = "side") -> None:
    """One 1x1 convolution."""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    weight = onnx.numpy_helper.from_array(np.ones((outputs, 3, 1, 1), np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"])],
        "teacher",
        [helper.make_tensor_value_info("x", kind, ["n", 3, size, size])],
        [helper.make_tensor_value_info("y", kind, ["n", outputs, size, size])],
        [weight],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)


def test_teacher_from_a_model_file(tmp_path: Path) -> None:
    spec = ModelSpec("arch1", TASK, channels=4)
    network = build(spec).eval()
    save_model(tmp_path / "t.safetensors", network, spec)
    teacher = load_teacher(str(tmp_path / "t.safetensors"), TASK, CPU, (64, 64))
    images = torch.rand(2, 3, 64, 64)
    assert_same(teacher(images), network(images))
    with pytest.raises(FastnasError, match="has another task: segmentation"):
        load_teacher(str(tmp_path / "t.safetensors"), TASKS["depth"], CPU, (64, 64))


def test_teacher_from_onnx(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    path = tmp_path / "t.onnx"
    onnx_teacher(path, TASK.outputs)
    teacher = load_teacher(str(path), TASK, CPU, (48, 64))
    images = torch.rand(2, 3, 48, 64)
    assert_same(teacher(images)[:, 3], images.sum(1))
    onnx_teacher(path, 5)
    with pytest.raises(FastnasError, match=r"gives \[1, 5, 48, 64\] for one image, but the task needs \[1, 11"):
        load_teacher(str(path), TASK, CPU, (48, 64))
    onnx_teacher(path, TASK.outputs, 32)
    with pytest.raises(FastnasError, match=r"does not take images \[1, 3, 48, 64\]"):
        load_teacher(str(path), TASK, CPU, (48, 64))
    path.write_bytes(b"no graph")
    with pytest.raises(FastnasError, match="is not a model that ONNX Runtime opens"):
        load_teacher(str(path), TASK, CPU, (48, 64))


def test_teacher_from_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    """With random weights in place of the download."""
    make_model = torchvision.models.get_model
    monkeypatch.setattr(
        torchvision.models, "get_model", lambda name, **_: make_model(name, weights=None, weights_backbone=None)
    )
    voc = replace(TASK, classes=tuple(map(str, range(21))), colours=((0, 0, 0),) * 21)
    teacher = load_teacher("torchvision/lraspp_mobilenet_v3_large", voc, CPU, (64, 64))
    assert teacher(torch.rand(1, 3, 64, 64)).shape == (1, 21, 64, 64)
    with pytest.raises(FastnasError, match=r"gives \[1, 21, 64, 64\]"):
        load_teacher("torchvision/lraspp_mobilenet_v3_large", TASK, CPU, (64, 64))
    with pytest.raises(FastnasError, match="no segmentation model 'resnet50': deeplabv3"):
        load_teacher("torchvision/resnet50", voc, CPU, (64, 64))


@pytest.mark.parametrize("source", ["absent.safetensors", "absent.onnx", "teacher.pt"])
def test_absent_teacher(source: str) -> None:
    with pytest.raises(FastnasError, match=source):
        load_teacher(source, TASK, CPU, (64, 64))


def test_depths_keep_their_metres_in_training_where_the_recipe_says_so(tmp_path: Path) -> None:
    """With every image enlarged twice, the depths of the batches are half or the same."""
    recipe = replace(TINY, task="depth", scale=(2.0, 2.0), mirror=False)
    means = []
    for number, by_zoom in enumerate((True, False)):
        trainer = make(tmp_path / str(number), replace(recipe, depth_by_zoom=by_zoom), "depth")
        loader, _ = trainer._loader(recipe.phases[0])
        means.append(torch.cat([batch["depth"] for batch in loader]).mean().item())
    assert means[1] == pytest.approx(2 * means[0])
