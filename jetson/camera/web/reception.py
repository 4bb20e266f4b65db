"""Accepts connections and receives their requests, in one thread for all of them.

A client that sends slowly costs a socket and a buffer, no thread, until its time is up. Where too many wait, the oldest
of the address with the most is dropped, so that nobody keeps others out. A wholly received request is handed on.
"""

import ipaddress
import selectors
import socket
import threading
import time
import traceback
from collections import Counter, OrderedDict
from typing import Any, Callable, Dict, Union

from fastnas.jetson.camera.web.request import MOST_BYTES, Reader, Refused, Request

REQUEST_SECONDS = 10.0
"""Within which a whole request must have arrived, and a response must have been taken."""

WAITING = 128
"""Connections whose request has not arrived yet, in all."""

WAITING_OF_ONE = 32
"""Likewise, of one address."""

TICK = 0.1

Hand = Callable[[socket.socket, str, Union[Request, Refused]], None]
"""Takes a connection, its `network`, and its request or the reason why it is refused. It must not wait."""


class _Waiting:
    """A connection whose request has not arrived yet."""

    def __init__(self, network: str, due: float) -> None:
        self.network, self.due = network, due
        self.reader = Reader()


class Reception:
    """Receives the requests of a listening socket and hands them on, until `stop`."""

    def __init__(self, listener: socket.socket, hand: Hand) -> None:
        self._listener, self._hand = listener, hand
        self._stopped = threading.Event()
        self._waiting: "OrderedDict[socket.socket, _Waiting]" = OrderedDict()  # the oldest first
        self._selector = selectors.DefaultSelector()

    def stop(self) -> None:
        """Let `run` return."""
        self._stopped.set()

    def run(self) -> None:
        """Accept, receive and hand on."""
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ)
        try:
            while not self._stopped.is_set():
                for key, _ in self._selector.select(TICK):
                    connection: Any = key.fileobj
                    if connection is self._listener:
                        self._accept()
                    elif connection in self._waiting:
                        self._receive(connection)
                self._drop_late()
        finally:
            for connection in list(self._waiting):
                self._drop(connection)
            self._selector.close()

    def _accept(self) -> None:
        try:
            connection, address = self._listener.accept()
        except BlockingIOError:
            return
        except OSError:  # the client has left, or the process has no more files
            if self._waiting:
                self._drop(next(iter(self._waiting)))
            time.sleep(0.01)
            return
        network = network_of(address[0])
        counts = Counter(each.network for each in self._waiting.values())
        if counts[network] >= WAITING_OF_ONE:
            self._drop_oldest_of(network)
        elif len(self._waiting) >= WAITING:
            self._drop_oldest_of(counts.most_common(1)[0][0])
        connection.setblocking(False)
        self._waiting[connection] = _Waiting(network, time.monotonic() + REQUEST_SECONDS)
        self._selector.register(connection, selectors.EVENT_READ)

    def _receive(self, connection: socket.socket) -> None:
        waiting = self._waiting[connection]
        request: Union[Request, Refused, None] = None
        try:
            piece = connection.recv(MOST_BYTES + 1)
            if not piece:
                raise ConnectionAbortedError("the client has left")
            request = waiting.reader.feed(piece)
        except BlockingIOError:
            pass
        except OSError:
            self._drop(connection)
        except Refused as refusal:
            request = refusal
        if request is not None:
            self._release(connection)
            try:
                self._hand(connection, waiting.network, request)
            except Exception:  # a defect, or no more threads: this client is not answered, others are
                traceback.print_exc()
                connection.close()

    def _drop_late(self) -> None:
        now = time.monotonic()
        while self._waiting:
            connection, waiting = next(iter(self._waiting.items()))
            if waiting.due > now:
                return
            self._drop(connection)

    def _drop_oldest_of(self, network: str) -> None:
        self._drop(next(each for each, waiting in self._waiting.items() if waiting.network == network))

    def _release(self, connection: socket.socket) -> None:
        self._selector.unregister(connection)
        del self._waiting[connection]

    def _drop(self, connection: socket.socket) -> None:
        self._release(connection)
        connection.close()


class Places:
    """How many are answered at once, in all and of one network."""

    def __init__(self, total: int, of_one: int) -> None:
        self._total, self._of_one = total, of_one
        self._taken: Dict[str, int] = {}
        self._lock = threading.Lock()

    def enter(self, network: str) -> bool:
        """Take a place; False if there is none."""
        with self._lock:
            if sum(self._taken.values()) >= self._total or self._taken.get(network, 0) >= self._of_one:
                return False
            self._taken[network] = self._taken.get(network, 0) + 1
            return True

    def leave(self, network: str) -> None:
        """Give the place back."""
        with self._lock:
            self._taken[network] -= 1
            if not self._taken[network]:
                del self._taken[network]


def network_of(address: str) -> str:
    """What counts as one client: an IPv4 address, or the 64 bits of an IPv6 address that one connection is given."""
    parsed: Any = ipaddress.ip_address(address.partition("%")[0])
    if parsed.version == 4:
        return str(parsed)
    return str(parsed.ipv4_mapped or ipaddress.ip_network("{}/64".format(parsed), strict=False))
