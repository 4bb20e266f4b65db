"""One connection of an RTSP client: its requests are read in one thread, and all is sent to it from another."""

import re
import secrets
import socket
import struct
import threading
from collections import deque
from typing import Any, Callable, Deque, Dict, NamedTuple, Optional, Tuple

MOST_BYTES = 16 * 1024
"""Of a request."""

REQUEST_SECONDS = 10.0
"""Within which each request until PLAY must come, and anything sent must be taken."""

MOST_WAITING = 2 << 20
"""Bytes that wait for a slow viewer; beyond them it goes on at the next key frame."""

SEND_BUFFER = 256 * 1024
"""Bytes that the system buffers, so that a slow viewer does not lag by many seconds."""

REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    453: "Not Enough Bandwidth",
    455: "Method Not Valid in This State",
    461: "Unsupported Transport",
    501: "Not Implemented",
}

_REQUEST_LINE = re.compile(r"([A-Z_]{1,16}) (\S{1,2000}) RTSP/1\.0\Z")


class Response(NamedTuple):
    """An answer: its status, headers and body."""

    status: int
    headers: Dict[str, str] = {}
    body: str = ""

    def encode(self, number: int) -> bytes:
        """Its bytes, for the request of a number."""
        lines = ["RTSP/1.0 {} {}".format(self.status, REASONS[self.status]), "CSeq: {}".format(number)]
        lines += ["{}: {}".format(name, value) for name, value in self.headers.items()]
        if self.body:
            lines.append("Content-Length: {}".format(len(self.body)))
        return ("\r\n".join(lines + ["", ""]) + self.body).encode("ascii")


class Viewer:
    """A client.

    Args:
        connection: to it; is closed at the end.
        respond: answers a method, URL and headers (by names in small letters).
        forget: is called when the client has left.

    Attributes:
        session: of the client.
        channel: on which it wants RTP packets; None before SETUP.
        playing: whether it gets them.
    """

    def __init__(
        self,
        connection: socket.socket,
        respond: Callable[["Viewer", str, str, Dict[str, str]], Response],
        forget: Callable[["Viewer"], None],
    ) -> None:
        self.session = secrets.token_hex(8)
        self.channel: Optional[int] = None
        self.playing = False
        self._connection, self._respond, self._forget = connection, respond, forget
        self._buffer = b""
        self._change = threading.Condition()
        self._waiting: Deque[bytes] = deque()
        self._bytes = 0
        self._needs_key, self._closed = True, False

    def start(self) -> None:
        """Start its threads."""
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        self._limit(socket.SO_RCVTIMEO, REQUEST_SECONDS)
        self._limit(socket.SO_SNDTIMEO, REQUEST_SECONDS)
        writer = threading.Thread(target=self._write, name="rtsp writer", daemon=True)
        writer.start()
        threading.Thread(target=self._read, args=(writer,), name="rtsp reader", daemon=True).start()

    def own_address(self) -> Tuple[Any, ...]:
        """The address and port that the client reached."""
        return tuple(self._connection.getsockname()[:2])

    def close(self) -> None:
        """End the connection at once."""
        try:
            self._connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the client was faster

    def send_packet(self, packet: bytes, key: bool) -> None:
        """Send an RTP packet if the client plays; `key`: it can start with this one."""
        if not self.playing or self.channel is None or (self._needs_key and not key):
            return
        with self._change:
            self._needs_key = self._bytes > MOST_WAITING
        if not self._needs_key:
            self._put(b"$" + bytes([self.channel]) + len(packet).to_bytes(2, "big") + packet)

    def _put(self, data: bytes) -> None:
        with self._change:
            self._waiting.append(data)
            self._bytes += len(data)
            self._change.notify_all()

    def _limit(self, option: int, seconds: float) -> None:
        """Give up receiving or sending after so long; 0 is never. A timeout of Python's would be for both."""
        self._connection.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", int(seconds), 0))

    def _read(self, writer: threading.Thread) -> None:
        """Answer requests until the client leaves; then wait for the last answer to be sent."""
        try:
            while self._answer(self._request()):
                pass
        except OSError:
            pass  # it has left, or takes too long
        finally:
            self.playing = False
            with self._change:
                self._closed = True
                self._change.notify_all()
            writer.join()
            self.close()
            self._connection.close()
            self._forget(self)

    def _answer(self, text: str) -> bool:
        """Answer one request; False if it was the last."""
        lines = text.split("\r\n")
        line = _REQUEST_LINE.match(lines[0])
        headers = {}
        for each in lines[1:]:
            name, _, value = each.partition(":")
            headers[name.strip().lower()] = value.strip()
        number = headers.get("cseq", "")
        if line is None or not re.match(r"\d{1,9}\Z", number, re.ASCII):
            self._put(Response(400).encode(0))
            return False
        method, url = line.groups()
        self._put(self._respond(self, method, url, headers).encode(int(number)))
        if self.playing:  # it may be silent from now on
            self._limit(socket.SO_RCVTIMEO, 0)
        return method != "TEARDOWN"

    def _request(self) -> str:
        """The head of the next request; packets of RTCP, in which clients say how well they receive, are skipped."""
        while True:
            if self._buffer[:1] == b"$":
                end = 4 + int.from_bytes(self._buffer[2:4], "big")
                if len(self._buffer) >= max(end, 4):
                    self._buffer = self._buffer[end:]
                    continue
            elif b"\r\n\r\n" in self._buffer:
                head, _, rest = self._buffer.partition(b"\r\n\r\n")
                length = re.search(rb"\r\ncontent-length: *(\d{1,4})\r\n", head.lower() + b"\r\n")
                body = int(length.group(1)) if length else 0
                if len(rest) >= body:
                    self._buffer = rest[body:]
                    return head.decode("latin-1")
            if len(self._buffer) > MOST_BYTES and self._buffer[:1] != b"$":
                raise OSError("the request is too large")
            piece = self._connection.recv(MOST_BYTES)
            if not piece:
                raise OSError("the client has left")
            self._buffer += piece

    def _write(self) -> None:
        try:
            while True:
                with self._change:
                    while not self._waiting and not self._closed:
                        self._change.wait()
                    if not self._waiting:
                        return
                    data = self._waiting.popleft()
                    self._bytes -= len(data)
                self._connection.sendall(data)
        except OSError:  # it has left, or takes nothing any more
            self.close()
