"""Typed settings: frozen dataclasses whose fields have a type, a sentence and bounds.

    @dataclass(frozen=True)
    class Phase(Settings):
        data: tuple[str, ...] = setting(REQUIRED, "Datasets to train on.")
        epochs: int = setting(REQUIRED, "Passes over them.", 1)

A field is an int, float, bool or str, a Literal of strings, a tuple, a dict[str, str], another group of settings, a
class with `to_dict` and `from_dict`, or one of these or None. Values are checked whenever a group is made: in Python,
from JSON, or by `NAME=VALUE` of the command line. Every error names the field, what it must be, and what it was.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import os
import types
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

from fastnas.errors import FastnasError
from fastnas.jetson.checks import SETTINGS_BYTES, parse_json, read_file
from fastnas.jetson.files import atomic_path

T = TypeVar("T", bound="Settings")

FILE = "settings.json"
"""The file of a run folder that holds its settings."""

REQUIRED: Any = dataclasses.MISSING
"""The default of a field that has none."""


class SettingError(FastnasError):
    """A setting that is unknown, missing, of the wrong type or out of bounds.

    `name` is its name, such as `phases.0.epochs`; `names` are other settings, which the message lists.
    """

    def __init__(self, name: str, problem: str, names: Sequence[str] = ()) -> None:
        super().__init__(f"setting {name} {problem} {', '.join(names)}".rstrip())
        self.name, self.problem, self.names = name, problem, names


class _Bounds(NamedTuple):
    """The range of a number, or of each number of a tuple; only `below` is exclusive."""

    minimum: float = -math.inf
    maximum: float = math.inf
    below: float = math.inf

    def contain(self, value: float) -> bool:
        return -math.inf < value < self.below and self.minimum <= value <= self.maximum

    def __str__(self) -> str:
        limits = ((">=", self.minimum), ("<=", self.maximum), ("<", self.below))
        return " and ".join(f"{sign} {limit:g}" for sign, limit in limits if math.isfinite(limit))


def setting(
    default: Any, sentence: str, minimum: float = -math.inf, maximum: float = math.inf, *, below: float = math.inf
) -> Any:
    """A field of a group of settings.

    Args:
        default: its value where none is given; `REQUIRED` for none.
        sentence: what it does.
        minimum, maximum: inclusive bounds of a number, or of each number of a tuple.
        below: exclusive upper bound.
    """
    return field(default=default, metadata={"sentence": sentence, "bounds": _Bounds(minimum, maximum, below)})


@dataclass(frozen=True)
class Settings:
    """Base of all groups of settings."""

    def __post_init__(self) -> None:
        for name, kind in _kinds(type(self)).items():
            object.__setattr__(self, name, kind.checked(getattr(self, name), name))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: tuples become lists."""
        return {entry.name: _plain(getattr(self, entry.name)) for entry in dataclasses.fields(self)}

    @classmethod
    def from_dict(cls: type[T], values: Any) -> T:
        """The inverse of `to_dict`; a setting that is left out takes its default.

        Raises:
            FastnasError: a setting is unknown, missing, of the wrong type or out of bounds.
        """
        if not isinstance(values, dict):
            raise FastnasError(f"settings must be an object of names and values, not {values!r:.80}")
        if unknown := set(values) - set(_kinds(cls)):
            raise _unknown(cls, min(map(str, unknown)))
        for entry in dataclasses.fields(cls):
            if entry.default is REQUIRED and entry.name not in values:
                raise SettingError(entry.name, "is missing")
        return cls(**values)

    def to_json(self) -> str:
        """Indented JSON text, with a newline at the end."""
        return json.dumps(self.to_dict(), indent=2) + "\n"

    @classmethod
    def from_json(cls: type[T], text: str | bytes) -> T:
        """The inverse of `to_json`.

        Raises:
            FastnasError: the text is not JSON, or as in `from_dict`.
        """
        return cls.from_dict(parse_json(text, "settings"))

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write `settings.json` into a run folder.

        Raises:
            FastnasError: it cannot be written.
        """
        with atomic_path(Path(folder) / FILE) as temporary:
            temporary.write_text(self.to_json())

    @classmethod
    def load(cls: type[T], folder: str | os.PathLike[str]) -> T:
        """Read `settings.json` of a run folder.

        Raises:
            FastnasError: there is none, or as in `from_json`; the message names the file.
        """
        path = Path(folder) / FILE
        try:
            data = read_file(str(path), SETTINGS_BYTES)
        except OSError as error:
            raise FastnasError(f"{folder} is not a run folder: cannot read {path}: {error.strerror}") from error
        try:
            return cls.from_json(data)
        except FastnasError as error:
            raise FastnasError(f"{path}: {error}") from error


def changed(settings: T, values: Mapping[str, Any]) -> T:
    """A copy with other values for some fields, by their full names, such as `phases.0.epochs`.

    Raises:
        FastnasError: no such field, or a value that it refuses.
    """
    plain = settings.to_dict()
    for name, value in values.items():
        *path, last = name.split(".")
        group: Any = plain
        try:
            for step in path:
                group = group[_key(group, step)]
            group[_key(group, last)] = value
        except (KeyError, IndexError, TypeError):
            raise _unknown(type(settings), name) from None
    return type(settings).from_dict(plain)


def override(settings: T, assignments: Sequence[str]) -> T:
    """A copy with fields changed by `NAME=VALUE`, the text read by the field's type.

    `evaluation.stage1_batch=32`, `phases.0.epochs=5`, `crop=320,480` and `limits.latency=none` set a field of a group,
    of a group in a tuple, a whole tuple, and None.

    Raises:
        FastnasError: as `changed`, or an assignment is of another form.
    """
    values = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise FastnasError(f"{assignment!r} is not NAME=VALUE")
        values[name] = _Text(text)
    return changed(settings, values)


def describe(group: type[Settings]) -> list[str]:
    """A line for every field of a group and those inside it: name, type, default and sentence."""
    lines = []
    for name, kind, entry in _leaves(group):
        default = "" if entry.default is REQUIRED else f", default {_text(entry.default) or 'empty'}"
        lines.append(f"{name} ({kind}{default}): {entry.metadata['sentence']}")
    return lines


class _Text(str):
    """A value as the command line has it, before the type of its setting is known."""


class _Kind(NamedTuple):
    """The type of a setting: an annotation without None, the bounds of its numbers, and whether None is allowed."""

    hint: Any
    bounds: _Bounds
    optional: bool = False

    def items(self, count: int) -> list[_Kind]:
        """The types of `count` items of a tuple; of as many as it has where its length is fixed."""
        hints = get_args(self.hint)
        return [_Kind(hint, self.bounds) for hint in (hints[:1] * count if hints[-1] is Ellipsis else hints)]

    def checked(self, value: Any, name: str) -> Any:
        """The value as this type: an int may stand for a float, a list for a tuple, an object for a group."""
        if isinstance(value, _Text):
            value = self.read(str(value))
        if self.optional and value is None:
            return None
        if hasattr(self.hint, "from_dict") and isinstance(value, dict):
            with _inside(name):
                return self.hint.from_dict(value)
        if get_origin(self.hint) is tuple and isinstance(value, list | tuple):
            kinds = self.items(len(value))
            if len(kinds) == len(value):
                with _inside(name):
                    return tuple(kind.checked(value[i], str(i)) for i, kind in enumerate(kinds))
        if self.hint is float and type(value) is int and abs(value) < 2**1023:
            value = float(value)
        if not self._accepts(value):
            raise SettingError(name, f"must be {self}, not {_plain(value)!r:.80}")
        return value

    def _accepts(self, value: Any) -> bool:
        origin = get_origin(self.hint)
        if origin is Literal:
            return value in get_args(self.hint)
        if origin is dict:
            return isinstance(value, dict) and all(isinstance(text, str) for pair in value.items() for text in pair)
        if self.hint in (int, float):
            return isinstance(value, self.hint) and type(value) is not bool and self.bounds.contain(value)
        return origin is None and isinstance(value, self.hint)

    def read(self, text: str) -> Any:
        """Text of the command line as a value; left as it is where it is not of this type, for `checked` to refuse."""
        if self.optional and text == "none":
            return None
        if get_origin(self.hint) is tuple:
            items = [item for item in text.split(",") if item]
            kinds = self.items(len(items))
            if len(kinds) == len(items):
                return [kind.read(item) for kind, item in zip(kinds, items, strict=True)]
        if self.hint is bool:
            return {"true": True, "false": False}.get(text.lower(), text)
        try:
            return self.hint(text) if self.hint in (int, float) else text
        except ValueError:
            return text

    def __str__(self) -> str:
        """What a value must be, for errors and help."""
        return self._words() + (" or none" if self.optional else "")

    def _words(self) -> str:
        origin, arguments = get_origin(self.hint), get_args(self.hint)
        if origin is Literal:
            return f"one of {', '.join(arguments)}"
        if origin is tuple:
            count = "a list of" if arguments[-1] is Ellipsis else len(arguments)
            return f"{count} {_PLURAL.get(arguments[0], 'groups of settings')} {self.bounds}".rstrip()
        if self.hint in _SINGULAR:
            return f"{_SINGULAR[self.hint]} {self.bounds}".rstrip()
        if group := _group(self.hint):
            return f"a group of settings ({', '.join(_kinds(group))})"
        return "an object of texts" if origin is dict else "an object"


_SINGULAR = {int: "an integer", float: "a number", bool: "true or false", str: "text"}
_PLURAL = {int: "integers", float: "numbers", bool: "of true or false", str: "texts"}


def _group(hint: Any) -> type[Settings] | None:
    """The group of settings that a field, or each item of a tuple, is; None if it is none."""
    if get_origin(hint) is tuple:
        hint = get_args(hint)[0]
    return hint if isinstance(hint, type) and issubclass(hint, Settings) else None


def _kinds(group: type[Settings]) -> dict[str, _Kind]:
    """The types of a group's fields, by name."""
    hints, kinds = get_type_hints(group), {}
    for entry in dataclasses.fields(group):
        hint = hints[entry.name]
        options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
        given = next(option for option in options if option is not types.NoneType)
        kinds[entry.name] = _Kind(given, entry.metadata["bounds"], types.NoneType in options)
    return kinds


def _leaves(group: type[Settings], prefix: str = "") -> Iterator[tuple[str, _Kind, dataclasses.Field[Any]]]:
    """Full name, type and field of every setting of a group and of those inside it."""
    kinds = _kinds(group)
    for entry in dataclasses.fields(group):
        name, kind = prefix + entry.name, kinds[entry.name]
        if inner := _group(kind.hint):
            yield from _leaves(inner, f"{name}.0." if get_origin(kind.hint) is tuple else f"{name}.")
        else:
            yield name, kind, entry


def _key(group: Any, step: str) -> Any:
    """A step of a setting's name as the key of a dict or the index of a list."""
    return int(step) if isinstance(group, list) and step.isdecimal() else step


def _unknown(group: type[Settings], name: str) -> SettingError:
    """The error of a name that a group does not have: with names that end alike, or else all."""
    ends = {leaf: leaf.rpartition(".")[2] for leaf, _, _ in _leaves(group)}
    alike = difflib.get_close_matches(name.rpartition(".")[2], ends.values(), cutoff=0.7)
    if near := [leaf for leaf, end in ends.items() if end in alike]:
        return SettingError(name, "does not exist; did you mean", near)
    return SettingError(name, "does not exist; there are", list(_kinds(group)))


@contextmanager
def _inside(group: str) -> Iterator[None]:
    """Name settings in errors by their full name, which begins with that of their group."""
    try:
        yield
    except SettingError as error:
        names = [f"{group}.{name}" for name in error.names]
        raise SettingError(f"{group}.{error.name}", error.problem, names) from None
    except FastnasError as error:
        raise SettingError(group, f"cannot be read: {error}") from error


def _plain(value: Any) -> Any:
    """A value as JSON has it."""
    if hasattr(value, "to_dict"):
        return value.to_dict()
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _text(value: Any) -> str:
    """A value as the command line has it."""
    if isinstance(value, tuple):
        return ",".join(map(_text, value))
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)
