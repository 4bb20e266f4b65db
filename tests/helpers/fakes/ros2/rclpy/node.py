"""A stand-in for rclpy.node; see `ros2_graph`."""

import ros2_graph

from rclpy.qos import QoSProfile


class _Logger:
    def info(self, message):
        self._note("info", message)

    def warning(self, message):
        self._note("warning", message)

    def fatal(self, message):
        self._note("fatal", message)

    def _note(self, severity, message):
        assert isinstance(message, str)
        ros2_graph.log.append((severity, message))


class _Parameter:
    def __init__(self, value):
        self.value = value


class _Publisher:
    def __init__(self, topic, kind):
        self._topic, self._kind = topic, kind

    def publish(self, msg):
        assert isinstance(msg, self._kind), "expected {}, got {}".format(self._kind, type(msg))
        ros2_graph.published.append((self._topic, msg))

    def get_subscription_count(self):
        return 1 if self._topic in ros2_graph.watched else 0


class Node:
    """A node in the namespace `/`."""

    def __init__(self, node_name):
        self._name = node_name

    def create_publisher(self, msg_type, topic, qos_profile):
        """A publisher."""
        assert isinstance(qos_profile, (QoSProfile, int))
        name = self._expand(topic)
        ros2_graph.publishers[name] = msg_type, qos_profile
        return _Publisher(name, msg_type)

    def create_subscription(self, msg_type, topic, callback, qos_profile):
        """A subscription."""
        assert isinstance(qos_profile, (QoSProfile, int))
        ros2_graph.subscriptions[self._expand(topic)] = msg_type, callback, qos_profile
        return object()

    def declare_parameter(self, name, value=None, descriptor=None):
        """The parameter, with the command line's value where there is one; of the default's type, unless dynamic."""
        assert name not in ros2_graph.parameters, "declared twice"
        ros2_graph.parameters[name] = descriptor
        found = ros2_graph.state["overrides"].get(name, value)
        dynamic = getattr(descriptor, "dynamic_typing", True)  # in Foxy every parameter is
        assert dynamic or type(found) is type(value), "InvalidParameterTypeException"
        return _Parameter(found)

    def get_logger(self):
        """The logger."""
        return _Logger()

    def destroy_node(self):
        """Destroy it."""
        ros2_graph.state["destroyed"] += 1

    def _expand(self, topic):
        return "/" + self._name + topic[1:] if topic.startswith("~/") else "/" + topic
