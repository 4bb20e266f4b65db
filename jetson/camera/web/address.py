"""Sockets that listen, and their addresses for other machines."""

import socket

from fastnas.jetson.errors import JetsonError

WAITING = 128
"""Connections that the system keeps until they are accepted."""

WILDCARDS = {
    "0.0.0.0": ((socket.AF_INET, "192.0.2.1"),),
    "::": ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")),  # Linux serves IPv4 there too
}
"""Wildcard addresses, and addresses for documentation to which a route shows the machine's own."""


def listen(address: str, port: int, option: str) -> socket.socket:
    """A socket that listens there.

    Args:
        option: that chooses another port.

    Raises:
        JetsonError: it cannot.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        if not address:
            raise ValueError("the address is empty")
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(WAITING)
    except (OSError, OverflowError, ValueError, TypeError) as error:  # the last for NUL and half characters
        listener.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise JetsonError("cannot serve on {} port {}: {}; try {}".format(address, port, reason, option)) from error
    return listener


def host_and_port(bound: str, port: int) -> str:
    """The part of a URL for a socket that is bound to an address and port."""
    host = own_address(bound) if bound in WILDCARDS else bound
    return "{}:{}".format("[{}]".format(host) if ":" in host else host, port)


def own_address(bound: str) -> str:
    """The address by which others reach this machine where it serves on a wildcard: that of its default route.

    A machine without a route gives its name, which a router or multicast DNS may know.
    """
    for family, elsewhere in WILDCARDS[bound]:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((elsewhere, 9))  # finds the route; a datagram socket sends nothing for it
                return str(probe.getsockname()[0])
        except OSError:
            continue
    return socket.gethostname()
