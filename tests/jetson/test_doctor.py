"""The doctor: what is found on boards and hosts, and that each finding that is not ok names its remedy."""

import json
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from fastnas.jetson.commands import main
from fastnas.jetson.system import cuda as cuda_checks
from fastnas.jetson.system import doctor, findings
from fastnas.jetson.system.machine import Machine
from tests.helpers import paths


@pytest.fixture
def board(tmp_path):
    def make(name, **changes):
        with open(os.path.join(paths.FIXTURES, "sysfs_{}.json".format(name)), encoding="utf-8") as file:
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
    assert list(sections) == ["machine", "python", "CUDA", "engines", "power", "memory", "cameras", "docker"]
    assert find(sections["machine"], "L4T") == [
        findings.Finding("ok", "L4T", "32.7.1, JetPack 4.6.1 to 4.6.6, ONNX opset up to 13")
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


class Library:
    """A CUDA library: its functions answer with a version, and starting it with an error."""

    def __init__(self, version, problem=0):
        self.version, self.problem = version, problem

    def cuDriverGetVersion(self, number):  # noqa: N802 - CUDA's name
        number._obj.value = self.version

    cudaRuntimeGetVersion = cuDriverGetVersion  # noqa: N815

    def cuInit(self, flags):  # noqa: N802
        return self.problem


def cuda(machine, monkeypatch, driver, runtime):
    """Status, what was seen, and the fix, of the driver and the runtime."""
    libraries = {"libcuda.so.1": driver, "libcudart.so": runtime}
    monkeypatch.setattr(cuda_checks, "load_library", libraries.__getitem__)
    monkeypatch.setattr(cuda_checks, "runtime_paths", lambda root: ["libcudart.so"])
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    return {finding.what: finding for finding in cuda_checks.check_cuda(machine)}


def test_cuda_of_a_board_in_order(board, monkeypatch):
    found = cuda(board("orin"), monkeypatch, Library(12060), Library(12020))
    assert found["CUDA driver"][:3] == ("ok", "CUDA driver", "for CUDA up to 12.6")
    assert found["CUDA runtime"][:3] == ("ok", "CUDA runtime", "12.2 (libcudart.so)")


def test_cuda_that_does_not_load_fails_on_a_board_and_warns_on_a_host(board, tmp_path, monkeypatch):
    short, absent = "does not load: libcudart.so.10.2: file too short", "is not installed"
    found = cuda(board("tx2"), monkeypatch, absent, short)
    assert found["CUDA driver"][::3] == ("fail", "sudo apt-get install nvidia-l4t-cuda")
    assert found["CUDA runtime"] == ("fail", "CUDA runtime", short, "sudo apt-get install nvidia-jetpack")
    found = cuda(board("tx2", **{".dockerenv": ""}), monkeypatch, absent, short)
    assert {finding.fix for finding in found.values()} == {cuda_checks.IN_CONTAINER}
    found = cuda(Machine(str(tmp_path / "host")), monkeypatch, absent, absent)
    assert [finding.status for finding in found.values()] == ["warn", "warn"]
    assert all(finding.fix for finding in found.values())


def test_a_driver_that_does_not_start_and_one_that_is_too_old(board, monkeypatch):
    found = cuda(board("orin"), monkeypatch, Library(12060, problem=803), Library(13000))
    assert found["CUDA driver"][::3] == ("fail", "sudo reboot")
    assert "error 803" in found["CUDA driver"].seen
    assert found["CUDA runtime"].status == "fail"
    assert "13.0 (libcudart.so) is newer than the driver, which knows CUDA 12.6" in found["CUDA runtime"].seen


PYCUDA = """
import sys
from fastnas.jetson.system.cuda import _check_pycuda
from fastnas.jetson.system.machine import Machine
(found,) = _check_pycuda(Machine(sys.argv[1]))
print("|".join(found))
"""


@pytest.mark.parametrize(
    ("more", "fakes", "status", "seen", "fix"),
    [
        ({}, True, "ok", "2022.1, compiled with CUDA 10.2", ""),
        ({"FAKE_NO_DRIVER": "1"}, True, "fail", "compiled with CUDA 10.2: cuInit failed", "sudo reboot"),
        ({"FAKE_BROKEN_PYCUDA": "1"}, True, "fail", "does not load: libcurand.so.10", "<=2022.1' --force-reinstall"),
        ({}, False, "fail", "is not installed", "export PATH=/usr/local/cuda/bin:$PATH && pip3 install 'pycuda<"),
    ],
)
def test_pycuda_is_loaded_not_only_found(board, tmp_path, more, fakes, status, seen, fix):
    board("tx2")
    search_path = [paths.ROOT] + [paths.FAKES] * fakes
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(search_path), PATH="/nowhere", **more)
    command = [sys.executable, "-c", PYCUDA, str(tmp_path)]
    found = subprocess.check_output(command, env=environment).decode().strip().split("|")
    assert found[0] == status
    assert seen in found[2]
    assert fix in found[3]


def test_an_opencv_without_gstreamer_is_a_warning_on_a_board(board, monkeypatch):
    monkeypatch.setattr("cv2.getBuildInformation", lambda: "  GStreamer:   NO\n  v4l/v4l2:   YES (linux/videodev2.h)\n")
    seen = find(doctor.check_python(board("tx2")), "OpenCV")
    assert seen[0].seen.endswith("with V4L2")
    assert "no GStreamer" in seen[1].seen


def test_two_onnxruntimes_are_found_without_importing(tmp_path, monkeypatch):
    for name in ("onnxruntime-1.31.1.dist-info", "onnxruntime_gpu-1.31.1.dist-info"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert findings.distribution_version("onnxruntime-gpu") == "1.31.1"
    assert findings.distribution_version("onnxruntime") == "1.31.1"
    assert findings.distribution_version("torch") is None


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


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("{", "cannot read /etc/docker/daemon.json: Expecting property name"),
        ("[" * 100000, "cannot read /etc/docker/daemon.json: it is nested more than 32 levels deep"),
        ("[]", "/etc/docker/daemon.json must be an object, not []"),
        ('{"runtimes": 5}', "/etc/docker/daemon.json.runtimes must be an object, not 5"),
        ('{"runtimes": ["nvidia"]}', "/etc/docker/daemon.json.runtimes must be an object, not ['nvidia']"),
        ("\0\1\xff", "cannot read /etc/docker/daemon.json: Expecting value"),
    ],
)
def test_damaged_docker_settings(board, monkeypatch, text, line):
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/" + name)
    (found,) = doctor.check_docker(board("tx2", **{"etc/docker/daemon.json": text}))
    assert (found.status, found.fix) == ("fail", "python3 -m json.tool /etc/docker/daemon.json")
    assert found.seen.startswith(line)


def test_the_command_prints_and_exits_with_what_it_found():
    done = CliRunner().invoke(main, ["doctor", "--json"])
    sections = json.loads(done.output)
    failed = [finding for findings in sections.values() for finding in findings if finding["status"] == "fail"]
    assert done.exit_code == (1 if failed else 0)
    assert "ok," in CliRunner().invoke(main, ["doctor"]).output.splitlines()[-1].replace("ok, ", "ok,")
