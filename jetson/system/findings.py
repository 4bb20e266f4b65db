"""A finding of `fastnas doctor`, and the versions of installed packages, looked up without importing them."""

import glob
import os
import re
import sys
from typing import Iterator, NamedTuple, Optional

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


def distribution_version(name: str) -> Optional[str]:
    """The version of an installed distribution, by the names of its folders: nothing is imported, in any Python."""
    wanted = re.sub(r"[-_.]+", "_", name).lower()
    for folder in sys.path:
        for path in glob.glob(os.path.join(glob.escape(folder or "."), "*.dist-info")):
            found, _, version = os.path.basename(path)[: -len(".dist-info")].partition("-")
            if re.sub(r"[-_.]+", "_", found).lower() == wanted:
                return version
    return None
