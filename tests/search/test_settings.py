"""Settings explain themselves, survive JSON, and refuse nonsense by name."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from fastnas.errors import FastnasError
from fastnas.search.settings import (
    EvaluationSettings,
    LimitSettings,
    PolicySettings,
    SearchSettings,
    StopSettings,
)

GROUPS = (PolicySettings, StopSettings, EvaluationSettings, LimitSettings, SearchSettings)


@pytest.mark.parametrize("group", GROUPS)
def test_every_setting_has_a_sentence(group: Any) -> None:
    for entry in dataclasses.fields(group):
        if "sentence" in entry.metadata:
            assert entry.metadata["sentence"].endswith(".")
        else:
            assert entry.name in ("policy", "stop", "evaluation", "limits"), entry.name


def test_defaults_are_the_papers() -> None:
    policy, evaluation = PolicySettings(), EvaluationSettings()
    assert (policy.clip, policy.baseline_decay, policy.gradient_norm) == (0.1, 0.95, 2)
    assert (evaluation.stage1_images, evaluation.stage1_epochs, evaluation.stage2_epochs) == (4000, 5, 1)
    assert (evaluation.polyak_stage1, evaluation.polyak_stage2) == (0.9, 0.99)
    assert (evaluation.distillation_weight, evaluation.auxiliary_weight, evaluation.channels) == (0.3, 0.15, 48)
    assert StopSettings().start == 0.9


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


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ("[]", "must be an object"),
        ("{", "not JSON"),
        ('{"policy": 3}', "must be an object"),
        ('{"colour": 1}', "unknown setting 'colour'; known are data, root"),
        ('{"policy": {"clop": 1}}', "unknown setting 'clop'"),
        ('{"policy": {"clip": "0.1"}}', "setting clip must be a number, not '0.1'"),
        ('{"policy": {"clip": true}}', "setting clip must be a number, not True"),
        ('{"policy": {"clip": NaN}}', "setting clip must be a finite number"),
        ('{"policy": {"clip": 2}}', "setting clip must be from 0 to 1, not 2"),
        ('{"policy": {"strategy": "genetic"}}', "must be one of ppo, reinforce, random, not 'genetic'"),
        ('{"policy": {"epochs": 0}}', "epochs must be at least 1, not 0"),
        ('{"evaluation": {"polyak": 1}}', "polyak must be true or false, not 1"),
        ('{"candidates": 1.5}', "candidates must be a whole number, not 1.5"),
        ('{"seed": null}', "seed must be a whole number, not None"),
        ('{"data": 1}', "data must be text, not 1"),
    ],
)
def test_nonsense_is_refused_in_one_line(values: str, complaint: str) -> None:
    with pytest.raises(FastnasError) as caught:
        SearchSettings.from_json(values)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_setting_is_checked_when_made_in_code_too() -> None:
    with pytest.raises(FastnasError, match="clip"):
        PolicySettings(clip=-1)
