"""The device half stands alone: its imports, its syntax, its packaging, and its tests in a real Python 3.6."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.jetson_toys import MULTI, TASKS, write_toy

ROOT = Path(__file__).resolve().parents[2]
JETSON = ROOT / "jetson"
FILES = sorted(path for path in JETSON.rglob("*.py") if not {"build", "setup.py"} & set(path.relative_to(JETSON).parts))
VERMIN = str(Path(sys.executable).with_name("vermin"))
THIRD_PARTY = {"click", "cv2", "matplotlib", "numpy", "onnxruntime", "pycuda", "tensorrt"}
OLD_PYTHON = "3.6"
# What a board of the oldest generation can have; 1.10 is the last ONNX Runtime for this Python.
OLD_PACKAGES = [
    "numpy==1.19.5",
    "onnxruntime==1.10.0",
    "opencv-python-headless==4.6.0.66",
    "click==8.0.4",
    "pytest==7.0.1",
]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(JETSON)))
def test_a_module_parses_as_python_3_6_and_imports_only_what_a_board_has(path):
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 6))
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names = [node.module or ""]
        for name in names:
            top = name.split(".")[0]
            if top == "fastnas":
                assert name.startswith("fastnas.jetson"), name
            else:
                assert top in THIRD_PARTY or top in sys.stdlib_module_names, name
                assert top != "dataclasses"


def test_vermin_finds_nothing_newer_than_3_6():
    done = subprocess.run(
        [VERMIN, "--target=3.6-", "--no-tips", "--violations", *map(str, FILES)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_vermin_would_find_something_newer(tmp_path):
    (tmp_path / "new.py").write_text("import dataclasses\nif (a := 1): print(f'{a=}')\n")
    done = subprocess.run([VERMIN, "--target=3.6-", str(tmp_path / "new.py")], capture_output=True, text=True)
    assert done.returncode != 0


def test_the_device_half_runs_without_the_full_package(tmp_path):
    """As a copied folder under a namespace package, as on a board; nothing heavy is imported for --help."""
    copy_of_the_device_half(tmp_path)
    code = (
        "import sys, fastnas.jetson.commands as c; assert not hasattr(sys.modules['fastnas'], '__version__'); "
        "assert not {'numpy', 'cv2', 'onnxruntime', 'torch'} & set(sys.modules); "
        "c.main(['jetson-bench', '--help'], prog_name='fastnas')"
    )
    environment = dict(os.environ, PYTHONPATH=str(tmp_path))  # before the full package
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "USER@JETSON" in done.stdout


def test_the_versions_of_both_packages_are_one():
    from fastnas import __version__, jetson

    assert jetson.__version__ == __version__
    assert "version = {}\n".format(__version__) in (JETSON / "setup.cfg").read_text()


def find_python(version):
    """An interpreter of a version, on the path or under pyenv, or None."""
    candidates = [shutil.which("python" + version)]
    candidates += sorted((Path.home() / ".pyenv" / "versions").glob(version + ".*/bin/python"))
    for candidate in filter(None, candidates):
        probe = subprocess.run([str(candidate), "-c", "import sys; print(sys.version_info[:2])"], capture_output=True)
        if probe.stdout.decode().strip() == str(tuple(map(int, version.split(".")))):
            return str(candidate)
    return None


@pytest.fixture(scope="module")
def old_python():
    """A virtual environment of Python 3.6 with the board's packages, kept between runs outside the checkout."""
    interpreter = find_python(OLD_PYTHON)
    if interpreter is None:
        pytest.skip("no Python {} is here; pyenv install {}.15 brings one".format(OLD_PYTHON, OLD_PYTHON))
    folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "fastnas" / "tests-py36"
    python, ready = folder / "bin" / "python", folder / ".ready"
    if not ready.exists() or ready.read_text() != str(OLD_PACKAGES):
        shutil.rmtree(folder, ignore_errors=True)
        commands = (
            [interpreter, "-m", "venv", str(folder)],
            [str(python), "-m", "pip", "install", "--quiet", "--upgrade", "pip<22"],
            [str(python), "-m", "pip", "install", "--quiet", *OLD_PACKAGES],
        )
        for command in commands:
            done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ, LANG="C.UTF-8"))
            if done.returncode:
                pytest.skip("Python 3.6's packages cannot be installed: " + done.stderr.strip()[-200:])
        ready.write_text(str(OLD_PACKAGES))
    return str(python)


RUN_ARTIFACT = """
import sys
import numpy as np
from fastnas.jetson import sidecar
from fastnas.jetson.engine.opening import open_engine
from fastnas.jetson.options import EngineOptions

with open_engine(sidecar.load(sys.argv[1]), (96, 128), options=EngineOptions("onnxruntime", threads=1)) as engine:
    engine.input[...] = np.random.RandomState(0).randn(*engine.input.shape)
    np.save(sys.argv[2], *engine.run().values())
"""


@pytest.mark.slow
def test_an_exported_network_gives_the_same_on_python_3_6_and_here(old_python, tmp_path):
    import numpy as np

    export = [sys.executable, "-m", "fastnas", "export", "arch1", "--res", "96x128", "--out", str(tmp_path)]
    subprocess.run(export, cwd=ROOT, check=True, capture_output=True)
    for name, python in (("here", sys.executable), ("old", old_python)):
        command = [python, "-c", RUN_ARTIFACT, str(tmp_path / "arch1"), str(tmp_path / name)]
        environment = dict(os.environ, PYTHONPATH=str(copy_of_the_device_half(tmp_path / ("path-" + name))))
        # Away from the checkout, whose own fastnas `-c` would find first.
        subprocess.run(command, env=environment, cwd=tmp_path, check=True)
    here, old = np.load(tmp_path / "here.npy"), np.load(tmp_path / "old.npy")
    assert here.shape == (1, 21, 12, 16)
    np.testing.assert_allclose(here, old, rtol=0, atol=1e-4 * np.abs(here).max())


def copy_of_the_device_half(folder):
    """A folder to import from that holds the device half alone."""
    unwanted = shutil.ignore_patterns("__pycache__", "setup.*", "build", "*.egg-info")
    shutil.copytree(JETSON, folder / "fastnas" / "jetson", ignore=unwanted)
    return folder


@pytest.mark.slow
def test_the_device_half_installs_and_passes_its_tests_on_python_3_6(old_python, tmp_path):
    shutil.copytree(JETSON, tmp_path / "jetson", ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info"))
    environment = dict(os.environ, LANG="C.UTF-8", FASTNAS_TOYS=str(tmp_path / "toys"))
    environment.pop("PYTHONPATH", None)
    if not (tmp_path / "jetson" / "artifacts" / "street").exists():
        write_toy(tmp_path / "jetson" / "artifacts", name="street")
    install = [old_python, "-m", "pip", "install", "--quiet", "--force-reinstall", "--no-deps", "./jetson"]
    subprocess.run(install, cwd=tmp_path, check=True, env=environment)
    for kind in (*TASKS, MULTI):
        write_toy(tmp_path / "toys", kind)
    script = Path(old_python).with_name("fastnas")
    networks = "import fastnas.jetson, fastnas.jetson.shelf as s; s.open_artifact('street'); print(s.available())"
    shown = subprocess.run(
        [old_python, "-c", networks], cwd=str(tmp_path / "toys"), stdout=subprocess.PIPE, check=True, env=environment
    )
    assert "'street'" in shown.stdout.decode()
    shown = subprocess.run([str(script), "--version"], stdout=subprocess.PIPE, check=True, env=environment)
    assert shown.stdout.decode().startswith("fastnas 0.")

    for name in ("jetson", "helpers"):
        unwanted = shutil.ignore_patterns("__pycache__", Path(__file__).name, "test_aarch64.py")
        shutil.copytree(ROOT / "tests" / name, tmp_path / "tests" / name, ignore=unwanted)
    done = subprocess.run(
        [old_python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=540,
    )
    text = done.stdout.decode("utf-8", "replace")
    assert done.returncode == 0, text[-6000:]
    print(text.strip().splitlines()[-1])
