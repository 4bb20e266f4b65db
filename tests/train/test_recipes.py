"""Recipes: the paper's values; settings of a run: files that stay readable, and wrong ones that are refused."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from fastnas.config import override
from fastnas.data import NAMES
from fastnas.errors import FastnasError
from fastnas.models.spec import ModelSpec
from fastnas.tasks import Depth
from fastnas.train.command import Request
from fastnas.train.recipes import RECIPES, USUAL
from fastnas.train.settings import Optimiser, Phase, Recipe, RunSettings
from tests.helpers.datasets import make_cityscapes, make_sbd

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


def test_coco_is_the_first_phase_of_voc() -> None:
    recipe, voc = RECIPES["coco"], RECIPES["voc"]
    assert recipe.phases == (replace(voc.phases[0], data=("coco",)),)
    assert replace(recipe, name="voc", phases=voc.phases, distillation=voc.distillation) == voc


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
    ("data", "recipe", "phases"),
    [
        ("voc", None, RECIPES["voc"].phases),
        ("voc:trainaug", None, RECIPES["voc"].phases),  # the data of its second phase
        ("voc:trainaug", "camvid", (replace(RECIPES["camvid"].phases[0], data=("voc:trainaug",)),)),
        ("voc:few", "coco", (replace(RECIPES["coco"].phases[0], data=("voc:few",)),)),
    ],
)
def test_a_split_is_part_of_the_name(tmp_path: Path, data: str, recipe: str | None, phases: tuple[Phase, ...]) -> None:
    root = make_sbd(tmp_path)
    settings = Request("arch0", data, (str(root),), None, recipe, (), None, None, 64, 2, None, None).settings(
        encoder_weights="none"
    )
    assert settings.recipe.phases == phases
    assert settings.val == "voc"


def test_phases_with_other_data_than_is_named_are_refused(tmp_path: Path) -> None:
    request = Request("arch0", "voc:few", (str(make_sbd(tmp_path)),), None, None, (), None, None, 64, 2, None, None)
    with pytest.raises(FastnasError, match=r"4 phases of recipe voc name their own data, and none is voc:few"):
        request.settings(encoder_weights="none")


@pytest.mark.parametrize(
    ("architecture", "recipe", "given", "encoder"),
    [
        ("arch0", None, None, "resnet50"),
        ("arch0", None, "mobilenet_v2", "mobilenet_v2"),
        ("arch0", "camvid", None, "mobilenet_v2"),
        ("rflw-mbv2", None, None, "mobilenet_v2"),
    ],
)
def test_cityscapes_is_trained_with_the_encoder_of_its_table(
    tmp_path: Path, architecture: str, recipe: str | None, given: str | None, encoder: str
) -> None:
    root = str(make_cityscapes(tmp_path))
    request = Request(architecture, "cityscapes", (root,), None, recipe, (), None, given, 64, 2, None, None)
    assert request.settings(encoder_weights="none").model.encoder == encoder


@pytest.mark.parametrize(
    ("assignment", "read"),
    [
        ("decoder.betas=0.8,0.9", lambda r: r.decoder.betas == (0.8, 0.9)),
        ("milestones=3,4,5", lambda r: r.milestones == (3, 4, 5)),
        ("phases.1.epochs=7", lambda r: r.phases[1].epochs == 7 and r.phases[0].epochs == 30),
        ("phases.0.data=voc:trainaug,coco", lambda r: r.phases[0].data == ("voc:trainaug", "coco")),
    ],
)
def test_override(assignment: str, read) -> None:
    assert read(override(RECIPES["voc"], [assignment]))


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("decoder.rate=1", "setting decoder.rate does not exist; there are decoder.kind, decoder.lr"),
        ("epochs=3", "setting epochs does not exist; did you mean phases.0.epochs"),
        ("batch=0", "setting batch must be an integer >= 1, not 0"),
        ("phases.0.epochs=-1", "setting phases.0.epochs must be an integer >= 1, not -1"),
        ("phases.0.data=", "setting phases.0.data must name at least one dataset"),
        ("crop=0,32", "setting crop.0 must be an integer >= 1, not 0"),
        ("polyak=1", "setting polyak must be a number >= 0 and < 1, not 1.0"),
        ("scale=2,1", "setting scale must be two rising numbers, not [2.0, 1.0]"),
        ("decoder.betas=0.9,1", "setting decoder.betas.1 must be a number >= 0 and < 1, not 1.0"),
        ("decoder.lr=nan", "setting decoder.lr must be a number >= 0, not nan"),
    ],
)
def test_override_errors(assignment: str, message: str) -> None:
    with pytest.raises(FastnasError, match=re.escape(message)):
        override(RECIPES["voc"], [assignment])


def test_poly_ends_within_its_horizon() -> None:
    with pytest.raises(FastnasError, match="horizon must be 0 or >= the 300 epochs of the run, not 10"):
        override(RECIPES["nyud"], ["horizon=10"])


@pytest.mark.parametrize("name", RECIPES)
def test_json_round_trip(name: str, tmp_path: Path) -> None:
    recipe = replace(RECIPES[name], batch=7)
    assert Recipe.from_json(recipe.to_json()) == recipe
    settings = replace(SETTINGS, recipe=recipe)
    settings.save(tmp_path)
    assert RunSettings.load(tmp_path) == settings


SETTINGS = RunSettings(
    ModelSpec("arch1", Depth(0.1, 9.0), aux="clf"), replace(RECIPES["nyud"], milestones=(3, 4)), {"nyud": "/data"},
    "nyud:test", "none", teacher="t.onnx", seed=3, limit=9,
)  # fmt: skip
WRITTEN = """{"model": {"architecture": "arch1", "task": {"kind": "depth", "minimum": 0.1, "maximum": 9.0},
"encoder": "mobilenet_v2", "channels": 64, "sep_repeats": 2, "aux": "clf"}, "recipe": {"name": "nyud",
"task": "depth", "phases": [{"data": ["nyud"], "epochs": 300, "lr_factor": 1.0, "aux_weight": 0.3,
"freeze_bn": false}], "encoder": {"kind": "sgd", "lr": 0.001, "momentum": 0.9, "betas": [0.9, 0.99], "eps": 0.001,
"weight_decay": 1e-05, "clip": 0.0}, "decoder": {"kind": "sgd", "lr": 0.007, "momentum": 0.9, "betas": [0.9, 0.99],
"eps": 0.001, "weight_decay": 1e-05, "clip": 0.0}, "batch": 32, "crop": [500, 500], "schedule": "poly",
"horizon": 400, "power": 0.9, "milestones": [3, 4], "scale": [0.5, 2.0], "rotation": 0.0, "mirror": true,
"polyak": 0.0, "distillation": 0.3, "loss_weights": [1.0, 100.0, 0.5],
"val_size": [256, 256]}, "roots": {"nyud": "/data"}, "val": "nyud:test",
"encoder_weights": "none", "teacher": "t.onnx", "seed": 3, "limit": 9, "val_limit": 0, "precision": "fp32",
"accumulate": 1, "eval_every": 1}"""
"""A settings.json of the first training runs; its recipe is what their model files store."""


def test_files_of_earlier_runs_load(tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text(WRITTEN)
    assert RunSettings.load(tmp_path) == SETTINGS
    expected = json.loads(WRITTEN) | {"init": ""}
    expected["model"]["definition"] = "fastnas"
    expected["recipe"] |= {"depth_by_zoom": True, "freeze_encoder": False}
    assert json.loads(SETTINGS.to_json()) == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": "abc"}, "setting seed must be an integer >= 0 and <= 4.29497e+09, not 'abc'"),
        ({"accumulate": -3}, "setting accumulate must be an integer >= 1, not -3"),
        ({"precision": "fp7"}, "setting precision must be one of fp32, bf16, fp16, not 'fp7'"),
        ({"model": {"architecture": "arch0"}}, "setting model cannot be read: "),
        ({"recipe": {}}, "setting recipe.name is missing"),
        ({"recipe": RECIPES["voc"].to_dict() | {"phases": []}}, "setting recipe.phases must hold at least one phase"),
        ({"sed": 1}, "setting sed does not exist; did you mean seed"),
    ],
)
def test_wrong_settings_are_refused_with_name_and_file(change: dict[str, object], message: str, tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text(json.dumps(json.loads(WRITTEN) | change))
    with pytest.raises(FastnasError) as caught:
        RunSettings.load(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / 'settings.json'}: {message}")
