"""What a check of `fastnas doctor` says, and how packages are looked up without importing anything large."""

import glob
import os
import re
import sys
from typing import Iterator, NamedTuple, Optional, Tuple

OK, WARN, FAIL = "ok", "warn", "fail"


class Finding(NamedTuple):
    """One line: how it stands, what was looked at, what was seen, and the command that fixes it, if any.

    `ok`, `warn` (it works, but worse than it could) or `fail` (something will not work).
    """

    status: str
    what: str
    seen: str
    fix: str = ""


Findings = Iterator[Finding]


def version_of(module: str) -> Tuple[Optional[str], str]:
    """The version of a small module by importing it, or None and what went wrong."""
    try:
        found = __import__(module)
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name == module
        return None, "is not installed" if missing else "does not load: {}".format(error)
    return str(getattr(found, "__version__", None) or getattr(found, "VERSION_TEXT", "unknown version")), ""


def distribution_version(name: str) -> Optional[str]:
    """The version of an installed distribution, by the names of its folders: nothing is imported, in any Python."""
    wanted = re.sub(r"[-_.]+", "_", name).lower()
    for folder in sys.path:
        for path in glob.glob(os.path.join(glob.escape(folder or "."), "*.dist-info")):
            found, _, version = os.path.basename(path)[: -len(".dist-info")].partition("-")
            if re.sub(r"[-_.]+", "_", found).lower() == wanted:
                return version
    return None
