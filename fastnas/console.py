"""Terminal output that shows every text as it is: names of classes, images and folders are never markup."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text


class PlainConsole(Console):
    """A rich console for texts of any origin.

    Neither `[red]` nor `:smile:` within a text means anything, also in tables and trees, and control characters are
    shown as escape sequences instead of obeyed. Style with `style=` or `rich.text.Text`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"highlight": False, **options, "markup": False, "emoji": False})

    def render_str(self, text: str, **options: Any) -> Text:
        """See `rich.console.Console.render_str`; all texts of tables and trees pass through here as well."""
        return super().render_str(printable(text, kept="\n\t"), **{**options, "markup": False, "emoji": False})


def printable(text: str, kept: str = "") -> str:
    """`text` with control characters and bytes that are no text, as file names may hold, as escape sequences.

    Args:
        text: of any origin.
        kept: characters that stay as they are.
    """
    return "".join(
        c if c.isprintable() or c in kept else c.encode("unicode_escape", "backslashreplace").decode() for c in text
    )
