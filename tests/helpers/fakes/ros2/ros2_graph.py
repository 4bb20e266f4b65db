"""What a test and the stand-in of rclpy share: what other nodes send and subscribe to, and what this one published.

Only names that rclpy's API documentation lists are in the stand-in, so that using another fails as it would on a robot:
https://docs.ros.org/en/humble/p/rclpy/ (those that are used here are the same from Foxy to Kilted).
"""

incoming = []
"""Messages of (topic, message), in order, that `spin` delivers; `SIGTERM` in their place ends it like that signal."""

watched = set()
"""Full names of topics that another node subscribes to."""

published = []
"""(topic, message) in order."""

publishers = {}
"""Classes of messages and QoS profiles, by topic."""

subscriptions = {}
"""Classes of messages, callbacks and QoS profiles, by topic."""

log = []
"""Lines of (severity, text)."""

parameters = {}
"""Descriptors by name."""

state = {"initialised": False, "overrides": {}, "destroyed": 0}
SIGTERM = object()


def clear():
    """Begin anew."""
    for each in (incoming, watched, published, publishers, subscriptions, log, parameters):
        each.clear()
    state.update(initialised=False, overrides={}, destroyed=0)
