"""The linters pass, and refuse what the house's rules forbid; modules and folders stay small."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
PACKAGES = ("search", "train", "deploy", "jetson")


def run(*command: object, cwd: Path = ROOT, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in command], cwd=cwd, input=stdin, capture_output=True, text=True)


OLD_NUMPY = pytest.mark.skipif(sys.version_info < (3, 11), reason="the last NumPy for Python 3.10 has other types")


@pytest.mark.parametrize(
    "command",
    [["ruff", "check"], ["ruff", "format", "--check"], pytest.param(["mypy"], marks=OLD_NUMPY), ["lint-imports"]],
    ids=" ".join,
)
def test_linters_pass(command: list[str]) -> None:
    done = run(BIN / command[0], *command[1:])
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_is_not_imported_by_its_folder_name(package: str) -> None:
    ruff = [BIN / "ruff", "check", "--select", "TID251", "--stdin-filename", "fastnas/example.py", "-"]
    assert "TID251" in run(*ruff, stdin=f"from {package} import anything\n").stdout
    assert run(*ruff, stdin=f"from fastnas.{package} import anything\n").returncode == 0


@pytest.mark.parametrize(
    ("importer", "imported", "contract"),
    [
        ("fastnas/errors.py", "fastnas.train", "The core imports no other package"),
        ("train/__init__.py", "fastnas.search", "Packages stand in order"),
        ("train/__init__.py", "fastnas.deploy", "Packages stand in order"),
        ("jetson/__init__.py", "fastnas.errors", "The device half stands alone"),
        ("fastnas/files.py", "fastnas.jetson.engine.base", "The core imports no other package"),
        ("fastnas/errors.py", "fastnas.models.genotype", "No import circles"),
        ("fastnas/tasks/base.py", "fastnas.tasks.registry", "No import circles"),
        ("jetson/engine/base.py", "fastnas.jetson.engine.ort", "No import circles"),
    ],
)
def test_import_against_the_flow_is_refused(tmp_path: Path, importer: str, imported: str, contract: str) -> None:
    for name in ("fastnas", *PACKAGES):
        shutil.copytree(ROOT / name, tmp_path / name, symlinks=True)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / importer).open("a") as file:
        file.write(f"\nimport {imported}\n")
    done = run(BIN / "lint-imports", "--no-cache", cwd=tmp_path)
    assert done.returncode == 1
    assert f"{contract} BROKEN" in done.stdout


LONGEST_MODULE = 350
LARGEST_FOLDER = 14


def product_modules() -> list[Path]:
    """Modules of the core and the packages, without the relative links of the core to the packages."""
    found = [path for name in ("fastnas", *PACKAGES) for path in (ROOT / name).rglob("*.py")]
    return [p for p in found if not any(q.is_symlink() for q in p.parents) and "build" not in p.relative_to(ROOT).parts]


def test_no_product_module_is_longer_than_350_lines() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in product_modules()}
    assert len(lengths) > 100
    assert {name: length for name, length in lengths.items() if length > LONGEST_MODULE} == {}


def test_no_product_folder_has_more_than_14_modules() -> None:
    counts = Counter(str(path.parent.relative_to(ROOT)) for path in product_modules() if path.name != "__init__.py")
    assert {name: count for name, count in counts.items() if count > LARGEST_FOLDER} == {}


def imported(path: Path) -> set[str]:
    """Every module that a file imports, those that may only be names of a module included."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("*.py")), ids=lambda path: path.name)
def test_tests_import_helpers_but_no_test_module(path: Path) -> None:
    assert [name for name in imported(path) if name.startswith("tests.") and ".test_" in name] == []


@pytest.mark.parametrize(
    ("disguise", "line"),
    [
        ("sys.version_info = (3, 9, 18, 'final', 0)", "needs Python 3.10 to 3.13"),
        ("sys.version_info = (3, 14, 0, 'final', 0)", "needs Python 3.10 to 3.13"),
        ("sys.modules['ensurepip'] = None", "cannot make virtual environments"),
    ],
)
def test_make_refuses_an_unfit_python_in_one_line(tmp_path: Path, disguise: str, line: str) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!{sys.executable}\nimport sys\n{disguise}\nexec(sys.argv[2])\n")
    python.chmod(0o755)
    for name in ("Makefile", "pyproject.toml", "setup.py", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    done = run("make", "--silent", "test", f"PYTHON={python}", cwd=tmp_path)
    assert done.returncode == 2
    assert line in done.stderr.splitlines()[0]
    assert "Traceback" not in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_continuous_integration_runs_the_contributors_command() -> None:
    assert (ROOT / ".ci" / "run").read_text().splitlines()[-1] == "make test"
    assert "run: make test" in (ROOT / ".github" / "workflows" / "test.yml").read_text()
