"""The pages that a reader of the repository follows, and the code blocks in them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(text: str) -> Iterator[str]:
    """The lines of code blocks, fenced or indented, continued ones joined."""
    fenced, lines = False, text.replace("\\\n", " ").splitlines()
    for line in lines:
        if line.startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            yield line.strip()
