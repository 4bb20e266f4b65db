"""The live page: MJPEG, statistics and controls, served by the standard library alone.

    GET  /             the page (with ?token=... where a token is needed; the page keeps it as a cookie)
    GET  /stream.mjpg  images as they are finished; each part has its age in milliseconds when it was sent
    GET  /frame.jpg    the newest image
    GET  /statistics   statistics and state as JSON
    GET  /health       200 while images are finished, else 503; needs no token, for container health checks
    POST /control      {"task": ..., "alpha": ..., "paused": ..., "recording": ..., "snapshot": true}

One connection is one request. Nothing of a request is ever used as a path, sent back or logged.
"""

import json
import os
import re
import select
import socket
import threading
import time
import traceback
from http.client import responses
from typing import Any, Dict, Optional, Tuple, Union

from fastnas.jetson.camera.controls import Controls
from fastnas.jetson.camera.stats import Statistics
from fastnas.jetson.camera.web import address as address_of
from fastnas.jetson.camera.web import reception
from fastnas.jetson.camera.web.access import Guard
from fastnas.jetson.camera.web.broadcast import Broadcast
from fastnas.jetson.camera.web.request import MOST_BYTES, Refused, Request
from fastnas.jetson.checks import parse_json
from fastnas.jetson.errors import JetsonError

ANSWERS = 24
"""Requests that are answered at once beside the streams, which last milliseconds."""

ANSWERS_OF_ONE = 8
"""Likewise, for one address: a browser opens six connections."""

STREAM = "/stream.mjpg"
REFUSED_STREAMS = 4
"""Requests of streams beyond the limit of viewers that are told so."""

DRAIN_SECONDS, DRAIN_BYTES = 1.0, 1 << 20
"""What is read of a refused request at most, so that its client gets the reason."""

SEND_BUFFER = 128 * 1024
"""Bytes that the system buffers for a viewer: a few images, so that a slow one does not lag."""

STALE = 10.0
"""Seconds without a finished image after which /health is 503."""

BOUNDARY = "frame"
FILES = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}
HEADERS = {
    "Server": "fastnas",
    "Connection": "close",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; img-src 'self' data:; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Sent with every response."""

TEXT = "text/plain; charset=utf-8"


class Server:
    """Serves the page of one camera from threads of its own; a context manager.

    Args:
        address: to listen on.
        port: likewise; 0 is a free one.
        name: of the artifacts, for the page.

    Raises:
        JetsonError: it cannot listen there.
    """

    def __init__(
        self, address: str, port: int, name: str, broadcast: Broadcast, controls: Controls, statistics: Statistics
    ) -> None:
        self._listener = address_of.listen(address, port, "--port")
        self.server_address, self.server_port = self._listener.getsockname()[:2]
        self.guard = Guard(address, self.server_port)
        self.name, self.broadcast, self.controls, self.statistics = name, broadcast, controls, statistics
        self.files: Dict[str, Tuple[bytes, str]] = {}
        for path, (file_name, kind) in FILES.items():
            with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), file_name), "rb") as file:
                self.files[path] = file.read(), kind
        self._answers = reception.Places(ANSWERS, ANSWERS_OF_ONE)
        streams = (broadcast.max_viewers if broadcast else 0) + REFUSED_STREAMS
        self._streams = reception.Places(streams, streams)
        self._reception = reception.Reception(self._listener, self._take)
        self._thread = threading.Thread(target=self._reception.run, name="web", daemon=True)

    def __enter__(self) -> "Server":
        self._thread.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self._reception.stop()
        self._thread.join()
        self._listener.close()

    def url(self) -> str:
        """The page's address for other machines, with the token if one is needed."""
        page = "http://{}/".format(address_of.host_and_port(str(self.server_address), self.server_port))
        return page if self.guard.token is None else "{}?token={}".format(page, self.guard.token)

    def state(self) -> Dict[str, Any]:
        """Everything that the page shows, as JSON values."""
        state = dict(self.statistics.snapshot(), **self.controls.snapshot())
        if state["paused"] and state["state"] == "running":
            state["state"] = "paused"
        return dict(state, name=self.name, viewers=self.broadcast.viewers)

    def healthy(self) -> bool:
        """Whether images are finished, or the user paused them."""
        newest = self.statistics.seconds_since_shown()
        return newest is not None and (newest < STALE or self.controls.paused)

    def _take(self, connection: socket.socket, network: str, request: Union[Request, Refused]) -> None:
        """Answer in a new thread, or refuse if there are too many; /health is answered at once, however many."""
        path = request.path if isinstance(request, Request) else ""
        places = self._streams if path == STREAM else self._answers
        if path == "/health":
            status, text = (200, b"ok\n") if self.healthy() else (503, b"no frames\n")
            _send_at_once(connection, response(status, TEXT, text))
        elif not places.enter(network):
            _send_at_once(connection, response(503, TEXT, b"too many requests at once\n", {"Retry-After": "2"}))
        else:
            arguments = (connection, network, request, places)
            try:
                threading.Thread(target=self._answer, args=arguments, name="web answer", daemon=True).start()
            except RuntimeError:  # there are no more threads
                places.leave(network)
                connection.close()

    def _answer(
        self,
        connection: socket.socket,
        network: str,
        request: Union[Request, Refused],
        places: reception.Places,
    ) -> None:
        try:
            with connection:
                connection.settimeout(reception.REQUEST_SECONDS)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
                try:
                    if isinstance(request, Refused):
                        raise request
                    self._respond(connection, request)
                except Refused as refusal:
                    status, line = refusal.args
                    connection.sendall(response(status, TEXT, line.encode() + b"\n"))
                connection.shutdown(socket.SHUT_WR)
                if isinstance(request, Refused):
                    _drain(connection)
        except OSError:
            pass  # the client has left
        except Exception:  # a defect: it is printed, and the page goes on
            traceback.print_exc()
        finally:
            places.leave(network)

    def _respond(self, connection: socket.socket, request: Request) -> None:
        if request.method == "POST":
            return connection.sendall(self._post(request))
        if request.method != "GET":
            raise Refused(501, "there are GET and POST")
        given = request.parameter("token") if request.path == "/" else None
        self.guard.check(request.headers, given)
        if request.path == STREAM:
            return self._stream(connection)
        return connection.sendall(self._get(request.path, given is not None))

    def _get(self, path: str, set_cookie: bool) -> bytes:
        if path in self.files:
            body, kind = self.files[path]
            more = {"Set-Cookie": self.guard.set_cookie()} if set_cookie and self.guard.token is not None else {}
            return response(200, kind, body, more)
        if path == "/statistics":
            return response(200, "application/json", json.dumps(self.state()).encode())
        if path == "/frame.jpg":
            jpeg = self.broadcast.newest(5)
            if jpeg is None:
                raise Refused(503, "there is no frame yet")
            return response(200, "image/jpeg", jpeg.data)
        raise Refused(404, "not found")

    def _post(self, request: Request) -> bytes:
        self.guard.check(request.headers)
        if request.path != "/control":
            raise Refused(404, "not found")
        self.guard.check_control(request.headers)
        try:
            self.controls.apply(parse_json(request.body, "control"))
        except JetsonError as error:
            raise Refused(400, str(error)) from error
        return response(200, "application/json", json.dumps(self.state()).encode())

    def _stream(self, connection: socket.socket) -> None:
        broadcast, number = self.broadcast, 0
        with broadcast.watching() as admitted:
            if not admitted:
                raise Refused(503, "{} viewers are connected, which is the limit".format(broadcast.max_viewers))
            connection.sendall(response(200, "multipart/x-mixed-replace; boundary=" + BOUNDARY, None))
            while not broadcast.closed:
                jpeg = broadcast.newer(number, 1)
                if jpeg is None:
                    if _has_left(connection):
                        return
                    continue
                number = jpeg.number
                head = "--{}\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\nX-Age-Ms: {:.1f}\r\n\r\n"
                age = (time.monotonic() - jpeg.captured) * 1000
                connection.sendall(head.format(BOUNDARY, len(jpeg.data), age).encode() + jpeg.data + b"\r\n")


def response(status: int, kind: str, body: Optional[bytes], more: Optional[Dict[str, str]] = None) -> bytes:
    """A whole response, or only the head of one that is streamed, where `body` is None.

    Raises:
        ValueError: a header holds anything but printable ASCII: it would become two.
    """
    headers = dict(HEADERS, **{"Content-Type": kind})
    if body is not None:
        headers["Content-Length"] = str(len(body))
    headers.update(more or {})
    lines = ["HTTP/1.0 {} {}".format(status, responses[status])]
    lines += ["{}: {}".format(name, value) for name, value in headers.items()]
    if not all(re.match(r"[\x20-\x7e]+\Z", line) for line in lines):
        raise ValueError("a header that is no printable ASCII")
    return "\r\n".join(lines + ["", ""]).encode("ascii") + (body or b"")


def _send_at_once(connection: socket.socket, data: bytes) -> None:
    """Send a few bytes, which a new connection's buffer takes without waiting, and close."""
    with connection:
        try:
            connection.send(data)
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the client has left


def _drain(connection: socket.socket) -> None:
    """Read what a refused client still sends, for a while: closing before would take the response away from it."""
    due, left = time.monotonic() + DRAIN_SECONDS, DRAIN_BYTES
    while left > 0 and time.monotonic() < due:
        connection.settimeout(DRAIN_SECONDS)
        piece = connection.recv(MOST_BYTES)
        if not piece:
            return
        left -= len(piece)


def _has_left(connection: socket.socket) -> bool:
    """Whether the client closed the connection: without images, there is no write that fails."""
    return bool(select.select([connection], [], [], 0)[0]) and not connection.recv(1, socket.MSG_PEEK)
