"""The live page: MJPEG, statistics and controls, served by the standard library alone.

    GET  /             the page (with ?token=... where a token is needed; the page keeps it as a cookie)
    GET  /stream.mjpg  images as they are finished; each part has its age in milliseconds when it was sent
    GET  /frame.jpg    the newest image
    GET  /statistics   statistics and state as JSON
    GET  /health       200 while images are finished, else 503; needs no token, for container health checks
    POST /control      {"task": ..., "alpha": ..., "paused": ..., "recording": ..., "snapshot": true}

One connection is one request. Nothing of a request is ever used as a path.
"""

import io
import json
import os
import select
import socket
import socketserver
import sys
import threading
import time
import traceback
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, Callable, Dict, Optional, Tuple
from urllib.parse import parse_qs, urlsplit

from fastnas.jetson.camera.controls import Controls
from fastnas.jetson.camera.stats import Statistics
from fastnas.jetson.camera.web.access import Guard, Refused, receive
from fastnas.jetson.camera.web.broadcast import Broadcast
from fastnas.jetson.errors import JetsonError

OTHER_CONNECTIONS = 24
"""Connections beside the viewers': statistics and controls, which last milliseconds."""

SEND_BUFFER = 128 * 1024
"""Bytes that the system buffers for a viewer: a few images, so that a slow one does not lag."""

STALE = 10.0
"""Seconds without a finished image after which /health is 503."""

WILDCARDS = {
    "0.0.0.0": ((socket.AF_INET, "192.0.2.1"),),
    "::": ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")),  # Linux serves IPv4 there too
}
"""Wildcard addresses, and addresses for documentation to which a route shows the machine's own."""

BOUNDARY = "frame"
FILES = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; img-src 'self' data:; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Sent with every response."""


class Server(socketserver.ThreadingMixIn, HTTPServer):
    """Serves the page of one camera from a thread of its own; a context manager.

    Args:
        address: to listen on.
        port: likewise; 0 is a free one.
        name: of the artifacts, for the page.
    """

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 32

    def __init__(
        self, address: str, port: int, name: str, broadcast: Broadcast, controls: Controls, statistics: Statistics
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            super().__init__((address, port), Handler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise JetsonError("cannot serve on {} port {}: {}; try --port".format(address, port, reason)) from error
        self.guard = Guard(address, self.server_port)
        self.name, self.broadcast, self.controls, self.statistics = name, broadcast, controls, statistics
        self.files: Dict[str, Tuple[bytes, str]] = {}
        for path, (file_name, kind) in FILES.items():
            with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), file_name), "rb") as file:
                self.files[path] = file.read(), kind
        self._slots = threading.BoundedSemaphore(broadcast.max_viewers + OTHER_CONNECTIONS)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.1,), name="web", daemon=True)

    def __enter__(self) -> "Server":
        self._thread.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    def url(self) -> str:
        """The page's address for other machines, with the token if one is needed."""
        host = str(self.server_address[0])
        host = own_address(host) if host in WILDCARDS else host
        page = "http://{}:{}/".format("[{}]".format(host) if ":" in host else host, self.server_port)
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

    def server_bind(self) -> None:
        """Bind without a DNS look-up of the own name, as HTTPServer does."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a new thread, or refuse if there are too many."""
        if not self._slots.acquire(blocking=False):
            request.setblocking(False)
            try:
                request.send(b"HTTP/1.0 503 Service Unavailable\r\nRetry-After: 2\r\n\r\n")
            except OSError:
                pass  # the client has left
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, then make room for another request."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a client that leaves; anything else is a defect, and printed."""
        if not isinstance(sys.exc_info()[1], OSError):
            traceback.print_exc()


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


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: Server
    server_version = "fastnas"
    sys_version = ""

    def setup(self) -> None:
        """Receive the whole request, bounded, before it is parsed."""
        super().setup()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        self._refusal: Optional[Refused] = None
        try:
            data = receive(self.connection)
        except Refused as refusal:
            self._refusal, data = refusal, b"GET /refused HTTP/1.0\r\n\r\n"
        self.rfile = io.BytesIO(data)

    def log_message(self, format: str, *arguments: Any) -> None:
        """No log: the address of the page may contain the token."""

    def do_GET(self) -> None:
        """Answer a GET."""
        self._answer(self._get)

    def do_POST(self) -> None:
        """Answer a POST."""
        self._answer(self._post)

    def _answer(self, work: Callable[[str, Dict[str, Any]], None]) -> None:
        try:
            if self._refusal is not None:
                raise self._refusal
            parts = urlsplit(self.path)
            work(parts.path, parse_qs(parts.query))
        except Refused as refusal:
            self._send(refusal.args[1] + "\n", "text/plain; charset=utf-8", refusal.args[0])
        except ValueError:
            self._send("malformed request\n", "text/plain; charset=utf-8", 400)

    def _get(self, path: str, query: Dict[str, Any]) -> None:
        server = self.server
        if path == "/health":
            return self._send(*("ok\n", "text/plain", 200) if server.healthy() else ("no frames\n", "text/plain", 503))
        given = query.get("token", [None])[0] if path == "/" else None
        server.guard.check(self.headers, given)
        if path in server.files:
            return self._send(*server.files[path], set_cookie=given is not None)
        if path == "/statistics":
            return self._send(json.dumps(server.state()), "application/json")
        if path == "/frame.jpg":
            jpeg = server.broadcast.newer(0, 5)
            if jpeg is None:
                raise Refused(503, "there is no frame yet")
            return self._send(jpeg.data, "image/jpeg")
        if path == "/stream.mjpg":
            return self._stream()
        raise Refused(404, "not found")

    def _post(self, path: str, query: Dict[str, Any]) -> None:
        self.server.guard.check(self.headers)
        if path != "/control":
            raise Refused(404, "not found")
        self.server.guard.check_control(self.headers)
        try:
            self.server.controls.apply(json.loads(self.rfile.read().decode("utf-8")))
        except (JetsonError, RecursionError) as error:
            raise Refused(400, str(error)) from error
        self._send(json.dumps(self.server.state()), "application/json")

    def _stream(self) -> None:
        broadcast, number = self.server.broadcast, 0
        with broadcast.watching() as admitted:
            if not admitted:
                raise Refused(503, "{} viewers are connected, which is the limit".format(broadcast.max_viewers))
            self._send(None, "multipart/x-mixed-replace; boundary=" + BOUNDARY)
            while not broadcast.closed:
                jpeg = broadcast.newer(number, 1)
                if jpeg is None:
                    if self._left():
                        return
                    continue
                number = jpeg.number
                head = "--{}\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\nX-Age-Ms: {:.1f}\r\n\r\n"
                age = (time.monotonic() - jpeg.captured) * 1000
                self.wfile.write(head.format(BOUNDARY, len(jpeg.data), age).encode() + jpeg.data + b"\r\n")

    def _left(self) -> bool:
        """Whether the client closed the connection: without images, there is no write that fails."""
        return bool(select.select([self.connection], [], [], 0)[0]) and not self.connection.recv(1, socket.MSG_PEEK)

    def _send(self, body: Any, kind: str, status: int = 200, set_cookie: bool = False) -> None:
        """Send a whole response, or only the head of one that is streamed, where `body` is None."""
        data = body.encode() if isinstance(body, str) else body
        guard = self.server.guard
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if data is not None:
            self.send_header("Content-Length", str(len(data)))
        if set_cookie and guard.token is not None:
            self.send_header("Set-Cookie", "{}={}; Path=/; HttpOnly; SameSite=Strict".format(guard.cookie, guard.token))
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data or b"")
