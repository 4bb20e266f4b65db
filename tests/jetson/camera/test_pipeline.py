"""Three threads and queues of one: nothing waits for what is old, nothing is lost that should not be, all ends."""

import threading
import time

import numpy as np
import pytest

from fastnas.jetson.camera import pipeline as room
from fastnas.jetson.camera.controls import Controls
from fastnas.jetson.camera.pipeline import Feed, Pipeline, Sink, Slot
from fastnas.jetson.camera.stats import Figures, percentiles
from fastnas.jetson.errors import JetsonError
from fastnas.jetson.inference.predictions import Predictions
from tests.helpers.camera_parts import FakeSource


class Collect(Sink):
    """Keeps which pictures were shown, and how old they were."""

    def __init__(self):
        self.numbers, self.ages, self.closed, self.threads = [], [], False, set()

    def show(self, picture, captured):
        self.numbers.append(int(picture[0, 0, 0]))
        self.ages.append(time.monotonic() - captured)
        self.threads.add(threading.get_ident())

    def close(self):
        self.closed = True


class Networks:
    """Networks that take their time; they note the thread of every call."""

    def __init__(self, seconds=0.0, fail_at=None):
        self.seconds, self.fail_at = seconds, fail_at
        self.runs, self.closed, self.threads = 0, False, set()

    def open(self, size):
        self.size = size
        self.threads.add(threading.get_ident())
        return self

    def __call__(self, picture, kinds):
        self.runs += 1
        self.threads.add(threading.get_ident())
        if self.runs == self.fail_at:
            raise JetsonError("TensorRT refused to run toy")
        time.sleep(self.seconds)
        return Predictions(milliseconds=self.seconds * 1000)

    def close(self):
        self.closed = True
        self.threads.add(threading.get_ident())


def make(open_source, networks, live=True, draw=lambda picture, seen, alpha: picture, **feed):
    sink, figures, controls = Collect(), Figures(), Controls(["segmentation"])
    line = Pipeline(Feed(open_source, live, **feed), networks.open, draw, [sink], controls, figures)
    return line, sink, figures, controls


def run(line, seconds=20):
    line.start()
    assert line.wait(seconds), "the pipeline did not end"
    line.join()


def test_a_slot_keeps_the_newest():
    slot = Slot(False, threading.Event())
    assert [slot.put(number) for number in (1, 2, 3)] == [False, True, True]
    assert slot.take() == 3
    assert slot.take(0.01) is None
    slot.put(4)
    slot.close()
    assert not slot.done
    assert slot.take() == 4
    assert slot.done


def test_a_slot_that_waits_loses_nothing_and_lets_go_when_all_stops():
    stop = threading.Event()
    slot, taken = Slot(True, stop), []
    thread = threading.Thread(target=lambda: [slot.put(number) for number in range(50)])
    thread.start()
    while len(taken) < 50:
        taken.append(slot.take(5))
    thread.join(5)
    assert taken == list(range(50))
    slot.put(1)
    thread = threading.Thread(target=slot.put, args=(2,))
    thread.start()
    stop.set()
    thread.join(5)
    assert not thread.is_alive()


def test_slow_networks_see_the_present():
    """A camera five times faster than the networks: most pictures are dropped, and what is shown is never old."""
    source, networks = FakeSource(200, fps=100.0), Networks(0.05)
    line, sink, figures, _ = make(lambda: source, networks)
    run(line)
    assert figures.captured == 200
    assert figures.shown == len(sink.numbers)
    assert figures.dropped == 200 - figures.shown
    assert 20 <= networks.runs <= 60
    assert sink.numbers == sorted(sink.numbers)
    # Latency is at most the wait for a running pass, the pass itself, and two frame times.
    assert np.median(sink.ages) < 0.05 + 0.05 + 2 / 100
    assert sink.ages[-1] < 3 * np.median(sink.ages)
    assert figures.snapshot()["inference_ms"]["p50"] == pytest.approx(50, abs=1)


def test_slow_drawing_loses_no_count():
    """What the networks saw but nobody drew was dropped too."""

    def draw(picture, seen, alpha):
        time.sleep(0.02)
        return picture

    networks = Networks()
    line, sink, figures, _ = make(lambda: FakeSource(100, fps=200.0), networks, draw=draw)
    run(line)
    assert networks.runs > len(sink.numbers)
    assert figures.shown + figures.dropped == figures.captured == 100


def test_every_picture_of_a_file_when_asked():
    source = FakeSource(40, fps=1000.0)
    line, sink, figures, _ = make(lambda: source, Networks(0.005), live=False, every=True)
    run(line)
    assert sink.numbers == list(range(1, 41))
    assert figures.dropped == 0
    assert source.closed


def test_a_file_plays_at_its_own_speed():
    class Steady(FakeSource):
        def read(self):
            self.given += 1
            return np.zeros((8, 8, 3), np.uint8) if self.given <= 20 else None

    line, _, figures, _ = make(lambda: Steady(20, fps=40.0), Networks(), live=False)
    start = time.monotonic()
    run(line)
    assert 0.45 <= time.monotonic() - start < 3
    assert figures.captured == 20


def test_a_file_begins_again():
    opened = []

    def reopen():
        opened.append(FakeSource(5, fps=500.0))
        return opened[-1]

    line, sink, _, _ = make(reopen, Networks(), live=False, every=True, loop=True)
    line.start()
    while len(sink.numbers) < 12:
        time.sleep(0.01)
    line.stop()
    line.join()
    assert sink.numbers[:12] == [1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 1, 2]
    assert all(source.closed for source in opened)


def test_an_unplugged_camera_comes_back(monkeypatch):
    """It is closed, opened again with a growing back-off that does not end, and the networks stay open."""
    monkeypatch.setattr(room, "BACK_OFF", (0.01, 0.02, 0.04))
    lost, back = FakeSource(5, lost=True), FakeSource(5)
    answers, times = [lost, None, None, None, None, back], []

    def reopen():
        times.append(time.monotonic())
        source = answers.pop(0)
        if source is None:
            raise JetsonError("cannot open fake")
        return source

    networks = Networks()
    line, sink, figures, _ = make(reopen, networks)
    run(line)
    assert not answers
    assert lost.closed
    assert back.closed
    assert figures.reconnects == 1
    assert len(networks.threads) == 1
    assert set(sink.numbers) <= {1, 2, 3, 4, 5}
    pauses = np.diff(times[1:])
    assert (pauses > [0.02, 0.04, 0.04, 0.04]).all()


def test_a_lost_camera_does_not_keep_us_from_ending(monkeypatch):
    monkeypatch.setattr(room, "BACK_OFF", (60.0,))
    line, sink, figures, _ = make(lambda: FakeSource(3, lost=True), Networks())
    line.start()
    while figures.state != "reconnecting":
        time.sleep(0.01)
    assert "trying again in 60 s" in figures.message
    start = time.monotonic()
    line.stop()
    line.join()
    assert time.monotonic() - start < 2
    assert sink.closed


def test_a_camera_that_hangs_does_not_keep_us_from_ending(monkeypatch):
    monkeypatch.setattr(room, "HANG", 0.1)
    release = threading.Event()

    class Hangs(FakeSource):
        def read(self):
            release.wait(20)

    line, sink, _, _ = make(lambda: Hangs(1), Networks())
    line.start()
    line.stop()
    line.join()
    assert sink.closed
    release.set()


def test_an_engine_that_is_being_built_does_not_keep_us_from_ending(monkeypatch):
    """A build takes minutes, and Ctrl-C or `docker stop` is not to wait for it."""
    monkeypatch.setattr(room, "HANG", 0.1)
    building, release, networks = threading.Event(), threading.Event(), Networks()

    def build(size):
        building.set()
        release.wait(20)
        return networks

    monkeypatch.setattr(networks, "open", build)
    line, sink, _, _ = make(lambda: FakeSource(10000), networks)
    line.start()
    assert building.wait(5)
    start = time.monotonic()
    line.stop()
    line.join()
    assert time.monotonic() - start < 5
    assert sink.closed
    release.set()


@pytest.mark.parametrize("fails", ["open", "run", "draw", "show"])
def test_what_fails_ends_all_and_is_raised(fails, monkeypatch):
    networks = Networks(fail_at=3 if fails == "run" else None)
    source = FakeSource(10000)

    def complain(*arguments):
        raise JetsonError("it failed")

    if fails == "open":
        monkeypatch.setattr(networks, "open", complain)
    line, sink, _, _ = make(lambda: source, networks, draw=complain if fails == "draw" else lambda p, s, a: p)
    if fails == "show":
        monkeypatch.setattr(sink, "show", complain)
    line.start()
    assert line.wait(10)
    with pytest.raises(JetsonError, match="TensorRT refused|it failed"):
        line.join()
    assert sink.closed
    assert source.closed
    assert networks.closed == (fails != "open")


def test_a_sink_that_fails_to_close_keeps_no_other_from_it():
    """A recording on a full disk, say, beside the page and another recording."""

    class Stubborn(Collect):
        def close(self):
            raise JetsonError("cannot write ride.mp4")

    sinks, said = [Stubborn(), Collect(), Stubborn(), Collect()], []
    networks = Networks()
    source = FakeSource(5)
    line = Pipeline(
        Feed(lambda: source, True),
        networks.open,
        lambda picture, seen, alpha: picture,
        sinks,
        Controls(["depth"]),
        Figures(),
        said.append,
    )
    line.start()
    assert line.wait(10)
    with pytest.raises(JetsonError, match=r"cannot write ride\.mp4"):
        line.join()
    assert sinks[1].closed
    assert sinks[3].closed
    assert said == ["JetsonError: cannot write ride.mp4"]


def test_one_thread_owns_the_engines():
    networks = Networks()
    line, sink, _, _ = make(lambda: FakeSource(20), networks)
    run(line)
    assert networks.closed
    assert len(networks.threads) == 1
    assert threading.get_ident() not in networks.threads
    assert not networks.threads & sink.threads
    assert networks.size == (48, 64)


def test_a_paused_picture_obeys_the_slider():
    drawn = []

    def draw(picture, seen, alpha):
        drawn.append((int(picture[0, 0, 0]), alpha))
        return picture

    line, _, figures, controls = make(lambda: FakeSource(100000), Networks(), draw=draw)
    line.start()
    while not drawn:
        time.sleep(0.01)
    controls.apply({"paused": True})
    time.sleep(0.3)  # what was on its way arrives
    still, count = drawn[-1], len(drawn)
    captured = figures.captured
    controls.apply({"alpha": 0.25})
    while len(drawn) == count:
        time.sleep(0.01)
    assert drawn[-1] == (still[0], 0.25)
    while figures.captured < captured + 5:  # the camera is read on, so that it is awake when we go on
        time.sleep(0.01)
    controls.apply({"paused": False})
    while drawn[-1][0] == still[0]:
        time.sleep(0.01)
    line.stop()
    line.join()


def test_memory_stays_flat():
    """Frames of 300 kB, 3000 of them: what stays is a few of them."""
    import tracemalloc

    line, _, figures, _ = make(lambda: FakeSource(3000, fps=1e5, size=(240, 416)), Networks())
    line.start()
    while figures.captured < 500:
        time.sleep(0.01)
    tracemalloc.start()
    while figures.captured < 600:
        time.sleep(0.01)
    before = tracemalloc.get_traced_memory()[0]
    line.wait(30)
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    line.join()
    assert after - before < 2e6


def test_figures_that_are_not_known_are_absent_not_zero():
    figures = Figures().snapshot()
    assert figures["latency_ms"] is None
    assert figures["inference_fps"] is None
    assert figures["shown_fps"] == 0


def test_percentiles_are_of_the_nearest_rank():
    assert percentiles([float(value) for value in range(1, 101)]) == {"p50": 50, "p90": 90, "p99": 99}
    assert percentiles([7.0]) == {"p50": 7, "p90": 7, "p99": 7}
    assert percentiles([]) is None


@pytest.mark.parametrize(
    "wishes",
    [
        {},
        [],
        "pause",
        {"tasks": 1},
        {"task": "depth"},
        {"alpha": 1.5},
        {"alpha": "high"},
        {"alpha": float("nan")},
        {"paused": 1},
        {"paused": True, "alpha": -1},
    ],
)
def test_a_control_that_cannot_be_changes_nothing(wishes):
    controls = Controls(["segmentation"])
    before = controls.snapshot()
    with pytest.raises(JetsonError):
        controls.apply(wishes)
    assert controls.snapshot() == before


def test_tasks_can_be_chosen_one_or_all():
    controls = Controls(["segmentation", "pose"])
    assert controls.tasks == ("all", "segmentation", "pose")
    assert controls.active() == ("segmentation", "pose")
    controls.apply({"task": "pose"})
    assert controls.active() == ("pose",)
