"""Three threads and queues of one frame: no backlog, nothing is lost that should not be, and all threads end."""

import threading
import time

import numpy as np
import pytest

from fastnas.jetson.camera import pipeline as module
from fastnas.jetson.camera import reopen
from fastnas.jetson.camera.budget import describe, limit
from fastnas.jetson.camera.controls import Controls
from fastnas.jetson.camera.frame_queue import FrameQueue
from fastnas.jetson.camera.mosaic import side_by_side
from fastnas.jetson.camera.pipeline import Pipeline, Sink
from fastnas.jetson.camera.reopen import LoopingSource, ReconnectingSource
from fastnas.jetson.camera.stats import Statistics, percentiles
from fastnas.jetson.errors import JetsonError
from fastnas.jetson.inference.predictions import Predictions
from tests.helpers.camera_parts import FakeSource, image
from tests.helpers.waiting import wait_for


class Collect(Sink):
    """Keeps which images were shown, and how old they were."""

    def __init__(self):
        self.numbers, self.ages, self.closed, self.threads = [], [], False, set()

    def show(self, image, captured):
        self.numbers.append(int(image[0, 0, 0]))
        self.ages.append(time.monotonic() - captured)
        self.threads.add(threading.get_ident())

    def close(self):
        self.closed = True


class SlowPredictor:
    """A predictor that takes its time, and keeps the thread of every call."""

    def __init__(self, seconds=0.0, fail_at=None):
        self.seconds, self.fail_at = seconds, fail_at
        self.runs, self.closed, self.threads, self.cameras = 0, False, set(), []

    def open(self, size):
        self.size = size
        self.threads.add(threading.get_ident())
        return self

    def make_inputs(self, image, kinds):
        return {0: image}

    def __call__(self, image, kinds, camera, inputs):
        assert inputs == {} or inputs[0] is image
        self.runs += 1
        self.cameras.append(camera)
        self.threads.add(threading.get_ident())
        if self.runs == self.fail_at:
            raise JetsonError("TensorRT refused to run toy")
        time.sleep(self.seconds)
        return Predictions(milliseconds=self.seconds * 1000)

    def close(self):
        self.closed = True
        self.threads.add(threading.get_ident())


def make(source, predictor, draw=lambda image, predictions, alpha: image, every_frame=False, statistics=None):
    sink, statistics, controls = Collect(), statistics or Statistics(), Controls(["segmentation"])
    line = Pipeline([source], predictor.open, draw, [sink], controls, statistics, every_frame)
    return line, sink, statistics, controls


def run(line, seconds=20):
    line.start()
    assert line.wait(seconds), "the pipeline did not end"
    line.join()


def test_put_latest_drops_the_older_item():
    queue = FrameQueue(threading.Event())
    assert [queue.put_latest(number) for number in (1, 2, 3)] == [False, True, True]
    assert queue.take() == 3
    assert queue.take(0.01) is None
    queue.put(4)
    queue.close()
    assert not queue.done
    assert queue.take() == 4
    assert queue.done


def test_put_waits_until_the_queue_is_empty_or_all_stops():
    stop = threading.Event()
    queue, taken = FrameQueue(stop), []
    thread = threading.Thread(target=lambda: list(map(queue.put, range(50))))
    thread.start()
    while len(taken) < 50:
        taken.append(queue.take(5))
    thread.join(5)
    assert taken == list(range(50))
    queue.put(1)
    thread = threading.Thread(target=queue.put, args=(2,))
    thread.start()
    stop.set()
    thread.join(5)
    assert not thread.is_alive()


def test_slow_predictor_see_the_present():
    """A camera five times faster than the networks: most frames are dropped, and what is shown is never old."""
    source, predictor = FakeSource(200, fps=100.0), SlowPredictor(0.05)
    line, sink, statistics, _ = make(source, predictor)
    run(line)
    assert statistics.captured == 200
    assert statistics.shown == len(sink.numbers)
    assert statistics.dropped == 200 - statistics.shown
    assert 5 <= predictor.runs <= 100
    assert sink.numbers == sorted(sink.numbers)
    # At most the wait for a running pass, the pass itself, and two frame times: 0.12 s, and more on a busy machine.
    # If frames waited for their turn, the last of them would be eight seconds old, and that in the middle four.
    assert np.median(sink.ages) < 1
    assert sink.ages[-1] < 2
    assert statistics.snapshot()["inference_ms"]["p50"] == pytest.approx(50, abs=1)


def test_slow_drawing_loses_no_count():
    """Predictions that were not drawn count as dropped frames too."""

    def draw(image, predictions, alpha):
        time.sleep(0.02)
        return image

    predictor = SlowPredictor()
    line, sink, statistics, _ = make(FakeSource(100, fps=200.0), predictor, draw=draw)
    run(line)
    assert predictor.runs > len(sink.numbers)
    assert statistics.shown + statistics.dropped == statistics.captured == 100


def test_every_frame_of_a_file_when_asked():
    source = FakeSource(40, fps=1000.0, live=False)
    line, sink, statistics, _ = make(source, SlowPredictor(0.005), every_frame=True)
    run(line)
    assert sink.numbers == list(range(1, 41))
    assert statistics.dropped == 0
    assert source.closed


def test_a_file_plays_at_its_own_speed():
    class Steady(FakeSource):
        def read(self):
            self.given += 1
            return np.zeros((8, 8, 3), np.uint8) if self.given <= 20 else None

    line, _, statistics, _ = make(Steady(20, fps=40.0, live=False), SlowPredictor())
    start = time.monotonic()
    run(line)
    assert 0.45 <= time.monotonic() - start < 20
    assert statistics.captured == 20


def test_a_file_in_a_loop_starts_again():
    opened = []

    def open_file():
        opened.append(FakeSource(5, fps=500.0, live=False))
        opened[-1].corrupt = 1
        return opened[-1]

    line, sink, statistics, _ = make(LoopingSource(open_file), SlowPredictor(), every_frame=True)
    line.start()
    while len(sink.numbers) < 12:
        time.sleep(0.01)
    line.stop()
    line.join()
    assert sink.numbers[:12] == [1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 1, 2]
    assert all(source.closed for source in opened)
    assert statistics.corrupt == len(opened)


def test_an_empty_file_in_a_loop_ends():
    source = LoopingSource(lambda: FakeSource(0, live=False))
    assert source.read() is None


def test_an_unplugged_camera_comes_back(monkeypatch):
    """It is closed, opened again with a growing back-off that does not end, and the engines stay open."""
    monkeypatch.setattr(reopen, "BACK_OFF", (0.01, 0.02, 0.04))
    lost, back = FakeSource(5, lost=True), FakeSource(5)
    answers, times = [lost, None, None, None, None, back], []

    def open_camera():
        times.append(time.monotonic())
        source = answers.pop(0)
        if source is None:
            raise JetsonError("cannot open fake")
        return source

    predictor, statistics = SlowPredictor(), Statistics()
    line, sink, statistics, _ = make(ReconnectingSource(open_camera, statistics), predictor, statistics=statistics)
    run(line)
    assert not answers
    assert lost.closed
    assert back.closed
    assert statistics.reconnects == 1
    assert len(predictor.threads) == 1
    assert set(sink.numbers) <= {1, 2, 3, 4, 5}
    pauses = np.diff(times[1:])
    assert (pauses > [0.02, 0.04, 0.04, 0.04]).all()


def test_a_lost_camera_does_not_keep_us_from_ending(monkeypatch):
    monkeypatch.setattr(reopen, "BACK_OFF", (60.0,))
    statistics = Statistics()
    source = ReconnectingSource(lambda: FakeSource(3, lost=True), statistics)
    line, sink, statistics, _ = make(source, SlowPredictor(), statistics=statistics)
    line.start()
    while statistics.state != "reconnecting":
        time.sleep(0.01)
    assert "trying again in 60 s" in statistics.message
    start = time.monotonic()
    line.stop()
    line.join()
    assert time.monotonic() - start < 30
    assert sink.closed


def test_a_camera_that_hangs_does_not_keep_us_from_ending(monkeypatch):
    monkeypatch.setattr(module, "HANG", 0.1)
    release = threading.Event()

    class Hangs(FakeSource):
        def read(self):
            release.wait(20)

    line, sink, _, _ = make(Hangs(1), SlowPredictor())
    line.start()
    line.stop()
    line.join()
    assert sink.closed
    release.set()


def test_an_engine_that_is_being_built_does_not_keep_us_from_ending(monkeypatch):
    """A build takes minutes, and Ctrl-C or `docker stop` is not to wait for it."""
    monkeypatch.setattr(module, "HANG", 0.1)
    building, release, predictor = threading.Event(), threading.Event(), SlowPredictor()

    def build(size):
        building.set()
        release.wait(20)
        return predictor

    monkeypatch.setattr(predictor, "open", build)
    line, sink, _, _ = make(FakeSource(10000), predictor)
    line.start()
    assert building.wait(5)
    start = time.monotonic()
    line.stop()
    line.join()
    assert time.monotonic() - start < 15
    assert sink.closed
    release.set()


@pytest.mark.parametrize("fails", ["open", "run", "draw", "show"])
def test_what_fails_ends_all_and_is_raised(fails, monkeypatch):
    predictor = SlowPredictor(fail_at=3 if fails == "run" else None)
    source = FakeSource(10000)

    def complain(*arguments):
        raise JetsonError("it failed")

    if fails == "open":
        monkeypatch.setattr(predictor, "open", complain)
    line, sink, _, _ = make(source, predictor, draw=complain if fails == "draw" else lambda image, p, a: image)
    if fails == "show":
        monkeypatch.setattr(sink, "show", complain)
    line.start()
    assert line.wait(10)
    with pytest.raises(JetsonError, match="TensorRT refused|it failed"):
        line.join()
    assert sink.closed
    assert source.closed
    assert predictor.closed == (fails != "open")


def test_a_sink_that_fails_to_close_keeps_no_other_from_it():
    """A recording on a full disk, say, beside the page and another recording."""

    class Stubborn(Collect):
        def close(self):
            raise JetsonError("cannot write ride.mp4")

    sinks, said = [Stubborn(), Collect(), Stubborn(), Collect()], []
    predictor = SlowPredictor()
    source = FakeSource(5)
    line = Pipeline(
        [source],
        predictor.open,
        lambda image, predictions, alpha: image,
        sinks,
        Controls(["depth"]),
        Statistics(),
        say=said.append,
    )
    line.start()
    assert line.wait(10)
    with pytest.raises(JetsonError, match=r"cannot write ride\.mp4"):
        line.join()
    assert sinks[1].closed
    assert sinks[3].closed
    assert said == ["JetsonError: cannot write ride.mp4"]


def test_one_thread_owns_the_engines():
    predictor = SlowPredictor()
    line, sink, _, _ = make(FakeSource(20), predictor)
    run(line)
    assert predictor.closed
    assert len(predictor.threads) == 1
    assert threading.get_ident() not in predictor.threads
    assert not predictor.threads & sink.threads
    assert predictor.size == (48, 64)


def test_a_paused_frame_obeys_the_slider():
    drawn = []

    def draw(image, predictions, alpha):
        drawn.append((int(image[0, 0, 0]), alpha))
        return image

    line, _, statistics, controls = make(FakeSource(100000), SlowPredictor(), draw=draw)
    line.start()
    while not drawn:
        time.sleep(0.01)
    controls.apply({"paused": True})
    settle(drawn)
    still, count = drawn[-1], len(drawn)
    captured = statistics.captured
    controls.apply({"alpha": 0.25})
    while len(drawn) == count:
        time.sleep(0.01)
    assert drawn[-1] == (still[0], 0.25)
    while statistics.captured < captured + 5:  # the camera is read on, so that it is awake when we go on
        time.sleep(0.01)
    controls.apply({"paused": False})
    while drawn[-1][0] == still[0]:
        time.sleep(0.01)
    line.stop()
    line.join()


def settle(found):
    """Wait until what was on its way has arrived: nothing comes for half a second."""
    count, due = -1, time.monotonic() + 30
    while len(found) != count:
        assert time.monotonic() < due
        count = len(found)
        time.sleep(0.5)


class Sometimes(Collect):
    """Wants images while it is told so."""

    wanted = False

    def wants(self):
        return self.wanted


def make_watched(source, predictor):
    """A pipeline whose only sink is asked, and the numbers of the drawn frames."""
    drawn, sink, controls = [], Sometimes(), Controls(["segmentation"])

    def draw(image, predictions, alpha):
        drawn.append(int(image[0, 0, 0]))
        return image

    statistics = Statistics()
    return Pipeline([source], predictor.open, draw, [sink], controls, statistics), drawn, sink, statistics, controls


def test_a_queue_serves_its_feeds_in_turn():
    queue = FrameQueue(threading.Event(), 3)
    assert not queue.put_latest("a1", 0)
    queue.put("b", 1)
    assert queue.put_latest("a2", 0)
    assert [queue.take(0.01) for _ in range(3)] == ["a2", "b", None]
    queue.put("a3", 0)
    queue.put("c", 2)
    assert [queue.take(0.01), queue.take(0.01)] == ["c", "a3"]
    queue.close(0)
    queue.close(2)
    assert not queue.done
    queue.close(1)
    assert queue.done


class Sizes(Collect):
    """Keeps the images."""

    def show(self, image, captured):
        super().show(image, captured)
        self.images = [*getattr(self, "images", []), image]


def run_two(sources, predictor, **options):
    statistics, sink = Statistics(cameras=len(sources)), Sizes()
    line = Pipeline(
        sources, predictor.open, lambda image, p, a: image, [sink], Controls(["depth"]), statistics, **options
    )
    run(line)
    return sink, statistics


def test_two_cameras_share_one_predictor_and_are_shown_side_by_side():
    """A fast and a slow one: both go through it in turn, and each has its own counts."""
    predictor = SlowPredictor(0.02)
    sources = [FakeSource(100, fps=100.0), FakeSource(20, fps=20.0)]
    sink, statistics = run_two(sources, predictor)
    fast, slow = statistics.cameras
    assert len(predictor.threads) == 1
    assert (fast.captured, slow.captured, statistics.captured) == (100, 20, 120)
    assert slow.dropped <= 8  # the fast one does not crowd it out
    # On a busy machine a prediction may be dropped because the one before it is still being drawn.
    assert fast.shown + slow.shown == statistics.shown <= predictor.runs
    assert fast.shown <= predictor.cameras.count(0)
    assert slow.shown <= predictor.cameras.count(1)
    assert statistics.dropped == 120 - statistics.shown
    assert all(image.shape == (48, 128, 3) for image in sink.images)
    left, right = sink.images[-1][0, 0, 0], sink.images[-1][0, 64, 0]
    assert (left, right) == (100, 20)
    assert [camera.state for camera in statistics.cameras] == ["ended", "ended"]
    found = statistics.snapshot()
    assert [camera["captured"] for camera in found["cameras"]] == [100, 20]
    assert found["budget"]["stages"]["capture"]["share"] <= 1


def test_every_frame_of_two_files():
    sink, statistics = run_two(
        [FakeSource(30, fps=1000.0, live=False), FakeSource(10, fps=1000.0, live=False)],
        SlowPredictor(),
        every_frame=True,
    )
    assert [camera.shown for camera in statistics.cameras] == [30, 10]
    assert statistics.dropped == 0


def test_a_lost_camera_keeps_no_other_from_being_shown(monkeypatch):
    monkeypatch.setattr(reopen, "BACK_OFF", (60.0,))
    statistics, sink = Statistics(cameras=2), Collect()
    lost, good = statistics.cameras
    sources = [ReconnectingSource(lambda: FakeSource(3, lost=True), lost), FakeSource(100000)]
    line = Pipeline(sources, SlowPredictor().open, lambda i, p, a: i, [sink], Controls(["depth"]), statistics)
    line.start()
    wait_for(lambda: lost.state == "reconnecting")
    shown = good.shown
    wait_for(lambda: good.shown > shown + 10)
    assert statistics.snapshot()["state"] == "running"
    line.stop()
    line.join()


@pytest.mark.parametrize(("count", "shape"), [(1, (4, 6)), (2, (4, 12)), (3, (8, 12)), (4, (8, 12)), (5, (8, 18))])
def test_images_side_by_side(count, shape):
    images = [image(10 * number + 10, (4, 6)) for number in range(count)]
    whole = side_by_side(images)
    assert whole.shape == shape + (3,)
    columns = shape[1] // 6
    assert [int(whole[4 * (n // columns), 6 * (n % columns), 0]) for n in range(count)] == [
        10 * n + 10 for n in range(count)
    ]


def test_what_is_missing_stays_black_and_smaller_images_are_fitted():
    whole = side_by_side([None, image(200, (48, 64)), image(90, (24, 64))])
    assert whole.shape == (96, 128, 3)
    assert whole[:48, :64].max() == 0
    assert whole[48 + 24, 32, 0] == 90
    assert whole[50, 32, 0] == 0


def test_nothing_is_drawn_while_nobody_watches():
    line, drawn, sink, statistics, _ = make_watched(FakeSource(100000), SlowPredictor())
    line.start()
    wait_for(lambda: statistics.shown > 20)
    assert drawn == []
    assert "draw" not in statistics.snapshot()["budget"]["stages"]
    sink.wanted = True
    wait_for(lambda: len(sink.numbers) > 5)
    sink.wanted = False
    settle(drawn)
    count = len(drawn)
    assert sink.numbers == drawn
    wait_for(lambda: statistics.shown > statistics.captured / 2 + 20)
    assert len(drawn) == count
    line.stop()
    line.join()


def test_who_comes_while_it_is_paused_sees_the_last_frame():
    line, drawn, sink, statistics, controls = make_watched(FakeSource(100000), SlowPredictor())
    line.start()
    wait_for(lambda: statistics.shown > 5)
    controls.apply({"paused": True})
    time.sleep(0.3)
    assert drawn == []
    shown = statistics.shown
    sink.wanted = True
    wait_for(lambda: sink.numbers)
    time.sleep(0.3)
    assert drawn == sink.numbers
    assert len(drawn) == 1
    assert statistics.shown == shown
    line.stop()
    line.join()


def test_the_next_frames_inputs_are_made_while_the_networks_run():
    class Preparing(SlowPredictor):
        made, meanwhile, busy = 0, 0, False

        def make_inputs(self, image, kinds):
            assert threading.get_ident() not in self.threads
            assert kinds == ("segmentation",)
            time.sleep(0.01)
            self.meanwhile += self.busy
            time.sleep(0.01)
            self.made += 1
            return {0: image}

        def __call__(self, image, kinds, camera, inputs):
            assert inputs or self.runs < 4, "those that came before the networks were open"
            self.busy = True
            found = super().__call__(image, kinds, camera, inputs)
            self.busy = False
            return found

    predictor = Preparing(0.02)
    line, sink, statistics, _ = make(FakeSource(40, fps=1000.0), predictor, every_frame=True)
    run(line)
    assert predictor.meanwhile > 20  # one after the other, none would be
    assert sink.numbers == list(range(1, 41))
    assert predictor.made >= 36
    assert statistics.snapshot()["budget"]["stages"]["pre"]["ms"] >= 19


def test_the_budget_of_a_frame():
    """Stages by their time; the last thread that is always busy limits."""

    def draw(image, predictions, alpha):
        time.sleep(0.03)
        return image

    for predictor, drawing, limiting in (
        (SlowPredictor(0.02), lambda image, p, a: image, "inference"),
        (SlowPredictor(), draw, "draw"),
        (SlowPredictor(), lambda image, p, a: image, "capture"),
    ):
        line, _, statistics, _ = make(FakeSource(80, fps=80.0), predictor, draw=drawing)
        run(line)
        budget = statistics.snapshot()["budget"]
        assert list(budget["stages"]) == ["capture", "pre", "inference", "post", "draw"]
        assert budget["limit"] == limiting, budget
        ms = budget["stages"][limiting]["ms"]
        slept = {"inference": 20, "draw": 30, "capture": 12.5}[limiting]
        assert 0.7 * slept < ms < 4 * slept  # a busy machine sleeps longer
        assert budget["stages"][limiting]["share"] > 0.8


def test_the_limit_is_the_longest_stage_of_the_last_busy_thread():
    shares = {"capture": 0.7, "pre": 0.3, "inference": 0.8, "post": 0.2, "draw": 0.5, "record": 0.3}
    assert limit(shares) == "inference"
    assert limit(dict(shares, record=0.45)) == "draw"
    assert limit(dict(shares, encode=0.95)) == "encode"
    assert limit(dict(shares, inference=0.2)) == "capture"
    assert limit({}) is None
    assert describe({"stages": {}, "limit": None}) == ""


def test_memory_stays_flat():
    """Frames of 300 kB, 3000 of them: what stays is a few of them."""
    import tracemalloc

    line, _, statistics, _ = make(FakeSource(3000, fps=1e5, size=(240, 416)), SlowPredictor())
    line.start()
    while statistics.captured < 500:
        time.sleep(0.01)
    tracemalloc.start()
    while statistics.captured < 600:
        time.sleep(0.01)
    before = tracemalloc.get_traced_memory()[0]
    line.wait(30)
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    line.join()
    assert after - before < 2e6


def test_statistics_that_are_not_known_are_absent_not_zero():
    statistics = Statistics().snapshot()
    assert statistics["latency_ms"] is None
    assert statistics["inference_fps"] is None
    assert statistics["shown_fps"] == 0


def test_percentiles():
    assert percentiles([float(value) for value in range(1, 102)]) == {"p50": 51, "p90": 91, "p99": 100}
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
