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
from fastnas.jetson.system.libraries import runtime_paths
from fastnas.jetson.system.machine import Machine
from fastnas.jetson.system.probe import Probe, probe
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
    assert (mode.status, mode.seen, mode.fix) == (
        "warn",
        "MAXP_CORE_ARM is not the highest, MAXN",
        "sudo nvpmodel -m 0",
    )
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


def test_a_thor(board):
    sections = doctor.examine(board("thor"))
    (release,) = find(sections["machine"], "L4T")
    assert release == findings.Finding("ok", "L4T", "39.2.0, JetPack 7.2, ONNX opset up to 24")
    (mode,) = find(sections["power"], "power mode")
    assert (mode.status, mode.seen, mode.fix) == ("warn", "120W is not the highest, MAXN", "sudo nvpmodel -m 0")
    assert find(sections["power"], "sensors") == []
    assert "libopencv" not in str(sections["python"])


def test_a_hot_board_and_an_unknown_release(board):
    hot = {"sys/class/thermal/thermal_zone4/temp": "96500\n"}
    release = {"etc/nv_tegra_release": "# R99 (release), REVISION: 1.0, GCID: 1, BOARD: generic\n"}
    sections = doctor.examine(board("orin", **hot, **release))
    assert find(sections["power"], "temperature")[0].seen == "96 °C (tj-thermal)"
    assert find(sections["machine"], "L4T")[0].status == "warn"


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Packages by name and source, which hide the installed ones from the processes that the doctor asks."""

    def make(**sources):
        folder = tmp_path / "packages"
        for name, source in sources.items():
            path = folder / (name.replace("__", "/") + ".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source)
        monkeypatch.setenv("PYTHONPATH", str(folder))

    return make


def missing(name):
    return "raise ModuleNotFoundError('No module named {0}', name='{0}')".format(name)


DIES = "import os, signal; os.kill(os.getpid(), signal.SIGILL)"


def test_the_numpy_that_dies_on_the_old_boards_is_named(board, packages, tmp_path, monkeypatch):
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)
    (tmp_path / "numpy-1.19.5.dist-info").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    packages(numpy="__version__ = '1.19.5'", cv2=DIES, onnxruntime=DIES)
    (finding,) = find(doctor.check_python(board("tx2")), "NumPy")
    assert (finding.status, finding.fix[:34]) == ("warn", "export OPENBLAS_CORETYPE=ARMV8, or")
    packages(numpy=DIES)
    machine = board("tx2")
    (finding, opencv), runtime = (
        list(doctor.check_python(machine))[1:],
        find(doctor.check_engines(machine), "ONNX Runtime"),
    )
    assert (finding.status, finding.seen) == ("fail", "1.19.5 dies with an illegal instruction on this board")
    assert (opencv.status, opencv.seen) == ("fail", "dies with an illegal instruction")
    assert (runtime[0].status, runtime[0].fix) == ("fail", "pip3 install onnxruntime numpy==1.19.4")


@pytest.mark.parametrize(
    ("machine", "python", "value"),
    [("aarch64", (3, 6, 9), "ARMV8"), ("aarch64", (3, 10, 12), None), ("x86_64", (3, 6, 9), None)],
)
def test_the_old_boards_numpy_is_told_its_processor_before_it_is_imported(machine, python, value):
    code = (
        "import os, platform, sys; here = sys.version_info; platform.machine = lambda: {!r}; sys.version_info = {!r}\n"
        "import fastnas.jetson; sys.version_info = here\n"
        "assert 'numpy' not in sys.modules; print(os.environ.get('OPENBLAS_CORETYPE'))"
    )
    environment = {name: text for name, text in os.environ.items() if name != "OPENBLAS_CORETYPE"}
    environment["PYTHONPATH"] = paths.ROOT
    command = [sys.executable, "-c", code.format(machine, python)]
    assert subprocess.check_output(command, env=environment).decode().split() == [str(value)]


def test_a_numpy_that_dies_on_another_board_has_the_same_remedy(board, packages):
    packages(numpy=DIES, cv2=DIES)
    (finding,) = find(doctor.check_python(board("orin")), "NumPy")
    assert (finding.status, finding.fix[:34]) == ("fail", "export OPENBLAS_CORETYPE=ARMV8, or")


def test_a_file_in_the_folder_is_no_package(packages, tmp_path, monkeypatch):
    (tmp_path / "beside.py").write_text("__version__ = '1'")
    packages()
    monkeypatch.chdir(tmp_path)
    assert probe("beside") == Probe(None, "is not installed")


def test_the_doctor_imports_nothing_that_can_kill_it():
    code = (
        "import sys; from fastnas.jetson.system import doctor, machine; doctor.examine(machine.Machine());"
        "assert not {'numpy', 'cv2', 'onnxruntime', 'tensorrt', 'pycuda', 'torch'} & set(sys.modules)"
    )
    subprocess.check_call([sys.executable, "-c", code], env=dict(os.environ, PYTHONPATH=paths.ROOT))


def test_missing_packages_fail_with_the_command(board, packages):
    packages(**{name: missing(name) for name in ("cv2", "onnxruntime", "tensorrt")})
    machine = board("tx2")
    found = list(doctor.check_python(machine)) + list(doctor.check_engines(machine))
    failed = {finding.what: finding.fix for finding in found if finding.status == "fail"}
    assert failed["OpenCV"] == "sudo apt-get install libopencv-python"
    assert failed["TensorRT"] == "sudo apt-get install python3-libnvinfer"
    assert failed["ONNX Runtime"] == "pip3 install onnxruntime numpy==1.19.4"


def test_a_probe_tells_missing_from_broken_and_dead(packages):
    packages(
        absent=missing("absent"),
        broken="raise ImportError('libcudart.so.10.2: cannot open shared object file')",
        odd="raise SystemError('initialization of _driver raised unreported exception')",
        half="import what_is_not_there",
        dead=DIES,
        loud="__version__ = '3'\ndef f(): raise RuntimeError('no device')",
    )
    assert probe("absent") == Probe(None, "is not installed")
    assert probe("broken").seen == "does not load: libcudart.so.10.2: cannot open shared object file"
    assert probe("odd").seen == "does not load: initialization of _driver raised unreported exception (SystemError)"
    assert probe("half").seen == "does not load: No module named 'what_is_not_there'"
    assert probe("dead") == Probe(None, "dies with an illegal instruction", [], 4)
    assert probe("loud", "print(1)\nmodule.f()\nprint(2)") == Probe("3", "3", ["1", "no device"])


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
    """Status, what was seen, and the fix, of the driver, the runtime and the compiler, which is as the runtime."""
    libraries = {"libcuda.so.1": driver, "libcudart.so": runtime, "libnvrtc.so": runtime}
    monkeypatch.setattr(cuda_checks, "load_library", libraries.__getitem__)
    monkeypatch.setattr(cuda_checks, "runtime_paths", lambda root, name="cudart": ["lib" + name + ".so"])
    monkeypatch.setattr(cuda_checks, "probe", lambda *arguments: Probe(None, "is not installed"))
    return {finding.what: finding for finding in cuda_checks.check_cuda(machine)}


@pytest.mark.parametrize(
    "place",
    [
        "usr/local/cuda/lib64/libcudart.so.12",
        "usr/local/cuda-10.2/targets/aarch64-linux/lib/libcudart.so.10.2",
        "usr/local/cuda-13.2/targets/sbsa-linux/lib/libcudart.so.13",
    ],
)
def test_the_runtime_is_found_where_a_release_of_jetpack_puts_it(board, place):
    root = board("tx2", **{place: ""}).root
    assert runtime_paths(root)[:1] == [os.path.join(root, place)]


def test_cuda_of_a_board_in_order(board, monkeypatch):
    found = cuda(board("orin"), monkeypatch, Library(12060), Library(12020))
    assert found["CUDA driver"][:3] == ("ok", "CUDA driver", "for CUDA up to 12.6")
    assert found["CUDA runtime"][:3] == ("ok", "CUDA runtime", "12.2 (libcudart.so)")
    assert found["NVRTC"][:3] == ("ok", "NVRTC", "libnvrtc.so")


def test_cuda_that_does_not_load_fails_on_a_board_and_warns_on_a_host(board, tmp_path, monkeypatch):
    short, absent = "does not load: libcudart.so.10.2: file too short", "is not installed"
    found = cuda(board("tx2"), monkeypatch, absent, short)
    assert found["CUDA driver"][::3] == ("fail", "sudo apt-get install nvidia-l4t-cuda")
    assert found["CUDA runtime"] == ("fail", "CUDA runtime", short, "sudo apt-get install nvidia-jetpack")
    assert found["NVRTC"].status == "warn"
    assert found["NVRTC"].seen == short + ": the CPU makes inputs of frames, and class ids of outputs"
    found = cuda(board("tx2", **{".dockerenv": ""}), monkeypatch, absent, short)
    assert {found[name].fix for name in ("CUDA driver", "CUDA runtime")} == {cuda_checks.IN_CONTAINER}
    found = cuda(Machine(str(tmp_path / "host")), monkeypatch, absent, absent)
    assert [finding.status for finding in found.values()] == ["warn", "warn", "ok", "ok"]
    assert all(finding.fix for finding in found.values() if finding.status == "warn")


def test_a_driver_that_does_not_start_and_one_that_is_too_old(board, monkeypatch):
    found = cuda(board("orin"), monkeypatch, Library(12060, problem=803), Library(13000))
    assert found["CUDA driver"][::3] == ("fail", "sudo reboot")
    assert "error 803" in found["CUDA driver"].seen
    assert found["CUDA runtime"].status == "fail"
    assert "13.0 (libcudart.so) is newer than the driver, which knows CUDA 12.6" in found["CUDA runtime"].seen


@pytest.mark.parametrize(
    ("more", "fakes", "status", "seen", "fix"),
    [
        ({}, True, "ok", "2022.1, compiled with CUDA 10.2", ""),
        ({"FAKE_NO_DRIVER": "1"}, True, "fail", "compiled with CUDA 10.2: cuInit failed", "sudo reboot"),
        (
            {"FAKE_BROKEN_PYCUDA": "1"},
            True,
            "warn",
            "does not load: libcurand.so.10",
            "pycuda==2022.1 --force-reinstall",
        ),
        ({"FAKE_BROKEN_PYCUDA": "numpy"}, True, "warn", "exception (SystemError); CUDA is called through ctypes", ""),
        ({}, False, "ok", "is not installed: CUDA is called through ctypes", ""),
    ],
)
def test_pycuda_is_loaded_not_only_found(board, monkeypatch, more, fakes, status, seen, fix):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([paths.ROOT] + [paths.FAKES] * fakes))
    monkeypatch.setattr("shutil.which", lambda name: None)
    for name, value in more.items():
        monkeypatch.setenv(name, value)
    (found,) = cuda_checks._check_pycuda(board("tx2"))
    assert found.status == status
    assert seen in found.seen
    assert fix in found.fix


def test_an_opencv_without_gstreamer_is_a_warning_on_a_board(board, packages):
    information = "  GStreamer:   NO\\n  v4l/v4l2:   YES (linux/videodev2.h)\\n"
    packages(cv2="__version__ = '4.1.1'\ndef getBuildInformation(): return '{}'".format(information))
    seen = find(doctor.check_python(board("tx2")), "OpenCV")
    assert seen[0].seen.endswith("4.1.1 with V4L2")
    assert "no GStreamer" in seen[1].seen
    assert seen[1].fix == "pip3 uninstall opencv-python; sudo apt-get install libopencv-python"


def test_ubuntus_old_opencv_is_too_old(board, packages):
    """`apt-get install python3-opencv` on JetPack 4 puts version 3.2 in the place of NVIDIA's 4.1.1."""
    packages(cv2="__version__ = '3.2.0'\ndef getBuildInformation(): return 'GStreamer: YES'")
    seen = find(doctor.check_python(board("tx2")), "OpenCV")
    assert (seen[1].status, seen[1].fix) == ("fail", "sudo apt-get install libopencv-python")


def test_two_onnxruntimes_are_found_without_importing(tmp_path, monkeypatch):
    for name in ("onnxruntime-1.31.1.dist-info", "onnxruntime_gpu-1.31.1.dist-info"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert findings.distribution_version("onnxruntime-gpu") == "1.31.1"
    assert findings.distribution_version("onnxruntime") == "1.31.1"
    assert findings.distribution_version("torch") is None


def test_a_camera_that_may_not_be_opened(board, tmp_path, monkeypatch):
    machine = board("tx2", **{"dev/video0": "", "sys/class/video4linux/video0/name": "vi-output, imx219\n"})
    (finding,) = find(doctor.check_cameras(machine), "cameras")
    assert (finding.status, finding.seen) == ("ok", "/dev/video0 vi-output, imx219: a raw sensor")
    assert finding.fix == "fastnas camera --source csi://0"
    usb = board("tx2", **{"sys/class/video4linux/video0/name": "UVC Camera (046d:0825)\n"})
    assert [f.seen for f in find(doctor.check_cameras(usb), "cameras")] == ["/dev/video0 UVC Camera (046d:0825)"]
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    (finding,) = find(doctor.check_cameras(machine), "cameras")
    assert finding.status == "fail"
    assert "usermod -aG" in finding.fix


def test_a_user_who_may_not_use_docker(board, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/" + name)
    machine = board("tx2", **{"var/run/docker.sock": "", "etc/docker/daemon.json": '{"runtimes": {"nvidia": {}}}'})
    assert [finding.status for finding in doctor.check_docker(machine)] == ["ok"]
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert [finding.fix for finding in doctor.check_docker(machine)][0].startswith("sudo usermod -aG docker")


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
