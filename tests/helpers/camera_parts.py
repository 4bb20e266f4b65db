"""Parts that the camera's tests share: small videos, sources that misbehave, and the camera as a real process."""

import http.client
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time

import numpy as np

from fastnas.jetson.camera import opencv
from fastnas.jetson.camera.sources import Source, SourceLost
from tests.helpers import paths
from tests.helpers.waiting import wait_for

REAL_VIDEO = os.path.join(os.path.dirname(paths.ROOT), "shared", "data", "video", "bikes.mp4")


def image(number=0, size=(48, 64)):
    """An image whose every pixel is its number."""
    return np.full(size + (3,), number % 250, np.uint8)


def write_video(path, frames=40, size=(96, 160), fps=20.0):
    """A video of a bright square that moves over noise."""
    import cv2

    random = np.random.RandomState(0)
    noise = random.randint(0, 60, size + (3,)).astype(np.uint8)
    codec = cv2.VideoWriter.fourcc(*"MJPG")
    writer = cv2.VideoWriter(str(path), codec, fps, size[::-1])
    assert writer.isOpened()
    for number in range(frames):
        frame = noise.copy()
        frame[20:60, 2 * number : 2 * number + 40] = 230
        writer.write(frame)
    writer.release()
    return str(path)


def fake_launcher(folder, script, monkeypatch):
    """A machine whose OpenCV has no GStreamer, and whose gst-launch-1.0 is a shell script that writes frames to 3.

    It prints as NVIDIA's camera source does.
    """
    path = folder / "gst-launch-1.0"
    path.write_text('#!/bin/sh\nexec 3>"/proc/self/fd/${*##*fd=}"\necho "GST_ARGUS: Creating output stream"\n' + script)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", "{}:{}".format(folder, os.environ["PATH"]))
    monkeypatch.setattr(opencv, "opencv_has", lambda name: False)


class FakeSource(Source):
    """Gives `count` frames at `fps`, then ends, or is lost as a camera is that was unplugged."""

    def __init__(self, count, fps=200.0, lost=False, size=(48, 64), live=True):
        super().__init__("fake", fps, live)
        self.count, self.lost, self.size, self.given, self.closed = count, lost, size, 0, False

    def read(self):
        if self.given == self.count:
            if self.lost:
                raise SourceLost("no more frames from fake")
            return None
        time.sleep(1 / self.fps)
        self.given += 1
        return image(self.given, self.size)

    def close(self):
        self.closed = True


class Process:
    """`fastnas camera` as a real process; its lines are read from a file, so that it never waits for us."""

    def __init__(self, folder, *arguments):
        self._log = open(os.path.join(str(folder), "log"), "w+b")
        environment = dict(os.environ, OMP_NUM_THREADS="1", PYTHONUNBUFFERED="1")
        command = [sys.executable, "-m", "fastnas.jetson", "camera", "--threads", "1"]
        self.child = subprocess.Popen(
            command + [str(word) for word in arguments],
            cwd=str(folder),
            env=environment,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    def text(self):
        with open(self._log.name, "rb") as file:
            return file.read().decode("utf-8", "replace")

    def wait_for(self, pattern, seconds=60):
        """The first match in its lines."""
        due = time.monotonic() + seconds
        while True:
            found = re.search(pattern, self.text())
            if found:
                return found
            assert self.child.poll() is None, self.text()
            assert time.monotonic() < due, "no {!r} in {}".format(pattern, self.text())
            time.sleep(0.05)

    def end(self, number=signal.SIGTERM, seconds=20):
        """Its exit code after a signal."""
        self.child.send_signal(number)
        return self.child.wait(seconds)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait()
        self._log.close()


def port_of(process):
    return int(process.wait_for(r"watch: http://[^:]+:(\d+)/").group(1))


def ask(port, path, changes=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    if changes is None:
        connection.request("GET", path)
    else:
        connection.request("POST", path, json.dumps(changes), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    data = answer.read()
    assert answer.status == 200, data
    return json.loads(data.decode())


def wait_running(port):
    wait_for(lambda: ask(port, "/statistics")["shown"] >= 3, 30)


def wait_shown(port, frames):
    """Until so many more frames were shown."""
    shown = ask(port, "/statistics")["shown"]
    wait_for(lambda: ask(port, "/statistics")["shown"] >= shown + frames, 30)


def frames_of(path):
    import cv2

    capture = cv2.VideoCapture(str(path))
    found = []
    while True:
        read, frame = capture.read()
        if not read:
            return found, capture.get(cv2.CAP_PROP_FPS)
        found.append(frame)


def watch(port, frames, path="/stream.mjpg", headers=""):
    """Read so many frames of the stream; each part's JPEG and age."""
    import cv2

    found = []
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall("GET {} HTTP/1.0\r\nHost: localhost\r\n{}\r\n".format(path, headers).encode())
        file = connection.makefile("rb")
        assert b"200" in file.readline()
        while file.readline().strip():
            pass
        while len(found) < frames:
            line = file.readline()
            if not line:
                return found
            assert line == b"--frame\r\n"
            head = b"".join(iter(file.readline, b"\r\n")).decode()
            data = file.read(int(re.findall(r"Content-Length: (\d+)", head)[0]))
            assert file.readline() == b"\r\n"
            assert cv2.imdecode(np.frombuffer(data, np.uint8), 1) is not None
            found.append((data, float(re.findall(r"X-Age-Ms: ([\d.]+)", head)[0])))
    return found
