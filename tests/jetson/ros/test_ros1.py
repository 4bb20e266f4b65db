"""The node for ROS 1 with a real roscore, started by roslaunch from the package as it stands in the repository."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

import fastnas.jetson
from fastnas.jetson.inference.results import millimetres
from fastnas.jetson.ros import ros1
from tests.helpers.jetson_toys import MULTI, TASKS, toy_artifacts
from tests.helpers.paths import HELPERS, ROOT

PACKAGES = "/usr/lib/python3/dist-packages"
"""Where Debian and Ubuntu have the system's Python packages; rospy is among them."""


@pytest.fixture
def environment(tmp_path):
    """Of processes that find the system's rospy behind this Python's own packages; without ROS the test skips."""
    there = [os.path.isdir(os.path.join(PACKAGES, name)) for name in ("rospy", "sensor_msgs")]
    if not shutil.which("roslaunch") or not all(there):
        pytest.skip("no ROS 1 is here; apt-get install python3-rospy python3-roslaunch python3-sensor-msgs rosout")
    system = subprocess.run(
        ["/usr/bin/python3", "-c", "import sys; print(*sys.version_info[:2])"], stdout=subprocess.PIPE
    )
    if system.stdout.decode().split() != [str(number) for number in sys.version_info[:2]]:
        pytest.skip("the system's rospy is for another Python")
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.path.append({!r})\n".format(PACKAGES))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return dict(
        os.environ,
        PYTHONPATH=os.pathsep.join([str(tmp_path), ROOT]),
        PATH=os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]]),
        ROS_PACKAGE_PATH=os.path.join(ROOT, "jetson", "ros"),
        ROS_MASTER_URI="http://127.0.0.1:{}".format(port),
        ROS_IP="127.0.0.1",
        ROS_HOME=str(tmp_path / "ros"),
        OMP_NUM_THREADS="1",
    )


class Started:
    """A process with what it starts; its output is in a file."""

    def __init__(self, path, environment, *command):
        self._path = path
        with open(str(path), "wb") as log:
            self.process = subprocess.Popen(
                list(command), env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    def text(self):
        return self._path.read_text(errors="replace")

    def wait_for(self, line, seconds=30):
        end = time.time() + seconds
        while line not in self.text():
            assert time.time() < end, self.text()
            assert self.process.poll() is None, self.text()
            time.sleep(0.1)

    def end(self):
        """Like Ctrl-C."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGINT)
            self.process.wait(30)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.end()


@pytest.fixture
def roscore(environment, tmp_path):
    port = environment["ROS_MASTER_URI"].rsplit(":", 1)[1]
    with Started(tmp_path / "roscore.log", environment, "roscore", "-p", port) as core:
        core.wait_for("started core service")
        yield core


@pytest.mark.slow
def test_a_camera_s_images_come_back_as_ids_depth_joints_and_overlay(environment, roscore, tmp_path, tmp_path_factory):
    toy = toy_artifacts(tmp_path_factory)[MULTI]
    frames = np.random.RandomState(0).randint(0, 256, (3, 60, 80, 3)).astype(np.uint8)
    np.save(str(tmp_path / "frames.npy"), frames)
    launch = ["roslaunch", "--wait", "fastnas_ros", "camera.launch", "network:=" + toy, "image:=/front/image_raw"]
    with Started(tmp_path / "node.log", environment, *launch, "depth:=16UC1") as node:
        node.wait_for("started with pid")
        client = [sys.executable, os.path.join(HELPERS, "ros1_client.py"), "frames.npy", "results.npz"]
        done = subprocess.run(
            client, cwd=str(tmp_path), env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=240
        )
        assert done.returncode == 0, done.stdout.decode() + node.text()
        node.end()
        assert "Traceback" not in node.text()
        assert "images of encoding 'bayer_rggb8' are not taken" in node.text()

    results = np.load(str(tmp_path / "results.npz"))
    names = json.loads(str(results["names"]))
    assert json.loads(str(results["labels"])) == TASKS
    assert len(names) == 4 * len(frames)
    with fastnas.jetson.load(toy) as model:
        for number, frame in enumerate(frames):
            wanted = model.predict(frame)
            expected = {
                "segmentation": ("mono8", wanted.segmentation),
                "depth": ("16UC1", millimetres(wanted.depth)),
                "joints": ("", wanted.pose),
                "overlay": ("bgr8", wanted.overlay()),
            }
            for topic, (encoding, array) in expected.items():
                key = "{}/{}".format(topic, number)
                assert names[key] == [encoding, number + 1, "camera_{}".format(number)]
                np.testing.assert_array_equal(results[key].squeeze(), array, err_msg=key)


@pytest.mark.slow
def test_a_wrong_parameter_ends_the_node_with_one_line(environment, roscore, tmp_path):
    command = [sys.executable, "-m", "fastnas.jetson.ros.ros1", "_depth:=8UC1"]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    text = done.stdout.decode()
    assert done.returncode == 1, text
    assert "parameter depth: '8UC1' is none of 32FC1, 16UC1" in text
    assert "Traceback" not in text


def test_without_ros_a_line_says_what_to_run(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["node"])
    monkeypatch.setitem(sys.modules, "rospy", None)
    assert ros1.main() == 1
    assert "run: source /opt/ros/DISTRIBUTION/setup.bash" in capsys.readouterr().err


def test_help_needs_no_ros(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["node", "--help"])
    assert ros1.main() == 0
    assert "~segmentation" in capsys.readouterr().out
