"""`fastnas camera` as a real process: signals, viewers, files, and errors in one line."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import cv2
import numpy as np
import pytest

from fastnas.jetson.camera.video import h264
from fastnas.jetson.system.opencv import opencv_has
from tests.helpers import rtsp_server
from tests.helpers.camera_parts import (
    REAL_VIDEO,
    Process,
    ask,
    fake_launcher,
    frames_of,
    port_of,
    wait_running,
    wait_shown,
    watch,
    write_video,
)
from tests.helpers.jetson_toys import TASKS, toy_artifacts
from tests.helpers.waiting import wait_for


@pytest.fixture(scope="module")
def toys(tmp_path_factory):
    return toy_artifacts(tmp_path_factory)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("video") / "a.avi", 60, fps=30.0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly_with_whole_files(toys, tmp_path, number):
    """While it serves a viewer, records into a file, and records for the page."""
    arguments = ["--source", "test://", "--mode", "160x96@30", "--port", 0, "--out", "all.mp4"]
    with Process(tmp_path, toys["segmentation"], *arguments) as camera:
        port = port_of(camera)
        wait_running(port)
        viewer = threading.Thread(target=watch, args=(port, 10**6))
        viewer.start()
        ask(port, "/control", {"recording": True})
        wait_shown(port, 30)
        assert camera.end(number) == 0
        viewer.join(5)
        assert not viewer.is_alive()
        text = camera.text()
    assert "Traceback" not in text
    assert re.search(r"\d+ frames shown, \d+ of \d+ dropped, 0 corrupt; at the end [\d.]+ FPS", text)
    assert re.search(r"share of the time: capture [\d.]+ ms \(\d+%\), pre .*record .*encode .*; the limit is ", text)
    (name,) = os.listdir(str(tmp_path / "captures"))
    assert sorted(os.listdir(str(tmp_path))) == ["all.mp4", "captures", "log"]
    for path in (tmp_path / "all.mp4", tmp_path / "captures" / name):
        frames, _ = frames_of(path)
        assert len(frames) >= 15
        assert frames[0].shape == (96, 160, 3)


def test_a_kill_leaves_nothing_half_written(toys, tmp_path):
    arguments = ["--source", "test://", "--mode", "160x96@30", "--no-web", "--out", "all.mp4", "--codec", "mpeg4"]
    with Process(tmp_path, toys["depth"], *arguments) as camera:
        wait_recorded(tmp_path)
        camera.end(signal.SIGKILL)
    assert not (tmp_path / "all.mp4").exists()
    with Process(tmp_path, toys["depth"], *arguments) as camera:  # which tidies up
        camera.wait_for("removed what was left of .*all.mp4: its recording was cut off")
        wait_recorded(tmp_path)
        assert camera.end() == 0
    assert sorted(os.listdir(str(tmp_path))) == ["all.mp4", "log"]


def wait_recorded(folder):
    """Until something of a recording is on the disk, under whatever name."""
    wait_for(lambda: any(path.name != "log" and path.stat().st_size for path in folder.iterdir()))


def test_a_csi_camera_that_stalls_is_opened_again(toys, tmp_path, monkeypatch):
    """Half a second of frames, then silence without an end, as when the daemon of CSI cameras hangs."""
    if opencv_has("GStreamer"):
        pytest.skip("this OpenCV reads CSI cameras itself, without gst-launch-1.0")
    frames = "for i in 1 2 3 4 5 6 7 8; do head -c {} /dev/zero >&3; sleep 0.05; done\n".format(64 * 48 * 3)
    fake_launcher(tmp_path, "echo $$ >> {}/pids\n{}exec sleep 60\n".format(tmp_path, frames), monkeypatch)
    arguments = ["--source", "csi://0", "--mode", "64x48@20", "--port", 0]
    with Process(tmp_path, toys["depth"], *arguments) as camera:
        camera.wait_for("source: gst-launch-1.0 nvarguscamerasrc sensor-id=0 ")
        camera.wait_for("no frame for 5 s from gst-launch-1.0 .*; trying again until it comes back")
        camera.wait_for("connected again")
        state = ask(port_of(camera), "/statistics")
        assert (state["state"], state["reconnects"]) == ("running", 1)
        assert camera.end() == 0
    first, second = (tmp_path / "pids").read_text().split()
    assert first != second
    assert not os.path.exists("/proc/" + first)


@pytest.mark.skipif(rtsp_server.missing(), reason="needs GStreamer's RTSP server (gir1.2-gst-rtsp-server-1.0)")
def test_a_network_camera_that_goes_away_and_comes_back(toys, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = free.getsockname()[1]
    with rtsp_server.Camera(place) as first:
        with Process(tmp_path, toys["depth"], "--source", first.address, "--port", 0) as camera:
            port = port_of(camera)
            wait_running(port)
            first.end()
            camera.wait_for("no more frames from FFmpeg .*; trying again until it comes back")
            with rtsp_server.Camera(place):
                camera.wait_for("connected again")
                wait_shown(port, 6)
                state = ask(port, "/statistics")
                assert (state["state"], state["reconnects"]) == ("running", 1)
                assert camera.end() == 0
            assert "secret" not in camera.text()


def test_two_cameras_on_one_engine(toys, tmp_path, video):
    """Shown side by side and recorded so, each with its own figures; an engine of each network is opened once."""
    arguments = ["--source", "test://", "--source", video, "--mode", "160x96@30", "--port", 0, "--out", "both.avi"]
    with Process(tmp_path, toys["segmentation"], toys["pose"], *arguments) as camera:
        port = port_of(camera)
        wait_running(port)
        (jpeg, _), *_ = watch(port, 1)
        assert np.shape(cv2.imdecode(np.frombuffer(jpeg, np.uint8), 1)) == (96, 320, 3)
        states = ["running", "ended"]
        wait_for(lambda: [each["state"] for each in ask(port, "/statistics")["cameras"]] == states, 20)
        pattern, file = ask(port, "/statistics")["cameras"]
        assert (pattern["name"], file["name"], file["captured"]) == ("test://", video, 60)
        assert pattern["shown"] > 5
        assert camera.end() == 0
        text = camera.text()
    assert text.count("segmentation: toy-segmentation at ") == 1
    assert re.search(r"test://: \d+ frames shown", text)
    assert "{}: ".format(video) in text
    assert frames_of(tmp_path / "both.avi")[0][0].shape == (96, 320, 3)


@pytest.mark.skipif(h264.encoder() is None, reason="needs GStreamer's x264enc (gstreamer1.0-plugins-ugly)")
def test_a_stream_over_rtsp_without_a_page(toys, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_transport;tcp")
    arguments = ["--source", "test://", "--mode", "160x96@30", "--no-web", "--rtsp", 0]
    with Process(tmp_path, toys["segmentation"], *arguments) as camera:
        url = camera.wait_for(r"play: (rtsp://127\.0\.0\.1:\d+/live)").group(1)
        capture = cv2.VideoCapture(url, cv2.CAP_FFMPEG)
        frames = [capture.read()[1] for _ in range(10)]
        capture.release()
        assert [np.shape(frame) for frame in frames] == [(96, 160, 3)] * 10
        assert camera.end(signal.SIGINT) == 0
        assert "record " in camera.text()  # of the budget


def test_a_file_through_all_tasks_into_a_file(toys, tmp_path, video):
    arguments = ["--source", video, "--every-frame", "--no-web", "--out", "seen.avi"]
    with Process(tmp_path, *(toys[kind] for kind in TASKS), *arguments) as camera:
        assert camera.child.wait(60) == 0, camera.text()
        assert "60 frames shown, 0 of 60 dropped, 0 corrupt" in camera.text()
    frames, fps = frames_of(tmp_path / "seen.avi")
    assert (len(frames), fps) == (60, 30)
    assert frames[0].shape == (192, 160, 3)  # depth below the camera's wide frame


@pytest.mark.parametrize("kinds", [("segmentation", "depth", "pose"), ("multi",)])
def test_the_real_video_with_five_viewers(toys, tmp_path, kinds):
    """Three networks, or one with the same tasks: the page shows all layers, or one of them."""
    if not os.path.exists(REAL_VIDEO):
        pytest.skip("the real video (../shared/data/video/bikes.mp4) is not on this machine")
    with Process(tmp_path, *(toys[kind] for kind in kinds), "--source", REAL_VIDEO, "--loop", "--port", 0) as camera:
        port = port_of(camera)
        wait_running(port)
        results = []
        threads = [threading.Thread(target=lambda: results.append(watch(port, 20))) for _ in range(5)]
        for thread in threads:
            thread.start()
        time.sleep(0.3)
        state = ask(port, "/statistics")
        for thread in threads:
            thread.join(60)
        assert [len(result) for result in results] == [20] * 5
        assert state["viewers"] == 5
        assert state["pipeline"].endswith("bikes.mp4")
        assert state["tasks"] == ["all", "segmentation", "depth", "pose"]
        assert state["camera_fps"] > 1
        assert state["latency_ms"]["p50"] >= state["inference_ms"]["p50"]
        ask(port, "/control", {"task": "depth", "snapshot": True})
        camera.wait_for(r"snapshot captures/\d{8}-\d{6}-\d{3}\.jpg")
        assert camera.end() == 0


def test_memory_is_flat_while_five_watch(toys, tmp_path):
    """Resident memory after ten seconds is that after three, within 8 MB; benchmarks/camera_pipeline.py runs longer."""
    arguments = ["--source", "test://", "--mode", "320x192@60", "--res", "64x96", "--port", 0]
    with Process(tmp_path, toys["segmentation"], *arguments) as camera:
        port = port_of(camera)
        wait_running(port)
        threads = [threading.Thread(target=watch, args=(port, 10**6)) for _ in range(5)]
        for thread in threads:
            thread.start()
        sizes = []
        for seconds in (3, 7):
            time.sleep(seconds)
            ask(port, "/statistics")
            with open("/proc/{}/status".format(camera.child.pid)) as file:
                sizes.append(int(re.findall(r"VmRSS:\s+(\d+)", file.read())[0]) / 1024)
        assert camera.end() == 0
        for thread in threads:
            thread.join(5)
    assert sizes[1] - sizes[0] < 8, sizes


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["--source", "absent.mp4"], 1, "Error: no camera, stream or file 'absent.mp4'"),
        (["--source", "/dev/video97"], 1, "Error: no camera at /dev/video97"),
        (
            ["--source", "rtsp://u:pw@127.0.0.1:9/live"],
            1,
            "Error: cannot open FFmpeg rtsp://127.0.0.1:9/live, over TCP: ",
        ),
        (["--source", "test://", "--mode", "big"], 1, "Error: a camera's mode is like 1280x720"),
        (["--source", "test://", "--loop"], 2, "Error: --loop and --every-frame are for files"),
        (
            ["--source", "test://", "--no-web"],
            2,
            "Error: --no-web without --window, --out or --rtsp would show nothing",
        ),
        (["--source", "test://", "--box", "1,2"], 2, "'1,2' is not X,Y,WIDTH,HEIGHT such as 100,50,80,200"),
        (["--source", "test://", "--engine", "magic"], 2, "'magic' is not one of"),
        (["--source", "test://", "--res", "100", "--port", "0"], 1, "multiples of 32"),
        (["--source", "test://", "--precision", "int8", "--port", "0"], 1, "has no int8 file"),
        (["--source", "test://", "--out", "a.gif"], 1, "the name must end in .avi, .mkv, .mp4"),
        (["--source", "test://", "--address", "203.0.113.7"], 1, "Error: cannot serve on 203.0.113.7 port 8080"),
    ],
)
def test_errors_are_one_line(toys, tmp_path, arguments, code, line):
    with Process(tmp_path, toys["segmentation"], *arguments) as camera:
        assert camera.child.wait(30) == code, camera.text()
        text = camera.text()
    assert line in text
    assert "Traceback" not in text
    assert "WARN" not in text
    assert os.listdir(str(tmp_path)) == ["log"]


def test_the_command_starts_light():
    code = (
        "import sys, fastnas.jetson.commands as c; c.main(['camera', '--help'], standalone_mode=False); "
        "assert not {'numpy', 'cv2', 'onnxruntime', 'http.server'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.returncode == 0, done.stderr.decode()
    assert b"csi://0" in done.stdout
