"""The node for ROS 1, through rospy: `rosrun fastnas_ros node`, or `python3 -m fastnas.jetson.ros.ros1`.

rospy calls back in threads of its own, and an engine belongs to one: the newest image waits for the main thread, and
older ones are dropped.
"""

import sys
import threading
from typing import Any

from fastnas.jetson.camera.frame_queue import FrameQueue
from fastnas.jetson.errors import JetsonError, import_package
from fastnas.jetson.ros.node import NAME, Node, Publisher, Ros
from fastnas.jetson.ros.settings import PARAMETERS, help_text, read_settings

BUFFER = 1 << 26
"""Bytes that rospy reads at once. With less than an image it falls behind, and what is newest is old."""


def main() -> int:
    """Run until ROS shuts down; the exit code is 1 after an error, which is one line."""
    if {"-h", "--help"} & set(sys.argv[1:]):
        sys.stdout.write(help_text())
        return 0
    try:
        rospy = import_package("rospy", "rospy does not load ({}); run: source /opt/ros/DISTRIBUTION/setup.bash")
    except JetsonError as error:
        sys.stderr.write("Error: {}\n".format(error))
        return 1
    rospy.init_node(NAME)
    try:
        _run(rospy)
    except JetsonError as error:
        rospy.logfatal(str(error))
        return 1
    return 0


def _run(rospy: Any) -> None:
    def advertise(topic: str, kind: Any, kept: bool) -> Publisher:
        publisher = rospy.Publisher("~" + topic, kind, queue_size=1, latch=kept)
        return Publisher(publisher.publish, lambda: publisher.get_num_connections() > 0)

    settings = read_settings({name: rospy.get_param("~" + name, default) for name, (default, _) in PARAMETERS.items()})
    newest = FrameQueue(threading.Event())
    with Node(settings, Ros(advertise, lambda data: data, rospy.loginfo, rospy.logwarn)) as node:
        image = import_package("sensor_msgs.msg", "sensor_msgs is missing: {}").Image
        rospy.Subscriber("image", image, newest.put_latest, queue_size=1, buff_size=BUFFER)
        while not rospy.is_shutdown():
            message = newest.take()
            if message is not None:
                node.on_image(message)


if __name__ == "__main__":
    sys.exit(main())
