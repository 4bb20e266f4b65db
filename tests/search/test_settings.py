"""The settings of a search: the paper's values, and files that stay readable."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fastnas.config import override
from fastnas.errors import FastnasError
from fastnas.search.presets import PRESETS, preset
from fastnas.search.settings import (
    FASTEST,
    SLOWEST,
    EvaluationSettings,
    LimitSettings,
    PolicySettings,
    SearchSettings,
    StopSettings,
)
from fastnas.train.settings import Phase

WRITTEN = """{"data": "camvid", "root": "/data/camvid", "task": null, "images": 400, "seed": 0, "candidates": 150,
"hours": null, "policy": {"strategy": "reinforce", "learning_rate": 0.003, "clip": 0.1, "epochs": 4, "batch": 4,
"baseline_decay": 0.95, "gradient_norm": 2.0, "entropy_bonus": 0.0}, "stop": {"rule": "paper", "start": 0.9},
"evaluation": {"encoder": "mobilenet_v2", "encoder_weights": "imagenet", "channels": 48, "sep_repeats": 1,
"teacher": "", "validation_share": 0.1, "stage1_images": 4000, "stage1_views": 1, "stage1_epochs": 3,
"stage1_batch": 16, "stage1_crop": 128, "stage1_short_side": 150, "stage2_epochs": 1, "stage2_batch": 16,
"stage2_crop": 160, "stage2_short_side": 180, "scale_low": 0.7, "scale_high": 1.4, "precision": "fp32",
"decoder_lr": 0.003, "encoder_lr": 0.001, "encoder_momentum": 0.9, "weight_decay": 1e-05, "gradient_norm": 3.0,
"polyak": true, "polyak_stage1": 0.9, "polyak_stage2": 0.9, "auxiliary": true, "auxiliary_weight": 0.15,
"distillation": true, "distillation_weight": 0.3}, "limits": {"parameters": null, "madds": null, "latency": 30.0,
"latency_host": null, "latency_precision": "fp16", "resolution": 512, "target_latency": null,
"latency_exponent": -0.07}}"""
"""A settings.json of the first search runs."""


def test_defaults_are_the_papers() -> None:
    policy, evaluation = PolicySettings(), EvaluationSettings()
    assert (policy.clip, policy.baseline_decay, policy.gradient_norm) == (0.1, 0.95, 2)
    assert (evaluation.stage1_images, evaluation.stage1_epochs, evaluation.stage2_epochs) == (4000, 5, 1)
    assert (evaluation.polyak_stage1, evaluation.polyak_stage2) == (0.9, 0.99)
    assert (evaluation.distillation_weight, evaluation.auxiliary_weight, evaluation.channels) == (0.3, 0.15, 48)
    assert StopSettings().start == 0.9


def test_for_8_gb_only_the_batches_are_smaller() -> None:
    paper, small = preset("paper"), preset("8gb")
    batches = {"stage1_batch": paper.evaluation.stage1_batch, "stage2_batch": paper.evaluation.stage2_batch}
    assert replace(small, evaluation=replace(small.evaluation, **batches)) == paper
    assert small.evaluation.stage1_batch < paper.evaluation.stage1_batch
    assert small.evaluation.stage2_batch < paper.evaluation.stage2_batch


def test_settings_survive_json() -> None:
    settings = SearchSettings(
        data="camvid",
        root="/data/camvid",
        seed=2**62 + 1,
        candidates=150,
        policy=PolicySettings(strategy="reinforce", learning_rate=1 / 3),
        limits=LimitSettings(parameters=2.5, latency=30),
    )
    assert SearchSettings.from_json(settings.to_json()) == settings
    assert SearchSettings.from_json(settings.to_json()).limits.latency == 30.0
    assert SearchSettings.from_json("{}") == SearchSettings()


def test_files_of_earlier_runs_load(tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text(WRITTEN)
    settings = SearchSettings.load(tmp_path)
    assert settings == override(
        preset("small"),
        [
            "data=camvid",
            "root=/data/camvid",
            "candidates=150",
            "policy.strategy=reinforce",
            "limits.latency=30",
            "policy.learning_rate=0.003",
            "policy.entropy_bonus=0",
            "evaluation.polyak_stage2=0.9",
            "limits.latency_exponent=-0.07",
        ],
    )
    read, written = json.loads(settings.to_json()), json.loads(WRITTEN)
    for group in ("policy", "stop", "limits"):
        assert {name: read[group][name] for name in written[group]} == written[group]
        read[group] = written[group]
    assert read == written


@pytest.mark.parametrize("name", PRESETS)
def test_presets_keep_other_defaults(name: str) -> None:
    assert preset(name).policy == PolicySettings(learning_rate=3e-3 if name == "tiny" else None)


def test_the_range_of_random_scales_rises() -> None:
    with pytest.raises(FastnasError, match=r"setting evaluation\.scale_low must be <= scale_high \(1\.4\), not 1\.5"):
        override(SearchSettings(), ["evaluation.scale_low=1.5"])


def test_the_page_beside_the_paper_tells_the_defaults() -> None:
    """The column of fastnas in the table of docs/search.md."""
    text = (Path(__file__).parents[2] / "docs" / "search.md").read_text().split("## Beside the paper")[1]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    assert all(len(row) == 5 for row in rows)
    ours = {row[0]: row[3] for row in rows}
    policy, how = PolicySettings(), EvaluationSettings()
    assert f"0.5 / budget, from {SLOWEST:.0e} to {FASTEST:.0e}".replace("e-0", "e-") in ours["learning rate"]
    assert ours["entropy bonus"].startswith(f"{policy.entropy_bonus:g} ")
    assert f"every {policy.batch} candidates, {policy.epochs} passes" in ours["PPO: batch and passes"]
    sides = [
        f"{side * how.scale_low:.0f}-{side * how.scale_high:.0f}"
        for side in (how.stage1_short_side, how.stage2_short_side)
    ]
    assert all(side in ours["shorter side in training"] for side in sides)
    evaluated = f"of {how.stage2_short_side}, central crops of {how.stage2_crop}, at full resolution;"
    assert ours["meta-val, both stages"].startswith(evaluated)
    assert ours["EMA's decay"].startswith("the same, at most")
    assert ours["weight decay"] == f"{how.weight_decay:.0e}".replace("e-0", "e-") + " for both"
    assert f"{how.auxiliary_weight} in the search" in ours["auxiliary weight"]
    assert f"{Phase(('voc',), 1).aux_weight} in the paper's other recipes" in ours["auxiliary weight"]
