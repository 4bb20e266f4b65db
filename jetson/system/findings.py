"""A finding of `fastnas doctor`, and the versions of packages, looked up without importing anything large."""

import glob
import os
import re
import sys
from typing import Iterator, NamedTuple, Optional, Tuple

from fastnas.jetson.errors import raise_if_interrupted

OK, WARN, FAIL = "ok", "warn", "fail"


class Finding(NamedTuple):
    """One line of the report.

    Attributes:
        status: `ok`, `warn` (it works, but worse than it could) or `fail` (something will not work).
        what: was looked at.
        seen: there.
        fix: the command that fixes it, or empty.
    """

    status: str
    what: str
    seen: str
    fix: str = ""


Findings = Iterator[Finding]


def check(good: object, what: str, seen: str, fix: str = "", otherwise: str = WARN) -> Finding:
    """`ok` without a fix if `good`, else a finding with the status `otherwise` and the fix."""
    return Finding(OK, what, seen) if good else Finding(otherwise, what, seen, fix)


def version_of(module: str) -> Tuple[Optional[str], str]:
    """The version of a small module by importing it, or None; and the version, or the reason why there is none."""
    try:
        found = __import__(module)
    except ImportError as error:
        raise_if_interrupted(error)
        missing = isinstance(error, ModuleNotFoundError) and error.name == module
        return None, "is not installed" if missing else "does not load: {}".format(error)
    version = str(getattr(found, "__version__", None) or getattr(found, "VERSION_TEXT", "unknown version"))
    return version, version


def distribution_version(name: str) -> Optional[str]:
    """The version of an installed distribution, by the names of its folders: nothing is imported, in any Python."""
    wanted = re.sub(r"[-_.]+", "_", name).lower()
    for folder in sys.path:
        for path in glob.glob(os.path.join(glob.escape(folder or "."), "*.dist-info")):
            found, _, version = os.path.basename(path)[: -len(".dist-info")].partition("-")
            if re.sub(r"[-_.]+", "_", found).lower() == wanted:
                return version
    return None
