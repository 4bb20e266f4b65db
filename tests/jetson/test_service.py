"""The unit of `--print-service`: systemd accepts it, and its command is the one that was typed."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys

import pytest

from fastnas.jetson.system.service import quoted
from tests.helpers.camera_parts import Process, port_of, wait_running
from tests.helpers.jetson_toys import toy_artifacts
from tests.helpers.paths import ROOT


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return toy_artifacts(tmp_path_factory)["depth"]


def printed(folder, *arguments):
    with Process(folder, *arguments, "--print-service") as camera:
        assert camera.child.wait(30) == 0, camera.text()
        return camera.text()


def verify(path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze (apt-get install systemd)")
    done = subprocess.run(
        ["systemd-analyze", "verify", str(path)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60
    )
    own = [line for line in done.stdout.decode().splitlines() if os.path.basename(str(path)) in line]
    assert own == []


def command_of(text):
    """The words that systemd would start."""
    line = re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE)[0]
    return [word.replace("%%", "%").replace("$$", "$") for word in shlex.split(line)]


def test_systemd_accepts_it(toy, tmp_path):
    text = printed(tmp_path, toy, "--source", "test://")
    assert "WorkingDirectory={}\n".format(tmp_path) in text
    (tmp_path / "fastnas.service").write_text(text)
    verify(tmp_path / "fastnas.service")


def test_its_command_is_the_one_that_was_typed(toy, tmp_path):
    """Whatever systemd takes for a specifier, a variable or the end of a word."""
    folder = tmp_path / 'a "b" 100% $HOME \\'
    shutil.copytree(str(toy), str(folder))
    arguments = [str(folder), "--source", "test://", "--mode", "160x96", "--port", "0"]
    text = printed(tmp_path, *arguments)
    words = command_of(text)
    assert words == [sys.executable, "-m", "fastnas.jetson", "camera", "--threads", "1"] + arguments
    (tmp_path / "fastnas.service").write_text(text)
    verify(tmp_path / "fastnas.service")
    log = open(str(tmp_path / "log"), "w+b")
    child = subprocess.Popen(words, cwd=str(tmp_path), stdout=log, stderr=log)  # as systemd would
    try:
        started = Process.__new__(Process)
        started.child, started._log = child, log
        wait_running(port_of(started))
        child.send_signal(signal.SIGTERM)
        assert child.wait(20) == 0
    finally:
        child.kill()
        child.wait()
        log.close()


def test_words_are_quoted():
    assert quoted('a "b"\\ %h\n$x') == '"a \\"b\\"\\\\ %%h\\n$x"'


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--source", "test://", "--window"], "--window needs a desktop"),
        (["--source", "absent.mp4"], "no camera, stream or file"),
    ],
)
def test_what_could_not_start_is_no_service(toy, tmp_path, arguments, line):
    with Process(tmp_path, toy, *arguments, "--print-service") as camera:
        assert camera.child.wait(30) in (1, 2)
        assert line in camera.text()
        assert "[Service]" not in camera.text()


def test_systemd_accepts_the_containers_unit(tmp_path):
    with open(os.path.join(ROOT, "docker", "fastnas.service")) as file:
        text = file.read()
    (tmp_path / "docker.service").write_text("[Service]\nExecStart=/bin/true\n")
    (tmp_path / "fastnas.service").write_text(text.replace("/opt/fastnas", ROOT))
    verify(tmp_path / "fastnas.service")
    assert command_of(text)[1:] == ["camera", "street", "--source", "csi://0"]
