"""Access to the live page, and limits of a request.

On a loopback address everybody on the machine may watch and control; web pages of other sites may not, so the
request's Host must be a loopback name (against DNS rebinding). On every other address a token is needed, as a cookie,
which the page sets, or as `Authorization: Bearer`. Controls are taken only from this page or from a program that is no
browser.
"""

import hmac
import ipaddress
import re
import secrets
import socket
import time
from email.message import Message
from http.cookies import CookieError, SimpleCookie
from typing import Any, Mapping, Optional, Union
from urllib.parse import urlsplit

MOST_BYTES = 16 * 1024
"""Of a whole request, head and body."""

REQUEST_SECONDS = 10.0
"""Within which a request must have arrived."""

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")


Headers = Union[Mapping[str, str], "Message[str, str]"]


class Refused(Exception):
    """A request that is refused; its arguments are the HTTP status and a line."""


class Guard:
    """The access rules for one address and port.

    Attributes:
        token: the secret of the viewers, or None on a loopback address.
        cookie: the name of the cookie that holds it; ports share cookies, so it names the port.
    """

    def __init__(self, address: str, port: int) -> None:
        self.token: Optional[str] = None if is_loopback(address) else secrets.token_urlsafe(16)
        self.cookie = "fastnas_{}".format(port)

    def check(self, headers: Headers, given: Optional[str] = None) -> None:
        """Let a request through, or raise `Refused`. `given` is a token of the URL."""
        if self.token is None:
            if _host_name(headers.get("Host", "")) not in LOOPBACK_NAMES:
                raise Refused(403, "open the page by a loopback name: http://localhost")
            if headers.get("Sec-Fetch-Site") == "cross-site" and headers.get("Sec-Fetch-Mode") != "navigate":
                raise Refused(403, "this page is not shown inside others")
        elif not any(_same(candidate, self.token) for candidate in (given, self._cookie(headers), _bearer(headers))):
            raise Refused(401, "open the address with the token that was printed when the camera was started")

    def check_control(self, headers: Headers) -> None:
        """Let a control through, or raise `Refused`: it must be JSON, and a browser's must come from this page."""
        if headers.get("Content-Type", "").partition(";")[0].strip().lower() != "application/json":
            raise Refused(415, "controls are sent as application/json")
        origin = headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc != headers.get("Host", ""):
            raise Refused(403, "controls are taken from this page only")
        if headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
            raise Refused(403, "controls are taken from this page only")

    def _cookie(self, headers: Headers) -> Optional[str]:
        try:
            found = SimpleCookie(headers.get("Cookie", "")).get(self.cookie)
        except CookieError:
            return None
        return None if found is None else found.value


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def receive(connection: socket.socket) -> bytes:
    """A whole request of a bounded size, within a bounded time.

    Raises:
        Refused: it is too large or malformed.
        OSError: it did not arrive.
    """
    due = time.monotonic() + REQUEST_SECONDS
    data = b""
    wanted: Optional[int] = None
    while wanted is None or len(data) < wanted:
        left = due - time.monotonic()
        if left <= 0:
            raise socket.timeout("no whole request")
        connection.settimeout(left)
        part = connection.recv(MOST_BYTES)
        if not part:
            raise ConnectionAbortedError("the client left")
        data += part
        if wanted is None:
            head, end, _ = data.partition(b"\r\n\r\n")
            if end:
                wanted = len(head) + len(end) + _content_length(head)
        if len(data) > MOST_BYTES or (wanted or 0) > MOST_BYTES:
            raise Refused(413, "the request is too large")
    connection.settimeout(REQUEST_SECONDS)
    return data


def _content_length(head: bytes) -> int:
    found = re.findall(rb"^content-length:[ \t]*(\d{1,9})[ \t]*\r?$", head, re.IGNORECASE | re.MULTILINE)
    if len(found) > 1 or (not found and re.search(rb"^(content-length|transfer-encoding):", head, re.I | re.M)):
        raise Refused(400, "the request's length is not clear")
    return int(found[0]) if found else 0


def _host_name(host: str) -> str:
    """The name of a Host header, without its port, in small letters."""
    return re.sub(r":\d+$", "", host).lower()


def _bearer(headers: Headers) -> Optional[str]:
    scheme, _, value = headers.get("Authorization", "").partition(" ")
    return value.strip() if scheme.lower() == "bearer" else None


def _same(candidate: Any, token: str) -> bool:
    """Compared in constant time."""
    return isinstance(candidate, str) and hmac.compare_digest(candidate.encode("utf-8", "replace"), token.encode())
