"""What the nodes for ROS 1 and ROS 2 have in common: an image in, a message on each topic (`settings.TOPICS`) out.

Every message but the labels has the stamp and the frame of the image that it is made of.
"""

import json
from typing import Any, Callable, Dict, NamedTuple, Tuple

import numpy as np

from fastnas.jetson.errors import JetsonError, import_package
from fastnas.jetson.inference.model import Result, load
from fastnas.jetson.inference.results import millimetres
from fastnas.jetson.ros.images import cloud_fields, image_fields, to_frame
from fastnas.jetson.ros.settings import Settings

NAME = "fastnas"
"""Of the node, unless ROS is told another."""

TOPIC = {"segmentation": "segmentation", "depth": "depth", "pose": "joints"}
"""By kind of task."""


class Publisher(NamedTuple):
    """A topic that is advertised.

    Attributes:
        send: publishes a message.
        watched: whether anybody subscribes to it.
    """

    send: Callable[[Any], None]
    watched: Callable[[], bool]


class Ros(NamedTuple):
    """What differs between the versions of ROS.

    Attributes:
        advertise: opens a topic of the node, given its name, the class of its messages, and whether the last message is
            kept for those who subscribe later.
        to_data: bytes as the type that messages hold.
        info: prints a line.
        warn: prints a line about what went wrong.
    """

    advertise: Callable[[str, Any, bool], Publisher]
    to_data: Callable[[bytes], Any]
    info: Callable[[str], None]
    warn: Callable[[str], None]


class Node:
    """Predicts images and publishes what is found; a context manager. All calls come from one thread.

    A message is made only for topics that somebody subscribes to; without any, only the first image is predicted, so
    that the engine is ready.

    Args:
        settings: of the networks.
        ros: the version of ROS.

    Raises:
        JetsonError: a network cannot be opened, or ROS's messages are not here.
    """

    def __init__(self, settings: Settings, ros: Ros) -> None:
        self._sensor = import_package("sensor_msgs.msg", "sensor_msgs is missing: {}")
        self._std = import_package("std_msgs.msg", "std_msgs is missing: {}")
        self._ros, self._depth = ros, settings.depth
        self._seen, self._warned = False, ""
        self._model = load(
            *settings.networks,
            res=settings.res,
            precision=settings.precision,
            engine=settings.engine,
            threads=settings.threads,
            log=ros.info,
        )
        cloud = {"pose": self._sensor.PointCloud2}
        self._publishers = {
            topic: ros.advertise(topic, cloud.get(kind, self._sensor.Image), False)
            for kind, topic in [(kind, TOPIC[kind]) for kind in self._model.tasks] + [("", "overlay")]
        }
        labels = ros.advertise("labels", self._std.String, True)
        labels.send(self._std.String(data=json.dumps(self._model.tasks)))

    def on_image(self, message: Any) -> None:
        """Predict a `sensor_msgs/Image` and publish the results; one that cannot be used is named, once in a row."""
        watched = [topic for topic, publisher in self._publishers.items() if publisher.watched()]
        if self._seen and not watched:
            return
        try:
            frame = to_frame(message)
            result = self._model.predict(frame, tracked=self._seen)
        except JetsonError as error:
            if str(error) != self._warned:
                self._ros.warn(str(error))
            self._warned = str(error)
            return
        self._seen, self._warned = True, ""
        header = message.header
        for topic in watched:
            self._publishers[topic].send(self._message(topic, result, header))

    def __enter__(self) -> "Node":
        return self

    def __exit__(self, *error: Any) -> None:
        self._model.close()

    def _message(self, topic: str, result: Result, header: Any) -> Any:
        """The message of a topic, with the image's stamp and frame."""
        own = self._std.Header(stamp=header.stamp, frame_id=header.frame_id)
        if topic == "joints":
            fields = cloud_fields(np.zeros((0, 3), np.float32) if result.pose is None else result.pose)
            points = [self._sensor.PointField(**field) for field in fields.pop("fields")]
            return self._sensor.PointCloud2(header=own, fields=points, **self._data(fields))
        return self._sensor.Image(header=own, **self._data(image_fields(*self._image(topic, result))))

    def _image(self, topic: str, result: Result) -> Tuple[np.ndarray, str]:
        """The pixels of a topic, and their encoding."""
        if topic == "overlay":
            return result.overlay(), "bgr8"
        if topic == "segmentation":
            assert result.segmentation is not None
            return result.segmentation, "mono8"
        assert result.depth is not None
        if self._depth == "16UC1":
            return millimetres(result.depth), "16UC1"
        return np.where(result.depth > 0, result.depth, np.float32(np.nan)), "32FC1"

    def _data(self, fields: Dict[str, Any]) -> Dict[str, Any]:
        """The fields with their bytes as this version of ROS holds them."""
        return dict(fields, data=self._ros.to_data(fields["data"]))
