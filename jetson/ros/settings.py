"""The node's topics and parameters: names, defaults and what they mean, for both versions of ROS."""

from typing import Any, Dict, NamedTuple, Optional, Tuple

from fastnas.jetson.errors import JetsonError
from fastnas.jetson.options import ENGINES, Size, parse_size
from fastnas.jetson.sidecar import PRECISIONS

DEPTH_ENCODINGS = ("32FC1", "16UC1")
"""Metres, NaN where unknown; millimetres, 0 where unknown. Both as ROS defines them for depth images (REP 118)."""

PARAMETERS = {
    "network": ("", "A name such as street, the folder of an artifact, or a list of them, one of each task."),
    "res": ("", "Input of the networks, 512 or 360x480 (height x width); empty: as trained, else by the image."),
    "precision": ("", "fp32, fp16 or int8; empty: fp16 in TensorRT, else fp32."),
    "engine": ("auto", "One of {}; auto is TensorRT where it is installed.".format(", ".join(ENGINES))),
    "threads": (0, "Of ONNX Runtime on a CPU; 0 is its own choice."),
    "depth": ("32FC1", "Encoding of depth: 32FC1 is metres, 16UC1 millimetres."),
}
"""Each with its default and a sentence."""


TOPICS = {
    "segmentation": ("sensor_msgs/Image", "Class ids, mono8, of the image's size."),
    "depth": ("sensor_msgs/Image", "Depth in the parameter's encoding, of the image's size."),
    "joints": ("sensor_msgs/PointCloud2", "A point for each joint: x and y in pixels, score; none where nobody is."),
    "overlay": ("sensor_msgs/Image", "The drawing, bgr8."),
    "labels": ("std_msgs/String", "Classes, colours, joints, skeleton as JSON; also for who subscribes later."),
}
"""What the node publishes, each with its message and a sentence; of tasks those that the networks have."""


class Settings(NamedTuple):
    """What the parameters say."""

    networks: Tuple[str, ...]
    res: Optional[Size]
    precision: Optional[str]
    engine: str
    threads: int
    depth: str


def read_settings(values: Dict[str, Any]) -> Settings:
    """Check parameters as ROS gives them, which makes numbers of texts that look like one: `res:=512`.

    Args:
        values: one for each of `PARAMETERS`.

    Raises:
        JetsonError: a value is none that the parameter may have.
    """
    network = values["network"]
    names = [network] if isinstance(network, str) else network
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        raise JetsonError("parameter network: {!r:.80} is neither a name nor a list of names".format(network))
    threads = values["threads"]
    if not isinstance(threads, int) or isinstance(threads, bool) or threads < 0:
        raise JetsonError("parameter threads: {!r:.80} is no number from 0 on".format(threads))
    try:
        res = parse_size(str(values["res"])) if values["res"] != "" else None
    except ValueError as error:
        raise JetsonError("parameter res: {}".format(error)) from error
    return Settings(
        tuple(name for name in names if name),
        res,
        _one_of("precision", values, ("",) + PRECISIONS) or None,
        _one_of("engine", values, ENGINES),
        threads,
        _one_of("depth", values, DEPTH_ENCODINGS),
    )


def _one_of(name: str, values: Dict[str, Any], choices: Tuple[str, ...]) -> str:
    """The value of a parameter that has these choices; an empty one is not named."""
    value = values[name]
    if value not in choices:
        known = ", ".join(choice for choice in choices if choice)
        raise JetsonError("parameter {}: {!r:.80} is none of {}".format(name, value, known))
    return str(value)


def help_text() -> str:
    """What the node takes and gives, and its parameters with their defaults."""
    lines = ["Predicts the images (sensor_msgs/Image) of the topic image, and publishes:"]
    lines += ["  ~{:13} {:23} {}".format(name, kind, sentence) for name, (kind, sentence) in TOPICS.items()]
    lines += ["Parameters:"]
    lines += ["  ~{:13} {!r:23} {}".format(name, default, sentence) for name, (default, sentence) in PARAMETERS.items()]
    return "\n".join(lines) + "\n"
