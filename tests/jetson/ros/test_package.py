"""The package `fastnas_ros`: both build systems find in it what they need, and its launch files name what there is."""

import os
import shutil
import subprocess
from xml.etree import ElementTree as ET

import pytest

from fastnas.jetson import __version__
from fastnas.jetson.ros.settings import PARAMETERS
from tests.helpers.paths import ROOT

PACKAGE = os.path.join(ROOT, "jetson", "ros", "fastnas_ros")
LAUNCH = {"camera.launch": "type", "camera.launch.xml": "exec"}
"""Launch files of ROS 1 and ROS 2, and what names a node's program there."""

SYSTEM = dict(os.environ, PATH="/usr/bin:/bin")
"""colcon and catkin are the system's."""


def read(name):
    with open(os.path.join(PACKAGE, name)) as file:
        return file.read()


def test_the_manifest_is_one_for_both_versions_of_ros():
    manifest = ET.fromstring(read("package.xml"))
    assert (manifest.findtext("name"), manifest.findtext("version")) == ("fastnas_ros", __version__)
    assert 'version="{}"'.format(__version__) in read("setup.py")
    built = {each.get("condition"): each.text for each in manifest.findall("export/build_type")}
    assert built == {"$ROS_VERSION == 1": "catkin", "$ROS_VERSION == 2": "ament_python"}
    needed = {each.text for each in manifest.findall("exec_depend")}
    assert {"rospy", "rclpy", "rcl_interfaces", "sensor_msgs", "std_msgs"} <= needed


@pytest.mark.parametrize("name", sorted(LAUNCH))
def test_a_launch_file_names_parameters_that_there_are(name):
    launch = ET.fromstring(read("launch/" + name))
    node = launch.find("node")
    assert node is not None
    assert (node.get("pkg"), node.get(LAUNCH[name])) == ("fastnas_ros", "node")
    assert {each.get("name") for each in node.findall("param")} <= set(PARAMETERS)
    assert [each.get("from") for each in node.findall("remap")] == ["image"]


def copied(tmp_path):
    """The package in a workspace, for a build may write beside it."""
    shutil.copytree(PACKAGE, str(tmp_path / "src" / "fastnas_ros"))
    return tmp_path / "src" / "fastnas_ros"


def build(folder, environment, *command):
    done = subprocess.run(
        list(command), cwd=str(folder), env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120
    )
    assert done.returncode == 0, done.stdout.decode()


def test_colcon_installs_it_where_ros2_looks(tmp_path):
    if not os.path.exists("/usr/bin/colcon"):
        pytest.skip("no colcon is here; apt-get install colcon python3-colcon-ros")
    copied(tmp_path)
    build(tmp_path, dict(SYSTEM, ROS_VERSION="2"), "colcon", "build")
    installed = tmp_path / "install" / "fastnas_ros"
    for name in (
        "share/ament_index/resource_index/packages/fastnas_ros",
        "share/fastnas_ros/package.xml",
        "share/fastnas_ros/launch/camera.launch.xml",
    ):
        assert (installed / name).is_file(), name
    assert os.access(str(installed / "lib" / "fastnas_ros" / "node"), os.X_OK)
    (entry_points,) = installed.glob("lib/python*/site-packages/*/entry_points.txt")
    assert "node = fastnas.jetson.ros.ros2:main" in entry_points.read_text()


def test_catkin_installs_it_where_rosrun_looks(tmp_path):
    if not os.path.isdir("/usr/share/catkin/cmake") or not os.path.exists("/usr/bin/cmake"):
        pytest.skip("no catkin is here; apt-get install catkin cmake")
    package, work = copied(tmp_path), tmp_path / "build"
    work.mkdir()
    options = ["-DCMAKE_INSTALL_PREFIX=" + str(tmp_path / "out"), "-DCATKIN_ENABLE_TESTING=OFF"]
    build(work, SYSTEM, "cmake", str(package), *options)
    build(work, SYSTEM, "make", "install")
    assert (tmp_path / "out" / "share" / "fastnas_ros" / "package.xml").is_file()
    assert (tmp_path / "out" / "share" / "fastnas_ros" / "launch" / "camera.launch").is_file()
    node = tmp_path / "out" / "lib" / "fastnas_ros" / "node"
    assert os.access(str(node), os.X_OK)
    assert "fastnas.jetson.ros.ros1" in node.read_text()
