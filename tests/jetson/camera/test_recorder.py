"""Recordings play at the speed of their capture; a full disk ends them, and what was recorded is kept."""

import os
import shutil
import subprocess
import sys
import types
from typing import Any

import numpy as np
import pytest

from fastnas.jetson.camera import recorder
from fastnas.jetson.camera.controls import Controls
from fastnas.jetson.camera.recorder import Captures, DiskFull, Recording, Video, recover
from fastnas.jetson.errors import JetsonError
from tests.helpers.camera_parts import frames_of, image


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv"])
def test_a_recording_plays(tmp_path, suffix):
    video = Video(str(tmp_path / ("a" + suffix)), 10.0)
    for number in range(20):
        video.write(image(10 * number), number / 10)
    assert not (tmp_path / ("a" + suffix)).exists()
    assert video.close() == str(tmp_path / ("a" + suffix))
    frames, fps = frames_of(tmp_path / ("a" + suffix))
    assert len(frames) == 20
    assert fps == pytest.approx(10)
    assert [abs(int(frame.mean()) - 10 * number) < 8 for number, frame in enumerate(frames)] == [True] * 20
    assert os.listdir(str(tmp_path)) == ["a" + suffix]


def test_slow_and_fast_frames_play_at_the_speed_of_their_capture(tmp_path):
    for name, count, rate in (("slow", 6, 3.0), ("fast", 60, 30.0)):
        video = Video(str(tmp_path / (name + ".avi")), 10.0)
        for number in range(count):
            video.write(image(number), 100 + number / rate)
        video.close()
        frames, _ = frames_of(tmp_path / (name + ".avi"))
        assert abs(len(frames) - 10 * (count - 1) / rate - 1) <= 1, name


def test_with_every_frame_each_is_one_frame(tmp_path):
    video = Video(str(tmp_path / "a.avi"), 10.0, every_frame=True)
    for number in range(30):
        video.write(image(number), number * 0.4)
    video.close()
    assert len(frames_of(tmp_path / "a.avi")[0]) == 30


def test_a_pause_is_cut_out(tmp_path):
    video = Video(str(tmp_path / "a.avi"), 10.0)
    for when in (0.0, 0.1, 0.2, 60.2, 60.3):
        video.write(image(1), when)
    video.close()
    assert len(frames_of(tmp_path / "a.avi")[0]) == 5


def test_images_of_another_size_are_fitted(tmp_path):
    video = Video(str(tmp_path / "a.avi"), 10.0, every_frame=True)
    for size in ((49, 65), (48, 128), (200, 64), (1, 1)):
        video.write(image(200, size), 0.0)
    video.close()
    frames, _ = frames_of(tmp_path / "a.avi")
    assert [frame.shape for frame in frames] == [(48, 64, 3)] * 4
    assert frames[1][2, 32].max() < 30  # bars above and below
    assert frames[1][24, 32].min() > 170


def test_names_and_folders_that_cannot_be_recorded(tmp_path):
    with pytest.raises(JetsonError, match=r"the name must end in \.avi, \.mkv, \.mp4"):
        Video(str(tmp_path / "a.gif"), 10.0)
    (tmp_path / "file").write_text("")
    with pytest.raises(JetsonError, match="cannot record into"):
        Video(str(tmp_path / "file" / "a.mp4"), 10.0)


def test_a_recording_without_frames_is_no_file(tmp_path):
    assert Video(str(tmp_path / "a.mp4"), 10.0).close() is None
    assert os.listdir(str(tmp_path)) == []


@pytest.fixture
def small_disk(tmp_path):
    """A real file system of 24 MB, where we may mount one."""
    folder = str(tmp_path / "disk")
    os.makedirs(folder)
    mounted = shutil.which("mount") and subprocess.call(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", folder], stderr=subprocess.DEVNULL
    )
    if mounted != 0:
        pytest.skip("a small file system can only be mounted by root")
    yield folder
    subprocess.check_call(["umount", folder])


def test_a_full_disk_ends_a_recording_and_keeps_it(small_disk, monkeypatch):
    """On a real full disk: what was recorded plays, and nothing else is left."""
    monkeypatch.setattr(recorder, "RESERVE", 4 << 20)
    said = []
    sink = Recording(os.path.join(small_disk, "a.avi"), 25.0, True, said.append)
    random = np.random.RandomState(0)
    noise = random.randint(0, 256, (240, 320, 3)).astype(np.uint8)

    def fill():
        for number in range(10000):
            sink.show(noise, number / 25)

    with pytest.raises(DiskFull, match=r"the disk of .* is full \(\d MB left\)"):
        fill()
    sink.close()
    assert os.listdir(small_disk) == ["a.avi"]
    assert said == ["wrote {} (MJPG)".format(os.path.join(small_disk, "a.avi"))]
    frames, _ = frames_of(os.path.join(small_disk, "a.avi"))
    assert len(frames) > 50


def test_a_recording_that_the_disk_damaged_is_not_kept(small_disk, monkeypatch):
    """Somebody else fills the disk between two looks at it."""
    monkeypatch.setattr(recorder, "RESERVE", 0)
    monkeypatch.setattr(recorder, "CHECK_EVERY", 1e9)
    with open(os.path.join(small_disk, "other"), "wb") as file:
        file.write(b"0" * (24 << 20))
    video = Video(os.path.join(small_disk, "a.mp4"), 25.0, True)
    noise = np.random.RandomState(0).randint(0, 256, (240, 320, 3)).astype(np.uint8)

    def record():
        for number in range(50):
            video.write(noise, number / 25)
        video.close()

    with pytest.raises(JetsonError, match="cannot write|damaged"):
        record()
    assert os.listdir(small_disk) == ["other"]


def test_a_full_disk_ends_a_recording_of_the_page_but_not_the_camera(tmp_path, monkeypatch):
    controls, said = Controls(["pose"]), []
    sink = Captures(str(tmp_path / "captures"), 10.0, controls, said.append)
    controls.apply({"recording": True})
    for number in range(10):
        sink.show(image(number), number / 10)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: types.SimpleNamespace(free=1 << 20))
    for number in range(10, 30):
        sink.show(image(number), number / 10)
    assert not controls.recording
    assert "is full (1 MB left)" in said[0]
    (name,) = os.listdir(str(tmp_path / "captures"))
    assert said[1] == "recorded " + str(tmp_path / "captures" / name)
    assert 10 <= len(frames_of(tmp_path / "captures" / name)[0]) <= 16
    controls.apply({"snapshot": True})
    sink.show(image(1), 4.0)
    assert "is full" in said[2]
    assert os.listdir(str(tmp_path / "captures")) == [name]


def test_snapshots_and_recordings_of_the_page(tmp_path):
    import cv2

    controls, said = Controls(["pose"]), []
    sink = Captures(str(tmp_path / "captures"), 10.0, controls, said.append)
    sink.show(image(50), 0.0)
    assert not (tmp_path / "captures").exists()
    controls.apply({"snapshot": True})
    sink.show(image(120), 0.1)
    sink.show(image(180), 0.2)  # a request is taken once
    (name,) = os.listdir(str(tmp_path / "captures"))
    saved: Any = cv2.imread(str(tmp_path / "captures" / name))
    assert abs(int(saved.mean()) - 120) < 3
    controls.apply({"recording": True})
    sink.show(image(1), 0.3)
    sink.show(image(2), 0.4)
    sink.close()  # the camera ends while it records
    assert sorted(os.path.splitext(each)[1] for each in os.listdir(str(tmp_path / "captures"))) == [".jpg", ".mp4"]
    assert said[0].startswith("snapshot ")
    assert said[1].startswith("recorded ")


RECORD = """
import sys, time
import numpy as np
from fastnas.jetson.camera.recorder import Video

video = Video(sys.argv[1], 25.0, every_frame=True)
for number in range(200):
    video.write(np.random.RandomState(number).randint(0, 256, (240, 320, 3)).astype(np.uint8), number / 25)
print("recording", flush=True)
time.sleep(60)
"""


def record_and(path, meanwhile=lambda: None):
    """A real process that records, and is killed in the middle of it."""
    child = subprocess.Popen([sys.executable, "-c", RECORD, str(path)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"recording\n"
    meanwhile()
    child.kill()
    child.wait()
    child.stdout.close()


def test_what_a_killed_recording_leaves_is_kept_if_it_plays(tmp_path):
    finished = {}
    for name in ("ride.avi", "ride-recovered.avi", ".part-notes"):
        (tmp_path / name).write_bytes(b"the user's own " + name.encode())
        finished[name] = (tmp_path / name).read_bytes()
    said = []

    def start_another():  # it leaves a running recording alone
        recover(str(tmp_path), said.append)
        assert said == []
        assert len(os.listdir(str(tmp_path))) == 4

    record_and(tmp_path / "ride.avi", start_another)
    recover(str(tmp_path), said.append)
    kept = tmp_path / "ride-recovered-2.avi"
    assert said == ["kept {}: its recording was cut off, but it plays".format(kept)]
    assert len(frames_of(kept)[0]) > 100
    assert sorted(os.listdir(str(tmp_path))) == sorted([*finished, kept.name])
    assert {name: (tmp_path / name).read_bytes() for name in finished} == finished


def test_what_a_killed_recording_leaves_goes_if_it_does_not_play(tmp_path):
    """The index of an MP4 is written at its end."""
    said = []
    record_and(tmp_path / "ride.mp4")
    (left,) = os.listdir(str(tmp_path))
    assert left.startswith(".part-")
    recover(str(tmp_path), said.append)
    assert os.listdir(str(tmp_path)) == []
    assert said == [
        "removed what was left of {}: its recording was cut off, and does not play".format(tmp_path / "ride.mp4")
    ]
    recover(str(tmp_path / "absent"), said.append)
