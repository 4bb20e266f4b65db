"""Staged evaluation: pure, on stored encoder outputs that are the encoder's, and every switch does what it says."""

from __future__ import annotations

import dataclasses
import math
import pickle
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision import tv_tensors

from fastnas.data.base import DenseDataset, Sample
from fastnas.data.synthetic.dataset import TASKS
from fastnas.errors import FastnasError
from fastnas.models.decoder import Decoder
from fastnas.models.encoder import make_encoder
from fastnas.models.genotype import Genotype
from fastnas.models.network import Network
from fastnas.models.zoo import ZOO
from fastnas.normalisation import IMAGENET
from fastnas.search.evaluation import evaluator as module
from fastnas.search.evaluation import prepare as prepare_module
from fastnas.search.evaluation import warmup
from fastnas.search.evaluation.data import SearchImages, open_images, train_crop, val_crop
from fastnas.search.evaluation.encoder_cache import CPU, content_key, load_features
from fastnas.search.evaluation.evaluator import CandidateFailed, Evaluator
from fastnas.search.evaluation.prepare import prepare
from fastnas.search.evaluation.reward import reward
from fastnas.search.evaluation.scaled_teacher import ScaledTeacher
from fastnas.search.settings import EvaluationSettings, SearchSettings
from fastnas.tasks import Segmentation, Task
from fastnas.tasks.base import TaskHead
from fastnas.tasks.registry import head_for
from fastnas.train.loaders import SeededSamples, derived_seed
from fastnas.train.objective import training_loss
from tests.helpers.datasets import make_camvid

SMALL = EvaluationSettings(
    encoder_weights="none", channels=8, validation_share=0.25, stage1_epochs=1, stage1_batch=6, stage1_crop=64,
    stage1_short_side=64, stage2_batch=6, stage2_crop=64, stage2_short_side=64,
)  # fmt: skip
SETTINGS = SearchSettings(images=16, evaluation=SMALL)
GENOTYPE = ZOO["arch2"]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def make(cache: Path, task: str = "segmentation", **changes: object) -> Evaluator:
    settings = dataclasses.replace(SETTINGS, task=task, evaluation=dataclasses.replace(SMALL, **changes))
    return prepare(settings, cache=cache)


@pytest.fixture(scope="module")
def evaluator(cache: Path) -> Evaluator:
    return make(cache)


def changed(evaluator: Evaluator, **changes: object) -> Evaluator:
    return dataclasses.replace(evaluator, settings=dataclasses.replace(evaluator.settings, **changes))


def test_stored_features_are_the_encoders_outputs(evaluator: Evaluator) -> None:
    crop = train_crop(evaluator.images.task, 64, 64, (SMALL.scale_low, SMALL.scale_high), IMAGENET)
    sample = SeededSamples([evaluator.images.train], crop, derived_seed(SETTINGS.seed, 4))[0, 5]
    with torch.inference_mode():
        outputs = evaluator.encoder(sample["image"][None])
    stored = evaluator.train.inputs(torch.tensor([5]), used=(0, 1, 2, 3))
    assert [each.shape for each in stored] == [each.shape for each in outputs]
    for ours, theirs in zip(stored, outputs, strict=True):
        assert ours.is_contiguous(memory_format=torch.channels_last)
        # float16 has 11 bits; batches of another size round otherwise in the last of float32's.
        torch.testing.assert_close(ours, theirs.as_subclass(torch.Tensor), rtol=1e-3, atol=1e-3)
    mask = evaluator.train.batch(torch.tensor([5]))["mask"]
    assert torch.equal(mask[0], sample["mask"].as_subclass(torch.Tensor)[2::4, 2::4])
    assert (len(evaluator.train), len(evaluator.val)) == (12, 4)


def test_encoder_outputs_that_the_genotype_leaves_out_are_not_read(evaluator: Evaluator) -> None:
    inputs = evaluator.train.inputs(torch.arange(3), used=(1,))
    assert [bool(each.any()) for each in inputs] == [False, True, False, False]
    assert [tuple(each.shape) for each in inputs] == [(3, 24, 16, 16), (3, 32, 8, 8), (3, 96, 4, 4), (3, 320, 2, 2)]


def test_both_stages_are_judged_on_the_same_images(cache: Path) -> None:
    """The same network, on stored outputs and on images: float16 is all that differs, whatever the training crops."""
    sizes = {"stage1_crop": 32, "stage1_short_side": 40, "stage2_crop": 64, "stage2_short_side": 80}
    both = make(cache, **sizes)
    assert both.val.image_size == (64, 64)
    assert both.val.labels["mask"].shape == (4, 64, 64)
    assert both.train.image_size == (8, 8)
    decoder = decoder_of(both)
    first, second = both._score_features(decoder)[1], both._score_images(Network(both.encoder, decoder))[1]
    assert first == pytest.approx(second, abs=2e-3)
    assert first["mean_accuracy"] > 0


class Ramps(DenseDataset):
    """Two images of 240 x 480: red rises by one every two pixels to the right, green by one a pixel downwards."""

    name = "ramps"

    def __init__(self, task: Task) -> None:
        self.task = task

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Sample:
        x, y = torch.arange(480.0) / 2, torch.arange(240.0)
        image = torch.stack([x.expand(240, 480), y[:, None].expand(240, 480), torch.zeros(240, 480)])
        return {
            "name": str(index),
            "image": tv_tensors.Image(image.byte()),
            "mask": tv_tensors.Mask(torch.ones(240, 480).byte()),
        }


def test_a_teacher_sees_the_images_at_its_own_scale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Crops of images reduced to a third: the teacher is shown their content unreduced, and its logits fit the crop."""
    task, views = Segmentation(("a", "b", "c"), ((0, 0, 0),) * 3), []

    def load(source: str, own: Task, device: torch.device, size: tuple[int, int], *_: object) -> Any:
        assert (source, own, size) == ("teacher", task, (192, 192))  # 64 of 80 pixels are 192 of 240

        def teacher(images: torch.Tensor) -> torch.Tensor:
            views.append(images)
            return images

        return teacher

    monkeypatch.setattr("fastnas.search.evaluation.scaled_teacher.load_teacher", load)
    how = dataclasses.replace(SMALL, teacher="teacher", stage1_short_side=80, scale_low=0.9, scale_high=1.1)
    settings, images = SearchSettings(evaluation=how), SearchImages(Ramps(task), Ramps(task))
    encoder = make_encoder("mobilenet_v2").eval()
    features = prepare_module._features(settings, images.train, "train", encoder, tmp_path, CPU, lambda *_: None)
    spread = torch.tensor(IMAGENET.std)[:, None] * 255
    for view in views:
        assert min(view.shape[2:]) % 32 == 0
        steps = (view[0].diff(dim=2)[0].mean().abs(), view[0].diff(dim=1)[1].mean())
        # A pixel of the image is a pixel of the teacher's view, to within the rounding of its side.
        assert steps[0] * spread[0] == pytest.approx(0.5, rel=0.1)
        assert steps[1] * spread[1] == pytest.approx(1.0, rel=0.1)
    crop = train_crop(task, 64, 80, (0.9, 1.1), IMAGENET)
    samples = SeededSamples([images.train], crop, derived_seed(settings.seed, 4))
    assert features.teacher is not None
    for index in range(2):
        seen = features.targets(torch.tensor([index]))
        assert seen is not None
        small = torch.nn.functional.avg_pool2d(samples[0, index]["image"].as_subclass(torch.Tensor)[None], 4)
        torch.testing.assert_close(seen, small, atol=0.03, rtol=0)
    assert prepare_module._features(settings, images.train, "train", encoder, tmp_path, CPU, lambda *_: None)
    assert len(views) == 2  # stored


def test_a_depth_teachers_metres_are_those_of_the_crop(monkeypatch: pytest.MonkeyPatch) -> None:
    task = TASKS["depth"]
    monkeypatch.setattr(
        "fastnas.search.evaluation.scaled_teacher.load_teacher",
        lambda *_: lambda images: images.new_full((1, 1, 4, 4), 2.0),
    )
    teacher = ScaledTeacher("teacher", Ramps(task), 64, 80, IMAGENET, CPU)
    sample = {"image": Ramps(task)[0]["image"], "depth": torch.full((240, 480), 2.0)}
    crop = val_crop(task, 64, 80, IMAGENET)(sample)
    logits = teacher(sample["image"], crop["to_image"])
    torch.testing.assert_close(logits, crop["depth"].as_subclass(torch.Tensor).mean().expand(1, 1, 4, 4))


def test_features_are_computed_once(cache: Path, evaluator: Evaluator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastnas.search.evaluation.encoder_cache._compute", lambda *_: pytest.fail("computed again"))
    again = make(cache)
    assert all(torch.equal(a, b) for a, b in zip(evaluator.train.maps, again.train.maps, strict=True))


def test_the_key_changes_with_encoder_data_and_settings(evaluator: Evaluator) -> None:
    encoder, data = evaluator.encoder, evaluator.images.train
    keys = [content_key(encoder, data, {"crop": 64}), content_key(encoder, data, {"crop": 65})]
    keys.append(content_key(encoder, evaluator.images.val, {"crop": 64}))
    weight = next(encoder.parameters())
    old = weight.clone()
    weight.mul_(1.001)
    keys.append(content_key(encoder, data, {"crop": 64}))
    weight.copy_(old)
    assert len(set(keys)) == 4
    assert content_key(encoder, data, {"crop": 64}) == keys[0]


def test_a_random_encoder_is_that_of_the_seed(cache: Path, evaluator: Evaluator) -> None:
    state = torch.get_rng_state()
    again = make(cache)
    assert torch.equal(torch.get_rng_state(), state)
    other = prepare(dataclasses.replace(SETTINGS, seed=1), cache=cache)
    assert change(evaluator.encoder, again.encoder) == 0
    assert change(evaluator.encoder, other.encoder) > 0


@pytest.mark.parametrize("name", ["about.json", "labels.safetensors", "output0.npy"])
@pytest.mark.parametrize("content", ["", "[]", "5", "{", '{"outputs": 4}', "half", "long header", "pickle"])
def test_damaged_features_are_named(content: str, name: str, cache: Path, evaluator: Evaluator, tmp_path: Path) -> None:
    whole = next(cache.rglob("about.json")).parent
    folder = tmp_path / "features"
    shutil.copytree(whole, folder)
    load_features(folder)
    path = folder / name
    whole_file = path.read_bytes()
    special = {
        "half": whole_file[: len(whole_file) // 2],
        "long header": (2**62).to_bytes(8, "little") + whole_file,
        "pickle": pickle.dumps([1]),
    }
    path.write_bytes(special.get(content, content.encode()))
    with pytest.raises(FastnasError, match=r"the stored encoder outputs in .* are damaged \(.+\): remove") as error:
        load_features(folder)
    assert "\n" not in str(error.value)


def test_an_evaluation_is_a_pure_function(evaluator: Evaluator) -> None:
    first = evaluator.evaluate(GENOTYPE, seed=3)
    torch.manual_seed(99)
    evaluator.evaluate(Genotype.random(random.Random(0)), seed=1)
    state = torch.get_rng_state()
    second = evaluator.evaluate(GENOTYPE, seed=3)
    assert (first.stage1, first.stage2, first.scores) == (second.stage1, second.stage2, second.scores)
    assert torch.equal(torch.get_rng_state(), state)
    assert evaluator.evaluate(GENOTYPE, seed=4).stage1 != first.stage1
    assert first.stage1 is not None
    assert 0 < first.stage1 < 1
    assert first.stage2 is not None
    assert first.reward == first.stage2
    assert first.seconds.keys() == {"stage1", "stage2"}


def test_the_encoder_is_not_changed_by_a_candidate(evaluator: Evaluator) -> None:
    before = {name: value.clone() for name, value in evaluator.encoder.state_dict().items()}
    evaluator.evaluate(GENOTYPE, seed=0)
    assert all(torch.equal(before[name], value) for name, value in evaluator.encoder.state_dict().items())
    assert not any(parameter.requires_grad for parameter in evaluator.encoder.parameters())


def test_the_stop_rule_stands_between_the_stages(evaluator: Evaluator) -> None:
    asked: list[tuple[float, int]] = []
    stages: list[str] = []

    def stop(reward: float, epoch: int) -> bool:
        asked.append((reward, epoch))
        return False

    stopped = evaluator.evaluate(GENOTYPE, 0, stop, stages.append)
    assert asked == [(stopped.stage1, 1)]
    assert stopped.stage2 is None
    assert stopped.reward == stopped.stage1
    assert stages == ["stage 1"]
    assert changed(evaluator, stage2_epochs=0).evaluate(GENOTYPE, 0).stage2 is None


def test_a_candidate_is_judged_at_rungs_within_stage_1(evaluator: Evaluator) -> None:
    """What it earns at a rung is what a shorter stage 1 would earn, and being evaluated changes nothing after it."""
    longer = changed(evaluator, stage1_epochs=3)
    asked: list[int] = []

    def until(last: int) -> Callable[[float, int], bool]:
        def goes_on(reward: float, epoch: int) -> bool:
            asked.append(epoch)
            return epoch != last

        return goes_on

    whole = longer.evaluate(GENOTYPE, 0, until(3), rungs=(1, 2, 3))
    assert asked == [1, 2, 3]
    assert whole.stage1 == longer.evaluate(GENOTYPE, 0, until(3)).stage1
    stopped = longer.evaluate(GENOTYPE, 0, until(2), rungs=(1, 2, 3))
    short = changed(evaluator, stage1_epochs=2).evaluate(GENOTYPE, 0, lambda *_: False)
    assert stopped.rungs == whole.rungs
    assert (stopped.stage1, stopped.stage2, stopped.reward) == (None, None, short.stage1)
    assert stopped.scores == short.scores


def test_the_reward_is_the_geometric_mean(evaluator: Evaluator) -> None:
    scores = evaluator.evaluate(GENOTYPE, 0).scores
    parts = [scores[f"stage1/{name}"] for name in ("mean_iou", "frequency_weighted_iou", "mean_accuracy")]
    result = evaluator.evaluate(GENOTYPE, 0, lambda *_: False)
    assert result.reward == pytest.approx(math.prod(parts) ** (1 / 3))


def test_background_counts_only_where_there_is_none() -> None:
    mask = torch.tensor([[[0, 0, 1, 2]]])
    logits = torch.nn.functional.one_hot(torch.tensor([[[0, 1, 1, 1]]]), 3).permute(0, 3, 1, 2).float()
    batch = {"image": torch.zeros(1, 3, 1, 4), "mask": mask}
    found = []
    for first in ("background", "sky"):
        task = Segmentation((first, "a", "b"), ((0, 0, 0),) * 3)
        metrics = head_for(task).metrics()
        metrics.update(logits, batch)
        found.append(reward(task, metrics)[1]["mean_accuracy"])
    assert found == [0.5, 0.5]
    assert reward(task, metrics)[1]["mean_iou"] == pytest.approx((1 / 2 + 1 / 3 + 0) / 3)


def test_polyak_scores_the_average(evaluator: Evaluator) -> None:
    """With decay 0 the average is the last weights, so the switch must change nothing."""
    plain = changed(evaluator, polyak=False).evaluate(GENOTYPE, 0)
    assert changed(evaluator, polyak_stage1=0.0, polyak_stage2=0.0).evaluate(GENOTYPE, 0).scores == plain.scores
    averaged = evaluator.evaluate(GENOTYPE, 0)
    assert averaged.stage1 != plain.stage1
    assert averaged.stage2 != plain.stage2


def test_auxiliary_cells_train_beside_the_decoder(evaluator: Evaluator, monkeypatch: pytest.MonkeyPatch) -> None:
    outputs: list[int] = []

    def counting(head: TaskHead, out: list[torch.Tensor], batch: Any, **how: Any) -> torch.Tensor:
        outputs.append(len(out))
        return training_loss(head, out, batch, **how)

    monkeypatch.setattr(module, "training_loss", counting)
    evaluator.evaluate(GENOTYPE, 0)
    assert set(outputs) == {4}
    outputs.clear()
    changed(evaluator, auxiliary=False).evaluate(GENOTYPE, 0)
    assert set(outputs) == {1}


def decoder_of(evaluator: Evaluator) -> Decoder:
    torch.manual_seed(0)
    return Decoder(GENOTYPE, evaluator.encoder.channels, 8, 1, evaluator.images.task.outputs, "cell")


def trained(evaluator: Evaluator, stage: str, monkeypatch: pytest.MonkeyPatch) -> torch.nn.Module:
    """What a stage has trained when it is scored."""
    scored: list[torch.nn.Module] = []

    def score(module: torch.nn.Module) -> tuple[float, dict[str, float]]:
        scored.append(module)
        return 0.0, {}

    monkeypatch.setattr(evaluator, "_score_features", score)
    monkeypatch.setattr(evaluator, "_score_images", score)
    getattr(evaluator, stage)(decoder_of(evaluator), 0)
    return scored[0]


def change(before: torch.nn.Module, after: torch.nn.Module) -> float:
    """The largest change of a weight."""
    pairs = zip(before.parameters(), after.parameters(), strict=True)
    return max(float((a - b).detach().abs().max()) for a, b in pairs)


@pytest.mark.parametrize("stage", ["stage1", "stage2"])
def test_auxiliary_losses_are_weighted(evaluator: Evaluator, stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, light, heavy = (
        trained(changed(evaluator, auxiliary_weight=weight), stage, monkeypatch) for weight in (0.0, 0.15, 5.0)
    )
    assert change(plain, light) > 0
    assert change(light, heavy) > 0


@pytest.mark.parametrize("stage", ["stage1", "stage2"])
def test_gradients_are_clipped(evaluator: Evaluator, stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A norm far below Adam's epsilon leaves nothing to learn from."""
    still = changed(evaluator, gradient_norm=1e-14, weight_decay=0.0)
    moving = changed(evaluator, weight_decay=0.0)
    for how, expected in ((still, False), (moving, True)):
        module = trained(how, stage, monkeypatch)
        decoder = module.decoder if stage == "stage2" else module
        assert isinstance(decoder, torch.nn.Module)
        assert (change(decoder_of(evaluator), decoder) > 1e-6) == expected
        if stage == "stage2":
            encoder = module.encoder
            assert isinstance(encoder, torch.nn.Module)
            assert (change(evaluator.encoder, encoder) > 1e-9) == expected


def test_stage_2_trains_the_encoder(evaluator: Evaluator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its change grows with the encoder's learning rate."""
    changes = [
        change(evaluator.encoder, trained(changed(evaluator, encoder_lr=rate), "stage2", monkeypatch).encoder)  # type: ignore[arg-type]
        for rate in (0.0, 1e-3, 2e-3)
    ]
    assert changes[0] == 0
    assert changes[2] > 1.5 * changes[1] > 1e-5


def test_the_validation_crop_is_the_centre_of_the_image() -> None:
    task = TASKS["segmentation"]
    sample = {"name": "a", "image": torch.zeros(3, 90, 150, dtype=torch.uint8), "mask": torch.zeros(90, 150).byte()}
    cropped = val_crop(task, 40, 60, IMAGENET)(sample)
    assert cropped["image"].shape == (3, 40, 40)
    matrix = cropped["to_image"]
    torch.testing.assert_close(matrix @ torch.tensor([19.5, 19.5, 1.0]), torch.tensor([74.5, 44.5]))
    torch.testing.assert_close(matrix[:, :2], torch.eye(2) * 90 / 60)


def test_the_seed_divides_training_and_validation_images() -> None:
    def names(seed: int) -> tuple[set[str], set[str]]:
        images = open_images(dataclasses.replace(SETTINGS, seed=seed))
        train, val = ({part[i]["name"] for i in range(len(part))} for part in (images.train, images.val))
        return train, val

    (train, val), (_, other), again = names(0), names(1), names(0)
    assert (len(train), len(val), train & val) == (12, 4, set())
    assert again == (train, val)
    assert other != val


def test_the_warm_up_trains_the_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warmup, "STEPS", 4)
    losses: list[float] = []

    def noting(*arguments: Any) -> torch.Tensor:
        loss = training_loss(*arguments)
        losses.append(loss.item())
        return loss

    monkeypatch.setattr(warmup, "training_loss", noting)
    images = open_images(SETTINGS)
    encoder = warmup.warmed_up(SETTINGS, images, tmp_path, lambda *_: None)
    torch.manual_seed(SETTINGS.seed)
    assert change(make_encoder("mobilenet_v2"), encoder) > 1e-3
    assert losses[-1] < 0.9 * losses[0]
    again = warmup.warmed_up(SETTINGS, images, tmp_path, lambda *_: pytest.fail("trained again"))
    assert change(encoder, again) == 0


def test_bfloat16_computes_the_same_roughly_and_sums_in_float32(evaluator: Evaluator) -> None:
    decoder = Decoder(GENOTYPE, evaluator.encoder.channels, 8, 1, evaluator.images.task.outputs).eval()
    inputs = evaluator.train.inputs(torch.arange(4), used=tuple(int(i) for i in decoder.adapters))
    (exact,), (rough,) = (changed(evaluator, precision=p)._logits(decoder, inputs) for p in ("fp32", "bf16"))
    assert rough.dtype == torch.float32
    difference = (rough - exact).abs().max()
    assert 0 < difference < 0.03 * exact.abs().max()


def test_distillation_pulls_towards_the_teacher(evaluator: Evaluator) -> None:
    """A teacher that knows one class alone makes a strongly distilled candidate predict it everywhere."""
    logits = torch.zeros(len(evaluator.train), 16, 16, 11, dtype=torch.float16)
    logits[..., 4] = 8
    taught = dataclasses.replace(evaluator, train=dataclasses.replace(evaluator.train, teacher=logits))
    alone = evaluator.evaluate(GENOTYPE, 0, lambda *_: False)
    assert changed(taught, distillation=False).evaluate(GENOTYPE, 0, lambda *_: False).scores == alone.scores
    strong = changed(taught, distillation_weight=100.0, stage1_epochs=4).evaluate(GENOTYPE, 0, lambda *_: False)
    assert strong.reward < alone.reward
    assert taught.evaluate(GENOTYPE, 0, lambda *_: False).stage1 != alone.stage1


@pytest.mark.parametrize("what", ["loss", "memory", "host memory"])
def test_failures_are_named(evaluator: Evaluator, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    def fail(*_: object, **__: object) -> torch.Tensor:
        if what == "loss":
            return torch.tensor(math.nan, requires_grad=True)
        if what == "memory":
            raise torch.OutOfMemoryError("CUDA out of memory")
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(module, "training_loss", fail)
    with pytest.raises(CandidateFailed, match="nan" if what == "loss" else "out of memory"):
        evaluator.evaluate(GENOTYPE, 0)


def test_what_pytorch_cannot_compute_is_a_failure_with_its_reason(
    evaluator: Evaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> torch.Tensor:
        raise RuntimeError("could not create a primitive\nmore of it")

    monkeypatch.setattr(module, "training_loss", fail)
    with pytest.raises(CandidateFailed, match=r"^could not create a primitive$"):
        evaluator.evaluate(GENOTYPE, 0)


def test_a_broken_gpu_ends_the_search(evaluator: Evaluator, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> torch.Tensor:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(module, "training_loss", fail)
    with pytest.raises(FastnasError, match=r"the GPU failed: CUDA error: an illegal.*--resume") as error:
        evaluator.evaluate(GENOTYPE, 0)
    assert not isinstance(error.value, CandidateFailed)


def test_images_that_show_nothing_to_measure_end_the_search(
    evaluator: Evaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "reward", lambda *_: (math.nan, {"PCK@0.2": math.nan}))
    with pytest.raises(FastnasError, match=r"nothing that PCK@0.2 could be measured on") as error:
        evaluator.evaluate(GENOTYPE, 0)
    assert not isinstance(error.value, CandidateFailed)


def test_a_bug_is_no_failure_of_the_candidate(evaluator: Evaluator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "reward", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        evaluator.evaluate(GENOTYPE, 0)


def test_a_cell_of_zeros_can_be_evaluated(evaluator: Evaluator) -> None:
    zero = Genotype.parse("[[[3, 3], [3, 2], [3, 0]], [10, [0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10]]]")
    assert 0 <= evaluator.evaluate(zero, 0).reward < 0.5


@pytest.mark.parametrize("task", ["depth", "pose"])
def test_other_tasks(cache: Path, task: str) -> None:
    result = make(cache, task).evaluate(GENOTYPE, 0)
    assert result.stage2 is not None
    assert result.stage1 is not None
    assert 0 <= result.stage1 <= 1
    assert 0 <= result.stage2 <= 1
    names = {name for name in result.scores if "/" not in name}
    assert names == ({"delta1", "delta2", "delta3"} if task == "depth" else {"PCKh@0.5"})


def test_training_learns(evaluator: Evaluator) -> None:
    """With encoder outputs that say which class is where, the reward comes near 1 after some epochs."""
    told = changed(evaluator, stage1_epochs=12, auxiliary=False)
    for name in ("train", "val"):
        features = getattr(evaluator, name)
        classes = torch.nn.functional.one_hot(features.labels["mask"].long().clamp(max=23), 24).half()
        told = dataclasses.replace(told, **{name: dataclasses.replace(features, maps=(classes, *features.maps[1:]))})
    assert (
        told.evaluate(ZOO["arch0"], 0, lambda *_: False).reward
        > 3 * evaluator.evaluate(ZOO["arch0"], 0, lambda *_: False).reward
    )


def test_the_data_may_name_a_split(tmp_path: Path) -> None:
    root = make_camvid(tmp_path)
    names = [path.name for path in sorted((root / "train").iterdir()) for _ in range(4)]
    (root / "few.txt").write_text("".join(f"train/{name} trainannot/{name}\n" for name in names))
    images = open_images(dataclasses.replace(SETTINGS, data="camvid:few", root=str(root)))
    samples = [part[i]["name"] for part in (images.train, images.val) for i in range(len(part))]
    assert sorted(f"{name}.png" for name in samples) == sorted(names)
