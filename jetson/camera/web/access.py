"""Access to the live page.

On a loopback address everybody on the machine may watch and control; web pages of other sites may not, so the
request's Host must be a loopback name (against DNS rebinding). On every other address a token is needed, as a cookie,
which the page sets, or as `Authorization: Bearer`. Controls are taken only from this page or from a program that is no
browser.
"""

import hmac
import ipaddress
import re
import secrets
from typing import Mapping, Optional

from fastnas.jetson.camera.web.request import Refused


class Guard:
    """The access rules for one address and port.

    Attributes:
        token: the secret of the viewers, or None on a loopback address.
        cookie: the name of the cookie that holds it; ports share cookies, so it names the port.
    """

    def __init__(self, address: str, port: int) -> None:
        self.token: Optional[str] = None if is_loopback(address) else secrets.token_urlsafe(16)
        self.cookie = "fastnas_{}".format(port)

    def check(self, headers: Mapping[str, str], given: Optional[str] = None) -> None:
        """Let a request through, or raise `Refused`.

        Args:
            headers: by name in small letters.
            given: a token of the URL.
        """
        if self.token is None:
            if not is_loopback(_host_name(headers.get("host", ""))):
                raise Refused(403, "open the page by a loopback name: http://localhost")
            if headers.get("sec-fetch-site") == "cross-site" and headers.get("sec-fetch-mode") != "navigate":
                raise Refused(403, "this page is not shown inside others")
        elif not any(_same(each, self.token) for each in (given, self._cookie(headers), _bearer(headers))):
            raise Refused(401, "open the address with the token that was printed when the camera was started")

    def check_control(self, headers: Mapping[str, str]) -> None:
        """Let a control through, or raise `Refused`: it must be JSON, and a browser's must come from this page."""
        if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise Refused(415, "controls are sent as application/json")
        origin, host = headers.get("origin"), headers.get("host", "")
        if origin is not None and (not host or origin not in ("http://" + host, "https://" + host)):
            raise Refused(403, "controls are taken from this page only")
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            raise Refused(403, "controls are taken from this page only")

    def set_cookie(self) -> str:
        """The value of Set-Cookie: the token itself, whatever a request holds."""
        return "{}={}; Path=/; HttpOnly; SameSite=Strict".format(self.cookie, self.token)

    def _cookie(self, headers: Mapping[str, str]) -> Optional[str]:
        for pair in headers.get("cookie", "").split(";"):  # other programs' cookies may look like anything
            name, _, value = pair.strip().partition("=")
            if name == self.cookie:
                return value
        return None


def is_loopback(address: str) -> bool:
    """Whether only this machine can be reached by an address: `localhost` or a number."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def _host_name(host: str) -> str:
    """The name or number of a Host header, without its port, in small letters."""
    name = re.sub(r":[0-9]{1,5}\Z", "", host).lower()
    return name[1:-1] if name.startswith("[") and name.endswith("]") else name


def _bearer(headers: Mapping[str, str]) -> Optional[str]:
    scheme, _, value = headers.get("authorization", "").partition(" ")
    return value.strip() if scheme.lower() == "bearer" else None


def _same(candidate: Optional[str], token: str) -> bool:
    """Compared in constant time."""
    return candidate is not None and hmac.compare_digest(candidate.encode("utf-8", "replace"), token.encode())
