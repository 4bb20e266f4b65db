"""What tables and plots of a report share."""

from typing import Any, Dict, List, Tuple


def align(cells: List[Tuple[str, ...]]) -> List[str]:
    """Lines of a table: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*cells)]
    return [
        "  ".join([row[0].ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]).rstrip()
        for row in cells
    ]


def network(row: Dict[str, Any]) -> str:
    """Name and precision."""
    return "{} {}".format(row["name"], row["precision"])


def label(row: Dict[str, Any]) -> str:
    """Name, precision and size."""
    return "{} {}x{}".format(network(row), *row["size"])


def plain(text: str) -> str:
    """Text that matplotlib does not read as a formula."""
    return text.replace("\\", "\\\\").replace("$", r"\$")
