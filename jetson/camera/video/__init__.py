"""Video by GStreamer: H.264 recordings, and a stream over RTSP."""
