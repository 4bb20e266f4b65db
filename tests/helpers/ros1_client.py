"""A node of ROS 1 that plays a camera and listens: `python ros1_client.py FRAMES.npy RESULTS.npz`.

Frames are uint8 [N, H, W, 3] in B, G, R. Each is sent until every topic has answered with its stamp; before the last
one comes an image that the node does not take, until it says so. Results are `segmentation/0`, `depth/0`, `joints/0`
and `overlay/0` for frame 0 and so on, and `labels`; encodings, seconds and frames of the headers are in `names`.
"""

import json
import sys
import time

import numpy as np
import rospy
from rosgraph_msgs.msg import Log
from sensor_msgs.msg import Image, PointCloud2
from std_msgs.msg import Header, String

TOPICS = {"segmentation": Image, "depth": Image, "joints": PointCloud2, "overlay": Image}
TIMEOUT = 60
TYPES = {"mono8": np.uint8, "16UC1": np.uint16, "32FC1": np.float32, "bgr8": np.uint8}


def wait(condition, act=lambda: None):
    """Do something every 0.2 seconds until a condition holds."""
    end = time.time() + TIMEOUT
    while not condition():
        assert time.time() < end, "nothing came"
        act()
        time.sleep(0.2)


def image(frame, number, encoding="bgr8"):
    """The message of a frame; its stamp is its number in seconds and nanoseconds."""
    return Image(
        header=Header(stamp=rospy.Time(number + 1, number), frame_id="camera_{}".format(number)),
        height=frame.shape[0],
        width=frame.shape[1],
        encoding=encoding,
        step=3 * frame.shape[1],
        data=frame.tobytes(),
    )


def values(message):
    """The array of an image, or the points of a cloud."""
    if hasattr(message, "encoding"):
        return np.frombuffer(message.data, TYPES[message.encoding]).reshape(message.height, message.width, -1)
    return np.frombuffer(message.data, np.float32).reshape(message.width, len(message.fields))


def main():
    """Play the frames and write what was heard."""
    rospy.init_node("client")
    frames, heard, labels, log = np.load(sys.argv[1]), {}, [], []

    def listen(topic):
        def hear(message):
            heard[topic, message.header.stamp.nsecs] = message

        rospy.Subscriber("/fastnas/" + topic, TOPICS[topic], hear)

    for topic in TOPICS:
        listen(topic)
    rospy.Subscriber("/fastnas/labels", String, lambda message: labels.append(message.data))
    rospy.Subscriber("/rosout", Log, lambda message: log.append(message.msg))
    camera = rospy.Publisher("/front/image_raw", Image, queue_size=1)
    for number, frame in enumerate(frames):
        if number == len(frames) - 1:
            bad = image(frame, number, "bayer_rggb8")
            wait(lambda: any("bayer_rggb8" in line for line in log), lambda m=bad: camera.publish(m))
        message = image(frame, number)
        wait(lambda n=number: all((topic, n) in heard for topic in TOPICS), lambda m=message: camera.publish(m))
    wait(lambda: labels)
    results = {"{}/{}".format(*key): values(message) for key, message in heard.items()}
    names = {
        "{}/{}".format(*key): [getattr(message, "encoding", ""), message.header.stamp.secs, message.header.frame_id]
        for key, message in heard.items()
    }
    np.savez(sys.argv[2], labels=labels[0], names=json.dumps(names), **results)


if __name__ == "__main__":
    main()
