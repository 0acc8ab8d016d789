"""Bags as `ros2 bag record` would have written them, of a painted scene: SQLite or MCAP, raw or compressed images."""

from pathlib import Path

import cv2
import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

STORE = get_typestore(Stores.ROS2_HUMBLE)
T = STORE.types
IMAGE, COMPRESSED, JOINTS = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage", "sensor_msgs/msg/JointState"
TOPIC = "/camera/camera/color/image_raw"
START_NS = 1_700_000_000_000_000_000
PERIOD_NS = 33_333_333
FRAMES = 45
TABLE, RED, ORANGE = (168, 163, 153), (217, 23, 23), (255, 128, 0)


def scene(i: int, size_px: tuple[int, int] = (240, 320)) -> tuple[np.ndarray, tuple[float, float]]:
    """Frame i: rgb uint8 (H, W, 3) and the red cube's centre in px; two orange fingertips come down on it."""
    image = np.full((*size_px, 3), TABLE, dtype=np.uint8)
    x, y = 100 + i, 120 - i // 3
    cv2.rectangle(image, (x - 10, y - 10), (x + 10, y + 10), RED, -1)
    top = 20 + 2 * i
    for left in (x - 24, x + 18):
        cv2.rectangle(image, (left, top), (left + 6, top + 12), ORANGE, -1)
    return image, (x + 0.5, y + 0.5)


def stamp(ns: int):
    return T["builtin_interfaces/msg/Time"](sec=ns // 10**9, nanosec=ns % 10**9)


def header(ns: int):
    return T["std_msgs/msg/Header"](stamp=stamp(ns), frame_id="camera_color_optical_frame")


def image_message(kind: str, image: np.ndarray, ns: int):
    """`kind`: raw, bgr, jpeg or png; gives (message, type)."""
    if kind in ("raw", "bgr"):
        pixels = image if kind == "raw" else image[..., ::-1]
        height, width = image.shape[:2]
        data = np.ascontiguousarray(pixels).reshape(-1)
        encoding = "rgb8" if kind == "raw" else "bgr8"
        return T[IMAGE](header(ns), height, width, encoding, 0, 3 * width, data), IMAGE
    suffix = {"jpeg": ".jpg", "png": ".png"}[kind]
    data = cv2.imencode(suffix, image[..., ::-1])[1].reshape(-1)
    return T[COMPRESSED](header(ns), f"rgb8; {kind} compressed bgr8", data), COMPRESSED


def write_bag(
    path: Path, kind: str = "raw", storage: StoragePlugin = StoragePlugin.MCAP, topic: str = TOPIC,
    frames: int = FRAMES, stamps_ns: list[int] | None = None, damaged: tuple[int, ...] = (),
) -> list[tuple[float, float]]:
    """A bag of `frames` images and of joint states in a foreign order of joints; gives the cube's centres."""
    centres = []
    names = ["gripper", "waist", "shoulder", "elbow", "wrist_angle", "wrist_rotate", "left_wheel"]
    empty = np.empty(0)
    with Writer(path, version=9, storage_plugin=storage) as bag:
        message_type = IMAGE if kind in ("raw", "bgr") else COMPRESSED
        images = bag.add_connection(topic, message_type, typestore=STORE)
        joints = bag.add_connection("/joint_states", JOINTS, typestore=STORE)
        for i in range(frames):
            ns = START_NS + i * PERIOD_NS
            image, centre = scene(i)
            centres.append(centre)
            message, _ = image_message(kind, image, stamps_ns[i] if stamps_ns else ns)
            if i in damaged:
                message.data = message.data[: len(message.data) // 2]
            bag.write(images, ns, STORE.serialize_cdr(message, message_type))
            gripper_m = 0.037 if i < 30 else 0.015
            positions = np.array([gripper_m, 0, 0, 0, 0, 0, 9.0])
            state = T[JOINTS](header(ns), names, positions, empty, empty)
            bag.write(joints, ns + 1, STORE.serialize_cdr(state, JOINTS))
    return centres
