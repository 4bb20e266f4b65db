"""Reading files and JSON that others wrote: their limits, and errors of one line that name the field.

A file is read up to a size; its JSON may be nested up to a depth, and holds no NaN, infinite or endless number and no
text that is no Unicode. `Fields` then takes every field by name, type and limits. What is not allowed is a
`JetsonError` with the place, the limit and what was found.
"""

import json
import os
import re
import reprlib
import stat
from typing import Any, Callable, List, Optional, Tuple, Union

from fastnas.jetson.errors import CONTROL, JetsonError

Limits = Tuple[float, float]
"""Least and most: of a number its value; of text its characters; of lists and objects their items."""

SIDECAR_BYTES = 4 << 20
RECORD_BYTES = 1 << 20
SETTINGS_BYTES = 1 << 20
REPORT_BYTES = 512 << 20  # an hour of samples of a network that takes 2 ms
LISTING_BYTES = 64 << 20  # checksums of what is on a board
LINE_BYTES = 64 << 10  # one line of a board's log
DEPTH = 32
DIGITS = 1000
"""Of an integer: reading one takes time that grows with the square of its length."""

NAME = (1, 100)
TEXT = (0, 10000)
INTEGER = (-(2**53), 2**53)
NUMBER = (-1e15, 1e15)
ITEMS = (0, 10000)

FILES = (1, 32)
GRAPH_BYTES = (0, 2**31 - 1)  # more is no protobuf
SIDE = (1, 16384)  # pixels
MULTIPLE = (1, 1024)
STRIDE = (1, 64)
CLASSES = (1, 255)
COLOUR = (0, 255)
LABEL = (1, 200)  # the name of a class or joint
JOINTS = (1, 1024)
BONES = (0, 4096)
CHANNELS = (1, 4096)  # of a decoder
REPEATS = (1, 64)  # of a separable convolution
MEAN = (-1000.0, 1000.0)  # of a normalisation
STD = (1e-6, 1000.0)
METRES = (1e-3, 1e6)
ROWS = (1, 10000)
REASONS = (0, 100)
STATISTIC = (0.0, 1e9)  # of milliseconds
POSITIVE_STATISTIC = (1e-6, 1e9)
SAMPLES = (0, 10**8)
COUNT = (0, 2**53)

_DEFAULTS = {str: TEXT, int: INTEGER, float: NUMBER, list: ITEMS, dict: ITEMS, bool: (0, 1)}
_KINDS = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "an object",
    list: "a list",
}
_SURROGATE = re.compile("[\ud800-\udfff]")
_NAME = re.compile(r"\w[^/\\]*\Z")
_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = 40
_REPR.maxlevel = 2


def read_file(path: str, most: int, folder: Optional[str] = None) -> bytes:
    """The content of a regular file of at most `most` bytes; nothing else is opened for long, or read.

    Args:
        path: of the file.
        most: bytes.
        folder: where the file must be after links are followed; None is anywhere.

    Raises:
        OSError: it cannot be read.
        JetsonError: it is not regular, too large, or a link that leads out of `folder`.
    """
    if folder is not None:
        require_inside(path, folder)
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        state = os.fstat(file.fileno())
        if not stat.S_ISREG(state.st_mode):
            raise JetsonError("cannot read {}: it is not a regular file".format(path))
        data = read_stream(file, most) if state.st_size <= most else b""
        if len(data) > most or state.st_size > most:
            size = max(len(data), state.st_size)
            raise JetsonError("cannot read {}: it has {} bytes, at most {} are read".format(path, size, most))
    return data


def read_stream(stream: Any, most: int) -> bytes:
    """The bytes of a stream to its end, or more than `most` of them where it has more."""
    data = bytearray()
    while len(data) <= most:
        block = stream.read(min(1 << 20, most + 1 - len(data)))
        if not block:
            break
        data += block
    return bytes(data)


def require_inside(path: str, folder: str) -> None:
    """Refuse a path that leads out of a folder by a link: what an artifact names must be part of it.

    Raises:
        JetsonError: it does.
    """
    root, target = os.path.realpath(folder), os.path.realpath(path)
    if os.path.commonpath([root, target]) != root:
        raise JetsonError("{} is a link that leads out of {}; put the file itself there".format(path, folder))


def parse_json(data: Union[bytes, str], where: str, finite: bool = True) -> Any:
    """The value of JSON text.

    Args:
        data: the text; bytes are UTF-8.
        where: what error messages call it.
        finite: False to take NaN and Infinity too, as Python writes them.

    Raises:
        JetsonError: it is not JSON, or holds what is not allowed anywhere.
    """
    try:
        text = data.decode("utf-8-sig") if isinstance(data, bytes) else data
        value = json.loads(text, parse_int=_integer, parse_constant=_no_number if finite else float)
        _check_values(value, finite)
    except RecursionError as error:
        raise JetsonError("cannot read {}: it is nested more than {} levels deep".format(where, DEPTH)) from error
    except ValueError as error:
        raise JetsonError("cannot read {}: {}".format(where, error)) from error
    return value


def read_json(path: str, most: int, where: Optional[str] = None, folder: Optional[str] = None) -> Any:
    """The JSON value in a file of at most `most` bytes; see `read_file` and `parse_json`.

    Raises:
        JetsonError: it cannot be read.
    """
    where = where or path
    try:
        data = read_file(path, most, folder)
    except (OSError, ValueError) as error:
        raise JetsonError("cannot read {}: {}".format(where, getattr(error, "strerror", None) or error)) from error
    return parse_json(data, where)


class Fields:
    """The fields of one JSON object, taken by name and type.

    Attributes:
        values: the object.
        where: what error messages call it, such as `arch0/model.json: input`.
    """

    def __init__(self, values: Any, where: str) -> None:
        problem = _problem(values, dict, None)
        if problem:
            raise JetsonError("{} {}".format(where, problem))
        self.values = values
        self.where = where

    def take(
        self,
        name: str,
        kind: type,
        choices: Tuple[Any, ...] = (),
        optional: bool = False,
        within: Optional[Limits] = None,
    ) -> Any:
        """The field `name` as `kind` (a whole number is a number too); None if it is optional and null or absent.

        Args:
            name: of the field.
            kind: str, int, float, bool, dict or list.
            choices: the values that are allowed; empty for all.
            optional: whether it may be null or absent.
            within: limits; None is those of the kind. Text never holds control characters.

        Raises:
            JetsonError: it is something else.
        """
        value = self.values.get(name)
        if value is None and optional:
            return None
        if name not in self.values:
            raise self.error(name, "is missing")
        problem = _problem(value, kind, within)
        if problem:
            raise self.error(name, problem)
        if choices and value not in choices:
            raise self.error(name, "must be one of {}, not {}".format(", ".join(map(str, choices)), describe(value)))
        return value

    def take_name(self, name: str, within: Limits = NAME) -> str:
        """The field `name` as text that may be a file's name: it begins with a letter, digit or _, and has no / or \\.

        Raises:
            JetsonError: it is something else.
        """
        value = self.take(name, str, within=within)
        if not _NAME.match(value):
            allowed = "must be a name without / and \\ that begins with a letter, a digit or _"
            raise self.error(name, "{}, not {}".format(allowed, describe(value)))
        return str(value)

    def take_list(
        self,
        name: str,
        kind: Union[type, Callable[[Any, str], Any]],
        count: Optional[int] = None,
        optional: bool = False,
        within: Optional[Limits] = None,
        each: Optional[Limits] = None,
    ) -> List[Any]:
        """The field `name` as a list of `kind`: a type, or a function of (value, where) that reads one item.

        Args:
            name: of the field.
            kind: of an item.
            count: how many items there must be; None for as many as `within` allows.
            optional: whether it may be null or absent; it is then empty.
            within: limits of the number of items.
            each: limits of an item.

        Raises:
            JetsonError: it is something else.
        """
        items = self.take(name, list, optional=optional, within=(count, count) if count is not None else within)
        read = []
        for index, item in enumerate(items or []):
            if not isinstance(kind, type):
                read.append(kind(item, "{}.{}[{}]".format(self.where, name, index)))
                continue
            problem = _problem(item, kind, each)
            if problem:
                raise self.error("{}[{}]".format(name, index), problem)
            read.append(item)
        return read

    def error(self, name: str, text: str) -> JetsonError:
        """The error about a field, to be raised."""
        return JetsonError("{}.{} {}".format(self.where, name, text))


def plain_text(text: str) -> bool:
    """Whether a text can be drawn, logged and printed: no control characters, and Unicode throughout."""
    return not CONTROL.search(text)


def _problem(value: Any, kind: type, within: Optional[Limits]) -> Optional[str]:
    """What a value must be instead, or None if it is of the type and within the limits."""
    if isinstance(value, bool):
        matches = kind is bool
    else:
        matches = isinstance(value, (int, float) if kind is float else kind)
    if not matches:
        return "must be {}, not {}".format(_KINDS[kind], describe(value))
    least, most = _DEFAULTS[kind] if within is None else within
    if kind in (int, float):
        if not least <= value <= most:
            return "must be {} from {:.16g} to {:.16g}, not {}".format(_KINDS[kind], least, most, describe(value))
    elif kind is not bool:
        if not least <= len(value) <= most:
            if least == 1 and not value:
                return "is empty"
            allowed = str(least) if least == most else "{} to {}".format(least, most)
            return "must have {} {}, not {}".format(allowed, "characters" if kind is str else "items", len(value))
        if kind is str and not plain_text(value):
            return "must be text without control characters, not {}".format(describe(value))
    return None


def describe(value: Any) -> str:
    """A value in an error message: one line of at most 40 characters."""
    text = _REPR.repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _integer(digits: str) -> int:
    if len(digits.lstrip("-")) > DIGITS:
        raise ValueError("an integer has {} digits, at most {} are read".format(len(digits.lstrip("-")), DIGITS))
    return int(digits)


def _no_number(name: str) -> float:
    raise ValueError("it holds {}, which is no JSON".format(name))


def _check_values(value: Any, finite: bool) -> None:
    """Walk a JSON value level by level, without recursion.

    Raises:
        ValueError: it is nested too deeply, or holds an infinite number or text that is no Unicode.
    """
    level = [value]
    for _ in range(DEPTH + 1):
        inner = []  # type: List[Any]
        for item in level:
            if isinstance(item, str):
                if _SURROGATE.search(item):
                    raise ValueError("it holds {}, which is no Unicode".format(describe(item)))
                continue
            if isinstance(item, dict):
                inner.extend(item)
                item = item.values()
            elif not isinstance(item, list):
                item = (item,)  # a number for all there is
            for each in item:
                if isinstance(each, float):
                    if finite and each - each != 0:
                        raise ValueError("it holds a number beyond 1e308")
                elif isinstance(each, (str, dict, list)):
                    inner.append(each)
        level = inner
        if not level:
            return
    raise ValueError("it is nested more than {} levels deep".format(DEPTH))
