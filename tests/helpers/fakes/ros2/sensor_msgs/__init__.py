"""A stand-in for ROS 2's sensor_msgs; see `ros2_graph`."""
