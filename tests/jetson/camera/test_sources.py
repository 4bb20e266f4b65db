"""One grammar of sources: what it takes and refuses, and what each does when frames are corrupt or stop."""

import os
import shutil
import signal
import socket
import sys
import time
from typing import Any

import numpy as np
import pytest

from fastnas.jetson.camera import gstreamer, opencv, sources
from fastnas.jetson.camera.opencv import open_source, rtsp_options
from fastnas.jetson.camera.sources import Address, Mode, SourceLost, parse_address, parse_mode
from fastnas.jetson.errors import JetsonError
from tests.helpers.camera_parts import REAL_VIDEO, fake_launcher, image, write_video


def read_all(source):
    frames = []
    while True:
        found = source.read()
        if found is None:
            source.close()
            return frames
        frames.append(found)


def test_the_grammar(tmp_path):
    video = tmp_path / "a.mp4"
    video.write_bytes(b"")
    assert parse_address("rtsp://user:secret@host:554/live").kind == "rtsp"
    assert parse_address("csi://1") == ("csi", "csi://1")
    assert parse_address("test://").live
    assert parse_address(str(video)) == ("file", str(video))
    assert parse_address(str(tmp_path)) == ("folder", str(tmp_path))
    assert not parse_address(str(video)).live


def test_a_password_is_not_shown():
    address = parse_address("rtsp://user:secret@host:554/live")
    assert str(address) == "rtsp://host:554/live"
    with pytest.raises(JetsonError) as error:
        open_source(parse_address("rtsp://user:secret@127.0.0.1:9/live"), Mode())
    assert "secret" not in str(error.value)
    assert "127.0.0.1:9" in str(error.value)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("csi://front", "no source 'csi://front'"),
        ("rtsp://", "no source"),
        ("ftp://host/a", "no source"),
        ("test://fast", "no source"),
        ("/dev/video97", "no camera at /dev/video97"),
        ("97", "no camera at /dev/video97"),
        ("absent.mp4", "no camera, stream or file 'absent.mp4'"),
    ],
)
def test_what_is_no_source(text, line):
    with pytest.raises(JetsonError) as error:
        parse_address(text)
    assert line in str(error.value)
    assert "\n" not in str(error.value)


def test_modes():
    assert parse_mode("640x480") == (640, 480, 30)
    assert parse_mode("1920x1080@60") == (1920, 1080, 60)
    for text in ("640", "640x", "0x480", "640x480@0", "640x480@", "axb"):
        with pytest.raises(JetsonError):
            parse_mode(text)


def test_a_video_gives_each_of_its_frames_once(tmp_path):
    source: Any = open_source(parse_address(write_video(tmp_path / "a.avi", 30)), Mode())
    assert source.fps == 20
    frames = read_all(source)
    assert len(frames) == 30
    edges = [int(np.argmax(each[40, :, 0] > 150)) for each in frames]
    assert all(abs(edge - 2 * number) <= 2 for number, edge in enumerate(edges))


def test_the_real_video():
    if not os.path.exists(REAL_VIDEO):
        pytest.skip("the real video (../shared/data/video/bikes.mp4) is not on this machine")
    frames = read_all(open_source(parse_address(REAL_VIDEO), Mode()))
    assert len(frames) == 250
    assert frames[0].shape == (272, 640, 3)


def test_a_damaged_video_gives_what_can_be_read(tmp_path):
    path = write_video(tmp_path / "a.avi", 30)
    with open(path, "r+b") as file:
        data = bytearray(file.read())
        middle = len(data) // 2
        data[middle : middle + 3000] = os.urandom(3000)
        file.seek(0)
        file.write(data)
    frames = read_all(open_source(parse_address(path), Mode()))
    assert 15 <= len(frames) <= 30
    assert all(each.shape == (96, 160, 3) for each in frames)


def test_a_file_that_is_no_video_is_refused(tmp_path):
    path = tmp_path / "notes.mp4"
    path.write_text("nothing to see")
    with pytest.raises(JetsonError, match="cannot open"):
        open_source(parse_address(str(path)), Mode())


def test_a_folder_in_the_order_of_names_without_what_is_corrupt(tmp_path):
    import cv2

    for number in (3, 1, 2):
        cv2.imwrite(str(tmp_path / "{}.png".format(number)), image(number))
    (tmp_path / "1b.jpg").write_bytes(b"\xff\xd8 not an image")
    (tmp_path / "._2.png").write_bytes(b"\0\5\x16\7")
    (tmp_path / "notes.txt").write_text("")
    source: Any = open_source(parse_address(str(tmp_path)), Mode())
    assert [int(each[0, 0, 0]) for each in read_all(source)] == [1, 2, 3]
    assert source.corrupt == 1


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(JetsonError, match="has no image"):
        open_source(parse_address(str(tmp_path)), Mode())


def test_the_pattern_moves_at_its_rate():
    source: Any = open_source(parse_address("test://"), Mode(160, 96, 50.0))
    start = time.monotonic()
    frames = [source.read() for _ in range(20)]
    assert 0.35 <= time.monotonic() - start < 20
    assert frames[0].shape == (96, 160, 3)
    assert not np.array_equal(frames[0], frames[-1])


class Unplugged:
    """A V4L2 camera whose cable is pulled after three frames, one of them empty."""

    def __init__(self):
        self.answers = [(True, image(1)), (True, np.empty((0, 0, 3), np.uint8)), (True, image(2))]

    def isOpened(self):  # noqa: N802 - OpenCV's name
        return True

    def get(self, name):
        return 30.0

    def read(self):
        return self.answers.pop(0) if self.answers else (False, None)

    def release(self):
        self.answers = []


def test_an_unplugged_camera_is_lost_and_a_corrupt_frame_is_counted():
    source: Any = opencv.Capture(Unplugged(), "V4L2 /dev/video0", "v4l2")
    assert [int(source.read()[0, 0, 0]) for _ in range(2)] == [1, 2]
    assert source.corrupt == 1
    with pytest.raises(SourceLost, match="no more frames from V4L2 /dev/video0"):
        source.read()


def test_a_raw_sensor_is_refused_with_the_address_that_works(monkeypatch):
    """A CSI camera's /dev/video0 gives a Bayer pattern, which OpenCV shows as noise or not at all."""
    monkeypatch.setattr(sources, "is_raw_sensor", lambda device: device == "/dev/null")
    with pytest.raises(JetsonError, match="/dev/null is the raw sensor of a CSI camera.*try --source csi://0"):
        parse_address("/dev/null")
    assert parse_address("/dev/zero").kind == "v4l2"


def test_the_pipeline_of_a_csi_camera():
    text = gstreamer.argus_pipeline(1, Mode(1920, 1080, 30.0))
    assert text.startswith("nvarguscamerasrc sensor-id=1 ! video/x-raw(memory:NVMM),width=1920,height=1080,")
    assert "framerate=30/1,format=NV12" in text
    assert text.endswith("video/x-raw,format=BGR")


def test_a_csi_camera_without_gstreamer_in_opencv(tmp_path, monkeypatch):
    """The pipeline runs in a process of its own; what it said last is the reason when it ends."""
    script = (
        'echo "$@" > {0}/asked\nhead -c {1} /dev/zero >&3\nhead -c 100 /dev/zero >&3\n'
        'echo "nvarguscamerasrc: no cameras available" >&2\n'
    )
    fake_launcher(tmp_path, script.format(tmp_path, 2 * 32 * 24 * 3), monkeypatch)
    source: Any = open_source(parse_address("csi://0"), Mode(32, 24, 30.0))
    assert [source.read().shape for _ in range(2)] == [(24, 32, 3)] * 2
    with pytest.raises(SourceLost, match="no cameras available"):
        source.read()
    source.close()
    assert (tmp_path / "asked").read_text().startswith("-q nvarguscamerasrc sensor-id=0 ! video/x-raw(memory:NVMM)")


def test_closing_ends_the_process_of_a_csi_camera(tmp_path, monkeypatch):
    fake_launcher(tmp_path, "echo $$ > {}/pid\nexec sleep 60\n".format(tmp_path), monkeypatch)
    source: Any = open_source(parse_address("csi://0"), Mode())
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text().strip():
        time.sleep(0.01)
    source.close()
    assert not os.path.exists("/proc/{}".format((tmp_path / "pid").read_text().strip()))


SAYS_ITS_SIGNAL = """
import signal, sys, time
def end(number, frame):
    open("{0}/signal", "w").write(str(number))
    sys.exit()
signal.signal(signal.SIGINT, end), signal.signal(signal.SIGTERM, end)
open("{0}/ready", "w").close()
time.sleep(60)
"""


@pytest.mark.parametrize("end", ["close", "interrupt"])
def test_a_csi_camera_is_ended_as_by_ctrl_c(tmp_path, monkeypatch, end):
    """At SIGTERM gst-launch leaves Argus's session open, and the daemon hangs."""
    (tmp_path / "launch.py").write_text(SAYS_ITS_SIGNAL.format(tmp_path))
    fake_launcher(tmp_path, "exec {} {}/launch.py\n".format(sys.executable, tmp_path), monkeypatch)
    monkeypatch.setattr(gstreamer.GStreamerProcess, "_end", patient(gstreamer.GStreamerProcess._end))
    source: Any = open_source(parse_address("csi://0"), Mode())
    while not (tmp_path / "ready").exists():
        time.sleep(0.01)
    getattr(source, end)()
    assert (tmp_path / "signal").read_text() == str(int(signal.SIGINT))
    source.close()


def patient(end):
    """The same with more time, for a machine that is busy."""
    return lambda source, seconds: end(source, 20)


@pytest.mark.skipif(shutil.which("gst-launch-1.0") is not None, reason="gst-launch-1.0 is on this machine")
def test_without_any_gstreamer_the_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr(opencv, "opencv_has", lambda name: False)
    with pytest.raises(JetsonError, match="apt-get install gstreamer1.0-tools"):
        open_source(parse_address("csi://0"), Mode())


@pytest.mark.parametrize(
    ("avformat", "name"),
    [
        ("57.83.100", "stimeout"),  # FFmpeg 3.4 of JetPack 4
        ("58.76.100", "stimeout"),  # 4.4 of JetPack 6
        ("59.27.100", "timeout"),  # 5.1, of OpenCV's wheels
    ],
)
def test_a_silent_stream_times_out_by_the_name_that_its_ffmpeg_knows(avformat, name):
    """In FFmpeg 4 and before `timeout` means to wait for somebody to call, and no camera does."""
    build = "    FFMPEG:                      YES\n      avformat:                  YES ({})\n".format(avformat)
    assert rtsp_options(build) == "rtsp_transport;tcp|{};5000000".format(name)


def test_a_silent_network_camera_is_called_and_given_up(monkeypatch):
    """With this OpenCV's own FFmpeg, of whichever version: it must call, not wait for a call."""
    monkeypatch.setenv("OPENCV_FFMPEG_CAPTURE_OPTIONS", "")
    monkeypatch.delenv("OPENCV_FFMPEG_CAPTURE_OPTIONS")
    monkeypatch.setattr(opencv, "SILENCE", 1.0)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(1)
        server.settimeout(10)
        address = parse_address("rtsp://127.0.0.1:{}/live".format(server.getsockname()[1]))
        start = time.monotonic()
        with pytest.raises(JetsonError, match="cannot open FFmpeg"):
            open_source(address, Mode())
        assert 0.8 <= time.monotonic() - start < 8
        server.accept()[0].close()  # fails where nobody called


class Opened:
    """What OpenCV opened: notes with which words."""

    asked: Any = None

    def __init__(self, *words):
        Opened.asked = words

    def isOpened(self):  # noqa: N802 - OpenCV's name
        return True

    def get(self, name):
        return 25.0


def test_a_network_camera_is_decoded_by_the_boards_hardware(monkeypatch):
    import cv2

    monkeypatch.setattr(cv2, "VideoCapture", Opened)
    monkeypatch.setattr(opencv, "opencv_has", lambda name: True)
    address = parse_address('rtsp://user:se"cret@host:554/live?a=1')
    monkeypatch.setattr(gstreamer, "has_element", lambda name: name == "nvv4l2decoder")
    shown = open_source(address, Mode()).pipeline
    text, backend = Opened.asked
    assert backend == cv2.CAP_GSTREAMER
    assert text.startswith('rtspsrc location="rtsp://user:se%22cret@host:554/live?a=1" protocols=tcp ')
    assert " ! parsebin ! nvv4l2decoder ! nvvidconv ! video/x-raw,format=BGRx ! videoconvert ! " in text
    assert text.endswith("video/x-raw,format=BGR ! appsink drop=true max-buffers=1 sync=false")
    assert shown == "GStreamer " + text.replace("user:se%22cret@", "")

    monkeypatch.setattr(gstreamer, "has_element", lambda name: False)  # a PC
    shown = open_source(address, Mode()).pipeline
    assert Opened.asked == (address.value, cv2.CAP_FFMPEG)
    assert shown == "FFmpeg rtsp://host:554/live?a=1, over TCP"


def test_an_element_is_there_if_gstreamer_says_so(tmp_path, monkeypatch):
    path = tmp_path / "gst-inspect-1.0"
    path.write_text('#!/bin/sh\n[ "$*" = "--exists nvv4l2decoder" ]\n')
    path.chmod(0o755)
    monkeypatch.setenv("PATH", "{}:/bin".format(tmp_path))
    assert gstreamer.has_element("nvv4l2decoder")
    assert not gstreamer.has_element("omxh264dec")
    monkeypatch.setenv("PATH", "/nowhere")
    assert not gstreamer.has_element("nvv4l2decoder")


def test_a_camera_that_takes_another_mode_says_which(monkeypatch):
    """Asked for 1280x720 in JPEG, a plain camera gives 640x480 in YUYV: the page must not claim otherwise."""
    import cv2

    given = {
        cv2.CAP_PROP_FRAME_WIDTH: 640.0,
        cv2.CAP_PROP_FRAME_HEIGHT: 480.0,
        cv2.CAP_PROP_FPS: 15.0,
        cv2.CAP_PROP_FOURCC: float(cv2.VideoWriter.fourcc(*"YUYV")),
    }

    class Plain:
        def __init__(self, *device):
            pass

        def set(self, name, value):
            return False

        def get(self, name):
            return given[name]

        def isOpened(self):
            return True

    monkeypatch.setattr(cv2, "VideoCapture", Plain)
    source = open_source(Address("v4l2", "/dev/video7"), Mode())
    assert (source.pipeline, source.fps) == ("V4L2 /dev/video7 640x480, YUYV", 15.0)
