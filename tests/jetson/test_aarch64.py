"""The device half on the boards' processor: installed and run in an arm64 Debian, emulated by QEMU.

It shows that the runner installs and computes the same on arm64; the emulator's times say nothing about a board. The
system (600 MB) is built once, in ten minutes, and kept outside the checkout.
"""

import fcntl
import json
import os
import platform
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from fastnas.jetson import sidecar
from fastnas.jetson.engine.opening import open_engine
from fastnas.jetson.options import EngineOptions
from tests.helpers.jetson_toys import TASKS, write_toy

pytestmark = pytest.mark.slow

JETSON = Path(__file__).resolve().parents[2] / "jetson"
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "fastnas-arm64"
RELEASE, PYTHON = "bookworm", "3.11"
PACKAGES = "python3-venv,python3-pip,ca-certificates"
WHEELS = ["click", "numpy", "onnxruntime", "opencv-python-headless<5", "setuptools", "wheel"]
BINFMT = Path("/proc/sys/fs/binfmt_misc")
RULE = Path("/usr/lib/binfmt.d/qemu-aarch64.conf")

RUN = """
import platform, sys
import numpy as np
from fastnas.jetson import sidecar
from fastnas.jetson.engine.opening import open_engine
from fastnas.jetson.options import EngineOptions
with open_engine(sidecar.load(sys.argv[1]), (64, 96), "fp32", EngineOptions("onnxruntime")) as engine:
    engine.input[...] = np.load("/try/input.npy")
    np.save("/try/output.npy", *engine.run().values())
print(platform.machine())
"""


@contextmanager
def emulation(lock):
    """The kernel runs arm64 programs meanwhile; what had to be changed for it is undone at the end.

    `lock` is a file that lets in one process at a time: tests may be spread over several.
    """
    fcntl.flock(lock, fcntl.LOCK_EX)
    mounted = registered = False
    try:
        if not (BINFMT / "register").exists():
            subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", BINFMT], check=True)
            mounted = True
        if not (BINFMT / "qemu-aarch64").exists():
            (BINFMT / "register").write_text(RULE.read_text().strip())
            registered = True
        yield
    finally:
        if registered:
            (BINFMT / "qemu-aarch64").write_text("-1")
        if mounted:
            subprocess.run(["umount", BINFMT], check=True)


def build(root):
    """A small arm64 Debian with Python and the runner's packages; what is not finished leaves no mark."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    debootstrap = ["debootstrap", "--arch=arm64", "--foreign", "--variant=minbase", "--include=" + PACKAGES]
    run(*debootstrap, RELEASE, root, "http://deb.debian.org/debian")
    run("chroot", root, "/debootstrap/debootstrap", "--second-stage")
    # Fetched by this machine's Python, which is fast and knows its own index and certificates.
    glibc = [word for minor in range(17, 37) for word in ("--platform", f"manylinux_2_{minor}_aarch64")]
    fetch = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary", ":all:", "--python-version", PYTHON]
    run(*fetch, *glibc, "--platform", "manylinux2014_aarch64", "--dest", root / "wheels", *WHEELS)
    run("chroot", root, "python3", "-m", "venv", "/opt/fastnas")
    run("chroot", root, "/opt/fastnas/bin/pip", "install", "--no-index", "--find-links", "/wheels", *WHEELS)


def run(*command):
    """Run with low priority; skip with the reason, for nothing here is a fault of the code under test."""
    done = subprocess.run(["nice", *map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        pytest.skip(f"the arm64 system cannot be built: {command[0]}: {done.stdout.strip()[-300:]}")


@pytest.fixture(scope="module")
def arm64():
    """The root folder of the arm64 system, ready to `chroot` into."""
    if platform.machine() == "aarch64":
        pytest.skip("this machine is arm64 itself")
    if os.geteuid() != 0:
        pytest.skip("chroot and debootstrap need root")
    if shutil.which("debootstrap") is None or not RULE.exists():
        pytest.skip("apt-get install debootstrap qemu-user-static brings what this needs")
    root, ready = CACHE / RELEASE, CACHE / "ready"
    recipe = " ".join([RELEASE, PACKAGES, *WHEELS])
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock, emulation(lock):
        if not ready.exists() or ready.read_text() != recipe:
            build(root)
            ready.write_text(recipe)
        shutil.rmtree(root / "try", ignore_errors=True)
        (root / "try").mkdir()
        yield root
        shutil.rmtree(root / "try")


def inside(root, *command):
    """What a command prints in the arm64 system."""
    # A path of this machine, such as TMPDIR, may not exist there.
    environment = {"PATH": "/opt/fastnas/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/try", "LANG": "C.UTF-8"}
    done = subprocess.run(
        ["nice", "chroot", str(root), *command], env=environment, capture_output=True, text=True, timeout=540
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(arm64):
    ignore = shutil.ignore_patterns("__pycache__", "build", "*.egg-info")
    shutil.copytree(JETSON, arm64 / "try" / "jetson", ignore=ignore)
    pip = ["pip", "install", "--no-index", "--find-links", "/wheels", "--force-reinstall", "--no-deps"]
    inside(arm64, *pip, "/try/jetson")
    return arm64


def test_the_device_half_installs_on_arm64_and_names_itself(installed):
    assert inside(installed, "fastnas", "--version").startswith("fastnas 0.")
    assert inside(installed, "python", "-c", "import platform; print(platform.machine())").strip() == "aarch64"


def outputs(installed, name):
    """What the artifact `name` gives for one picture, on arm64 and on this machine."""
    picture = np.random.default_rng(0).standard_normal((1, 3, 64, 96)).astype(np.float32)
    np.save(installed / "try" / "input.npy", picture)
    assert inside(installed, "python", "-c", RUN, f"/try/{name}").strip() == "aarch64"
    artifact = sidecar.load(str(installed / "try" / name))
    with open_engine(artifact, (64, 96), "fp32", EngineOptions("onnxruntime")) as engine:
        engine.input[...] = picture
        (here,) = engine.run().values()
        return np.load(installed / "try" / "output.npy"), here.copy()


@pytest.mark.parametrize("kind", TASKS)
def test_arm64_computes_what_this_machine_computes(installed, kind):
    found, expected = outputs(installed, Path(write_toy(installed / "try", kind)).name)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_an_exported_network_runs_on_arm64(installed):
    command = [sys.executable, "-m", "fastnas", "export", "arch1", "--res", "64", "--out", installed / "try"]
    subprocess.run(command, check=True, capture_output=True)
    found, expected = outputs(installed, "arch1")
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    assert (found.argmax(1) == expected.argmax(1)).mean() > 0.999


def test_the_benchmark_runs_on_arm64(installed):
    folder = Path(write_toy(installed / "try", "segmentation", "bench"))
    command = [
        "fastnas",
        "jetson-bench",
        f"/try/{folder.name}",
        "--res",
        "64",
        "--passes",
        "20",
        "--report",
        "/try/b.json",
    ]
    # Emulated times scatter, so the result may well be flagged, with exit code 3.
    shown = inside(installed, "sh", "-c", " ".join(command) + " || test $? = 3")
    assert "bench" in shown
    report = json.loads((installed / "try" / "b.json").read_text())
    assert "aarch64" in report["machine"]["system"]
    print(shown)
