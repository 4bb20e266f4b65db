"""Artifacts by name: those that come with the device half, and what is said about others on a board."""

import os
import shutil

import numpy as np
import pytest
from click.testing import CliRunner

from fastnas.jetson import shelf
from fastnas.jetson.commands import main
from fastnas.jetson.errors import JetsonError
from fastnas.jetson.system.opencv import import_cv2
from tests.helpers.jetson_toys import toy_artifacts

cv2 = import_cv2()


@pytest.fixture(scope="module")
def toys(tmp_path_factory):
    return toy_artifacts(tmp_path_factory)


@pytest.fixture
def board(toys, tmp_path, monkeypatch):
    """A board on which `street` comes with the device half; returns the folder of its artifacts."""
    shutil.copytree(toys["segmentation"], str(tmp_path / "artifacts" / "street"))
    monkeypatch.setattr(shelf, "folder", lambda: str(tmp_path / "artifacts"))
    monkeypatch.setattr(shelf, "_host", lambda module: None)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "artifacts"


def test_a_name_opens_the_artifact_that_comes_with_the_device_half(board):
    assert shelf.shipped() == shelf.available() == ["street"]
    assert shelf.default() == "street"
    assert shelf.open_artifact("street").folder == str(board / "street")


def test_a_folder_opens_as_before_and_a_name_wins_over_a_folder_of_that_name(board, toys):
    assert shelf.open_artifact(toys["pose"]).folder == toys["pose"]
    shutil.copytree(toys["depth"], "street")
    assert shelf.open_artifact("street").sidecar.kinds == ("segmentation",)
    assert shelf.open_artifact(os.path.join(".", "street")).sidecar.kinds == ("depth",)


def test_trio_comes_first(board, toys):
    shutil.copytree(toys["segmentation"], str(board / "trio"))
    assert shelf.available() == ["street", "trio"]
    assert shelf.default() == "trio"


def test_a_name_that_is_not_here_names_the_export_on_a_host_and_the_copy(board):
    with pytest.raises(JetsonError) as error:
        shelf.open_artifact("rooms")
    assert "there are: street" in str(error.value)
    assert "fastnas export rooms" in str(error.value)
    assert "scp -r artifacts/rooms USER@BOARD:" in str(error.value)


def test_another_word_lists_the_names(board):
    with pytest.raises(JetsonError, match="strete is no artifact: .*; networks by name are: street"):
        shelf.open_artifact("strete")
    with pytest.raises(JetsonError, match="is no artifact: it has no model.json"):
        shelf.open_artifact(os.path.join("artifacts", "strete"))


def test_without_any_the_default_says_what_to_give(board):
    shutil.rmtree(str(board / "street"))
    with pytest.raises(JetsonError, match="give the folder of an artifact"):
        shelf.default()


def run(*arguments):
    return CliRunner().invoke(main, arguments)


def frames(folder, count):
    os.makedirs(str(folder))
    for number in range(count):
        cv2.imwrite(os.path.join(str(folder), "{}.png".format(number)), np.full((48, 64, 3), 9 * number, np.uint8))
    return str(folder)


@pytest.mark.parametrize("words", [(), ("street",)], ids=["no artifact", "a name"])
def test_the_camera_runs_by_name_or_without_one(board, tmp_path, words):
    source = frames(tmp_path / "frames", 3)
    options = ("--source", source, "--every-frame", "--no-web", "--out", "seen.avi", "--engine", "onnxruntime")
    done = run("camera", *words + options)
    assert done.exit_code == 0, done.output
    assert "segmentation: toy-segmentation at" in done.output
    assert "3 frames shown" in done.output
    assert os.path.isfile("seen.avi")


def test_the_benchmark_takes_a_name(board):
    options = ("--res", "64", "--passes", "2", "--rounds", "1", "--engine", "onnxruntime", "--json")
    done = run("jetson-bench", "street", *options)
    assert done.exit_code in (0, 3), done.output
    assert '"toy-segmentation"' in done.output


@pytest.mark.parametrize("command", ["camera", "jetson-bench"])
def test_a_command_says_what_is_wrong_with_a_name(board, command):
    done = run(command, "rooms")
    assert done.exit_code == 1
    assert "export it on a host: fastnas export rooms" in done.output
    assert done.output.count("\n") == 1
