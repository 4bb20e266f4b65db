"""The wheel holds every module once, however it is built, and each way to install or run fastnas works."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from configparser import ConfigParser
from email import message_from_bytes
from importlib.metadata import packages_distributions
from pathlib import Path, PurePosixPath

import pytest
from packaging.requirements import Requirement

import fastnas

ROOT = Path(__file__).parents[2]
PACKAGES = ("search", "train", "deploy", "jetson", "weights")
TRAINING = ("weights", "training")
"""The scripts that made the weights, which no package holds."""
ROS_PACKAGE = ("jetson", "ros", "fastnas_ros")
"""What catkin and colcon build, which no wheel holds."""
IMPORT_ALL = "; ".join(
    ["import fastnas", *(f"import fastnas.{package}" for package in PACKAGES), "print(fastnas.__file__)"]
)


def run(*command: object, cwd: Path) -> str:
    """Run a command and return what it prints; its whole output is the failure's message."""
    done = subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, f"{command} exited {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout.strip()


def repository_files() -> list[PurePosixPath]:
    """The files a commit of everything would hold, links as themselves."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT).splitlines()
    return [PurePosixPath(name) for name in sorted(set(listed)) if (ROOT / name).is_symlink() or (ROOT / name).exists()]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository as it stands, uninstalled."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in repository_files():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, copy / name, follow_symlinks=False)
    return copy


def build(source: Path, out: Path, *options: str) -> dict[str, int]:
    """Build in a copy of `source` without fetching anything; return the wheel's files and their checksums."""
    work = out / "source"
    shutil.copytree(source, work, symlinks=True)
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, *options, work, cwd=out)
    (wheel,) = out.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        assert len(names) == len(set(names))
        return {entry.filename: entry.CRC for entry in archive.infolist() if not entry.filename.endswith("/RECORD")}


@pytest.fixture(scope="module")
def wheel_folder(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("wheel")


@pytest.fixture(scope="module")
def wheel(checkout: Path, wheel_folder: Path) -> dict[str, int]:
    return build(checkout, wheel_folder, "--wheel")


@pytest.fixture(scope="module")
def fresh_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment that sees the dependencies of this one, but not its fastnas."""
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder)
    python = folder / "bin" / "python"
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder)
    # A path named in a .pth file is searched, but its own .pth files (an editable fastnas) are not read.
    Path(site, "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return python


def install(python: Path, *what: object) -> None:
    pip = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check", "install"]
    run(*pip, "--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--force-reinstall", *what, cwd=ROOT)


def test_wheel_holds_every_file_of_the_packages_once(wheel: dict[str, int]) -> None:
    expected = set()
    for name in repository_files():
        if name.parts[:2] == TRAINING or name.parts[:3] == ROS_PACKAGE:
            continue
        if name.parts[0] in PACKAGES:
            expected.add(f"fastnas/{name}")
        elif name.parts[0] == "fastnas" and not (ROOT / name).is_symlink():
            expected.add(str(name))
    expected -= {f"fastnas/jetson/{own}" for own in ("setup.py", "setup.cfg", "README.md", "MANIFEST.in")}
    assert {name for name in wheel if ".dist-info/" not in name} == expected
    assert {"fastnas/py.typed", *(f"fastnas/{package}/__init__.py" for package in PACKAGES)} <= expected


def test_sdist_builds_the_same_wheel(checkout: Path, wheel: dict[str, int], tmp_path: Path) -> None:
    assert build(checkout, tmp_path) == wheel  # without options: the sdist, then the wheel from it
    assert len(list(tmp_path.glob("*.tar.gz"))) == 1


def test_checkout_whose_links_became_text_builds_the_same_wheel(
    checkout: Path, wheel: dict[str, int], tmp_path: Path
) -> None:
    source = tmp_path / "checkout"
    shutil.copytree(checkout, source, symlinks=True)
    for package in PACKAGES:
        link = source / "fastnas" / package
        target = link.readlink()
        link.unlink()
        link.write_text(str(target))
    assert build(source, tmp_path / "out", "--wheel") == wheel


def test_links_are_relative_and_lead_to_the_rooms() -> None:
    for package in PACKAGES:
        assert (ROOT / "fastnas" / package).readlink() == Path("..", package)


def test_every_import_is_a_declared_dependency(wheel: dict[str, int], wheel_folder: Path) -> None:
    distributions = packages_distributions()
    imported: dict[str, str] = {}
    for name in repository_files():
        if name.parts[0] not in ("fastnas", *PACKAGES) or name.suffix != ".py" or name.name == "setup.py":
            continue
        if name.parts[:2] == TRAINING:
            continue
        for node in ast.walk(ast.parse((ROOT / name).read_text())):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            for module in {module.partition(".")[0] for module in modules} - sys.stdlib_module_names - {"fastnas"}:
                distribution = distributions.get(module, [module])[0]  # an absent extra is called as its module
                imported.setdefault(distribution.lower(), f"{name} imports {module}")
    (built,) = wheel_folder.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        lines = message_from_bytes(archive.read(metadata)).get_all("Requires-Dist", [])
    declared: dict[str, set[str]] = {extra: set() for extra in ("", "cpu", "gpu", "ray")}
    for line in lines:
        requirement = Requirement(line)
        for extra, names in declared.items():
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                names.add(requirement.name)
    assert {what: where for what, where in imported.items() if what not in set().union(*declared.values())} == {}
    unused = declared[""] - set(imported)
    assert not unused, "declared, but nothing imports it"


def test_the_device_half_has_the_same_version() -> None:
    settings = ConfigParser()
    settings.read(ROOT / "jetson" / "setup.cfg")
    assert settings["metadata"]["version"] == fastnas.__version__


def test_uninstalled_checkout_runs(checkout: Path) -> None:
    assert run(sys.executable, "-m", "fastnas", "--version", cwd=checkout).endswith(fastnas.__version__)
    assert Path(run(sys.executable, "-c", IMPORT_ALL, cwd=checkout)).is_relative_to(checkout)


def test_installed_wheel_runs(wheel: dict[str, int], wheel_folder: Path, fresh_python: Path, tmp_path: Path) -> None:
    install(fresh_python, *wheel_folder.glob("*.whl"))
    assert run(fresh_python.with_name("fastnas"), "--version", cwd=tmp_path).endswith(fastnas.__version__)
    assert Path(run(fresh_python, "-c", IMPORT_ALL, cwd=tmp_path)).is_relative_to(fresh_python.parents[1])


def test_editable_install_runs(checkout: Path, fresh_python: Path, tmp_path: Path) -> None:
    source = tmp_path / "checkout"
    shutil.copytree(checkout, source, symlinks=True)
    install(fresh_python, "--editable", source)
    assert run(fresh_python.with_name("fastnas"), "--version", cwd=tmp_path).endswith(fastnas.__version__)
    assert Path(run(fresh_python, "-c", IMPORT_ALL, cwd=tmp_path)).is_relative_to(source)
