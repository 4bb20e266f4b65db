"""A stand-in for ROS 2's rcl_interfaces; see `ros2_graph`."""
