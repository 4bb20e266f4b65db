"""H.264 by a real GStreamer: recordings, also of killed processes, and RTSP with real players."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import cv2
import numpy as np
import pytest

from fastnas.jetson.camera.recorder import Video, recover
from fastnas.jetson.camera.video import h264, viewer
from fastnas.jetson.camera.video.pace import Pace
from fastnas.jetson.camera.video.rtsp import Stream, begins_key_frame
from fastnas.jetson.errors import JetsonError
from tests.helpers.camera_parts import frames_of, image
from tests.helpers.waiting import wait_for

NEEDED = pytest.mark.skipif(h264.encoder() is None, reason="needs GStreamer's x264enc (gstreamer1.0-plugins-ugly)")


@pytest.fixture
def anew():
    """The encoder is looked for again, here and after the test."""
    h264.encoder.cache_clear()
    yield
    h264.encoder.cache_clear()


def scripts(folder, monkeypatch, **texts):
    """A machine whose programs are these shell scripts and nothing else."""
    for name, text in texts.items():
        path = folder / name.replace("_", "-")
        path.with_name(path.name + "-1.0").write_text("#!/bin/sh\n" + text)
        path.with_name(path.name + "-1.0").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


def fourcc(path):
    capture = cv2.VideoCapture(str(path))
    code = int(capture.get(cv2.CAP_PROP_FOURCC))
    return "".join(chr(code >> shift & 127) for shift in (0, 8, 16, 24)).lower()


@NEEDED
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_recording_in_h264_plays_whatever_its_name(tmp_path, suffix):
    name = 'it\'s a "name" ! fakesink {fd} location=x' + suffix
    video = Video(str(tmp_path / name), 10.0, codec="h264")
    for number in range(20):
        video.write(image(10 * number, (49, 65)), number / 10)
    assert video.close() == str(tmp_path / name)
    assert os.listdir(str(tmp_path)) == [name]
    frames, fps = frames_of(tmp_path / name)
    assert (len(frames), fps) == (20, pytest.approx(10))
    assert frames[0].shape == (48, 64, 3)
    assert max(abs(int(frame.mean()) - 10 * number) for number, frame in enumerate(frames)) < 8
    assert fourcc(tmp_path / name) in ("h264", "avc1")


@NEEDED
def test_colours_stay(tmp_path):
    bars = np.zeros((96, 192, 3), np.uint8)
    colours = [(200, 40, 40), (40, 200, 40), (40, 40, 200), (128, 64, 128)]
    for number, colour in enumerate(colours):
        bars[:, 48 * number : 48 * number + 48] = colour
    video = Video(str(tmp_path / "a.mp4"), 10.0, codec="auto")
    for number in range(10):
        video.write(bars, number / 10)
    assert video.codec.startswith("H.264 by ")
    video.close()
    last = frames_of(tmp_path / "a.mp4")[0][-1]
    for number, colour in enumerate(colours):
        assert np.abs(last[48, 48 * number + 24].astype(int) - colour).max() < 12


RECORD = """
import sys, time
import numpy as np
from fastnas.jetson.camera.recorder import Video

video = Video(sys.argv[1], 25.0, every_frame=True, codec="h264")
for number in range(100):
    video.write(np.full((240, 320, 3), number, np.uint8), number / 25)
print("recording", flush=True)
time.sleep(60)
"""


@NEEDED
def test_a_recording_of_a_killed_process_is_whole(tmp_path):
    """The encoder outlives it and writes the index of the file, which the next camera finds."""
    child = subprocess.Popen([sys.executable, "-c", RECORD, str(tmp_path / "ride.mp4")], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"recording\n"
    child.kill()
    child.communicate()
    time.sleep(1)
    said = []
    recover(str(tmp_path), said.append)
    assert said == ["kept {}: its recording was cut off, but it plays".format(tmp_path / "ride-recovered.mp4")]
    assert len(frames_of(tmp_path / "ride-recovered.mp4")[0]) == 100


@NEEDED
def test_ctrl_c_of_the_terminal_is_not_for_the_encoder(tmp_path):
    """It goes to all processes of the terminal's group."""
    end = 'try:\n    print("recording", flush=True)\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    video.close()'
    code = RECORD.partition("print(")[0] + end
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "ride.mp4")], stdout=subprocess.PIPE, start_new_session=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"recording\n"
    os.killpg(child.pid, signal.SIGINT)
    child.communicate()
    assert child.returncode == 0
    assert len(frames_of(tmp_path / "ride.mp4")[0]) == 100


@NEEDED
def test_an_encoder_that_fails_is_one_line_and_no_file(tmp_path, monkeypatch):
    monkeypatch.setitem(h264.ENCODERS, h264.encoder(), "identity error-after=5 ! x264enc")
    video = Video(str(tmp_path / "a.mp4"), 10.0, codec="h264")

    def record():
        for number in range(200):
            video.write(image(number, (480, 640)), number / 10)

    with pytest.raises(JetsonError, match="the encoder .* ended: ERROR.*Failed after iterations as requested") as error:
        record()
    assert "\n" not in str(error.value)
    with pytest.raises(JetsonError, match=r"a\.mp4 is removed: the encoder .* ended: ERROR"):
        video.close()
    assert os.listdir(str(tmp_path)) == []


def test_an_encoder_that_hangs_is_given_up(tmp_path, monkeypatch, anew):
    scripts(
        tmp_path,
        monkeypatch,
        gst_inspect="exit 0\n",
        gst_launch='case "$*" in *fakesink) exit;; esac\nexec /bin/sleep 30\n',
    )
    monkeypatch.setattr(h264, "HANG", 0.2)
    assert h264.encoder() == "nvv4l2h264enc"
    (tmp_path / "a.mp4").touch()
    encoder = h264.file_encoder("nvv4l2h264enc", str(tmp_path / "a.mp4"), (1080, 1920), 30)
    start = time.monotonic()
    with pytest.raises(JetsonError, match=r"nvv4l2h264enc hangs: it took no image for 0\.2 s"):
        encoder.write(np.zeros((1080, 1920, 3), np.uint8), 2)
    encoder.kill()
    assert time.monotonic() - start < 20  # the encoder would stay for thirty


@NEEDED
def test_hardware_that_does_not_encode_is_not_taken(tmp_path, monkeypatch, anew):
    """An Orin Nano has the element, and no encoder behind it."""
    scripts(tmp_path, monkeypatch, gst_inspect="exit 0\n")
    os.symlink(
        shutil.which("gst-launch-1.0", path=os.defpath) or "/usr/bin/gst-launch-1.0", str(tmp_path / "gst-launch-1.0")
    )
    assert h264.encoder() in ("x264enc", "openh264enc")


def test_without_an_encoder_it_is_mpeg4_or_one_line(tmp_path, monkeypatch, anew):
    monkeypatch.setenv("PATH", str(tmp_path))
    video = Video(str(tmp_path / "a.mp4"), 10.0, codec="auto")
    assert video.codec == "mp4v"
    video.write(image(50), 0.0)
    video.close()
    assert len(frames_of(tmp_path / "a.mp4")[0]) == 1
    with pytest.raises(JetsonError, match="no H.264 encoder here; run: sudo apt-get install"):
        Video(str(tmp_path / "b.mp4"), 10.0, codec="h264")
    with pytest.raises(JetsonError, match="no H.264 encoder here"):
        Stream("127.0.0.1", 0, 10.0, 2, print)
    with pytest.raises(JetsonError, match=r"H.264 is for \.mp4 and \.mkv"):
        Video(str(tmp_path / "b.avi"), 10.0, codec="h264")


def test_the_pace():
    pace = Pace(10.0)
    assert [pace.due(when) for when in (5.0, 5.1, 5.14, 5.3, 65.3, 65.4)] == [1, 1, 0, 2, 1, 1]
    assert [Pace(10.0, every_frame=True).due(when) for when in (0.0, 9.0)] == [1, 1]


@contextmanager
def streaming(viewers=2, size=(96, 160)):
    """A stream of a grey of 150, asked and shown as the drawing thread does."""
    said, stop = [], threading.Event()
    with Stream("127.0.0.1", 0, 25.0, viewers, said.append) as stream:

        def draw():
            while not stop.is_set():
                if stream.wants():
                    stream.show(image(150, size), time.monotonic())
                time.sleep(0.02)
            stream.close()

        thread = threading.Thread(target=draw)
        thread.start()
        try:
            yield stream, said
        finally:
            stop.set()
            thread.join()


def play(url, frames=10):
    """The frames that FFmpeg, OpenCV's, gets."""
    os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = "rtsp_transport;tcp|timeout;5000000|stimeout;5000000"
    capture = cv2.VideoCapture(url, cv2.CAP_FFMPEG)
    found = [capture.read()[1] for _ in range(frames)]
    capture.release()
    return [frame for frame in found if frame is not None]


def ask(url, *requests):
    """What is answered to raw requests on one connection, until it is closed or silent."""
    host, port = re.findall(r"//([^:/]+):(\d+)", url)[0]
    with socket.create_connection((host, int(port)), 5) as connection:
        for request in requests:
            connection.sendall(request)
        connection.settimeout(0.2)
        found = b""
        try:
            while True:
                piece = connection.recv(4096)
                if not piece:
                    return found.decode() + "CLOSED"
                found += piece
        except socket.timeout:
            return found.decode()


def request(method, url, number=1, **headers):
    lines = ["{} {} RTSP/1.0".format(method, url), "CSeq: {}".format(number)]
    return "\r\n".join(lines + ["{}: {}".format(*item) for item in headers.items()] + ["", ""]).encode()


@NEEDED
def test_ffmpeg_plays_it_and_nothing_is_encoded_otherwise():
    with streaming() as (stream, said):
        time.sleep(0.2)
        assert stream._encoder is None
        for _ in range(2):  # a second time as well
            frames = play(stream.url())
            assert len(frames) == 10
            assert frames[-1].shape == (96, 160, 3)
            assert abs(int(frames[-1].mean()) - 150) < 5
            wait_for(lambda: stream._encoder is None and not stream.wants())
    assert said == []


@NEEDED
def test_gstreamer_plays_it_beside_another():
    """It asks for UDP at first, as most players do."""
    with streaming() as (stream, _):
        other = threading.Thread(target=play, args=(stream.url(), 40))
        other.start()
        command = "gst-launch-1.0 -q rtspsrc location={} ! rtph264depay ! h264parse ! fakesink num-buffers=20"
        done = subprocess.run(
            command.format(stream.url()).split(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=20
        )
        assert done.returncode == 0, done.stdout.decode()
        other.join()


def test_a_viewer_that_reads_nothing_delays_nobody_and_goes_on_at_a_key_frame(monkeypatch):
    monkeypatch.setattr(viewer, "MOST_WAITING", 50000)
    here, there = socket.socketpair()
    lazy = viewer.Viewer(here, lambda *arguments: viewer.Response(200), lambda viewer: None)
    lazy.channel, lazy.playing = 4, True
    lazy.start()
    start = time.monotonic()
    for number in range(3000):
        lazy.send_packet(number.to_bytes(4, "big") + bytes(996), key=number % 100 == 50)
    assert time.monotonic() - start < 2
    assert lazy._bytes <= 51004
    there.settimeout(1)
    data, numbers = b"", []
    while data or len(numbers) < 50 or lazy._bytes:
        while len(data) < 1004:
            data += there.recv(1 << 16)
        assert data[:4] == b"$\x04\x03\xe8"
        numbers.append(int.from_bytes(data[4:8], "big"))
        data = data[1004:]
    for number in (2951, 3050):  # it reads now, so it gets the next key frame
        lazy.send_packet(number.to_bytes(4, "big") + bytes(996), key=number == 3050)
    numbers.append(int.from_bytes(there.recv(1004)[4:8], "big"))
    there.close()
    gaps = [after for before, after in zip(numbers, numbers[1:]) if after != before + 1]
    assert numbers[0] == 50
    assert gaps
    assert all(number % 100 == 50 for number in gaps)


@NEEDED
def test_what_is_answered(monkeypatch):
    with streaming(viewers=1) as (stream, _):
        url = stream.url()
        assert url.startswith("rtsp://127.0.0.1:")
        assert url.endswith("/live")
        assert "Public: OPTIONS, DESCRIBE" in ask(url, request("OPTIONS", "*"))
        assert "a=rtpmap:96 H264/90000" in ask(url, request("DESCRIBE", url, 7))
        assert "CSeq: 7\r\n" in ask(url, request("DESCRIBE", url, 7))
        for strange in ("/", "/other", "/live2/track", "/../live", "/liv\u00e9"):
            assert "RTSP/1.0 404" in ask(url, request("DESCRIBE", url.replace("/live", strange)))
        assert "RTSP/1.0 461" in ask(url, request("SETUP", url, Transport="RTP/AVP;unicast;client_port=5000-5001"))
        assert "RTSP/1.0 455" in ask(url, request("PLAY", url))
        assert "RTSP/1.0 501" in ask(url, request("RECORD", url))
        gone = ask(url, b"$\x01\x00\x04abcd" + request("TEARDOWN", url))  # behind a packet of RTCP
        assert "RTSP/1.0 200" in gone
        assert gone.endswith("CLOSED")
        for garbage in (b"GET / HTTP/1.1\r\n\r\n", b"PLAY\r\n\r\n", b"\0\xff\r\n\r\n", request("PLAY", url, -1)):
            answer = ask(url, garbage)
            assert answer.startswith("RTSP/1.0 400")
            assert answer.endswith("CLOSED")
        assert ask(url, b"x" * 40000) in ("", "CLOSED")
        assert len(play(url, 3)) == 3
        wait_for(lambda: not stream._here())


@NEEDED
def test_viewers_beyond_the_limit_are_told_so():
    with streaming(viewers=1) as (stream, _):
        url = stream.url()
        setup = request("SETUP", url, Transport="RTP/AVP/TCP;interleaved=0-1")
        host, port = re.findall(r"//([^:/]+):(\d+)", url)[0]
        with socket.create_connection((host, int(port)), 5) as first:
            first.sendall(setup + request("PLAY", url, 2))
            wait_for(stream.wants)
            assert "RTSP/1.0 453" in ask(url, setup, request("PLAY", url, 2))
        wait_for(lambda: not stream.wants())


@NEEDED
def test_on_other_addresses_the_path_is_a_secret():
    with Stream("0.0.0.0", 0, 25.0, 2, print) as stream:
        path = stream.url().rpartition("/")[2]
        assert len(path) >= 20
        local = "rtsp://127.0.0.1:{}/".format(stream._listener.getsockname()[1])
        assert "RTSP/1.0 404" in ask(local, request("DESCRIBE", local + "live"))
        assert "RTSP/1.0 200" in ask(local, request("DESCRIBE", local + path))


@NEEDED
def test_clients_that_send_nothing_are_dropped(monkeypatch):
    monkeypatch.setattr(viewer, "REQUEST_SECONDS", 1.0)
    with streaming() as (stream, _):
        host, port = re.findall(r"//([^:/]+):(\d+)", stream.url())[0]
        with socket.create_connection((host, int(port)), 5) as silent:
            silent.settimeout(5)
            assert silent.recv(1) == b""


@NEEDED
def test_an_encoder_that_fails_ends_the_stream_not_the_camera(monkeypatch):
    with streaming() as (stream, said):
        monkeypatch.setattr(stream, "_fps", 25.0)
        monkeypatch.setitem(h264.ENCODERS, stream._name, "identity error-after=5 ! x264enc")
        assert len(play(stream.url(), 5)) < 5
        wait_for(lambda: said)
        assert re.match("the encoder .* ended: ERROR", said[0])
        wait_for(lambda: not stream.wants())


def test_a_key_frame_begins_with_its_parameters():
    head = bytes(12)
    assert begins_key_frame(head + bytes([0x67]))
    assert begins_key_frame(head + bytes([0x78, 0, 9, 0x67]))
    assert not begins_key_frame(head + bytes([0x65]))
    assert not begins_key_frame(head + bytes([0x61, 7, 7, 7]))
    assert not begins_key_frame(b"")
