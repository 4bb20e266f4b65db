"""A camera whose driver hangs: noticed, told, left behind, and opened again; and all ends all the same."""

import os
import threading
import time
from typing import Any

import pytest

from fastnas.jetson.camera import opencv, reopen, watchdog
from fastnas.jetson.camera.controls import Controls
from fastnas.jetson.camera.pipeline import Pipeline, Sink
from fastnas.jetson.camera.reopen import ReconnectingSource
from fastnas.jetson.camera.sources import Address, Mode, SourceLost
from fastnas.jetson.camera.stats import Statistics
from fastnas.jetson.camera.watchdog import Watchdog
from fastnas.jetson.errors import JetsonError
from fastnas.jetson.inference.predictions import Predictions
from tests.helpers.camera_parts import FakeSource, fake_launcher


class Stalls(FakeSource):
    """After `count` frames its read blocks, until the test lets it go; it notes in which thread it was closed."""

    def __init__(self, count):
        super().__init__(count)
        self.released, self.hanging = threading.Event(), threading.Event()

    def read(self):
        if self.given == self.count:
            self.hanging.set()
            self.released.wait(30)
            return None
        return super().read()

    def close(self):
        super().close()
        self.closed_in = threading.current_thread().name


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(watchdog, "SILENCE", 0.2)
    monkeypatch.setattr(watchdog, "FIRST", 0.4)
    monkeypatch.setattr(watchdog, "CLOSING", 0.05)
    monkeypatch.setattr(reopen, "BACK_OFF", (0.01, 0.05))


def test_a_watched_source_gives_what_it_has_and_ends():
    source = FakeSource(5)
    watched: Any = Watchdog(lambda: source)()
    assert (watched.pipeline, watched.fps) == ("fake", 200.0)
    assert [int(watched.read()[0, 0, 0]) for _ in range(5)] == [1, 2, 3, 4, 5]
    assert watched.read() is None
    watched.close()
    assert source.closed


def test_what_goes_wrong_in_its_thread_is_raised_here():
    def complain():
        raise JetsonError("cannot open fake")

    with pytest.raises(JetsonError, match="cannot open fake"):
        Watchdog(complain)()
    watched = Watchdog(lambda: FakeSource(1, lost=True))()
    watched.read()
    with pytest.raises(SourceLost, match="no more frames from fake"):
        watched.read()


def test_a_stalled_camera_is_lost_and_left_to_its_thread():
    stalled = Stalls(2)
    watched = Watchdog(lambda: stalled)()
    watched.read(), watched.read()
    start = time.monotonic()
    with pytest.raises(SourceLost, match=r"no frame for 0\.2 s from fake"):
        watched.read()
    assert 0.2 <= time.monotonic() - start < 20
    watched.close()
    assert not stalled.closed  # OpenCV does not survive a release beside a read
    stalled.released.set()
    watched.thread.join(5)
    assert stalled.closed_in == "camera"


def test_a_camera_that_never_opens_is_an_error():
    release, late = threading.Event(), FakeSource(5)

    def open_late():
        release.wait(30)
        return late

    opener = Watchdog(open_late)
    with pytest.raises(JetsonError, match=r"was not open after 0\.4 s"):
        opener()
    release.set()
    due = time.monotonic() + 30
    while not late.closed:  # nobody waits for it any more
        assert time.monotonic() < due
        time.sleep(0.01)
    assert late.given == 0


def test_threads_that_hang_are_few():
    """A dead driver is asked for ever, and must not cost a thread each time."""
    made = []

    def reopen():
        made.append(Stalls(0))
        return made[-1]

    opener = Watchdog(reopen)
    for _ in range(watchdog.MAX_HANGING):
        opener().close()
    with pytest.raises(JetsonError, match="the driver hangs"):
        opener()
    made[0].released.set()
    due = time.monotonic() + 30
    while not made[0].closed:
        assert time.monotonic() < due
        time.sleep(0.01)
    time.sleep(0.05)
    opener().close()
    for each in made:
        each.released.set()


class NoPredictor:
    def make_inputs(self, image, kinds):
        return {}

    def __call__(self, image, kinds, camera, inputs):
        return Predictions()

    def close(self):
        pass


class Count(Sink):
    shown = 0

    def show(self, image, captured):
        self.shown += 1


def make(open_source):
    statistics, sink, said = Statistics(), Count(), []
    predictor: Any = NoPredictor()
    line = Pipeline(
        [ReconnectingSource(Watchdog(open_source), statistics, said.append)],
        lambda size: predictor,
        lambda image, predictions, alpha: image,
        [sink],
        Controls(["depth"]),
        statistics,
        say=said.append,
    )
    return line, statistics, sink, said


def test_a_stalled_camera_comes_back(monkeypatch):
    """The reason is on the page and in the terminal; one that opens but gives nothing is not `connected again`."""
    answers = [Stalls(3), Stalls(0), FakeSource(5)]
    made: Any = list(answers)
    line, statistics, sink, said = make(lambda: answers.pop(0))
    line.start()
    while statistics.state != "reconnecting":
        time.sleep(0.01)
    assert "no frame for 0.2 s from fake; trying again in 0.01 s" in statistics.message
    assert line.wait(20)
    line.join()
    assert said == ["no frame for 0.2 s from fake; trying again until it comes back", "connected again"]
    assert statistics.reconnects == 1
    assert statistics.captured == 8
    assert sink.shown > 0
    for each in made[:2]:
        each.released.set()


def test_a_stalled_camera_does_not_keep_us_from_ending(monkeypatch):
    monkeypatch.setattr(watchdog, "SILENCE", 30.0)
    stalled = Stalls(1)
    line, _, _, _ = make(lambda: stalled)
    line.start()
    assert stalled.hanging.wait(5)
    start = time.monotonic()
    line.stop()
    line.join()
    assert time.monotonic() - start < 20
    assert not line._threads[0].is_alive()  # it closed what can be closed: no process of GStreamer's stays
    stalled.released.set()


def test_a_silent_csi_pipeline_is_killed(tmp_path, monkeypatch):
    """A process can be ended, so its camera is free at once, even where it does not listen to SIGINT."""
    script = "trap '' INT\necho $$ > {}/pid\nwhile :; do sleep 0.1; done\n"
    fake_launcher(tmp_path, script.format(tmp_path), monkeypatch)
    watched = Watchdog(lambda: opencv.open_source(Address("csi", "csi://0"), Mode()))()
    with pytest.raises(SourceLost, match=r"no frame for 0\.4 s from gst-launch-1\.0 nvarguscamerasrc"):
        watched.read()
    watched.close()
    watched.thread.join(5)
    assert not watched.thread.is_alive()
    assert not os.path.exists("/proc/{}".format((tmp_path / "pid").read_text().strip()))


def test_a_driver_that_waits_before_each_failure_is_given_up_soon(monkeypatch):
    """V4L2 in OpenCV waits ten seconds for each frame; ten of those are more than a minute."""
    monkeypatch.setattr(opencv, "SILENCE", 0.1)

    class Slow:
        reads = 0

        def isOpened(self):  # noqa: N802 - OpenCV's name
            return True

        def get(self, name):
            return 30.0

        def read(self):
            self.reads += 1
            time.sleep(0.08)
            return False, None

    slow = Slow()
    with pytest.raises(SourceLost):
        opencv.Capture(slow, "V4L2 /dev/video0", "v4l2").read()
    assert slow.reads == 2
