"""A unit of systemd that starts this very command at boot."""

import getpass
import os
import sys
from typing import List

KEPT = ("FASTNAS_CACHE", "LD_LIBRARY_PATH", "PYTHONPATH")
"""Variables of the environment that the command needs again, where they are set."""

UNIT = """\
# To start it now and at every boot:
#   sudo install -m 600 /dev/stdin /etc/systemd/system/fastnas.service < THIS FILE
#   sudo systemctl daemon-reload && sudo systemctl enable --now fastnas
# Its lines, with the page's address and token: journalctl -u fastnas
[Unit]
Description=fastnas camera
Wants=network-online.target
After=network-online.target nvargus-daemon.service
StartLimitIntervalSec=0

[Service]
User={user}
WorkingDirectory={folder}
Environment={environment}
ExecStart={command}
Restart=on-failure
RestartSec=5
TimeoutStopSec=30

[Install]
WantedBy=multi-user.target"""


def unit(arguments: List[str]) -> str:
    """The text of a unit that runs this program with the arguments, as this user, in this folder."""
    variables = ["LANG=C.UTF-8", "PYTHONUNBUFFERED=1"]
    variables += ["{}={}".format(name, os.environ[name]) for name in KEPT if os.environ.get(name)]
    return UNIT.format(
        user=getpass.getuser(),
        folder=os.getcwd().replace("%", "%%"),
        environment=" ".join(quoted(variable) for variable in variables),
        command=" ".join(quoted(word).replace("$", "$$") for word in program() + arguments),
    )


def program() -> List[str]:
    """How this program was started, with absolute paths: the script `fastnas`, or Python and a module."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is not None:
        return [sys.executable, "-m", spec.parent]
    return [os.path.abspath(sys.argv[0])]


def quoted(word: str) -> str:
    """A word in systemd's quotes, without its specifiers; `$` means something in commands only."""
    for character, written in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("%", "%%")):
        word = word.replace(character, written)
    return '"{}"'.format(word)
