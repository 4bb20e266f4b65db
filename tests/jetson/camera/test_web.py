"""The live page with real HTTP clients: what it serves, whom it refuses, and clients that misbehave."""

import http.client
import json
import re
import socket
import threading
import time
import urllib.request

import numpy as np
import pytest

from fastnas.jetson.camera.controls import Controls
from fastnas.jetson.camera.stats import Statistics
from fastnas.jetson.camera.web import access, address, reception, server
from fastnas.jetson.camera.web.broadcast import Broadcast
from fastnas.jetson.camera.web.server import Server
from fastnas.jetson.errors import JetsonError
from tests.helpers.camera_parts import watch
from tests.helpers.waiting import wait_for


class Camera:
    """A server whose frames come from the test."""

    def __init__(self, address="127.0.0.1", viewers=8):
        self.broadcast, self.statistics = Broadcast(viewers), Statistics()
        self.controls = Controls(["segmentation", "depth"])
        self.server = Server(address, 0, "toy", self.broadcast, self.controls, self.statistics)
        self.port = self.server.server_port
        self.number = 0

    def __enter__(self):
        self.server.__enter__()
        self.show()
        return self

    def __exit__(self, *error):
        self.broadcast.close()
        self.server.__exit__(*error)

    def show(self, size=(48, 64)):
        self.number += 1
        self.statistics.add_captured()
        self.statistics.add_shown(12.0)
        image = np.random.RandomState(self.number).randint(0, 256, size + (3,)).astype(np.uint8)
        self.broadcast.show(image, time.monotonic())

    def ask(self, path, method="GET", body=None, host=None, **headers):
        """Status, headers and body of one request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        headers.setdefault("Host", host or "127.0.0.1:{}".format(self.port))
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        return answer.status, dict(answer.getheaders()), data

    def control(self, wishes, **headers):
        headers.setdefault("Content_Type", "application/json")
        body = wishes if isinstance(wishes, bytes) else json.dumps(wishes).encode()
        return self.ask("/control", "POST", body, **headers)


@pytest.fixture
def camera():
    with Camera() as found:
        yield found


@pytest.fixture
def open_camera():
    with Camera("0.0.0.0") as found:
        yield found


@pytest.mark.parametrize(
    ("path", "kind", "start"),
    [
        ("/", "text/html; charset=utf-8", b"<!DOCTYPE html>"),
        ("/page.css", "text/css; charset=utf-8", b":root"),
        ("/page.js", "text/javascript; charset=utf-8", b'"use strict"'),
        ("/frame.jpg", "image/jpeg", b"\xff\xd8"),
        ("/statistics", "application/json", b"{"),
        ("/health", "text/plain; charset=utf-8", b"ok"),
    ],
)
def test_what_is_served(camera, path, kind, start):
    status, headers, body = camera.ask(path)
    assert status == 200
    assert headers["Content-Type"] == kind
    assert body.startswith(start)
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "Python" not in headers["Server"]


def test_the_page_needs_nothing_from_elsewhere(camera):
    for path in ("/", "/page.css", "/page.js"):
        body = camera.ask(path)[2].decode()
        assert "http:" not in body
        assert "https:" not in body
        assert not re.search(r"\son\w+=|style=", body)  # what the content policy forbids


@pytest.mark.parametrize(
    "path",
    [
        "/../web.py",
        "/..%2f..%2fetc/passwd",
        "//etc/passwd",
        "/page.html",
        "/web.py",
        "/captures/a.jpg",
        "/%00",
        "/control",
    ],
)
def test_no_path_reaches_a_file(camera, path):
    status, _, body = camera.ask(path)
    assert status == 404
    assert body == b"not found\n"


def test_the_stream(camera):
    """Every frame once, as it comes, with its age."""

    ended = threading.Event()

    def produce():
        while not ended.wait(0.03):
            camera.show()

    thread = threading.Thread(target=produce)
    thread.start()
    found = watch(camera.port, 10)
    ended.set()
    thread.join()
    assert len({data for data, _ in found}) == 10
    assert np.median([age for _, age in found[1:]]) < 300


def test_the_stream_ends_with_the_camera(camera):
    threading.Timer(0.3, camera.broadcast.close).start()
    start = time.monotonic()
    assert len(watch(camera.port, 10)) == 1
    assert time.monotonic() - start < 9  # not by the socket's own end of patience


def test_images_are_wanted_only_while_somebody_watches_or_asks(camera):
    broadcast = camera.broadcast
    assert not broadcast.wants()  # the image before is not the newest any more
    with broadcast.watching():
        assert broadcast.wants()
        assert broadcast.newer(0, 0.05) is None
        camera.show()
        assert broadcast.newer(0, 1) is not None
    assert not broadcast.wants()
    wanted = []

    def produce():
        while not broadcast.wants():
            time.sleep(0.01)
        wanted.append(True)
        camera.show()

    thread = threading.Thread(target=produce)
    thread.start()
    assert camera.ask("/frame.jpg")[0] == 200
    thread.join()
    assert wanted == [True]


def test_five_viewers_share_one_encoding(camera, monkeypatch):
    encoded = []
    encode = camera.broadcast._cv2.imencode

    class Counting:
        IMWRITE_JPEG_QUALITY = camera.broadcast._cv2.IMWRITE_JPEG_QUALITY

        @staticmethod
        def imencode(*arguments):
            encoded.append(1)
            return encode(*arguments)

    camera.broadcast._cv2 = Counting
    results = []
    threads = [threading.Thread(target=lambda: results.append(watch(camera.port, 8))) for _ in range(5)]
    for thread in threads:
        thread.start()
    due = time.monotonic() + 30
    while any(thread.is_alive() for thread in threads) and time.monotonic() < due:
        time.sleep(0.02)
        camera.show()
    for thread in threads:
        thread.join(10)
    assert [len(result) for result in results] == [8] * 5
    assert len(encoded) <= camera.number


def test_a_viewer_that_stops_reading_delays_nobody_and_is_let_go(camera, monkeypatch):
    monkeypatch.setattr(reception, "REQUEST_SECONDS", 1.0)
    stuck = socket.create_connection(("127.0.0.1", camera.port))
    stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stuck.sendall(b"GET /stream.mjpg HTTP/1.0\r\nHost: localhost\r\n\r\n")
    while camera.broadcast.viewers < 1:
        time.sleep(0.01)
    shows = []

    def produce():
        while not ended.is_set() or len(shows) < 150:
            start = time.monotonic()
            camera.show((480, 640))
            shows.append(time.monotonic() - start)
            time.sleep(0.02)

    ended = threading.Event()
    thread = threading.Thread(target=produce)
    thread.start()
    assert len(watch(camera.port, 10)) == 10
    ended.set()
    thread.join()
    assert np.median(shows) < 0.2  # to wait for who is stuck would take a second
    assert wait_for(lambda: camera.broadcast.viewers == 0, 30)
    stuck.close()


def test_viewers_are_bounded():
    with Camera(viewers=2) as camera:
        streams = [socket.create_connection(("127.0.0.1", camera.port)) for _ in range(2)]
        for stream in streams:
            stream.sendall(b"GET /stream.mjpg HTTP/1.0\r\nHost: localhost\r\n\r\n")
        while camera.broadcast.viewers < 2:
            time.sleep(0.01)
        status, _, body = camera.ask("/stream.mjpg")
        assert (status, body) == (503, b"2 viewers are connected, which is the limit\n")
        assert camera.ask("/statistics")[0] == 200
        for stream in streams:
            stream.close()
        while camera.broadcast.viewers:  # a viewer who leaves makes room
            camera.show()
            time.sleep(0.05)


def test_a_viewer_who_leaves_a_paused_frame_makes_room(camera):
    """Reloading the page of a camera that is paused, lost, or still building its engine must not use up the places."""
    stream = socket.create_connection(("127.0.0.1", camera.port))
    stream.sendall(b"GET /stream.mjpg HTTP/1.0\r\nHost: localhost\r\n\r\n")
    while camera.broadcast.viewers < 1:
        time.sleep(0.01)
    time.sleep(1.2)
    assert camera.broadcast.viewers == 1  # who stays may watch on
    stream.close()
    assert wait_for(lambda: camera.broadcast.viewers == 0, 30)


def connect(camera, source, data=b""):
    """A connection from a loopback address, of which Linux has 2^24."""
    connection = socket.create_connection(("127.0.0.1", camera.port), 10, source_address=(source, 0))
    connection.sendall(data)
    return connection


def answer(camera, source, path, data=None):
    """The whole response to a request from an address, as bytes."""
    request = "GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n".format(path).encode() if data is None else data
    with connect(camera, source, request) as connection, connection.makefile("rb") as file:
        return file.read()


@pytest.mark.parametrize("source", ["127.0.0.2", "127.0.0.1"])
def test_slow_clients_keep_nobody_out(camera, source):
    """64 that drip a request, and 60 requests from another address or from the same: all are served in time."""
    slow = [connect(camera, "127.0.0.1", b"GET / HTTP/1.0\r\n") for _ in range(64)]
    stop = threading.Event()

    def drip():
        while not stop.wait(0.05):
            for connection in slow:
                try:
                    connection.sendall(b"X: y\r\n")
                except OSError:
                    continue

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        start, times = time.monotonic(), []
        for number in range(60):
            path = ("/", "/statistics", "/frame.jpg")[number % 3]
            begin = time.monotonic()
            assert answer(camera, source, path).startswith(b"HTTP/1.0 200 OK\r\n")
            assert answer(camera, "127.0.0.1", "/health").startswith(b"HTTP/1.0 200 OK\r\n")
            times.append(time.monotonic() - begin)
        assert time.monotonic() - start < 60
        assert np.median(times) < 1
    finally:
        stop.set()
        thread.join()
        for connection in slow:
            connection.close()


def test_connections_that_wait_are_bounded_in_all_and_for_each_address(camera):
    """What is held for them is bounded: the oldest of the address with the most goes."""
    held = camera.server._reception._waiting
    connections = [connect(camera, "127.0.0.1", b"GET /") for _ in range(100)]
    assert answer(camera, "127.0.0.2", "/statistics").startswith(b"HTTP/1.0 200")
    assert len(held) <= reception.WAITING_OF_ONE
    for number in range(3, 13):
        connections += [connect(camera, "127.0.0.{}".format(number), b"GET /") for _ in range(30)]
        assert answer(camera, "127.0.0.2", "/statistics").startswith(b"HTTP/1.0 200")
    assert len(held) <= reception.WAITING
    assert len({waiting.network for waiting in held.values()}) >= 10  # all addresses still have some
    assert answer(camera, "127.0.0.1", "/health").startswith(b"HTTP/1.0 200")
    for connection in connections:
        connection.close()


def test_answers_are_bounded_for_each_address_and_not_for_the_health_check(camera, monkeypatch):
    """Eight of one address that do not read what they asked for: others are served, and so is the health check."""
    asked = threading.Event()
    monkeypatch.setattr(camera.broadcast, "newer", lambda than, timeout: asked.wait(10) and None)
    request = b"GET /frame.jpg HTTP/1.0\r\nHost: localhost\r\n\r\n"
    stuck = [connect(camera, "127.0.0.1", request) for _ in range(server.ANSWERS_OF_ONE)]
    wait_for(lambda: sum(camera.server._answers._taken.values()) >= server.ANSWERS_OF_ONE, 5)
    refused = answer(camera, "127.0.0.1", "/statistics")
    assert refused.startswith(b"HTTP/1.0 503")
    assert b"\r\nRetry-After: 2\r\n" in refused
    assert b"\r\nContent-Security-Policy: default-src 'none'" in refused
    assert answer(camera, "127.0.0.1", "/health").startswith(b"HTTP/1.0 200")
    assert answer(camera, "127.0.0.2", "/statistics").startswith(b"HTTP/1.0 200")
    stream = connect(camera, "127.0.0.1", b"GET /stream.mjpg HTTP/1.0\r\nHost: localhost\r\n\r\n")
    assert stream.recv(12) == b"HTTP/1.0 200"  # streams count separately
    asked.set()
    for connection in stuck + [stream]:
        connection.close()
    wait_for(lambda: not camera.server._answers._taken, 5)
    assert answer(camera, "127.0.0.1", "/statistics").startswith(b"HTTP/1.0 200")  # they made room


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_what_counts_as_one_client(address, network):
    assert reception.network_of(address) == network


MARK = b"q7Zj"
PLACES = {
    "token": b"GET /?token=%sMARK HTTP/1.0\r\nHost: H\r\nCookie: K\r\n\r\n",
    "path": b"GET /%sMARK HTTP/1.0\r\nHost: H\r\nCookie: K\r\n\r\n",
    "query": b"GET /statistics?%sMARK HTTP/1.0\r\nHost: H\r\nCookie: K\r\n\r\n",
    "Host": b"GET / HTTP/1.0\r\nHost: H%sMARK\r\nCookie: K\r\n\r\n",
    "Origin": b"POST /control HTTP/1.0\r\nHost: H\r\nCookie: K\r\nOrigin: http://H%sMARK\r\n"
    b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
    "Cookie": b"GET /?token=x HTTP/1.0\r\nHost: H\r\nCookie: a=%sMARK; K\r\n\r\n",
    "content-length": b"POST /control HTTP/1.0\r\nHost: H\r\nCookie: K\r\n"
    b"Content-Type: application/json\r\nContent-Length: 2%sMARK\r\n\r\n{}",
    "method": b"G%sMARK / HTTP/1.0\r\nHost: H\r\nCookie: K\r\n\r\n",
    "version": b"GET / HTTP/1.0%sMARK\r\nHost: H\r\nCookie: K\r\n\r\n",
    "header": b"GET / HTTP/1.0\r\nHost: H\r\nCookie: K\r\nX%sMARK: y\r\n\r\n",
    "body": b"POST /control HTTP/1.0\r\nHost: H\r\nCookie: K\r\nContent-Type: application/json\r\n"
    b'Content-Length: 12\r\n\r\n{"a":"%sMARK"}',
}
"""Requests with a place (%s) for one byte, followed by a mark."""

SENT = {
    b"Server": rb"fastnas\Z",
    b"Connection": rb"close\Z",
    b"Content-Type": rb"(text/(plain|html|css|javascript); charset=utf-8|application/json|image/jpeg)\Z",
    b"Content-Length": rb"\d+\Z",
    b"Set-Cookie": rb"fastnas_\d+=[A-Za-z0-9_-]{22}; Path=/; HttpOnly; SameSite=Strict\Z",
    b"Cache-Control": rb"no-store\Z",
    b"Content-Security-Policy": rb"default-src 'none'; [a-z:;' -]+\Z",
    b"Cross-Origin-Resource-Policy": rb"same-origin\Z",
    b"Referrer-Policy": rb"no-referrer\Z",
    b"X-Content-Type-Options": rb"nosniff\Z",
}
"""Every header of a response, and its value."""


@pytest.mark.parametrize("place", sorted(PLACES))
@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_no_byte_of_a_request_gets_into_a_header(address, place):
    with Camera(address) as camera:
        guard = camera.server.guard
        cookie = "{}={}".format(guard.cookie, guard.token).encode()
        template = PLACES[place].replace(b"MARK", MARK).replace(b"Cookie: K", b"Cookie: " + cookie)
        template = template.replace(b"; K", b"; " + cookie).replace(b"Host: H", b"Host: localhost")
        before, _, after = template.replace(b"http://H", b"http://localhost").partition(b"%s")
        statuses = set()
        for byte in range(256):
            found = answer(camera, "127.0.0.1", "", before + bytes([byte]) + after)
            head, end, body = found.partition(b"\r\n\r\n")
            first, *lines = head.split(b"\r\n")
            assert end
            assert re.match(rb"HTTP/1\.0 [2-5]\d\d [A-Za-z ]+\Z", first)
            statuses.add(int(first.split()[1]))
            for line in lines:
                name, _, value = line.partition(b": ")
                assert re.match(SENT[name], value), line
            assert len({line.partition(b":")[0] for line in lines}) == len(lines) >= len(SENT) - 1
            assert MARK not in head
            if MARK in body:  # the reason why a control is refused, as text that no browser shows as a page
                assert b"Content-Type: text/plain; charset=utf-8" in lines
                assert body.decode("utf-8").rstrip("\n").isprintable()
        assert 500 not in statuses


def test_a_response_with_a_line_end_in_a_header_is_not_made():
    for value in ("a\r\nX: y", "a\n", "a\r", "\0", "\u00e4", "\x7f"):
        with pytest.raises(ValueError, match="no printable ASCII"):
            server.response(200, "text/plain", b"", {"X": value})


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "", "http://localhost:1", "http://localhost.evil", "http://localhost/x"]
)
def test_a_control_of_a_strange_origin_is_refused(camera, origin):
    assert camera.control({"paused": True}, Host="localhost", Origin=origin)[0] == 403
    assert camera.control({"paused": True}, Host="localhost", Origin="http://localhost")[0] == 200


def test_two_headers_of_which_only_one_may_count_are_refused(camera):
    for name in ("Host: localhost", "Cookie: a=b", "Origin: http://localhost", "Content-Type: application/json"):
        twice = "GET / HTTP/1.0\r\nHost: localhost\r\n{0}\r\n{0}\r\n\r\n".format(name).encode()
        assert answer(camera, "127.0.0.1", "", twice).startswith(b"HTTP/1.0 400")


def test_a_cookie_of_another_program_does_not_hide_ours(open_camera):
    guard = open_camera.server.guard
    cookie = 'a="; b={{}} ,,; {}={}; c'.format(guard.cookie, guard.token)
    assert open_camera.ask("/statistics", Cookie=cookie)[0] == 200


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /" + b"a" * 20000 + b" HTTP/1.0\r\n\r\n", b"413"),
        (b"GET / HTTP/1.0\r\n" + b"X: y\r\n" * 4000 + b"\r\n", b"413"),
        (b"POST /control HTTP/1.0\r\nContent-Length: 99999999\r\n\r\n", b"413"),
        (b"POST /control HTTP/1.0\r\nContent-Length: -5\r\n\r\n", b"400"),
        (b"POST /control HTTP/1.0\r\nContent-Length: 3\r\nContent-Length: 9\r\n\r\nabcdefghi", b"400"),
        (b"POST /control HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", b"400"),
        (b"BREW / HTTP/1.0\r\nHost: localhost\r\n\r\n", b"501"),
        (b"nonsense\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", b"400"),
        (b"GET /?token=%ff HTTP/1.0\r\nHost: localhost\r\n\r\n", b"200"),
        (b"GET http://[ HTTP/1.0\r\nHost: localhost\r\n\r\n", b"400"),
    ],
)
def test_requests_that_make_no_sense(camera, data, status):
    with socket.create_connection(("127.0.0.1", camera.port), 10) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        answer = connection.makefile("rb").read()
    assert status in answer.split(b"\r\n")[0]
    assert camera.ask("/statistics")[0] == 200


def test_a_client_that_drips_is_cut_off(camera, monkeypatch):
    monkeypatch.setattr(reception, "REQUEST_SECONDS", 0.5)
    with socket.create_connection(("127.0.0.1", camera.port), 10) as connection:
        for _ in range(200):
            try:
                connection.sendall(b"G")
            except OSError:
                return
            time.sleep(0.1)
    pytest.fail("it was listened to for twenty seconds")


def test_controls(camera):
    status, _, body = camera.control({"task": "depth", "alpha": 0.25, "paused": True})
    state = json.loads(body.decode())
    assert status == 200
    assert (state["task"], state["alpha"], state["paused"], state["state"]) == ("depth", 0.25, True, "paused")
    assert camera.controls.active() == ("depth",)
    state = json.loads(camera.ask("/statistics")[2].decode())
    assert (state["task"], state["name"], state["tasks"]) == ("depth", "toy", ["all", "segmentation", "depth"])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b'{"alpha": 7}',
        b'{"path": "/etc"}',
        b"[" * 10000,
        b'{"alpha": NaN}',
        b'{"alpha": 1e999}',
    ],
)
def test_controls_that_cannot_be(camera, body):
    before = camera.controls.snapshot()
    assert camera.control(body)[0] == 400
    assert camera.controls.snapshot() == before


def test_a_refused_control_has_the_reason(camera):
    assert camera.control({"alpha": 7})[2] == b"control.alpha must be from 0 to 1\n"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content_Type": "text/plain"}, 415),
        ({"Content_Type": "application/x-www-form-urlencoded"}, 415),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Sec_Fetch_Site": "same-site"}, 403),
    ],
)
def test_controls_of_another_page_are_refused(camera, headers, status):
    assert camera.control({"paused": True}, **headers)[0] == status
    assert not camera.controls.paused


def test_controls_of_our_own_page_are_taken(camera):
    origin = "http://127.0.0.1:{}".format(camera.port)
    assert camera.control({"paused": True}, Origin=origin, Sec_Fetch_Site="same-origin")[0] == 200
    assert camera.controls.paused


def test_another_site_cannot_reach_a_loopback_camera_by_a_name_of_its_own(camera):
    """DNS rebinding: the name is theirs, the address is ours."""
    for host in ("evil.example", "evil.example:8080", "127.0.0.1.evil.example", "", "10.0.0.7"):
        assert camera.ask("/statistics", Host=host)[0] == 403
    for host in ("localhost", "LOCALHOST:9000", "[::1]:8080", "127.0.0.1", "127.0.0.2:80"):
        assert camera.ask("/statistics", Host=host)[0] == 200


def test_another_page_cannot_embed_the_stream(camera):
    headers = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "no-cors"}
    assert camera.ask("/frame.jpg", **headers)[0] == 403
    assert camera.ask("/", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate")[0] == 200


def test_a_loopback_camera_has_no_token(camera):
    assert camera.server.guard.token is None
    assert camera.server.url() == "http://127.0.0.1:{}/".format(camera.port)


def test_every_other_address_needs_the_token(open_camera):
    token = open_camera.server.guard.token
    assert len(token) >= 20
    assert open_camera.server.url().endswith(":{}/?token={}".format(open_camera.port, token))
    browser = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with browser.open(open_camera.server.url(), timeout=10) as page:  # as printed
        assert page.status == 200
        assert b"<!DOCTYPE html>" in page.read()
    for path in ("/", "/page.js", "/statistics", "/frame.jpg", "/stream.mjpg", "/?token=", "/?token=wrong", "/nothing"):
        assert open_camera.ask(path)[0] == 401, path
    assert open_camera.ask("/statistics?token=" + token)[0] == 401  # in the address of the page alone
    for headers in (
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Basic " + token},
        {"Cookie": "{}=wrong".format(open_camera.server.guard.cookie)},
        {"Cookie": "{}=\u00e9".format(open_camera.server.guard.cookie)},
        {"Cookie": ";;=,"},
    ):
        assert open_camera.ask("/statistics", **headers)[0] == 401
    assert open_camera.control({"paused": True})[0] == 401
    assert not open_camera.controls.paused
    assert open_camera.ask("/health")[0] == 200


class Routed:
    """Datagram sockets of a machine whose way out is known for some families."""

    routes: dict = {}

    def __init__(self, family, kind):
        self.family = family

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def connect(self, address):
        if self.family not in self.routes:
            raise OSError("Network is unreachable")

    def getsockname(self):
        return self.routes[self.family], 40000


@pytest.mark.parametrize(
    ("bound", "routes", "expected"),
    [
        ("0.0.0.0", {socket.AF_INET: "192.168.1.5"}, "192.168.1.5"),
        ("0.0.0.0", {socket.AF_INET6: "fd00::5"}, "jetson"),  # it is not served there
        ("::", {socket.AF_INET6: "fd00::5"}, "fd00::5"),
        ("::", {socket.AF_INET: "192.168.1.5", socket.AF_INET6: "fd00::5"}, "192.168.1.5"),
        ("0.0.0.0", {}, "jetson"),
    ],
)
def test_the_address_that_is_printed_is_one_that_others_reach(monkeypatch, bound, routes, expected):
    monkeypatch.setattr(Routed, "routes", routes)
    monkeypatch.setattr(socket, "socket", Routed)
    monkeypatch.setattr(socket, "gethostname", lambda: "jetson")
    assert address.own_address(bound) == expected


def test_the_token_opens_the_page_and_stays_as_a_cookie(open_camera):
    token = open_camera.server.guard.token
    status, headers, _ = open_camera.ask("/?token=" + token, Host="jetson.local:8080")
    assert status == 200
    cookie, _, rest = headers["Set-Cookie"].partition(";")
    assert cookie == "fastnas_{}={}".format(open_camera.port, token)
    assert "HttpOnly" in rest
    assert "SameSite=Strict" in rest
    assert open_camera.ask("/statistics", Cookie="other=1; " + cookie)[0] == 200
    assert open_camera.control({"paused": True}, Cookie=cookie)[0] == 200
    assert open_camera.ask("/statistics", Authorization="Bearer " + token)[0] == 200
    assert len(watch(open_camera.port, 1, headers="Cookie: {}\r\n".format(cookie))) == 1


def test_the_cookie_is_the_token_whatever_the_address_says(open_camera):
    """A request with the right cookie may have any other text as its token: it must not get into a header."""
    guard = open_camera.server.guard
    cookie = "{}={}".format(guard.cookie, guard.token)
    status, headers, _ = open_camera.ask("/?token=x%0D%0AX-Other:%20y", Cookie=cookie)
    assert status == 200
    assert headers["Set-Cookie"].partition(";")[0] == cookie
    assert "X-Other" not in headers


def test_two_servers_have_two_tokens():
    with Camera("0.0.0.0") as one, Camera("0.0.0.0") as other:
        assert one.server.guard.token != other.server.guard.token


def test_a_port_that_is_taken(camera):
    with pytest.raises(JetsonError, match="Address already in use; try --port"):
        Server("127.0.0.1", camera.port, "toy", None, None, None)


@pytest.mark.parametrize("address", ["203.0.113.7", "no such name", "", "a\0b", "\ud800", "a" * 70 + ".b"])
def test_an_address_that_is_not_ours(address):
    with pytest.raises(JetsonError, match="cannot serve on .*; try --port"):
        Server(address, 0, "toy", None, None, None)


@pytest.mark.parametrize(
    ("address", "loopback"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True)]
    + [("0.0.0.0", False), ("::", False), ("192.168.1.5", False), ("jetson", False)],
)
def test_which_addresses_are_loopback(address, loopback):
    assert access.is_loopback(address) == loopback


def test_no_frame_yet(monkeypatch):
    camera = Camera()
    with camera.server:
        assert camera.ask("/health")[0] == 503
        assert json.loads(camera.ask("/statistics")[2].decode())["state"] == "starting"
        monkeypatch.setattr(camera.broadcast, "newer", lambda than, timeout: None)
        assert camera.ask("/frame.jpg")[0] == 503
        camera.broadcast.close()
