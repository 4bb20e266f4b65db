"""Seeded mutations of valid inputs, and what readers make of them: accepted, refused in one line, or anything else."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 255, 2**31, 2**63, 2**64, -(2**70), 10**300, 1e-320, 1e308, -0.5, float("nan"),
    float("inf"), float("-inf"), "", "a", "..", "../x", "/etc/passwd", "a\\b", "-o", "a\0b", "a\nb", "\x1b[2J",
    "\ud800", "\u202e", "\u00e4" * 300, "x" * 20000, "$\\frac$", "=1+1", [], {}, [[]], [None], [0] * 300, ["x"] * 300,
    {"": ""}, {"\ud83d": 1}, {"kind": "pose"}, [[0, 1]] * 5000, [[[[[[[[1]]]]]]]],
)  # fmt: skip
"""What takes the place of a value."""

TEXTS = tuple(map(json.dumps, VALUES))

PIECES = (
    b"", b"\0", b"\r\n", b"\n", b"\xff", b"\xed\xa0\x80", b"\\ud800", b"\\u0000", b"NaN", b"1e999", b"-", b"9" * 1200,
    b"[" * 2000, b'{"a":' * 60, b"null", b'"', b"../", b"\xef\xbb\xbf", b"\x1b[", b": ", b"\r\n\r\n", b"%0d%0a",
    b" " * 99,
    b"Content-Length: 9\r\n", b"Host: x\r\n", b"Transfer-Encoding: chunked\r\n",
)  # fmt: skip
"""What is put between bytes, or in their place."""


class Subject(NamedTuple):
    """A reader of bytes and valid inputs of it; `read` also uses what it has read, as the product does."""

    read: Callable[[bytes], Any]
    valid: tuple[bytes, ...]
    json: bool = True


def mutate(subject: Subject, chance: random.Random) -> bytes:
    """A valid input with one to four changes, of its JSON values or of its bytes."""
    data = chance.choice(subject.valid)
    if subject.json and chance.random() < 0.6:
        value = json.loads(data)
        for _ in range(chance.choice((1, 1, 1, 2, 3))):
            value = _change(value, chance)
        return json.dumps(value).encode() + (b"\n" if data.endswith(b"\n") else b"")
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4))):
        at = chance.randrange(len(changed) + 1)
        length = chance.choice((0, 0, 1, 1, 2, 9, 40, len(changed)))
        piece = chance.choice(PIECES) if chance.random() < 0.5 else chance.randbytes(chance.randrange(4))
        if chance.random() < 0.1:
            piece = bytes(changed[at : at + length]) * 2
        changed[at : at + length] = piece
    return bytes(changed)


def _change(value: Any, chance: random.Random) -> Any:
    """A JSON value with one place, chosen from the top down, replaced, removed, renamed or doubled."""
    if not isinstance(value, dict | list) or not value or chance.random() < 0.1:
        return json.loads(chance.choice(TEXTS))  # new lists and objects each time
    key = chance.choice(list(value)) if isinstance(value, dict) else chance.randrange(len(value))
    how = chance.random()
    if how < 0.7:
        value[key] = _change(value[key], chance)
    elif how < 0.85:
        del value[key]
    elif isinstance(value, dict):
        value[chance.choice(("", "x", "\ud800", "a\nb", "kind", "format", "__class__"))] = value[key]
    else:
        value.append(value[key])
    return value


def outcome(subject: Subject, data: bytes, ours: tuple[type[Exception], ...], seconds: float = 5.0) -> str:
    """`accepted`, `refused`, or what is wrong with the reader."""
    start = time.thread_time()  # whatever else the machine does
    try:
        subject.read(data)
        found = "accepted"
    except ours as error:
        line = str(error)
        fine = line and len(line) <= 4000 and len(line.splitlines()) == 1 and "\x1b" not in line and encodable(line)
        found = "refused" if fine else f"not one line: {line!r:.200}"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        found = f"{type(error).__name__}: {error!s:.200}"
    return found if time.thread_time() - start < seconds else f"took more than {seconds} s"


def encodable(text: str) -> bool:
    """Whether a terminal can be sent a text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def count(
    subject: Subject, inputs: int, seed: int, ours: tuple[type[Exception], ...]
) -> tuple[Counter[str], list[str]]:
    """How many inputs were accepted, refused, or failed, and the first failures with their inputs."""
    chance, counts, failures = random.Random(seed), Counter[str](), []
    for _ in range(inputs):
        data = mutate(subject, chance)
        found = outcome(subject, data, ours)
        if found not in ("accepted", "refused"):
            failures.append(f"{found} <- {data!r:.1000}")
            found = "failed"
        counts[found] += 1
    return counts, failures[:20]
