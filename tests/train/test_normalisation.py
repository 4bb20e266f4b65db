"""An own encoder's normalisation reaches the images of training, evaluation and search, and those of its teacher."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from rich.console import Console
from torch import Tensor, nn

from fastnas.config import changed
from fastnas.data.synthetic.dataset import TASKS, SyntheticScenes
from fastnas.data.transforms import eval_transform
from fastnas.models import encoder as encoders
from fastnas.models.checkpoint import load_model, save_model
from fastnas.models.encoder import Encoder, add_encoder
from fastnas.models.header import read_header
from fastnas.models.spec import ModelSpec, build
from fastnas.models.zoo import ZOO
from fastnas.normalisation import IMAGENET, Normalisation
from fastnas.search.evaluation import warmup
from fastnas.search.evaluation.data import open_images
from fastnas.search.evaluation.encoder_cache import content_key
from fastnas.search.evaluation.prepare import prepare
from fastnas.search.settings import EvaluationSettings, SearchSettings
from fastnas.train.loop import Trainer, TrainerOptions
from fastnas.train.predictors import open_predictors
from fastnas.train.recipes import RECIPES
from fastnas.train.run_log import RunLog
from fastnas.train.teacher import load_teacher

NAME = "own-normalisation"
OWN = Normalisation(mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 1.0))
TASK = TASKS["segmentation"]
CPU = torch.device("cpu")


class Own(Encoder):
    """Four strided convolutions; all copies keep the images that they have seen in one list."""

    seen: ClassVar[list[Tensor]] = []

    def __init__(self) -> None:
        super().__init__([nn.Conv2d(i, 8, 3, s, 1) for i, s in ((3, 4), (8, 2), (8, 2), (8, 2))], (8,) * 4)
        self.mean, self.std = OWN

    def forward(self, images: Tensor) -> list[Tensor]:
        self.seen.append(images.detach().clone())
        return super().forward(images)


@pytest.fixture(autouse=True)
def own_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders, "ENCODERS", list(encoders.ENCODERS))
    monkeypatch.setattr(encoders, "_ADDED", dict(encoders._ADDED))
    add_encoder(NAME, Own)
    Own.seen.clear()


def bytes_of(images: Tensor) -> Tensor:
    """Pixel values before the normalisation, which are whole numbers if it is the encoder's own."""
    mean, std = (torch.tensor(values)[:, None, None] for values in OWN)
    return (images * std + mean) * 255


def assert_own_images(*shapes: tuple[int, ...]) -> None:
    """Images of these shapes were seen, all with the encoder's own normalisation."""
    assert {tuple(each.shape) for each in Own.seen} == set(shapes)
    for each in Own.seen:
        pixels = bytes_of(each)
        assert -0.5 < pixels.min() < pixels.max() < 255.5
        assert (pixels - pixels.round()).abs().max() < 1e-2


def spec() -> ModelSpec:
    return ModelSpec("arch2", TASK, encoder=NAME, channels=4, sep_repeats=1)


def test_conversion_is_between_normalisations() -> None:
    pixels = np.random.default_rng(0).random((5, 3))
    scale, shift = IMAGENET.conversion(OWN)
    given = (pixels - IMAGENET.mean) / IMAGENET.std
    np.testing.assert_allclose(given * scale + shift, (pixels - OWN.mean) / OWN.std)


def test_training_evaluation_and_log_use_it(tmp_path: Path) -> None:
    recipe = changed(RECIPES["synthetic"], {"batch": 4, "crop": (32, 32), "phases.0.epochs": 1})
    trainer = Trainer(
        Fabric(accelerator="cpu"), spec(), build(spec()), recipe,
        lambda _: SyntheticScenes("train", size=(64, 64), count=8), [SyntheticScenes("val", size=(64, 64), count=2)],
        tmp_path, options=TrainerOptions(workers=0),
    )  # fmt: skip
    trainer.observer = log = RunLog(tmp_path, Console(quiet=True), trainer)
    with log:
        trainer.run()
    assert_own_images((4, 3, 32, 32), (1, 3, 64, 64))
    assert len(Own.seen) == 2 + 2 + 2  # batches, validation images, and those of the log
    header = read_header(tmp_path / "model.safetensors")
    assert header["normalisation"] == {"mean": list(OWN.mean), "std": list(OWN.std)}
    with open_predictors(tmp_path / "model.safetensors", "fp32", CPU) as opened:
        assert opened["segmentation"].normalisation == OWN


def small(encoder_weights: str = "none") -> SearchSettings:
    sizes: dict[str, Any] = {f"stage{stage}_{side}": 64 for stage in (1, 2) for side in ("crop", "short_side")}
    how = EvaluationSettings(
        encoder=NAME, encoder_weights=encoder_weights, channels=4, validation_share=0.25, stage1_epochs=1,
        stage1_batch=4, stage2_batch=4, **sizes,
    )  # fmt: skip
    return SearchSettings(images=8, evaluation=how)


def test_both_stages_of_the_search_use_it(tmp_path: Path) -> None:
    evaluator = prepare(small(), cache=tmp_path)
    assert_own_images((6, 3, 64, 64), (2, 3, 64, 64))
    Own.seen.clear()
    evaluator.evaluate(ZOO["arch2"], 0)
    assert_own_images((4, 3, 64, 64), (2, 3, 64, 64))


def test_stored_outputs_belong_to_a_normalisation(tmp_path: Path) -> None:
    encoder, data = Own(), open_images(small()).train
    own = content_key(encoder, data, {})
    encoder.mean = IMAGENET.mean
    assert content_key(encoder, data, {}) != own
    encoder.mean = OWN.mean
    assert content_key(encoder, data, {}) == own


def test_the_warm_up_uses_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warmup, "STEPS", 1)
    settings = small(encoder_weights="scenes")
    warmup.warmed_up(settings, open_images(settings), tmp_path, lambda *_: None)
    assert_own_images((6, 3, 64, 64))


def test_a_teacher_gets_the_images_in_its_own(tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_model(tmp_path / "t.safetensors", build(spec()), spec())
    network = load_model(tmp_path / "t.safetensors").network
    sample = SyntheticScenes("val", size=(64, 64), count=1)[0]
    usual, own = (eval_transform(TASK, normalisation=each)(sample)["image"][None] for each in (IMAGENET, OWN))
    assert not torch.allclose(usual, own, atol=0.1)
    for images, given in ((usual, IMAGENET), (own, OWN)):
        teacher = load_teacher(str(tmp_path / "t.safetensors"), TASK, CPU, (64, 64), given)
        torch.testing.assert_close(teacher(images), network(own), rtol=1e-4, atol=1e-5)
