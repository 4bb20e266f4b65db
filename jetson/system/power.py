"""The power modes of a board, as `nvpmodel` numbers them, and which of them is the highest.

Mode 0 is not: on an Orin Nano it is 15 W, on a Xavier NX 15 W with two of six cores. `/etc/nvpmodel.conf` names them.
"""

import re
from typing import Dict, List, NamedTuple, Optional

from fastnas.jetson.system.sensors import read_text

CONFIGURATION = "etc/nvpmodel.conf"


class PowerMode(NamedTuple):
    """A mode: its number, its name, and what can be known of its budget.

    Attributes:
        number: what `nvpmodel -m` takes.
        name: such as `MAXN` or `MODE_15W_6CORE`.
        watts: of its name, 0 where the name has none.
        cores: that are switched on, 0 where the file does not say.
    """

    number: int
    name: str
    watts: int
    cores: int


def parse_modes(text: str) -> List[PowerMode]:
    """The modes of an `nvpmodel.conf`, in its order."""
    modes = []
    for head, body in re.findall(r"^\s*<([^<>]*)>([^<]*)", text, re.MULTILINE):
        attributes = dict(re.findall(r"(\w+)=(\S+)", head))
        if "POWER_MODEL" not in head.split() or not attributes.get("ID", "").isdigit():
            continue
        name = attributes.get("NAME", "mode " + attributes["ID"])
        watts, named = re.search(r"(\d+)W(?![A-Za-z])", name), re.search(r"(\d+)CORE", name)
        cores = len(re.findall(r"^\s*CPU_ONLINE\s+CORE_\d+\s+1\b", body, re.MULTILINE))
        modes.append(
            PowerMode(
                int(attributes["ID"]),
                name,
                int(watts.group(1)) if watts else 0,
                int(named.group(1)) if named else cores,
            )
        )
    return modes


def highest(modes: List[PowerMode]) -> Optional[PowerMode]:
    """MAXN_SUPER, else MAXN, else the mode of the most watts, and among those of the most cores; None without any."""
    by_name: Dict[str, PowerMode] = {mode.name.upper(): mode for mode in modes}
    for name in ("MAXN_SUPER", "MAXN"):
        if name in by_name:
            return by_name[name]
    return max(modes, key=lambda mode: (mode.watts, mode.cores), default=None)


def power_modes(root: str = "/") -> List[PowerMode]:
    """The modes of this board; none on other machines. `root` stands for `/`."""
    return parse_modes(read_text("{}/{}".format(root.rstrip("/"), CONFIGURATION)) or "")
