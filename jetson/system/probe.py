"""What a package says of itself, asked in a process of its own: importing one can end the process that does.

NumPy 1.19.5 dies with an illegal instruction on a TX2, OpenCV and ONNX Runtime import NumPy, and a pycuda that was
compiled with another NumPy raises what is no ImportError.
"""

import signal
import subprocess
import sys
from typing import List, NamedTuple, Optional

SECONDS = 120.0
"""A board's first import of ONNX Runtime or TensorRT reads hundreds of megabytes."""

CHILD = """
import importlib, sys
sys.path[:] = [folder for folder in sys.path if folder]
try:
    module = importlib.import_module(sys.argv[1])
except ImportError as error:
    absent = isinstance(error, ModuleNotFoundError) and (sys.argv[1] + ".").startswith((error.name or "?") + ".")
    sys.exit("is not installed" if absent else "does not load: {}".format(error))
except Exception as error:
    sys.exit("does not load: {} ({})".format(error, type(error).__name__))
print(getattr(module, "__version__", None) or "unknown version")
"""


class Probe(NamedTuple):
    """The answer.

    Attributes:
        version: of the package, or None where it does not load.
        seen: the version, or the reason why there is none, in one line.
        lines: what the rest of the code printed.
        signal: number of the signal that ended the process, or 0.
    """

    version: Optional[str]
    seen: str
    lines: List[str] = []
    signal: int = 0

    @property
    def installed(self) -> bool:
        """Whether there is such a package, though it may not load."""
        return self.seen != "is not installed"


def probe(module: str, code: str = "") -> Probe:
    """Import a module in a child process, and run `code` there, in which it is called `module`.

    What `code` raises does not count: its lines up to there do.
    """
    more = "try:\n" + "".join("    {}\n".format(line) for line in ["pass"] + code.splitlines())
    command = [sys.executable, "-c", CHILD + more + "except Exception as error:\n    print(error)\n", module]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            universal_newlines=True,
            timeout=SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Probe(None, "does not load: {}".format(error))
    lines = done.stdout.splitlines()
    if done.returncode < 0:
        return Probe(None, "dies with {}".format(_spell(-done.returncode)), lines[1:], -done.returncode)
    if not lines:
        reason = (done.stderr.strip().splitlines() or ["exit {}".format(done.returncode)])[-1]
        return Probe(None, reason)
    return Probe(lines[0], lines[0], lines[1:])


def _spell(number: int) -> str:
    known = {signal.SIGILL: "an illegal instruction", signal.SIGSEGV: "a segmentation fault"}
    return known.get(number, "signal {}".format(number))  # type: ignore[call-overload]
