"""What is predicted: images and frames of videos, cameras and streams, and the names of their results."""

import os
import re
from collections import Counter
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from fastnas.jetson.camera.opencv import open_source
from fastnas.jetson.camera.sources import IMAGE_SUFFIXES, Address, Mode, Source, files_of, parse_address
from fastnas.jetson.errors import JetsonError
from fastnas.jetson.inference.model import read
from fastnas.jetson.system.opencv import import_cv2

VIDEO_SUFFIXES = (".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v")


class Input(NamedTuple):
    """One image, video, camera or stream.

    Attributes:
        name: of its results, with folders where that tells inputs of the same name apart.
        source: the path or URI, without a password.
        address: where its frames come from; None for an image.
    """

    name: str
    source: str
    address: Optional[Address]

    @property
    def live(self) -> bool:
        """Whether it has no end of its own."""
        return self.address is not None and self.address.live

    def stamp(self) -> Optional[List[int]]:
        """Size and time of change of the file, by which a changed one is noticed; None for a camera or stream."""
        if self.live:
            return None
        state = os.stat(self.source)
        return [state.st_size, state.st_mtime_ns]

    def expected(self, most: Optional[int]) -> Optional[int]:
        """How many frames will be predicted, of a video, camera or stream at most so many; None where unknown."""
        if self.address is None:
            return 1
        if self.live:
            return most
        cv2 = import_cv2()
        capture = cv2.VideoCapture(self.source)
        count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        capture.release()
        return min(count, most or count) if count > 0 else most


def find_inputs(texts: Sequence[str]) -> List[Input]:
    """The inputs that the arguments of a command name, each once: files, the images and videos of folders, and URIs.

    Raises:
        JetsonError: an argument is none of them, or a folder has nothing to read.
    """
    found: Dict[str, Tuple[str, Optional[Address]]] = {}
    for text in texts:
        for source, address in _expand(text):
            is_file = address is None or not address.live
            found.setdefault(os.path.realpath(source) if is_file else source, (source, address))
    names = unique_names([_name(source, address) for source, address in found.values()])
    return [Input(name, source, address) for name, (source, address) in zip(names, found.values())]


def open_input(given: Input, mode: Mode) -> Source:
    """The source of an input's frames; of an image one.

    Raises:
        JetsonError: it cannot be opened.
    """
    return SingleImage(given.source) if given.address is None else open_source(given.address, mode)


class SingleImage(Source):
    """An image as a source of one frame."""

    def __init__(self, path: str) -> None:
        super().__init__("the image {}".format(path), 1.0)
        self._frame: Optional[np.ndarray] = read(path)

    def read(self) -> Optional[np.ndarray]:
        """See `Source.read`."""
        frame, self._frame = self._frame, None
        return frame


def unique_names(paths: Sequence[str]) -> List[str]:
    """A name for each path, all different: without folder and suffix where that suffices.

    Names that are equal, or equal but for upper and lower case, get their suffix too, and then folder after folder,
    from the last on.
    """
    levels = [0] * len(paths)
    while True:
        names = [_at_level(path.split("/"), level, index) for index, (path, level) in enumerate(zip(paths, levels))]
        counts = Counter(name.lower() for name in names)
        clashing = [index for index, name in enumerate(names) if counts[name.lower()] > 1]
        if not clashing:
            return names
        for index in clashing:
            levels[index] += 1


def _at_level(parts: Sequence[str], level: int, index: int) -> str:
    """Level 0 is the stem, 1 the file's name, and each one more adds a folder; beyond all of them, the index."""
    if level == 0:
        return os.path.splitext(parts[-1])[0]
    return "/".join(parts[-level:]) + "-{}".format(index) * (level - len(parts))


def _expand(text: str) -> Iterator[Tuple[str, Optional[Address]]]:
    """The sources that an argument names, each with its address unless it is an image."""
    if os.path.isdir(text):
        paths = files_of(text, IMAGE_SUFFIXES + VIDEO_SUFFIXES)
        if not paths:
            suffixes = ", ".join(IMAGE_SUFFIXES + VIDEO_SUFFIXES)
            raise JetsonError("{} has no image and no video ({})".format(text, suffixes))
        for path in paths:
            yield path, None if path.lower().endswith(IMAGE_SUFFIXES) else Address("file", path)
    elif os.path.isfile(text) and text.lower().endswith(IMAGE_SUFFIXES):
        yield text, None
    else:
        address = parse_address(text)
        yield str(address), address


def _name(source: str, address: Optional[Address]) -> str:
    """The path that the name of an input's results is made of."""
    if address is not None and address.live:
        return re.sub(r"\W+", "-", source).strip("-")
    return os.path.abspath(source).replace(os.sep, "/").lstrip("/")
