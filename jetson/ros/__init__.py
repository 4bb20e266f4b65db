"""A node for ROS 1 and ROS 2: images in; class ids, depth, joints and drawings out, with their stamps and frames.

`node` is what both have in common, with nothing of ROS but the messages' names; `ros1` and `ros2` connect it. The
folder `fastnas_ros` is the package that catkin and colcon build.
"""
