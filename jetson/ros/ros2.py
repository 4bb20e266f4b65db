"""The node for ROS 2, through rclpy: `ros2 run fastnas_ros node`, or `python3 -m fastnas.jetson.ros.ros2`.

The executor has one thread, which the engine belongs to. Of images only the newest waits.
"""

import sys
from array import array
from typing import Any, Optional, Sequence

from fastnas.jetson.errors import JetsonError, import_package
from fastnas.jetson.ros.node import NAME, Node, Publisher, Ros
from fastnas.jetson.ros.settings import PARAMETERS, help_text, read_settings


def main(args: Optional[Sequence[str]] = None) -> int:
    """Run until ROS shuts down; the exit code is 1 after an error, which is one line.

    Args:
        args: of the command line, as rclpy reads them; None is the process's own.
    """
    if {"-h", "--help"} & set(sys.argv[1:] if args is None else args):
        sys.stdout.write(help_text())
        return 0
    try:
        rclpy = import_package("rclpy", "rclpy does not load ({}); run: source /opt/ros/DISTRIBUTION/setup.bash")
    except JetsonError as error:
        sys.stderr.write("Error: {}\n".format(error))
        return 1
    ended = import_package("rclpy.executors", "{}").ExternalShutdownException
    rclpy.init(args=args)
    ros_node = rclpy.create_node(NAME)
    try:
        _run(rclpy, ros_node)
    except JetsonError as error:
        ros_node.get_logger().fatal(str(error))
        return 1
    except (KeyboardInterrupt, ended):
        pass
    finally:
        ros_node.destroy_node()
        if rclpy.ok():
            rclpy.shutdown()
    return 0


def _run(rclpy: Any, ros_node: Any) -> None:
    qos = import_package("rclpy.qos", "{}")

    def advertise(topic: str, kind: Any, kept: bool) -> Publisher:
        durability = qos.DurabilityPolicy.TRANSIENT_LOCAL if kept else qos.DurabilityPolicy.VOLATILE
        publisher = ros_node.create_publisher(kind, "~/" + topic, qos.QoSProfile(depth=1, durability=durability))
        return Publisher(publisher.publish, lambda: publisher.get_subscription_count() > 0)

    log = ros_node.get_logger()
    settings = read_settings({name: _parameter(ros_node, name) for name in PARAMETERS})
    # rclpy looks at every number of a `uint8[]` that is not an array of bytes.
    with Node(settings, Ros(advertise, lambda data: array("B", data), log.info, log.warning)) as node:
        image = import_package("sensor_msgs.msg", "sensor_msgs is missing: {}").Image
        # Cameras often publish without resending what is lost, which a subscriber that asks for it would not receive.
        newest = qos.QoSProfile(depth=1, reliability=qos.ReliabilityPolicy.BEST_EFFORT)
        ros_node.create_subscription(image, "image", node.on_image, newest)
        rclpy.spin(ros_node)


def _parameter(ros_node: Any, name: str) -> Any:
    """Declare a parameter and return its value, which may be a number where the default is a text: `res:=512`."""
    descriptor_class = import_package("rcl_interfaces.msg", "rcl_interfaces is missing: {}").ParameterDescriptor
    default, sentence = PARAMETERS[name]
    descriptor = descriptor_class(description=sentence, read_only=True)
    if hasattr(descriptor, "dynamic_typing"):  # since Galactic; before it every parameter was so
        descriptor.dynamic_typing = True
    return ros_node.declare_parameter(name, default, descriptor).value


if __name__ == "__main__":
    sys.exit(main())
