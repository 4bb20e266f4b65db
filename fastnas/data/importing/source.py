"""The files of a folder that a labelling tool has written; nothing in it is ever changed."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from fastnas.data.images import IMAGE_SUFFIXES, is_clutter
from fastnas.data.readers import read_json, read_text
from fastnas.errors import FastnasError

SPLIT = re.compile(r"(train|val|test)(?:ing|id|idation)?(?:\d{4})?")
"""The whole name of a folder, or a word of a file's name, that tells a split."""


class Source:
    """The visible regular files below `root`, in natural order (frame2 before frame10).

    Attributes:
        root: the folder.
        files: all of them.
        images: those with the suffix of an image.

    Raises:
        FastnasError: no such folder.
    """

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            hint = " (unpack the archive first)" if root.suffix.lower() in (".zip", ".tar", ".gz") else ""
            raise FastnasError(f"{root} is not a folder: give the folder that the labelling tool wrote{hint}")
        self.root = root = root.resolve()
        self.files = sorted(_walk(root, set()), key=lambda path: natural_key(self.relative(path)))
        self.images = [path for path in self.files if path.suffix.lower() in IMAGE_SUFFIXES]
        self._paths = set(self.files)
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        for path in self.images:
            self._by_name[path.name].append(path)

    def relative(self, path: Path) -> str:
        """The path below the root, with `/`."""
        return path.relative_to(self.root).as_posix()

    def named(self, pattern: str) -> list[Path]:
        """Files whose name matches a glob pattern, without regard to case."""
        return [path for path in self.files if PurePosixPath(path.name.lower()).match(pattern)]

    def has_folder(self, *names: str) -> bool:
        """A folder of one of these names holds files, at any depth."""
        return any(part in names for path in self.files for part in path.relative_to(self.root).parts[:-1])

    def image(self, name: str, *bases: Path) -> Path:
        """The image that a label calls `name`: relative to one of `bases` or the root, else the only one so called.

        A name that leads out of the root is looked up by its last part alone, as tools store paths of other machines.

        Raises:
            FastnasError: there is none, or several.
        """
        posix = name.replace("\\", "/")
        for base in (*bases, self.root):
            path = Path(os.path.normpath(base / posix))
            if path in self._paths and path.suffix.lower() in IMAGE_SUFFIXES:
                return path
        found = self._by_name.get(posix.rpartition("/")[2], [])
        if len(found) != 1:
            raise FastnasError(f"image {name} is missing" if not found else f"several images are called {name}")
        return found[0]


def _walk(folder: Path, seen: set[str]) -> Iterator[Path]:
    real = os.path.realpath(folder)
    if real in seen:  # a link to a folder above
        return
    seen.add(real)
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_clutter(entry.name):
                continue
            if entry.is_dir():
                yield from _walk(Path(entry.path), seen)
            elif entry.is_file():
                yield Path(entry.path)


def natural_key(text: str) -> list[tuple[int, str]]:
    """Sorts numbers within names by their value."""
    return [(int(part) if part.isdecimal() else -1, part) for part in re.split(r"(\d{1,18})", text)]


def split_of_folders(relative: str) -> str | None:
    """The split that the folders of a file tell: train, val or test; None where they tell none, or several."""
    return _split_of_words(relative.lower().split("/")[:-1])


def split_of_name(relative: str) -> str | None:
    """The split that the folders of a file or the words of its name tell."""
    folder, _, name = relative.lower().rpartition("/")
    return _split_of_words([*folder.split("/"), *re.split(r"[^a-z0-9]+", name)])


def _split_of_words(words: list[str]) -> str | None:
    found = {match[1] for word in words if (match := SPLIT.fullmatch(word))}
    return found.pop() if len(found) == 1 else None


def listed_splits(source: Source) -> dict[str, str]:
    """The split of every image that a file train.txt, val.txt or test.txt lists, by the image's name without suffix.

    Lines begin with a name or a path of an image, with or without suffix. Names in two lists have no split.
    """
    splits: dict[str, set[str]] = defaultdict(set)
    for path in source.named("*.txt"):
        split = SPLIT.fullmatch(path.stem.lower())
        if split is None:
            continue
        for line in read_text(path).splitlines():
            word = line.strip().split("\t")[0].split(" ")[0].rpartition("/")[2]
            suffix = PurePosixPath(word).suffix if word.lower().endswith(IMAGE_SUFFIXES) else ""
            splits[word.removesuffix(suffix)].add(split[1])
    return {name: found.pop() for name, found in splits.items() if len(found) == 1}


def read_object(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds; a byte order mark is left out.

    Raises:
        FastnasError: it cannot be read, is no JSON, or holds something else.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise FastnasError(f"{path} holds no JSON object")
    return content


def rows(content: dict[str, Any], key: str, path: Path) -> list[dict[str, Any]]:
    """The list of objects `key` of a JSON object.

    Raises:
        FastnasError: it is missing, or something else.
    """
    found = content.get(key)
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise FastnasError(f"{path}: {key} must be a list of objects")
    return found
