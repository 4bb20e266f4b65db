"""A request of HTTP/1.x, read strictly: what is unusual is refused, and no byte of it is ever sent back."""

import re
from typing import Dict, NamedTuple, Optional

MOST_BYTES = 16 * 1024
"""Of a whole request, head and body."""

MOST_HEADERS = 100

_END = b"\r\n\r\n"
_REQUEST_LINE = re.compile(rb"([A-Z]{1,16}) (/[\x21-\x7e\x80-\xff]*) HTTP/1\.[01]\Z")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}):[ \t]*([\t\x20-\x7e\x80-\xff]*)\Z")
_ONCE = ("authorization", "content-length", "content-type", "cookie", "host", "origin", "sec-fetch-site")
"""Headers that decide something: two of them would leave open which counts."""


class Refused(Exception):
    """A request that is refused; its arguments are the HTTP status and a line, which quotes nothing of the request."""


class Request(NamedTuple):
    """A whole request.

    Attributes:
        method: in capitals.
        path: begins with a slash; nothing is decoded.
        query: what follows the question mark.
        headers: values by name in small letters.
        body: the bytes after the head.
    """

    method: str
    path: str
    query: str
    headers: Dict[str, str]
    body: bytes = b""

    def parameter(self, name: str) -> Optional[str]:
        """The value of a query's parameter as it stands there, or None."""
        for pair in self.query.split("&"):
            key, equals, value = pair.partition("=")
            if key == name and equals:
                return value
        return None


class Reader:
    """Takes a request in pieces, as they arrive."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._head: Optional[Request] = None
        self._body_at = self._wanted = 0

    def feed(self, piece: bytes) -> Optional[Request]:
        """Take bytes; the request once it is whole, else None. What follows a whole request is dropped.

        Raises:
            Refused: it is malformed or too large.
        """
        seen = max(0, len(self._data) - len(_END))
        self._data += piece
        if self._head is None:
            end = self._data.find(_END, seen)
            if end >= 0:
                self._head = _parse(bytes(self._data[:end]))
                self._body_at = end + len(_END)
                self._wanted = self._body_at + _content_length(self._head.headers)
        if max(self._wanted, len(self._data)) > MOST_BYTES:
            raise Refused(413, "the request is too large")
        if self._head is None or len(self._data) < self._wanted:
            return None
        return self._head._replace(body=bytes(self._data[self._body_at : self._wanted]))


def _parse(head: bytes) -> Request:
    first, *lines = head.split(b"\r\n")
    found = _REQUEST_LINE.match(first)
    if found is None or len(lines) > MOST_HEADERS:
        raise Refused(400, "malformed request")
    headers: Dict[str, str] = {}
    for line in lines:
        header = _HEADER.match(line)
        if header is None:
            raise Refused(400, "malformed request")
        name = header.group(1).decode("ascii").lower()
        if name in headers and name in _ONCE:
            raise Refused(400, "malformed request")
        headers[name] = header.group(2).decode("latin-1").strip(" \t")
    path, _, query = found.group(2).decode("latin-1").partition("?")
    return Request(found.group(1).decode("ascii"), path, query, headers)


def _content_length(headers: Dict[str, str]) -> int:
    text = headers.get("content-length", "0")
    if "transfer-encoding" in headers or not re.match(r"[0-9]{1,9}\Z", text):
        raise Refused(400, "the request's length is not clear")
    return int(text)
