"""A stand-in for ROS 2's std_msgs; see `ros2_graph`."""
