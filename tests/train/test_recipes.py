"""Recipes: the paper's values exactly, every field settable, and JSON that gives back what went in."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fastnas.data import NAMES
from fastnas.errors import FastnasError
from fastnas.models.spec import ModelSpec
from fastnas.tasks import Depth
from fastnas.train.recipes import RECIPES, USUAL, Optimiser, override
from fastnas.train.settings import RunSettings, recipe_from_dict

PAPER_ADAM = {"kind": "adam", "betas": (0.9, 0.99), "eps": 1e-3}


def has(optimiser: Optimiser, **values: object) -> bool:
    return all(getattr(optimiser, name) == value for name, value in values.items())


def test_voc() -> None:
    recipe = RECIPES["voc"]
    assert [phase.data for phase in recipe.phases] == [("coco", "voc:trainaug"), ("voc:trainaug",), ("voc",), ("voc",)]
    assert [phase.epochs for phase in recipe.phases] == [30, 50, 50, 50]  # the last hundred in two halves
    assert [phase.freeze_bn for phase in recipe.phases] == [False, False, False, True]
    assert [phase.aux_weight for phase in recipe.phases] == [0.3, 0.25, 0.2, 0.15]
    assert has(recipe.encoder, kind="sgd", lr=1e-3, momentum=0.9)
    assert has(recipe.decoder, lr=3e-3, **PAPER_ADAM)
    assert (recipe.batch, recipe.crop, recipe.scale, recipe.mirror) == (64, (450, 450), (0.5, 2.0), True)
    assert recipe.distillation == 0.3
    assert [recipe.lr_factor(epoch) for epoch in (0, 29, 30, 79, 80, 129, 130, 179)] == [
        1, 1, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125,
    ]  # fmt: skip


def test_ablation() -> None:
    recipe = RECIPES["voc-ablation"]
    assert [(phase.data, phase.epochs) for phase in recipe.phases] == [(("voc:trainaug",), 20), (("voc",), 30)]
    assert (recipe.polyak, recipe.distillation) == (0, 0)
    assert (recipe.encoder, recipe.decoder, recipe.batch, recipe.crop) == (
        RECIPES["voc"].encoder, RECIPES["voc"].decoder, 64, (450, 450),
    )  # fmt: skip


def test_cityscapes() -> None:
    recipe = RECIPES["cityscapes"]
    assert recipe.epochs == 500
    assert has(recipe.encoder, kind="sgd", lr=1e-2, momentum=0.9)
    assert has(recipe.decoder, kind="sgd", lr=5e-2, momentum=0.9)
    assert (recipe.batch, recipe.crop, recipe.scale) == (20, (800, 800), (0.5, 2.0))
    assert recipe.lr_factor(250) == pytest.approx(0.5**0.9)


def test_depth_decays_towards_an_epoch_after_the_end() -> None:
    recipe = RECIPES["nyud"]
    assert recipe.epochs == 300
    assert has(recipe.encoder, kind="sgd", lr=1e-3, momentum=0.9)
    assert has(recipe.decoder, kind="sgd", lr=7e-3, momentum=0.9)
    assert (recipe.batch, recipe.crop) == (32, (500, 500))
    assert recipe.lr_factor(0) == 1
    assert recipe.lr_factor(299) == pytest.approx((1 - 299 / 400) ** 0.9)


@pytest.mark.parametrize(
    ("name", "crop", "scale", "rotation"),
    [("mpii", (256, 256), (0.75, 1.25), 30.0), ("coco-pose", (256, 192), (0.7, 1.3), 40.0)],
)
def test_pose(name: str, crop: tuple[int, int], scale: tuple[float, float], rotation: float) -> None:
    recipe = RECIPES[name]
    assert (recipe.epochs, recipe.batch) == (140, 128)
    assert (recipe.crop, recipe.val_size, recipe.scale, recipe.rotation) == (crop, crop, scale, rotation)
    assert has(recipe.encoder, kind="adam", lr=1e-3)
    assert has(recipe.decoder, kind="adam", lr=1e-3)
    factors = [recipe.lr_factor(epoch) for epoch in (0, 89, 90, 119, 120, 139)]
    assert factors == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


def test_every_dataset_has_a_usual_recipe_of_its_task() -> None:
    assert {data for data, _ in USUAL} == set(NAMES)
    for (data, kind), name in USUAL.items():
        assert RECIPES[name].task == kind, data
    for name, recipe in RECIPES.items():
        assert recipe.name == name


@pytest.mark.parametrize(
    ("assignment", "read"),
    [
        ("batch=8", lambda r: r.batch == 8),
        ("decoder.lr=0.01", lambda r: r.decoder.lr == 0.01),
        ("decoder.betas=0.8,0.9", lambda r: r.decoder.betas == (0.8, 0.9)),
        ("crop=320,480", lambda r: r.crop == (320, 480)),
        ("schedule=poly", lambda r: r.schedule == "poly"),
        ("mirror=false", lambda r: r.mirror is False),
        ("milestones=3,4,5", lambda r: r.milestones == (3, 4, 5)),
        ("phases.1.epochs=7", lambda r: r.phases[1].epochs == 7 and r.phases[0].epochs == 30),
        ("phases.0.data=voc:trainaug,coco", lambda r: r.phases[0].data == ("voc:trainaug", "coco")),
        ("phases.3.freeze_bn=false", lambda r: r.phases[3].freeze_bn is False),
    ],
)
def test_override(assignment: str, read) -> None:
    changed = override(RECIPES["voc"], (assignment,))
    assert read(changed)
    assert changed != RECIPES["voc"]


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("batch", "'batch' is not FIELD=VALUE"),
        ("batches=8", "no field 'batches'; there are name, task, phases"),
        ("decoder.rate=1", "no field 'rate'; there are kind, lr"),
        ("batch=many", "'many' is not a whole number"),
        ("decoder.lr=fast", "'fast' is not a number"),
        ("crop=320", "'320' is not 2 numbers separated by commas"),
        ("schedule=linear", "'linear' is not one of constant, poly, step"),
        ("mirror=yes", "'yes' is not true or false"),
        ("phases.9.epochs=1", "'9' is not one of 0..3"),
        ("phases.0=1", "name a field"),
        ("phases=1", "name a field"),
        ("decoder=sgd", "name a field"),
        ("batch.size=1", "batch has no fields"),
        ("batch=0", "batch must be at least 1"),
        ("phases.0.epochs=-1", "epochs must be at least 1"),
        ("crop=0,32", "crop must be at least 1"),
        ("polyak=1.5", "polyak must be from 0 to below 1"),
        ("scale=2,1", "scale must be two rising numbers above 0"),
        ("decoder.lr=nan", "lr must be a finite number from 0"),
    ],
)
def test_override_errors(assignment: str, message: str) -> None:
    with pytest.raises(FastnasError, match=message.replace(".", r"\.")):
        override(RECIPES["voc"], (assignment,))


def test_poly_ends_within_its_horizon() -> None:
    with pytest.raises(FastnasError, match="horizon must be 0, or at least the run's 300 epochs, not 10"):
        override(RECIPES["nyud"], ("horizon=10",))


@pytest.mark.parametrize("name", RECIPES)
def test_json_round_trip(name: str, tmp_path: Path) -> None:
    recipe = replace(RECIPES[name], batch=7)
    assert recipe_from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
    settings = RunSettings(
        ModelSpec("arch1", Depth(0.1, 9.0), aux="clf"), recipe, {"nyud": "/data"}, "nyud:test", "none", "t.onnx", 3, 9
    )
    settings.save(tmp_path)
    assert RunSettings.load(tmp_path) == settings


def test_damaged_settings(tmp_path: Path) -> None:
    with pytest.raises(FastnasError, match="is no training run"):
        RunSettings.load(tmp_path)
    for text in ("", "[]", '{"model": 1}', '{"model": {"architecture": "arch0"}, "recipe": {}}'):
        (tmp_path / "settings.json").write_text(text)
        with pytest.raises(FastnasError, match=r"settings\.json"):
            RunSettings.load(tmp_path)
