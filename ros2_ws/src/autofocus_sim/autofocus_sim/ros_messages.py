"""Plain values to and from ROS messages. Message types only, no rclpy: nodes import this."""

from __future__ import annotations

import array

import numpy as np
from autofocus_core.errors import AutofocusError
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import ImageMarker, Marker, MarkerArray

from autofocus_sim.truth import ObjectTruth, Truth

BASE_FRAME = "base_link"
CAMERA_FRAME = "camera_color_optical_frame"
_LINE_COLOUR = ColorRGBA(r=1.0, g=1.0, b=0.0, a=1.0)


def to_time(stamp_ns: int) -> Time:
    """A ROS time from ns since the epoch."""
    return Time(sec=stamp_ns // 1_000_000_000, nanosec=stamp_ns % 1_000_000_000)


def joint_state(stamp_ns: int, names: tuple[str, ...], positions: np.ndarray,
                velocities: np.ndarray | None = None) -> JointState:
    """JointState of positions (A,) and velocities (A,) in the order of ``names``."""
    message = JointState(name=list(names), position=positions.tolist())
    message.header.stamp = to_time(stamp_ns)
    message.header.frame_id = BASE_FRAME
    if velocities is not None:
        message.velocity = velocities.tolist()
    return message


def image(stamp_ns: int, pixels: np.ndarray) -> Image:
    """rgb8 Image of uint8 (H, W, 3)."""
    height_px, width_px, channels = pixels.shape
    message = Image(height=height_px, width=width_px, encoding="rgb8", step=width_px * channels)
    message.header.stamp = to_time(stamp_ns)
    message.header.frame_id = CAMERA_FRAME
    # An array of bytes is what the message holds itself; any other sequence would be checked value by value.
    message.data = array.array("B", pixels.tobytes())
    return message


def camera_info(stamp_ns: int, size: tuple[int, int], matrix: np.ndarray) -> CameraInfo:
    """CameraInfo of a pinhole without distortion; ``size`` (height, width) px, ``matrix`` (3, 3) px."""
    message = CameraInfo(height=size[0], width=size[1], distortion_model="plumb_bob", d=[0.0] * 5)
    message.header.stamp = to_time(stamp_ns)
    message.header.frame_id = CAMERA_FRAME
    message.k = matrix.ravel()
    message.r = np.eye(3).ravel()
    message.p = np.hstack([matrix, np.zeros((3, 1))]).ravel()
    return message


def markers(stamp_ns: int, truth: Truth) -> MarkerArray:
    """One marker for each object, `ns` its name, after one that deletes those of the last scene."""
    result = MarkerArray(markers=[Marker(action=Marker.DELETEALL)])
    result.markers[0].header.frame_id = BASE_FRAME
    for number, (name, found) in enumerate(truth.objects.items()):
        marker = Marker(ns=name, id=number, type=Marker.CUBE, action=Marker.ADD)
        marker.header.stamp = to_time(stamp_ns)
        marker.header.frame_id = BASE_FRAME
        position = marker.pose.position
        position.x, position.y, position.z = map(float, found.position_m)
        marker.pose.orientation.z = float(np.sin(found.yaw_rad / 2))
        marker.pose.orientation.w = float(np.cos(found.yaw_rad / 2))
        marker.scale.x = marker.scale.y = marker.scale.z = 0.036
        marker.color = _LINE_COLOUR
        result.markers.append(marker)
    return result


def image_marker(stamp_ns: int, number: int, name: str, found: ObjectTruth) -> ImageMarker:
    """An object in the picture: `position` its projected centre, `points` its box's corners; REMOVE where unseen."""
    message = ImageMarker(ns=name, id=number, type=ImageMarker.POLYGON, outline_color=_LINE_COLOUR, scale=1.0)
    message.header.stamp = to_time(stamp_ns)
    message.header.frame_id = CAMERA_FRAME
    message.position.x, message.position.y = map(float, found.pixel_xy)
    if not found.visible:
        message.action = ImageMarker.REMOVE
        return message
    x0, y0, x1, y1 = map(float, found.box_px)
    message.points = [Point(x=x, y=y) for x, y in ((x0, y0), (x1, y0), (x1, y1), (x0, y1))]
    return message


def truth_from_markers(message: MarkerArray, success: bool) -> Truth:
    """The positions in a marker array as a :class:`Truth` without pixels (NaN): what the expert works on.

    Raises AutofocusError where the array holds no object.
    """
    nothing = np.full(4, np.nan)
    objects = {}
    stamp_s = 0.0
    for marker in message.markers:
        if marker.action != Marker.ADD:
            continue
        position, turn = marker.pose.position, marker.pose.orientation
        yaw_rad = 2.0 * float(np.arctan2(turn.z, turn.w))
        stamp_s = marker.header.stamp.sec + marker.header.stamp.nanosec * 1e-9
        objects[marker.ns] = ObjectTruth(
            np.array([position.x, position.y, position.z]), yaw_rad, nothing[:2], nothing, False
        )
    if not objects:
        raise AutofocusError("/sim/truth/markers", "no object", "one marker per object", "start the sim node")
    return Truth(objects, success, stamp_s)
