"""The classes of a labelling tool as class ids: background first, ignored regions as 255."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fastnas.data.formats.voc import colour_map
from fastnas.errors import FastnasError
from fastnas.tasks import IGNORE, Colour, Segmentation, checked_names

BACKGROUND = {"background", "_background_", "__background__"}
IGNORED = {"ignore", "ignored", "__ignore__", "void"}
"""Names, in lower case, that tools give to the class 0 and to what takes part in no loss."""


@dataclass(frozen=True)
class Classes:
    """Class names in the order of their ids, and the id of every name that the tool uses.

    Attributes:
        names: K names.
        ids: the tool's names, of ignored regions (255) too.
    """

    names: tuple[str, ...]
    ids: Mapping[str, int]

    def task(self, colours: Mapping[str, Colour] | None = None) -> Segmentation:
        """The segmentation task, with the colours of the tool where it has some."""
        usual = colour_map(len(self.names))
        named = {self.ids[name]: colour for name, colour in (colours or {}).items()}
        return Segmentation(self.names, tuple(named.get(i, usual[i]) for i in range(len(self.names))))


def number_classes(names: Iterable[object], where: object, add_background: bool) -> Classes:
    """Class ids of a tool's class names, in their order; the background is 0.

    Args:
        names: of the tool.
        where: the file they come from, for messages.
        add_background: there are pixels of no class, so a background is needed even if no class has its name.

    Raises:
        FastnasError: a name twice, an empty or unprintable one, no class, or more than 254.
    """
    known = checked_names(names, where)
    background = next((name for name in known if name.lower() in BACKGROUND), None)
    ignored = [name for name in known if name.lower() in IGNORED]
    kept = [name for name in known if name != background and name not in ignored]
    if background is not None or add_background:
        kept.insert(0, background or "background")
    if len(kept) <= int(add_background):
        raise FastnasError(f"{where} has no class that could be learnt")
    if len(kept) >= IGNORE:
        raise FastnasError(f"{where} has {len(kept)} classes: at most {IGNORE - 1} fit into a mask of 8 bits")
    ids = {name: i for i, name in enumerate(kept)} | dict.fromkeys(ignored, IGNORE)
    shown = ["background" if name == background else name for name in kept]
    return Classes(tuple(checked_names(shown, where)), ids)


def parse_colour(text: str, where: object) -> Colour:
    """`r,g,b`, `r g b` or `#rrggbb`.

    Raises:
        FastnasError: something else.
    """
    try:
        if text.strip().startswith("#"):
            values = list(bytes.fromhex(text.strip()[1:]))
        else:
            values = [int(part) for part in text.replace(",", " ").split()]
        red, green, blue = values
        if min(values) >= 0 and max(values) <= 255:
            return red, green, blue
    except ValueError:
        pass
    raise FastnasError(f"{where}: {text!r:.40} is no colour: three integers of 0 to 255 are needed")
