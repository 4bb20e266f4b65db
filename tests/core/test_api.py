"""The library's face: the names, that each is there, and that asking for none costs nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

import fastnas

NAMES = [
    "ZOO", "Counts", "Decoder", "Depth", "Encoder", "FastnasError", "Genotype", "Model", "ModelSpec", "Network",
    "Pose", "Segmentation", "add_encoder", "add_operation", "build", "count", "load", "load_model", "make_encoder",
    "open_dataset", "save_model",
]  # fmt: skip


def test_the_names_are_frozen() -> None:
    assert fastnas.__all__ == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_there_and_documented(name: str) -> None:
    value = getattr(fastnas, name)
    assert name == "ZOO" or value.__doc__


def test_another_name_is_not() -> None:
    with pytest.raises(AttributeError, match="no attribute 'torch'"):
        fastnas.torch  # noqa: B018


def test_the_import_alone_is_light() -> None:
    code = "import sys, fastnas; sys.exit(bool({'torch', 'numpy', 'click'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_example_of_the_docstring() -> None:
    genotype = fastnas.Genotype.parse(str(fastnas.ZOO["arch0"]))
    data = fastnas.open_dataset("synthetic")
    network = fastnas.build(fastnas.ModelSpec(str(genotype), data.task))
    # 10 classes fewer than in the paper's table, 577 parameters each.
    assert fastnas.count(network, (512, 512)).parameters == 2_626_645 - 10 * 577
