"""The node for ROS 2 on a stand-in of rclpy with the names that its documentation lists, and on toy networks."""

import json
import os
import sys
from array import array

import numpy as np
import pytest

import fastnas.jetson
from fastnas.jetson.inference.results import millimetres
from fastnas.jetson.ros import ros2
from tests.helpers.jetson_toys import MULTI, TASKS, toy_artifacts
from tests.helpers.paths import FAKES

TOPICS = ["/fastnas/segmentation", "/fastnas/depth", "/fastnas/joints", "/fastnas/overlay"]
STAMP = (1700000000, 123456789)


@pytest.fixture(scope="module")
def toys(tmp_path_factory):
    return toy_artifacts(tmp_path_factory)


@pytest.fixture
def graph(monkeypatch):
    """The stand-in, new for each test; its modules are gone afterwards."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(os.path.join(FAKES, "ros2"))
    import ros2_graph

    ros2_graph.clear()
    yield ros2_graph
    for name in set(sys.modules) - before:
        if name.split(".")[0] in os.listdir(os.path.join(FAKES, "ros2")) or name.startswith("ros2_"):
            del sys.modules[name]


@pytest.fixture
def frame():
    return np.random.RandomState(0).randint(0, 256, (60, 80, 3)).astype(np.uint8)


def image(frame, stamp=STAMP, frame_id="camera_optical", encoding="bgr8", **fields):
    from ros2_messages import Time
    from sensor_msgs.msg import Image
    from std_msgs.msg import Header

    values = {"height": frame.shape[0], "width": frame.shape[1], "encoding": encoding, "step": 3 * frame.shape[1]}
    values.update(fields, data=array("B", frame.tobytes()))
    return Image(header=Header(stamp=Time(sec=stamp[0], nanosec=stamp[1]), frame_id=frame_id), **values)


def run(*parameters):
    """The exit code of the node with these parameters."""
    words = [word for parameter in parameters for word in ("-p", parameter)]
    return ros2.main(["--ros-args", "-p", "engine:=onnxruntime", "-p", "threads:=1", *words])


def pixels(message, dtype):
    return np.frombuffer(message.data, dtype).reshape(message.height, message.width, -1).squeeze(-1)


def counted(function, counts):
    """The function, its calls counted by name."""

    def call(*arguments, **options):
        counts[function.__name__] += 1
        return function(*arguments, **options)

    return call


def of(graph, topic):
    return [message for name, message in graph.published if name == "/fastnas/" + topic]


@pytest.mark.parametrize("depth", ["32FC1", "16UC1"])
def test_every_topic_holds_what_the_model_predicts(graph, toys, frame, depth):
    graph.watched.update(TOPICS)
    graph.incoming.append(("/image", image(frame)))
    assert run("network:=" + toys[MULTI], "depth:=" + depth) == 0
    with fastnas.jetson.load(toys[MULTI], engine="onnxruntime", threads=1) as model:
        result = model.predict(frame)

    assert [topic for topic, _ in graph.published] == ["/fastnas/labels", *TOPICS]
    for _, message in graph.published[1:]:
        assert (message.header.stamp.sec, message.header.stamp.nanosec) == STAMP
        assert message.header.frame_id == "camera_optical"
    (ids,), (metres,), (joints,), (overlay,) = (of(graph, name.split("/")[2]) for name in TOPICS)
    assert (ids.encoding, ids.step, overlay.encoding) == ("mono8", 80, "bgr8")
    np.testing.assert_array_equal(pixels(ids, np.uint8), result.segmentation)
    assert result.depth is not None
    known = np.where(result.depth > 0, result.depth, np.float32(np.nan))
    wanted = known if depth == "32FC1" else millimetres(result.depth)
    np.testing.assert_array_equal(pixels(metres, wanted.dtype), wanted)
    assert (metres.encoding, metres.step) == (depth, 80 * wanted.itemsize)
    points = np.frombuffer(joints.data, np.float32).reshape(joints.width, 3)
    np.testing.assert_array_equal(points, result.pose)
    assert [field.name for field in joints.fields] == ["x", "y", "score"]
    drawn = result.overlay()
    np.testing.assert_array_equal(np.frombuffer(overlay.data, np.uint8).reshape(drawn.shape), drawn)


def test_an_rgb_image_gives_what_the_same_one_in_bgr_does(graph, toys, frame):
    graph.watched.add("/fastnas/segmentation")
    graph.incoming += [("/image", image(frame)), ("/image", image(frame[..., ::-1], encoding="rgb8"))]
    run("network:=" + toys["segmentation"])
    first, second = of(graph, "segmentation")
    assert first.data == second.data


def test_labels_are_kept_for_those_who_come_later(graph, toys):
    from rclpy.qos import DurabilityPolicy, ReliabilityPolicy

    assert run("network:=" + toys["segmentation"]) == 0
    ((topic, message),) = graph.published
    assert topic == "/fastnas/labels"
    assert json.loads(message.data) == {"segmentation": TASKS["segmentation"]}
    assert graph.publishers[topic][1].durability == DurabilityPolicy.TRANSIENT_LOCAL
    assert graph.publishers["/fastnas/overlay"][1].durability == DurabilityPolicy.VOLATILE
    assert sorted(graph.publishers) == ["/fastnas/labels", "/fastnas/overlay", "/fastnas/segmentation"]
    # A camera that does not send again is received too, and only its newest image waits.
    quality = graph.subscriptions["/image"][2]
    assert (quality.reliability, quality.depth) == (ReliabilityPolicy.BEST_EFFORT, 1)


def test_nothing_is_made_that_nobody_watches(graph, toys, frame, monkeypatch):
    """The first image is predicted, so that the engine is open, and later ones only for a subscriber."""
    from fastnas.jetson.inference.model import Model, Result

    counts = {"predict": 0, "overlay": 0}
    for kind, name in ((Model, "predict"), (Result, "overlay")):
        monkeypatch.setattr(kind, name, counted(getattr(kind, name), counts))
    graph.incoming += [("/image", image(frame))] * 3
    run("network:=" + toys["segmentation"])
    assert counts == {"predict": 1, "overlay": 0}
    graph.parameters.clear()
    graph.watched.add("/fastnas/segmentation")
    run("network:=" + toys["segmentation"])
    assert counts == {"predict": 4, "overlay": 0}
    assert len(of(graph, "segmentation")) == 3
    assert of(graph, "overlay") == []


def test_a_bad_image_is_one_line_and_the_next_is_predicted(graph, toys, frame):
    graph.watched.add("/fastnas/segmentation")
    bad, other = image(frame, encoding="bayer_rggb8"), image(frame, height=61)
    graph.incoming += [("/image", each) for each in (bad, bad, image(frame), bad, other)]
    assert run("network:=" + toys["segmentation"]) == 0
    warnings = [text for severity, text in graph.log if severity == "warning"]
    assert len(of(graph, "segmentation")) == 1
    assert [("bayer" in text, "61x80" in text) for text in warnings] == [(True, False), (True, False), (False, True)]


@pytest.mark.parametrize(
    ("parameter", "line"),
    [
        ("network:=nothing", "nothing is no artifact"),
        ("res:=huge", "parameter res: 'huge' is not a size"),
        ("depth:=8UC1", "parameter depth: '8UC1' is none of"),
    ],
)
def test_an_error_at_the_start_is_one_line_and_exit_code_1(graph, parameter, line):
    assert run(parameter) == 1
    ((severity, text),) = graph.log
    assert severity == "fatal"
    assert line in text
    assert (graph.state["initialised"], graph.state["destroyed"]) == (False, 1)


def test_a_number_may_be_typed_for_a_size_and_each_parameter_says_what_it_is(graph, toys, frame):
    graph.incoming.append(("/image", image(frame)))
    assert run("network:=" + toys["segmentation"], "res:=64") == 0
    assert any("at 64x64" in text for _, text in graph.log)
    assert all(each.description and each.read_only for each in graph.parameters.values())


def test_in_foxy_a_parameter_s_descriptor_does_not_speak_of_types(graph, toys, frame, monkeypatch):
    import rcl_interfaces.msg
    from ros2_messages import message_class

    older = message_class("ParameterDescriptor", description=str, read_only=bool)
    monkeypatch.setattr(rcl_interfaces.msg, "ParameterDescriptor", older)
    assert run("network:=" + toys["segmentation"], "res:=64") == 0


def test_several_networks_are_a_list(graph, toys):
    assert run("network:={!r}".format([toys["segmentation"], toys["depth"]])) == 0
    assert {"/fastnas/segmentation", "/fastnas/depth"} < set(graph.publishers)


def test_sigterm_ends_it_like_ctrl_c(graph, toys, frame):
    graph.incoming.append(("/image", graph.SIGTERM))
    assert run("network:=" + toys["segmentation"]) == 0
    assert (graph.state["initialised"], graph.state["destroyed"]) == (False, 1)


def test_without_ros_a_line_says_what_to_run(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "rclpy", None)
    assert ros2.main([]) == 1
    assert "run: source /opt/ros/DISTRIBUTION/setup.bash" in capsys.readouterr().err


def test_help_needs_no_ros(capsys):
    assert ros2.main(["--help"]) == 0
    assert "~segmentation" in capsys.readouterr().out
