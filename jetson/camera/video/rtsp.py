"""The camera's images as H.264 over RTSP (RFC 2326), for players and recorders; encoded while somebody watches.

RTP packets go through the connection of the RTSP requests (interleaved), which passes firewalls and loses nothing. On a
loopback address the path is /live; on every other it is a secret, for RTSP's own passwords are sent in the clear too.
"""

import hmac
import os
import re
import secrets
import socket
import threading
from typing import Any, Callable, Dict, List, Optional

import numpy as np

from fastnas.jetson.camera.mosaic import fit
from fastnas.jetson.camera.pipeline import Sink
from fastnas.jetson.camera.video import h264
from fastnas.jetson.camera.video.pace import Pace
from fastnas.jetson.camera.video.viewer import Response, Viewer
from fastnas.jetson.camera.web.access import is_loopback
from fastnas.jetson.camera.web.address import host_and_port, listen
from fastnas.jetson.errors import JetsonError
from fastnas.jetson.system.opencv import import_cv2

RTP = "rtph264pay config-interval=-1 pt=96 mtu=1400 ! rtpstreampay ! fdsink fd={fd} sync=false"
"""RTP packets, each behind its length in two bytes (RFC 4571); size and parameters come before every key frame."""

METHODS = "OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER"
DESCRIPTION = (
    "v=0",
    "o=- 0 0 IN IP4 0.0.0.0",
    "s=fastnas",
    "c=IN IP4 0.0.0.0",
    "t=0 0",
    "a=control:*",
    "m=video 0 RTP/AVP 96",
    "a=rtpmap:96 H264/90000",
    "a=fmtp:96 packetization-mode=1",
    "a=control:track",
    "",
)
REFUSED = 4
"""Connections beyond the limit of viewers."""


class Stream(Sink):
    """Serves RTSP; a context manager. What it is shown it encodes, and sends to whoever plays it.

    Args:
        address: to listen on.
        port: likewise; 0 is a free one.
        fps: frames per second of the video.
        max_viewers: connections at once.
        say: receives lines for the user.

    Raises:
        JetsonError: it cannot listen there, or nothing here encodes H.264.
    """

    records = True

    def __init__(self, address: str, port: int, fps: float, max_viewers: int, say: Callable[[str], None]) -> None:
        name = h264.encoder()
        if name is None:
            raise JetsonError(h264.NO_ENCODER)
        self._cv2, self._name, self._fps, self._say = import_cv2(), name, fps, say
        self._listener = listen(address, port, "--rtsp")
        self._path = "live" if is_loopback(address) else secrets.token_urlsafe(16)
        self._limit = max_viewers
        self._viewers: List[Viewer] = []
        self._change = threading.Lock()
        self._encoder: Optional[h264.Encoder] = None
        self._size = (0, 0)
        self._pace = Pace(fps)
        self._thread = threading.Thread(target=self._accept, name="rtsp", daemon=True)

    def url(self) -> str:
        """Its address for other machines."""
        address, port = self._listener.getsockname()[:2]
        return "rtsp://{}/{}".format(host_and_port(address, port), self._path)

    def __enter__(self) -> "Stream":
        self._thread.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        self.close()

    def wants(self) -> bool:
        """See `Sink.wants`: while somebody plays it; when the last has left, the encoder ends."""
        playing = any(viewer.playing for viewer in self._here())
        if not playing:
            self._stop()
        return playing

    def show(self, image: np.ndarray, captured: float) -> None:
        """See `Sink.show`. An encoder that fails ends the stream of those who play it, not the camera."""
        try:
            if self._encoder is None:
                self._start(image)
            count = self._pace.due(captured)
            if count and self._encoder is not None:
                self._encoder.write(fit(self._cv2, image, self._size), count)
        except JetsonError as error:
            self._say(str(error))
            self.close()

    def close(self) -> None:
        """See `Sink.close`: end all streams."""
        self._stop()
        for viewer in self._here():
            viewer.close()

    def _here(self) -> List[Viewer]:
        with self._change:
            return list(self._viewers)

    def _start(self, image: np.ndarray) -> None:
        self._size = (image.shape[0] // 2 * 2, image.shape[1] // 2 * 2)
        self._pace = Pace(self._fps)
        packets, output = os.pipe()
        try:
            self._encoder = h264.Encoder(self._name, self._size, self._fps, RTP, output)
        except JetsonError:
            os.close(packets)
            raise
        finally:
            os.close(output)
        threading.Thread(target=self._send, args=(packets,), name="rtp", daemon=True).start()

    def _stop(self) -> None:
        encoder, self._encoder = self._encoder, None
        if encoder is not None:
            encoder.kill()

    def _send(self, packets: int) -> None:
        """Hand the packets of one encoder to all who play, until it ends."""
        with os.fdopen(packets, "rb") as file:
            while True:
                head = file.read(2)
                packet = file.read(int.from_bytes(head, "big")) if len(head) == 2 else b""
                if not packet:
                    return
                key = begins_key_frame(packet)
                for viewer in self._here():
                    viewer.send_packet(packet, key)

    def _accept(self) -> None:
        while True:
            try:
                connection = self._listener.accept()[0]
            except OSError:  # closed
                return
            if len(self._here()) >= self._limit + REFUSED:
                connection.close()
                continue
            viewer = Viewer(connection, self._respond, self._forget)
            with self._change:
                self._viewers.append(viewer)
            viewer.start()

    def _forget(self, viewer: Viewer) -> None:
        with self._change:
            self._viewers.remove(viewer)

    def _respond(self, viewer: Viewer, method: str, url: str, headers: Dict[str, str]) -> Response:
        """The answer to a request; nothing of the request is sent back but its number."""
        if method == "OPTIONS":
            return Response(200, {"Public": METHODS})
        if not self._is_ours(url):
            return Response(404)
        if method == "DESCRIBE":
            base = "rtsp://{}/{}/".format(host_and_port(*viewer.own_address()), self._path)
            return Response(200, {"Content-Base": base, "Content-Type": "application/sdp"}, "\r\n".join(DESCRIPTION))
        if method == "SETUP":
            transport = headers.get("transport", "")
            channels = re.search(r"interleaved=(\d{1,3})-(\d{1,3})", transport)
            if "RTP/AVP/TCP" not in transport:
                return Response(461)  # players that ask for UDP at first then take TCP
            viewer.channel = int(channels.group(1)) & 255 if channels else 0
            answer = "RTP/AVP/TCP;unicast;interleaved={}-{}".format(viewer.channel, viewer.channel + 1)
            return Response(200, {"Transport": answer, "Session": viewer.session})
        if method == "PLAY" and viewer.channel is None:
            return Response(455)
        if method == "PLAY":
            if sum(each.playing for each in self._here()) >= self._limit:
                return Response(453)
            viewer.playing = True
        elif method not in ("TEARDOWN", "GET_PARAMETER"):
            return Response(501)
        return Response(200, {"Session": viewer.session})

    def _is_ours(self, url: str) -> bool:
        path = re.sub(r"\Artsps?://[^/]*", "", url).lstrip("/").partition("/")[0].partition("?")[0]
        return hmac.compare_digest(path.encode("utf-8", "replace"), self._path.encode())


def begins_key_frame(packet: bytes) -> bool:
    """Whether an RTP packet holds the parameters that come before a key frame: a player can start here."""
    kind = packet[12] & 31 if len(packet) > 12 else 0
    return kind == 7 or (kind == 24 and len(packet) > 15 and packet[15] & 31 == 7)
