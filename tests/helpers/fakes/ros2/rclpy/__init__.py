"""A stand-in for rclpy; see `ros2_graph`."""

import ast

import ros2_graph

from rclpy.executors import ExternalShutdownException
from rclpy.node import Node


def init(*, args=None):
    """Read `--ros-args -p NAME:=VALUE ...`; other arguments are the program's own."""
    assert not ros2_graph.state["initialised"]
    ros2_graph.state["initialised"] = True
    words = list(args or [])
    for flag, text in zip(words, words[1:]):
        if flag == "-p":
            name, _, value = text.partition(":=")
            try:
                ros2_graph.state["overrides"][name] = ast.literal_eval(value)
            except (SyntaxError, ValueError):
                ros2_graph.state["overrides"][name] = value


def create_node(node_name):
    """A node."""
    assert ros2_graph.state["initialised"]
    return Node(node_name)


def spin(node):
    """Deliver what comes in, then end as Ctrl-C does."""
    for topic, message in ros2_graph.incoming:
        if message is ros2_graph.SIGTERM:
            raise ExternalShutdownException()
        kind, callback, _ = ros2_graph.subscriptions[topic]
        assert isinstance(message, kind)
        callback(message)
    raise KeyboardInterrupt


def ok():
    """Whether it is initialised."""
    return ros2_graph.state["initialised"]


def shutdown():
    """End."""
    assert ros2_graph.state["initialised"]
    ros2_graph.state["initialised"] = False
