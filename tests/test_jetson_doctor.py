"""The doctor: what is found on boards and hosts, and that each finding that is not ok names its remedy."""

import json
import os
import sys

import pytest
from click.testing import CliRunner

from fastnas.jetson import doctor
from fastnas.jetson.commands import main
from fastnas.jetson.machine import Machine

TESTS = os.path.dirname(os.path.abspath(__file__))


@pytest.fixture
def board(tmp_path):
    def make(name, **changes):
        with open(os.path.join(TESTS, "fixtures", "sysfs_{}.json".format(name)), encoding="utf-8") as file:
            tree = dict(json.load(file), **changes)
        for path, text in tree.items():
            full = tmp_path / path
            full.parent.mkdir(parents=True, exist_ok=True)
            full.write_text(text)
        return Machine(str(tmp_path))

    return make


def find(findings, what):
    return [finding for finding in findings if finding.what == what]


def test_a_tx2_out_of_the_box_is_told_its_mode_and_clocks(board):
    machine = board("tx2")
    sections = doctor.examine(machine)
    assert list(sections) == ["machine", "python", "engines", "power", "memory", "cameras", "docker"]
    assert find(sections["machine"], "L4T") == [
        doctor.Finding("ok", "L4T", "32.7.1, JetPack 4.6.1 to 4.6.6, ONNX opset up to 13")
    ]
    (mode,) = find(sections["power"], "power mode")
    assert (mode.status, mode.seen, mode.fix) == ("warn", "MAXP_CORE_ARM is not the highest", "sudo nvpmodel -m 0")
    assert {finding.fix for finding in find(sections["power"], "clocks")} == {"sudo jetson_clocks"}
    assert find(sections["memory"], "memory")[0].status == "ok"


def test_an_orin_that_is_pinned_but_has_no_swap(board):
    sections = doctor.examine(board("orin"))
    assert [finding.status for finding in find(sections["power"], "power mode")] == ["ok"]
    assert {finding.status for finding in find(sections["power"], "clocks")} == {"ok"}
    assert find(sections["power"], "supply")[0].seen == "over-current events since boot: 2"
    (memory,) = find(sections["memory"], "memory")
    assert memory.status == "warn"
    assert "mkswap" in memory.fix


def test_a_hot_board_and_an_unknown_release(board):
    hot = {"sys/class/thermal/thermal_zone4/temp": "96500\n"}
    release = {"etc/nv_tegra_release": "# R99 (release), REVISION: 1.0, GCID: 1, BOARD: generic\n"}
    sections = doctor.examine(board("orin", **hot, **release))
    assert find(sections["power"], "temperature")[0].seen == "96 °C (tj-thermal)"
    assert find(sections["machine"], "L4T")[0].status == "warn"


def test_the_numpy_that_dies_on_the_old_boards_is_named(board, monkeypatch):
    monkeypatch.setattr("numpy.__version__", "1.19.5")
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    (finding,) = find(doctor.check_python(board("tx2")), "NumPy")
    assert (finding.status, finding.fix) == ("warn", "export OPENBLAS_CORETYPE=ARMV8")


def test_missing_packages_fail_with_the_command(board, monkeypatch):
    for name in ("cv2", "onnxruntime", "tensorrt"):
        monkeypatch.setitem(sys.modules, name, None)
    machine = board("tx2")
    found = list(doctor.check_python(machine)) + list(doctor.check_engines(machine))
    failed = {finding.what: finding.fix for finding in found if finding.status == "fail"}
    assert failed["OpenCV"] == "sudo apt-get install python3-opencv"
    assert failed["TensorRT"] == "sudo apt-get install python3-libnvinfer"
    assert failed["ONNX Runtime"] == "pip3 install onnxruntime"


def test_an_opencv_without_gstreamer_is_a_warning_on_a_board(board, monkeypatch):
    monkeypatch.setattr("cv2.getBuildInformation", lambda: "  GStreamer:   NO\n  v4l/v4l2:   YES (linux/videodev2.h)\n")
    seen = find(doctor.check_python(board("tx2")), "OpenCV")
    assert seen[0].seen.endswith("with V4L2")
    assert "no GStreamer" in seen[1].seen


def test_two_onnxruntimes_are_found_without_importing(tmp_path, monkeypatch):
    for name in ("onnxruntime-1.31.1.dist-info", "onnxruntime_gpu-1.31.1.dist-info"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert doctor.distribution_version("onnxruntime-gpu") == "1.31.1"
    assert doctor.distribution_version("onnxruntime") == "1.31.1"
    assert doctor.distribution_version("torch") is None


def test_a_camera_that_may_not_be_opened(board, tmp_path, monkeypatch):
    machine = board("tx2", **{"dev/video0": "", "sys/class/video4linux/video0/name": "vi-output, imx219\n"})
    assert [f.seen for f in find(doctor.check_cameras(machine), "cameras")] == ["/dev/video0 vi-output, imx219"]
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    (finding,) = find(doctor.check_cameras(machine), "cameras")
    assert finding.status == "fail"
    assert "usermod -aG" in finding.fix


def test_docker_settings(board, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/" + name)
    settings = "etc/docker/daemon.json"
    for text, status in [('{"runtimes": {"nvidia": {}}}', "ok"), ("{}", "warn"), ("{", "fail")]:
        assert [finding.status for finding in doctor.check_docker(board("tx2", **{settings: text}))] == [status]


def test_the_command_prints_and_exits_with_what_it_found():
    done = CliRunner().invoke(main, ["doctor", "--json"])
    sections = json.loads(done.output)
    failed = [finding for findings in sections.values() for finding in findings if finding["status"] == "fail"]
    assert done.exit_code == (1 if failed else 0)
    assert "ok," in CliRunner().invoke(main, ["doctor"]).output.splitlines()[-1].replace("ok, ", "ok,")
