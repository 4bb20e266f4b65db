"""Every name of the tour exists."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

TOUR = Path(__file__).parents[2] / "docs" / "tour.md"
NAMES = re.findall(r"`(fastnas[\w.]*:[\w.]+)`", TOUR.read_text())


def test_the_tour_is_one_page_through_all_packages() -> None:
    assert len(NAMES) > 40
    packages = [name.split(".")[1] for name in NAMES]
    places = [packages.index(package) for package in ("search", "train", "deploy", "jetson")]
    assert places == sorted(places)
    assert len(TOUR.read_text().splitlines()) < 90


@pytest.mark.parametrize("name", dict.fromkeys(NAMES))
def test_a_name_of_the_tour_resolves(name: str) -> None:
    module, attributes = name.split(":")
    found = import_module(module)
    for attribute in attributes.split("."):
        found = getattr(found, attribute)
    assert callable(found)


def test_every_name_is_written_in_full() -> None:
    """So that none escapes the test above: a word in backquotes with a colon is a name."""
    assert re.findall(r"`[\w.]+:[\w.]+`", TOUR.read_text()) == [f"`{name}`" for name in NAMES]
