"""A stand-in for rclpy.executors; see `ros2_graph`."""


class ExternalShutdownException(Exception):
    """The context was shut down by a signal or another thread."""
