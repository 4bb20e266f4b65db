"""Typed settings: every type of field in Python, JSON and on the command line; errors that name the field."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import pytest

from fastnas.config import REQUIRED, Settings, changed, describe, override, setting
from fastnas.errors import FastnasError
from fastnas.search.settings import EvaluationSettings, LimitSettings, PolicySettings, SearchSettings, StopSettings
from fastnas.tasks import Depth, Task, task_from_dict
from fastnas.train.settings import Optimiser, Phase, Recipe, RunSettings


@dataclass(frozen=True)
class Range:
    """A class of its own, with its own JSON."""

    task: Task

    def to_dict(self) -> dict[str, Any]:
        return self.task.to_dict()

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Range:
        return cls(task_from_dict(values))


@dataclass(frozen=True)
class Step(Settings):
    """A group inside a tuple."""

    size: int = setting(REQUIRED, "Size.", 1)
    names: tuple[str, ...] = setting((), "Names.")


@dataclass(frozen=True)
class Inner(Settings):
    """A group inside a group."""

    rate: float = setting(0.1, "Rate.", 0)
    decay: float = setting(0.9, "Decay.", 0, below=1)


@dataclass(frozen=True)
class Every(Settings):
    """Every type of field."""

    steps: tuple[Step, ...] = setting(REQUIRED, "Steps.")
    roots: dict[str, str] = setting(REQUIRED, "Folders.")
    count: int = setting(3, "Count.", 1, 10)
    share: float = setting(0.5, "Share.", 0, 1)
    free: float = setting(0.0, "Any number.")
    flag: bool = setting(True, "Flag.")
    root: str | None = setting(None, "Folder.")
    most: int | None = setting(None, "Limit.", 4)
    kind: Literal["a", "b"] = setting("a", "Kind.")
    pair: tuple[int, int] = setting((1, 2), "Pair.", 1)
    marks: tuple[float, ...] = setting((), "Marks.", 0)
    inner: Inner = setting(Inner(), "Inner settings.")
    span: Range = setting(Range(Depth(0.1, 9.0)), "Range of depths.")


ONE = Every(steps=(Step(1), Step(2, ("x", "y"))), roots={"voc": "/data"})


@pytest.mark.parametrize(
    "group",
    [PolicySettings, StopSettings, EvaluationSettings, LimitSettings, SearchSettings,
     Optimiser, Phase, Recipe, RunSettings],
)  # fmt: skip
def test_every_setting_has_a_sentence(group: type[Settings]) -> None:
    for entry in fields(group):
        assert entry.metadata["sentence"].endswith("."), entry.name


def test_json_gives_back_every_type(tmp_path: Path) -> None:
    changes = {"root": "2024", "most": 7, "marks": (0.5, 1.0), "kind": "b", "inner": Inner(decay=1 / 3)}
    for settings in (ONE, replace(ONE, **changes)):
        assert Every.from_json(settings.to_json()) == settings
        settings.save(tmp_path)
        assert Every.load(tmp_path) == settings
    assert json.loads(ONE.to_json())["steps"] == [{"size": 1, "names": []}, {"size": 2, "names": ["x", "y"]}]


def test_numbers_become_the_fields_type() -> None:
    settings = Every.from_dict(ONE.to_dict() | {"share": 1, "marks": [1, 2]})
    assert [type(value) for value in (settings.share, *settings.marks)] == [float, float, float]
    assert replace(ONE, pair=[3, 4]).pair == (3, 4)


@pytest.mark.parametrize(
    ("assignment", "value"),
    [
        ("count=7", 7),
        ("share=1", 1.0),
        ("free=-1e-3", -0.001),
        ("flag=false", False),
        ("flag=True", True),
        ("root=2024", "2024"),
        ("root=none", None),
        ("root=a=b", "a=b"),
        ("most=4", 4),
        ("most=none", None),
        ("kind=b", "b"),
        ("pair=320,480", (320, 480)),
        ("marks=0.5,1", (0.5, 1.0)),
        ("marks=", ()),
        ("steps.1.names=x:y,2", ("x:y", "2")),
        ("steps.0.size=5", 5),
        ("pair.1=9", 9),
        ("inner.rate=1e-3", 0.001),
    ],
)
def test_text_is_read_by_the_fields_type(assignment: str, value: Any) -> None:
    path = assignment.partition("=")[0].split(".")
    found: Any = override(ONE, [assignment])
    for step in path:
        found = found[int(step)] if isinstance(found, tuple) else getattr(found, step)
    assert found == value
    assert type(found) is type(value)


def test_changes_are_checked_together() -> None:
    """The horizon is too early for the epochs until both are changed, in any order."""
    poly = Recipe(
        "r", "depth", (Phase(("nyud",), 5),), Optimiser("sgd", 1.0), Optimiser("sgd", 1.0), 2, (8, 8), "poly", 5
    )
    for order in (1, -1):
        longer = override(poly, ["phases.0.epochs=9", "horizon=12"][::order])
        assert (longer.epochs, longer.horizon) == (9, 12)
    assert changed(ONE, {"inner": Inner(rate=3.0), "steps.1.size": 8}).steps[1] == Step(8, ("x", "y"))


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("count", "'count' is not NAME=VALUE"),
        ("count=many", "setting count must be an integer >= 1 and <= 10, not 'many'"),
        ("count=1.5", "setting count must be an integer >= 1 and <= 10, not '1.5'"),
        ("count=0", "setting count must be an integer >= 1 and <= 10, not 0"),
        ("share=1.1", "setting share must be a number >= 0 and <= 1, not 1.1"),
        ("free=nan", "setting free must be a number, not nan"),
        ("free=-inf", "setting free must be a number, not -inf"),
        ("inner.decay=1", "setting inner.decay must be a number >= 0 and < 1, not 1.0"),
        ("flag=yes", "setting flag must be true or false, not 'yes'"),
        ("most=3", "setting most must be an integer >= 4 or none, not 3"),
        ("kind=c", "setting kind must be one of a, b, not 'c'"),
        ("pair=320", "setting pair must be 2 integers >= 1, not '320'"),
        ("pair=1,2,3", "setting pair must be 2 integers >= 1, not '1,2,3'"),
        ("pair=0,32", "setting pair.0 must be an integer >= 1, not 0"),
        ("marks=1,x", "setting marks.1 must be a number >= 0, not 'x'"),
        ("roots=x", "setting roots must be an object of texts, not 'x'"),
        ("inner=3", "setting inner must be a group of settings (rate, decay), not '3'"),
        ("steps=3", "setting steps.0 must be a group of settings (size, names), not '3'"),
        ("steps.0=3", "setting steps.0 must be a group of settings (size, names), not '3'"),
        ("steps.2.size=3", "setting steps.2.size does not exist; did you mean steps.0.size"),
        ("count.size=3", "setting count.size does not exist"),
        ("shar=1", "setting shar does not exist; did you mean share"),
        ("rate=1", "setting rate does not exist; did you mean inner.rate"),
        ("steps.0.sise=1", "setting steps.0.sise does not exist; did you mean steps.0.size"),
        ("inner.zzz=1", "setting inner.zzz does not exist; there are inner.rate, inner.decay"),
        ("=1", "setting  does not exist"),
    ],
)
def test_wrong_assignments_name_the_field_in_one_line(assignment: str, message: str) -> None:
    with pytest.raises(FastnasError) as caught:
        override(ONE, [assignment])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"count": True}, "setting count must be an integer >= 1 and <= 10, not True"),
        ({"count": 3.0}, "setting count must be an integer"),
        ({"count": None}, "setting count must be an integer >= 1 and <= 10, not None"),
        ({"share": "0.1"}, "setting share must be a number >= 0 and <= 1, not '0.1'"),
        ({"free": 10**400}, "setting free must be a number, not 1000"),
        ({"free": True}, "setting free must be a number, not True"),
        ({"flag": 1}, "setting flag must be true or false, not 1"),
        ({"root": 2024}, "setting root must be text or none, not 2024"),
        ({"kind": ["a"]}, "setting kind must be one of a, b, not ['a']"),
        ({"pair": [1]}, "setting pair must be 2 integers >= 1, not [1]"),
        ({"marks": 1}, "setting marks must be a list of numbers >= 0, not 1"),
        ({"roots": {"voc": 1}}, "setting roots must be an object of texts, not {'voc': 1}"),
        ({"steps": [{}]}, "setting steps.0.size is missing"),
        ({"steps": [{"size": 1, "syze": 2}]}, "setting steps.0.syze does not exist; did you mean steps.0.size"),
        ({"inner": {"decay": 2}}, "setting inner.decay must be a number >= 0 and < 1, not 2"),
        ({"span": {"kind": "depth"}}, "setting span cannot be read: "),
        ({"span": 3}, "setting span must be an object, not 3"),
    ],
)
def test_wrong_json_is_refused_with_name_and_file(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text(json.dumps(ONE.to_dict() | change))
    with pytest.raises(FastnasError) as caught:
        Every.load(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / 'settings.json'}: {message}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "must be an object"),
        ("", "cannot read settings"),
        ("\xff", "can't decode"),
        ("{}", "setting steps is missing"),
    ],
)
def test_files_that_hold_no_settings(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(FastnasError, match=r"is not a run folder: cannot read .*settings\.json: No such file"):
        Every.load(tmp_path)
    (tmp_path / "settings.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(FastnasError, match=rf"settings\.json: .*{message}"):
        Every.load(tmp_path)


def test_a_group_is_checked_when_made_in_python() -> None:
    with pytest.raises(FastnasError, match="setting decay must be a number >= 0 and < 1, not -1"):
        Inner(decay=-1)
    with pytest.raises(TypeError, match="unexpected keyword"):
        Inner(dekay=1)  # type: ignore[call-arg]


def test_help_lists_type_default_and_sentence() -> None:
    lines = describe(Every)
    assert "count (an integer >= 1 and <= 10, default 3): Count." in lines
    assert "steps.0.size (an integer >= 1): Size." in lines
    assert "inner.decay (a number >= 0 and < 1, default 0.9): Decay." in lines
    assert "root (text or none, default none): Folder." in lines
    assert "pair (2 integers >= 1, default 1,2): Pair." in lines
    assert "flag (true or false, default true): Flag." in lines
