"""The live page: MJPEG, figures and controls, served by the standard library alone.

    GET  /             the page (with ?token=... where a token is needed; the page keeps it as a cookie)
    GET  /stream.mjpg  pictures as they come; each part says its age in milliseconds when it was sent
    GET  /picture.jpg  the newest picture
    GET  /figures      figures and state as JSON
    GET  /health       200 while pictures come, else 503; open to all, for container health checks
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
from fastnas.jetson.camera.stats import Figures
from fastnas.jetson.camera.web.access import Guard, Refused, receive
from fastnas.jetson.camera.web.broadcast import Broadcast
from fastnas.jetson.errors import JetsonError

OTHER_CONNECTIONS = 24
"""Connections beside the viewers': figures and controls, which last milliseconds."""

SEND_BUFFER = 128 * 1024
"""Bytes the system may hold for a viewer: a few pictures, so that a slow one sees the present."""

STALE = 10.0
"""Seconds without a picture after which /health says no."""

EVERYWHERE = {
    "0.0.0.0": ((socket.AF_INET, "192.0.2.1"),),
    "::": ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")),  # Linux serves IPv4 there too
}
"""Addresses that nobody can open, and where to look for a way out instead (addresses for documentation)."""

BOUNDARY = "picture"
POLICY = "default-src 'none'; img-src 'self' data:; style-src 'self'; script-src 'self'; connect-src 'self'"
FILES = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}


class Site:
    """What the pages show and change; shared by all connections."""

    def __init__(self, name: str, broadcast: Broadcast, controls: Controls, figures: Figures, guard: Guard) -> None:
        self.name, self.broadcast, self.controls, self.figures, self.guard = name, broadcast, controls, figures, guard
        self.files: Dict[str, Tuple[bytes, str]] = {}
        for path, (file_name, kind) in FILES.items():
            with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), file_name), "rb") as file:
                self.files[path] = file.read(), kind

    def state(self) -> Dict[str, Any]:
        """Everything that the page shows, as JSON values."""
        state = dict(self.figures.snapshot(), **self.controls.snapshot())
        if state["paused"] and state["state"] == "running":
            state["state"] = "paused"
        return dict(state, name=self.name, viewers=self.broadcast.viewers)


class Server(socketserver.ThreadingMixIn, HTTPServer):
    """Serves a site from a thread of its own; use as a context."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 32

    def __init__(self, address: str, port: int, make_site: Callable[[Guard], Site]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._free = 0
        try:
            super().__init__((address, port), Handler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise JetsonError("cannot serve on {} port {}: {}; try --port".format(address, port, reason)) from error
        self.guard = Guard(address, self.server_port)
        self.site = make_site(self.guard)
        self._places = threading.BoundedSemaphore(self.site.broadcast.most + OTHER_CONNECTIONS)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.1,), name="web", daemon=True)

    def __enter__(self) -> "Server":
        self._thread.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    def url(self) -> str:
        """Where others can open the page, with the token if one is needed."""
        host = str(self.server_address[0])
        host = own_address(host) if host in EVERYWHERE else host
        page = "http://{}:{}/".format("[{}]".format(host) if ":" in host else host, self.server_port)
        return page if self.guard.token is None else "{}?token={}".format(page, self.guard.token)

    def server_bind(self) -> None:
        """Bind without asking a name server who we are, as HTTPServer does."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a new thread, or refuse where all places are taken."""
        if not self._places.acquire(blocking=False):
            request.setblocking(False)
            try:
                request.send(b"HTTP/1.0 503 Service Unavailable\r\nRetry-After: 2\r\n\r\n")
            except OSError:
                pass  # a client that does not listen is gone all the same
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, then free the place."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves is no event; anything else is a defect, and shown."""
        if not isinstance(sys.exc_info()[1], OSError):
            traceback.print_exc()


def own_address(bound: str) -> str:
    """The address by which others reach this machine, served on all (`0.0.0.0` or `::`): that of its way out.

    A machine without a way out gives its name, which a router or multicast DNS may know.
    """
    for family, elsewhere in EVERYWHERE[bound]:
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
        """Receive the whole request, bounded, before any of it is looked at."""
        super().setup()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        self._refusal: Optional[Refused] = None
        try:
            data = receive(self.connection)
        except Refused as refusal:
            self._refusal, data = refusal, b"GET /refused HTTP/1.0\r\n\r\n"
        self.rfile = io.BytesIO(data)

    def log_message(self, format: str, *arguments: Any) -> None:
        """No log: the address of the page may hold the token."""

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
            status, line = refusal.args
            self._send(status, (line + "\n").encode(), "text/plain; charset=utf-8")
        except ValueError:
            self._send(400, b"not a request that makes sense\n", "text/plain; charset=utf-8")

    def _get(self, path: str, query: Dict[str, Any]) -> None:
        site = self.server.site
        if path == "/health":
            newest = site.figures.seconds_since_shown()
            healthy = newest is not None and (newest < STALE or site.controls.paused)
            return self._send(200 if healthy else 503, b"ok\n" if healthy else b"no pictures\n", "text/plain")
        given = query.get("token", [None])[0] if path == "/" else None
        self.server.guard.check(self.headers, given)
        if path in site.files:
            return self._send(200, *site.files[path], token=given)
        if path == "/figures":
            return self._send_json(site.state())
        if path == "/picture.jpg":
            jpeg = site.broadcast.newer(0, 5)
            if jpeg is None:
                raise Refused(503, "there is no picture yet")
            return self._send(200, jpeg.data, "image/jpeg")
        if path == "/stream.mjpg":
            return self._stream()
        raise Refused(404, "there is nothing here")

    def _post(self, path: str, query: Dict[str, Any]) -> None:
        self.server.guard.check(self.headers)
        if path != "/control":
            raise Refused(404, "there is nothing here")
        self.server.guard.check_control(self.headers)
        try:
            self.server.site.controls.apply(json.loads(self.rfile.read().decode("utf-8")))
        except (JetsonError, RecursionError) as error:
            raise Refused(400, getattr(error, "message", "too deep")) from error
        self._send_json(self.server.site.state())

    def _stream(self) -> None:
        site, number = self.server.site, 0
        with site.broadcast.watching() as admitted:
            if not admitted:
                raise Refused(503, "{} viewers are watching, which is the most".format(site.broadcast.most))
            self._head(200, "multipart/x-mixed-replace; boundary=" + BOUNDARY)
            while not site.broadcast.closed:
                jpeg = site.broadcast.newer(number, 1)
                if jpeg is None:
                    if self._left():
                        return
                    continue
                number = jpeg.number
                head = "--{}\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\nX-Age-Ms: {:.1f}\r\n\r\n"
                age = (time.monotonic() - jpeg.captured) * 1000
                self.wfile.write(head.format(BOUNDARY, len(jpeg.data), age).encode() + jpeg.data + b"\r\n")

    def _left(self) -> bool:
        """Whether the client closed the connection: while no pictures come, no failed write tells."""
        return bool(select.select([self.connection], [], [], 0)[0]) and not self.connection.recv(1, socket.MSG_PEEK)

    def _send_json(self, values: Any) -> None:
        self._send(200, json.dumps(values).encode(), "application/json")

    def _send(self, status: int, body: bytes, kind: str, token: Optional[str] = None) -> None:
        self._head(status, kind, len(body), token)
        self.wfile.write(body)

    def _head(self, status: int, kind: str, length: Optional[int] = None, token: Optional[str] = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if length is not None:
            self.send_header("Content-Length", str(length))
        if token is not None and self.server.guard.token is not None:
            cookie = "{}={}; Path=/; HttpOnly; SameSite=Strict".format(self.server.guard.cookie, token)
            self.send_header("Set-Cookie", cookie)
        for name, value in (
            ("Cache-Control", "no-store"),
            ("Content-Security-Policy", POLICY + "; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
            ("Referrer-Policy", "no-referrer"),
            ("X-Content-Type-Options", "nosniff"),
        ):
            self.send_header(name, value)
        self.end_headers()
