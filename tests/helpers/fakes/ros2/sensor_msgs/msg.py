"""A stand-in for ROS 2's sensor_msgs; see `ros2_graph`."""

from ros2_messages import UINT8, UINT32, array_of_bytes, message_class
from std_msgs.msg import Header

Image = message_class(
    "Image",
    header=Header,
    height=UINT32,
    width=UINT32,
    encoding=str,
    is_bigendian=UINT8,
    step=UINT32,
    data=array_of_bytes,
)
PointField = message_class("PointField", name=str, offset=UINT32, datatype=UINT8, count=UINT32)
PointField.FLOAT32 = 7
PointCloud2 = message_class(
    "PointCloud2",
    header=Header,
    height=UINT32,
    width=UINT32,
    fields=list,
    is_bigendian=bool,
    point_step=UINT32,
    row_step=UINT32,
    data=array_of_bytes,
    is_dense=bool,
)
