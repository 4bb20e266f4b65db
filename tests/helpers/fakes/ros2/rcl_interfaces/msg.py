"""A stand-in for ROS 2's rcl_interfaces; see `ros2_graph`."""

from ros2_messages import message_class

ParameterDescriptor = message_class("ParameterDescriptor", description=str, read_only=bool, dynamic_typing=bool)
