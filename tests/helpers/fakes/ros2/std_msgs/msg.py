"""A stand-in for ROS 2's std_msgs; see `ros2_graph`."""

from ros2_messages import Time, message_class

Header = message_class("Header", stamp=Time, frame_id=str)
String = message_class("String", data=str)
