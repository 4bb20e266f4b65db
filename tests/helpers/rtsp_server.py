"""A real RTSP camera on loopback, of GStreamer: `python3 rtsp_server.py PORT`, with the system's Python.

It needs `apt-get install python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-good`. User and password are
`user` and `secret`, the path is `/live`; a moving pattern comes as JPEG at 15 FPS.
"""

import os
import subprocess
import sys

PYTHON = "/usr/bin/python3"
IMPORT = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
FORMAT = "video/x-raw,format=I420,width=160,height=96,framerate=15/1"
LAUNCH = f"( videotestsrc is-live=true ! {FORMAT} ! jpegenc ! rtpjpegpay name=pay0 )"


def missing():
    """Whether this machine has no such server."""
    return not os.path.exists(PYTHON) or subprocess.call([PYTHON, "-c", IMPORT], stderr=subprocess.DEVNULL) != 0


class Camera:
    """A process that serves on `port` while it is in a `with` block."""

    def __init__(self, port):
        self.address = f"rtsp://user:secret@127.0.0.1:{port}/live"
        self.process = subprocess.Popen([PYTHON, __file__, str(port)], stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n"

    def end(self):
        self.process.kill()
        self.process.communicate()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self.process.poll() is None:
            self.end()


def serve(port):
    import gi

    gi.require_version("Gst", "1.0")
    gi.require_version("GstRtspServer", "1.0")
    from gi.repository import GLib, Gst, GstRtspServer

    Gst.init(None)
    server = GstRtspServer.RTSPServer.new()
    server.set_address("127.0.0.1")
    server.set_service(str(port))
    access = GstRtspServer.RTSPAuth.new()
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    access.add_basic(GstRtspServer.RTSPAuth.make_basic("user", "secret"), token)
    server.set_auth(access)
    factory = GstRtspServer.RTSPMediaFactory.new()
    factory.set_launch(LAUNCH)
    factory.set_shared(True)
    factory.add_role_from_structure(Gst.Structure.from_string(
        "viewer, media.factory.access=(boolean)true, media.factory.construct=(boolean)true"
    )[0])  # fmt: skip
    server.get_mount_points().add_factory("/live", factory)
    assert server.attach(None)
    print("ready", flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    serve(int(sys.argv[1]))
