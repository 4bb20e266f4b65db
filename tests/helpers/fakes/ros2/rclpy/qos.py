"""A stand-in for rclpy.qos; see `ros2_graph`."""

from enum import IntEnum


class ReliabilityPolicy(IntEnum):
    """Whether lost messages are sent again."""

    RELIABLE = 1
    BEST_EFFORT = 2


class DurabilityPolicy(IntEnum):
    """Whether messages are kept for those who subscribe later."""

    TRANSIENT_LOCAL = 1
    VOLATILE = 2


class QoSProfile:
    """Quality of service; the history is KEEP_LAST where a depth is given."""

    def __init__(self, *, depth, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.VOLATILE):
        assert isinstance(depth, int)
        self.depth = depth
        self.reliability = ReliabilityPolicy(reliability)
        self.durability = DurabilityPolicy(durability)
