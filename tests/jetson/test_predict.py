"""`fastnas predict`: which inputs, what their results are called, and that a run continues and replaces as it says."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from click.testing import CliRunner

from fastnas.jetson import shelf
from fastnas.jetson.camera.sources import Mode
from fastnas.jetson.commands import main
from fastnas.jetson.errors import JetsonError
from fastnas.jetson.inference.model import load
from fastnas.jetson.inference.predictor import Predictor
from fastnas.jetson.predict.inputs import find_inputs, open_input, unique_names
from fastnas.jetson.system.opencv import import_cv2
from tests.helpers.jetson_toys import MULTI, TASKS, toy_artifacts

cv2 = import_cv2()


@pytest.fixture(scope="module")
def toys(tmp_path_factory):
    return toy_artifacts(tmp_path_factory)


def picture(path, seed=0, size=(48, 64)):
    os.makedirs(os.path.dirname(str(path)), exist_ok=True)
    cv2.imwrite(str(path), np.random.RandomState(seed).randint(0, 256, size + (3,)).astype(np.uint8))
    return str(path)


def ride(path, count=4, size=(48, 64)):
    os.makedirs(os.path.dirname(str(path)), exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, size[::-1])
    for number in range(count):
        writer.write(np.full(size + (3,), 40 * number % 256, np.uint8))
    writer.release()
    return str(path)


@pytest.fixture
def inputs(tmp_path, monkeypatch):
    """A folder with two images and a video of four frames, as the working directory's `in`."""
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("lake.png", "park.jpg", "._park.jpg")):
        picture(tmp_path / "in" / name, number)
    (tmp_path / "in" / "notes.txt").write_text("no image")
    ride(tmp_path / "in" / "ride.avi")
    return "in"


def run(artifact, *words):
    return CliRunner().invoke(main, ("predict", artifact) + words + ("--out", "out", "--engine", "onnxruntime"))


def files(folder="out"):
    found = []
    for place, _, names in os.walk(folder):
        found += [os.path.relpath(os.path.join(place, name), folder) for name in names]
    return sorted(found)


def records():
    with open("out/predictions.jsonl") as file:
        return [json.loads(line) for line in file]


FRAMES = ["ride/{:06d}".format(number) for number in range(4)]


def test_segmentation_of_a_folder(toys, inputs):
    done = run(toys["segmentation"], inputs, "--json")
    assert done.exit_code == 0, done.output
    totals = json.loads(done.output[done.output.index("{") :])
    assert (totals["images"], totals["videos"], totals["frames"]) == (2, 1, 4)
    assert totals["inference_ms"] > 0
    masks = ["masks/{}.png".format(name) for name in ["lake", "park"] + FRAMES]
    assert files() == sorted(
        masks + ["overlays/lake.jpg", "overlays/park.jpg", "overlays/ride.mp4", "predictions.jsonl"]
    )
    header, *lines = records()
    assert header["tasks"]["segmentation"]["classes"] == TASKS["segmentation"]["classes"]
    assert [line["name"] for line in lines] == ["lake", "park", "ride"] + FRAMES + ["ride"]
    assert lines[0]["size"] == [48, 64]
    video = cv2.VideoCapture("out/overlays/ride.mp4")
    assert (video.get(cv2.CAP_PROP_FRAME_COUNT), video.get(cv2.CAP_PROP_FPS)) == (4, 10)


def test_what_is_written_is_what_the_library_gives(toys, inputs):
    assert run(toys["segmentation"], inputs).exit_code == 0
    colours = np.array(TASKS["segmentation"]["colours"], np.uint8)
    with load(toys["segmentation"], engine="onnxruntime") as model:
        wanted = colours[model("in/park.jpg").segmentation]
    np.testing.assert_array_equal(cv2.imread("out/masks/park.png")[..., ::-1], wanted)


def test_depth_of_an_image(toys, inputs):
    assert run(toys["depth"], "in/lake.png", "--no-overlays").exit_code == 0
    assert files() == ["depth/lake.png", "predictions.jsonl"]
    assert cv2.imread("out/depth/lake.png", cv2.IMREAD_UNCHANGED).dtype == np.uint16


def test_a_network_of_several_tasks_writes_all_of_them(toys, inputs):
    assert run(toys[MULTI], "in/lake.png", "in/ride.avi", "--frames", "1").exit_code == 0
    both = ["lake.png", "ride/000000.png"]
    found = ["{}/{}".format(folder, name) for folder in ("depth", "masks") for name in both]
    assert files() == sorted(found + ["joints.json", "overlays/lake.jpg", "overlays/ride.mp4", "predictions.jsonl"])
    header, lake = records()[:2]
    assert sorted(header["tasks"]) == ["depth", "pose", "segmentation"]
    assert len(lake["pose"]) == 3


def test_joints_of_all_inputs_are_in_one_file(toys, inputs):
    assert run(toys["pose"], inputs, "--no-overlays").exit_code == 0
    assert files() == ["joints.json", "predictions.jsonl"]
    with open("out/joints.json") as file:
        found = json.load(file)
    assert [image["file_name"] for image in found["images"]] == ["in/lake.png", "in/park.jpg"] + FRAMES
    assert {person["image_id"] for person in found["annotations"]} <= set(range(1, 7))
    assert found["annotations"]
    before = found
    assert run(toys["pose"], inputs, "--no-overlays").exit_code == 0  # all from the records
    with open("out/joints.json") as file:
        assert json.load(file) == before


def test_a_second_run_leaves_out_what_is_done(toys, inputs):
    assert run(toys["segmentation"], inputs).exit_code == 0
    before = {name: os.stat(os.path.join("out", name)).st_mtime_ns for name in files() if name.startswith("masks")}
    picture("in/more.png", 7)
    picture("in/lake.png", 8)  # changed
    done = run(toys["segmentation"], inputs)
    assert "predicted" not in done.output
    assert "2 images and 0 video frames into out" in done.output
    assert "done before: 2" in done.output
    changed = {
        name for name in files() if name in before and os.stat(os.path.join("out", name)).st_mtime_ns != before[name]
    }
    assert changed == {"masks/lake.png"}
    assert "masks/more.png" in files()


def test_a_video_that_was_cut_off_is_predicted_again_from_its_start(toys, inputs):
    assert run(toys["pose"], "in/ride.avi").exit_code == 0
    with open("out/predictions.jsonl") as file:
        lines = file.read().splitlines(True)
    with open("out/predictions.jsonl", "w") as file:
        file.write("".join(lines[:4]) + lines[4][:9])  # the header, the start, two frames, and a torn line
    done = run(toys["pose"], "in/ride.avi")
    assert "4 video frames" in done.output
    with open("out/joints.json") as file:
        assert [image["file_name"] for image in json.load(file)["images"]] == FRAMES
    assert [line["name"] for line in records()[4:]] == ["ride"] + FRAMES + ["ride"]


def test_other_predictions_are_not_mixed_but_replaced_if_asked(toys, inputs):
    assert run(toys["segmentation"], inputs).exit_code == 0
    done = run(toys["depth"], "in/lake.png")
    assert done.exit_code == 1
    assert "holds predictions that differ in network" in done.output
    assert "--replace" in done.output
    assert run(toys["segmentation"], inputs, "--res", "64").exit_code == 1
    done = run(toys["depth"], "in/lake.png", "--replace")
    assert done.exit_code == 0, done.output
    assert files() == ["depth/lake.png", "overlays/lake.jpg", "predictions.jsonl"]


def test_other_weights_of_the_same_name_are_not_mixed(toys, inputs, tmp_path):
    assert run(toys["segmentation"], "in/lake.png").exit_code == 0
    other = tmp_path / "toy-segmentation"
    shutil.copytree(toys["segmentation"], str(other))
    text = (other / "model.json").read_text()
    (sha,) = [file["sha256"] for file in json.loads(text)["files"]]
    (other / "model.json").write_text(text.replace(sha, "0" * 64))
    assert "holds predictions that differ in weights" in run(str(other), "in/lake.png").output


def test_a_person_is_tracked_within_a_video_and_not_beyond(toys, inputs, monkeypatch):
    seen = []
    reset = Predictor.reset
    call = Predictor.__call__

    def noted_reset(self, box=None):
        seen.append("new scene")
        return reset(self, box)

    def noted_call(self, frame):
        seen.append("frame")
        return call(self, frame)

    monkeypatch.setattr(Predictor, "reset", noted_reset)
    monkeypatch.setattr(Predictor, "__call__", noted_call)
    assert run(toys["pose"], inputs, "--no-overlays").exit_code == 0
    assert seen == ["new scene", "frame"] * 3 + ["frame"] * 3


def test_a_folder_of_other_files_is_left_alone(toys, inputs):
    for words in ((), ("--replace",)):
        done = CliRunner().invoke(main, ("predict", toys["depth"], "in/lake.png", "--out", inputs) + words)
        assert done.exit_code == 1
        assert "in holds other files than predictions" in done.output
    assert files(inputs) == ["._park.jpg", "lake.png", "notes.txt", "park.jpg", "ride.avi"]


def test_two_runs_do_not_share_a_folder(toys, inputs):
    import fcntl

    assert run(toys["segmentation"], "in/lake.png").exit_code == 0
    with open("out/predictions.jsonl") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = run(toys["segmentation"], "in/park.jpg")
    assert done.exit_code == 1
    assert "another process predicts into out" in done.output


def test_frames_limits_videos_and_streams(toys, inputs):
    done = run(toys["segmentation"], "in/ride.avi", "test://", "--mode", "64x48@30", "--frames", "2", "--no-overlays")
    assert done.exit_code == 0, done.output
    masks = ["masks/ride/000000.png", "masks/ride/000001.png", "masks/test/000000.png", "masks/test/000001.png"]
    assert files() == masks + ["predictions.jsonl"]
    done = run(toys["segmentation"], "in/ride.avi", "--no-overlays")  # all of it is more than was done
    assert "4 video frames" in done.output


def test_what_cannot_be_read_is_named_and_left_out(toys, inputs):
    for name in ("broken.jpg", "broken.avi"):
        with open(os.path.join("in", name), "wb") as file:
            file.write(b"\xff\xd8 no image")
    done = run(toys["segmentation"], inputs)
    assert done.exit_code == 1
    assert "left out in/broken.jpg: cannot read in/broken.jpg as an image" in done.output
    assert "left out in/broken.avi: " in done.output
    assert "2 images and 4 video frames into out" in done.output
    assert "not readable: 2" in done.output


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("absent.jpg",), "no camera, stream or file 'absent.jpg'"),
        (("http://x/y",), "no source"),
        (("empty",), "empty has no image and no video"),
    ],
)
def test_an_input_that_is_none_is_one_line(toys, inputs, words, line):
    os.makedirs("empty")
    done = run(toys["segmentation"], *words)
    assert done.exit_code == 1
    assert done.output.startswith("Error: " + line)
    assert done.output.count("\n") == 1
    assert not os.path.exists("out")


def test_a_name_and_what_is_not_here(toys, inputs, tmp_path, monkeypatch):
    shutil.copytree(toys["segmentation"], str(tmp_path / "artifacts" / "street"))
    monkeypatch.setattr(shelf, "folder", lambda: str(tmp_path / "artifacts"))
    monkeypatch.setattr(shelf, "_host", lambda module: None)
    assert run("street", "in/lake.png").exit_code == 0
    assert "fastnas export rooms" in run("rooms", "in/lake.png").output


def test_a_damaged_record_is_one_line(toys, inputs):
    assert run(toys["segmentation"], "in/lake.png").exit_code == 0
    with open("out/predictions.jsonl") as file:
        before = file.read()
    for text in ("[]\n", "{\n", "{}\n", '{"name": "a", "size": [1, 2], "ms": 1, "pose": [1]}\n', '{"name": "a"}\n'):
        with open("out/predictions.jsonl", "w") as file:
            file.write(before + text)
        done = run(toys["segmentation"], "in/lake.png")
        assert done.exit_code == 1
        assert "out/predictions.jsonl, line 3" in done.output
        assert done.output.count("\n") == 1


def test_ctrl_c_ends_after_a_frame_and_the_same_command_continues(toys, inputs):
    ride("in/long.avi", count=2000)
    command = [sys.executable, "-m", "fastnas.jetson", "predict", toys["segmentation"], "in/lake.png", "in/long.avi"]
    command += ["--out", "out", "--engine", "onnxruntime", "--no-overlays"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    while child.poll() is None and not os.path.exists("out/masks/long/000003.png"):
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    output = child.communicate(timeout=60)[0].decode()
    assert child.returncode == 130, output
    assert output.strip().endswith("Interrupted.")
    done = records()
    assert "lake" in [line.get("name") for line in done]
    assert "frames" not in done[-1]
    assert done[-1]["name"].startswith("long/")
    assert "done before: 1" in run(toys["segmentation"], "in/lake.png", "--no-overlays").output


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["a/x.jpg", "a/y.jpg"], ["x", "y"]),
        (["a/x.jpg", "a/x.png", "a/y.jpg"], ["x.jpg", "x.png", "y"]),
        (["a/x.jpg", "b/x.jpg"], ["a/x.jpg", "b/x.jpg"]),
        (["r/a/x.jpg", "s/a/x.jpg", "s/b/x.png"], ["r/a/x.jpg", "s/a/x.jpg", "x.png"]),
        (["a/X.jpg", "b/x.jpg"], ["a/X.jpg", "b/x.jpg"]),
        (["a/x.jpg", "a/x.png", "b/x.jpg.mp4"], ["a/x.jpg", "x.png", "x.jpg.mp4"]),
        (["rtsp-cam", "rtsp-cam"], ["rtsp-cam-0", "rtsp-cam-1"]),
        ([], []),
    ],
)
def test_names_are_short_and_all_different(paths, names):
    assert unique_names(paths) == names


def test_an_input_that_is_given_twice_counts_once(inputs):
    found = find_inputs(["in", "in/lake.png", "./in/lake.png", os.path.abspath("in/ride.avi"), "test://", "test://"])
    assert [given.name for given in found] == ["lake", "park", "ride", "test"]
    assert [given.expected(None) for given in found] == [1, 1, 4, None]
    assert [given.expected(3) for given in found] == [1, 1, 3, 3]


def test_names_of_streams_have_no_password():
    (given,) = find_inputs(["rtsp://user:secret@10.0.0.5:554/stream1"])
    assert given.name == "rtsp-10-0-0-5-554-stream1"
    assert "secret" not in given.source
    assert given.stamp() is None


def test_an_image_is_a_source_of_one_frame(inputs):
    (given,) = find_inputs(["in/lake.png"])
    with open_input(given, Mode()) as source:
        assert np.shape(source.read()) == (48, 64, 3)
        assert source.read() is None
    os.unlink("in/lake.png")
    with pytest.raises(JetsonError, match="cannot read in/lake.png as an image"):
        open_input(given, Mode())


def renamed(artifact, folder, name):
    """The artifact under another name."""
    shutil.copytree(str(artifact), str(folder))
    path = os.path.join(str(folder), "model.json")
    with open(path) as file:
        about = json.load(file)
    with open(path, "w") as file:
        json.dump(dict(about, name=name), file)
    return str(folder)


def test_networks_are_compared_side_by_side(toys, inputs, tmp_path):
    other = renamed(toys["depth"], tmp_path / "other", "other")
    done = run(toys["segmentation"], inputs, "--compare", other, "--json")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    name = load(toys["segmentation"]).name
    assert (report["compared"], [each["out"] for each in report["networks"]]) == (2, ["out/" + name, "out/other"])
    assert [path for path in files() if path.startswith("comparisons")] == [
        "comparisons/lake.jpg", "comparisons/park.jpg"
    ]  # fmt: skip
    image, found = cv2.imread("in/park.jpg"), cv2.imread("out/comparisons/park.jpg")
    drawings = [cv2.imread("out/{}/overlays/park.jpg".format(network)) for network in (name, "other")]
    assert found.shape[1] == image.shape[1] + sum(drawing.shape[1] for drawing in drawings)
    line = found.shape[0] - max(drawing.shape[0] for drawing in drawings)
    shown = found[line : line + image.shape[0], : image.shape[1]]
    assert np.abs(shown.astype(int) - image).mean() < 12  # JPEG's loss


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--no-overlays"], "--compare shows the drawings: leave out --no-overlays"),
        ([], "--compare takes networks of different names"),
    ],
)
def test_what_cannot_be_compared(toys, inputs, words, message):
    done = run(toys["segmentation"], inputs, "--compare", toys["segmentation"], *words)
    assert done.exit_code == 2
    assert message in done.output
