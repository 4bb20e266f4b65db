"""Measuring over SSH, on the board of `tests.helpers.ssh_server`."""

import json
import os

import pytest

from fastnas.jetson import sidecar
from fastnas.jetson.bench import remote
from fastnas.jetson.bench.measure import Settings, Workload
from fastnas.jetson.errors import JetsonError
from fastnas.jetson.options import EngineOptions
from tests.helpers.jetson_toys import toy_artifacts
from tests.helpers.ssh_server import NEEDED, server
from tests.helpers.waiting import wait_for

__all__ = ["server"]  # the fixture


pytestmark = NEEDED


@pytest.fixture(scope="module")
def workloads(tmp_path_factory):
    toys = toy_artifacts(tmp_path_factory)
    return [Workload(sidecar.load(toys[kind]), (32, 64), "fp32") for kind in ("segmentation", "depth")]


SETTINGS = Settings(passes=12, rounds=2, engine=EngineOptions("onnxruntime", threads=1))


def test_the_report_comes_back_and_nothing_is_copied_twice(server, workloads, tmp_path):
    lines = []
    report = remote.measure_there("127.0.0.1", server.port, workloads, SETTINGS, False, None, lines.append)
    assert [(row["name"], row["size"], len(row["samples"]["compute"])) for row in report["rows"]] == [
        ("toy-segmentation", [32, 64], 12),
        ("toy-depth", [32, 64], 12),
    ]
    assert lines[0].startswith("copying ")
    assert any(line.startswith("round 2/2") for line in lines)
    there = server.home / ".cache" / "fastnas" / "remote"
    assert (there / "fastnas" / "jetson" / "bench" / "measure.py").is_file()
    assert not list(there.glob("report-*"))

    torn = next(there.glob("artifacts/*/model.onnx"))
    torn.write_bytes(torn.read_bytes()[:50])
    lines.clear()
    remote.measure_there("127.0.0.1", server.port, workloads[:1], SETTINGS, False, None, lines.append)
    assert lines[0].startswith("copying 1 files" if "segmentation" in str(torn) else "round 1/2")


def test_what_the_board_refuses_is_its_own_line(server, workloads):
    request = [workloads[0]._replace(precision="fp16")]
    with pytest.raises(JetsonError, match="127.0.0.1: Error: toy-segmentation has no fp16 file for onnxruntime"):
        remote.measure_there("127.0.0.1", server.port, request, SETTINGS, False, None, lambda line: None)


def test_no_server_is_one_line(workloads):
    with pytest.raises(JetsonError, match="no connection to 127.0.0.1 port 9: .*refused"):
        remote.measure_there("127.0.0.1", 9, workloads, SETTINGS, False, None, lambda line: None)


def test_layers_are_timed_there(server, workloads):
    settings = SETTINGS._replace(layers=True)
    report = remote.measure_there("127.0.0.1", server.port, workloads[:1], settings, False, None, lambda line: None)
    modules = {each["name"] for each in report["rows"][0]["layers"]["modules"]}
    assert {"encoder.stages.0.0", "decoder.classifier"} <= modules


def test_a_host_that_looks_like_an_option_is_refused(workloads):
    with pytest.raises(JetsonError, match="is no host"):
        remote.measure_there("-oProxyCommand=touch x", 22, workloads, SETTINGS, False, None, lambda line: None)


def test_a_connection_that_breaks_ends_the_work_there(server, workloads):
    """The server's session processes are killed while the board measures: one line here, no process left there."""
    started = []

    def say(line):
        if line.startswith("round 1/1") and not started:
            started.append(line)
            for pid in sessions_of(server.process.pid):
                os.kill(pid, 9)

    long = Settings(seconds=60, engine=EngineOptions("onnxruntime", threads=1))
    with pytest.raises(JetsonError, match="no connection to .* run it again"):
        remote.measure_there("127.0.0.1", server.port, workloads, long, False, None, say)
    assert started
    assert wait_for(lambda: runners(server.home) == [])


def sessions_of(pid):
    """All descendants of a process that are sshd sessions."""
    found = []
    with open("/proc/{0}/task/{0}/children".format(pid)) as file:
        for word in file.read().split():
            with open("/proc/{}/comm".format(word)) as name:
                if name.read().startswith("sshd"):
                    found += [int(word)] + sessions_of(int(word))
    return found


def runners(home):
    """Processes that run in the board's home."""
    found = []
    for name in os.listdir("/proc"):
        try:
            if name.isdigit() and os.readlink("/proc/{}/cwd".format(name)).startswith(str(home)):
                found.append(int(name))
        except OSError:
            continue
    return found


def test_pictures_travel(server, workloads, tmp_path):
    import cv2
    import numpy as np

    pictures = tmp_path / "pictures"
    pictures.mkdir()
    cv2.imwrite(str(pictures / "a b.png"), np.zeros((20, 30, 3), np.uint8))
    report = remote.measure_there(
        "127.0.0.1", server.port, workloads[:1], SETTINGS, False, str(pictures), lambda line: None
    )
    assert json.dumps(report)
    assert len(list(server.home.glob(".cache/fastnas/remote/images/*/a b.png"))) == 1
