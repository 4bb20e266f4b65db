"""A real OpenSSH server on loopback, for tests: a board that is this machine in another home."""

import os
import shutil
import socket
import subprocess
import sys
import time

import pytest

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:" + os.environ.get("PATH", ""))
NEEDED = pytest.mark.skipif(
    SSHD is None or shutil.which("ssh") is None or os.geteuid() != 0, reason="needs root, ssh and an OpenSSH server"
)
"""Marks the tests that need it."""


class Server:
    """A running sshd whose sessions have a home folder of their own."""

    def __init__(self, folder):
        self.folder = folder
        self.home = folder / "home"
        self.home.mkdir()
        for name in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        wrapper = folder / "session"
        # sshd takes the home from the user's entry; the board's home must not be this machine's.
        wrapper.write_text(
            '#!/bin/sh\nexport HOME={0}\nexport PATH={1}:$PATH\ncd {0}\nexec sh -c "$SSH_ORIGINAL_COMMAND"\n'.format(
                self.home, folder / "bin"
            )
        )
        wrapper.chmod(0o755)
        (folder / "bin").mkdir()
        python = folder / "bin" / "python3"
        python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        python.chmod(0o755)
        self.start()

    def start(self):
        os.makedirs("/run/sshd", exist_ok=True)
        options = [
            f"Port={self.port}", "ListenAddress=127.0.0.1", "HostKey={}".format(self.folder / "host"),
            "AuthorizedKeysFile={}".format(self.folder / "user.pub"), "StrictModes=no", "PidFile=none",
            "ForceCommand={}".format(self.folder / "session"),
        ]  # fmt: skip
        command = [SSHD, "-D", "-e", "-f", "/dev/null"] + [word for option in options for word in ("-o", option)]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 60
        while time.monotonic() < end:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise AssertionError("sshd did not start")

    def stop(self):
        self.process.terminate()
        self.process.wait()


@pytest.fixture
def server(tmp_path, monkeypatch):
    server = Server(tmp_path)
    real = shutil.which("ssh")
    front = tmp_path / "front"
    front.mkdir()
    ssh = front / "ssh"
    keys = "-i {} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR".format(
        tmp_path / "user"
    )
    ssh.write_text(f'#!/bin/sh\nexec {real} {keys} "$@"\n')
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", "{}:{}".format(front, os.environ["PATH"]))
    yield server
    server.stop()
