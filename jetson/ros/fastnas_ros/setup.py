"""For ROS 2 alone: what ament looks for, and the node as `ros2 run fastnas_ros node`. ROS 1 reads CMakeLists.txt.

The node's code is in `fastnas.jetson.ros`, which `pip install ./jetson` installs.
"""

from setuptools import setup

setup(
    name="fastnas_ros",
    version="0.2.0",
    packages=[],
    py_modules=[],
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/fastnas_ros"]),
        ("share/fastnas_ros", ["package.xml"]),
        ("share/fastnas_ros/launch", ["launch/camera.launch.xml"]),
    ],
    install_requires=["setuptools"],
    zip_safe=True,
    description="Class ids, depth, joints and drawings of camera images, by fastnas networks.",
    license="Apache-2.0",
    entry_points={"console_scripts": ["node = fastnas.jetson.ros.ros2:main"]},
)
