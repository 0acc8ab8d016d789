"""Publishes a fixed list of odd messages as exact bytes, and logs the hash of each: nothing between may change a bit.

Usage: identity_publisher.py LOG_FILE GO_FILE. Latched topics are published at once, the others when GO_FILE appears;
LOG_FILE is complete when it appears. Lines: topic, length, SHA-256 of the bytes, SHA-256 of them as padded by RTPS.

A short message travels in one RTPS DATA submessage, whose payload is padded with zeros to a multiple of four bytes: no
subscriber can tell these from the message's own. Longer ones travel in fragments, which are not padded.
"""

import hashlib
import struct
import sys
import time
from pathlib import Path

import numpy as np
import rclpy
from autofocus_core.messages import message_class, serialize
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, JointState
from std_msgs.msg import String, UInt8MultiArray

#: Nothing may be lost on the way here: what is tested is identity. The recorder's own depth for images is 100.
QUEUE_DEPTH = 1000
PAUSE_S = 0.004
LATCHED_TOPIC, TYPED_TOPIC = "/robot_description", "/typed/joints"


def header(stamp_ns: int, frame: str = "") -> object:
    time_ = message_class("builtin_interfaces/msg/Time")(*divmod(stamp_ns, 1_000_000_000))
    return message_class("std_msgs/msg/Header")(time_, frame)


def image(random: np.random.Generator, width: int, height: int, encoding: str, depth: int) -> bytes:
    pixels = random.integers(0, 256, width * height * depth, np.uint8)
    cls = message_class("sensor_msgs/msg/Image")
    message = cls(header(time.time_ns(), "optical"), height, width, encoding, 0, width * depth, pixels)
    return serialize(message, "sensor_msgs/msg/Image")


def joints(names: list[str], *values: list[float]) -> bytes:
    arrays = [np.array(column, np.float64) for column in values]
    message = message_class("sensor_msgs/msg/JointState")(header(time.time_ns()), names, *arrays)
    return serialize(message, "sensor_msgs/msg/JointState")


def strange_joints(random: np.random.Generator) -> list[bytes]:
    payload_nan = struct.unpack("<d", b"\xef\xbe\xad\xde\x00\x00\xf8\xff")[0]  # a NaN that carries something
    tiny, huge = np.finfo(float).smallest_subnormal, np.finfo(float).max
    big_endian = b"\x00\x00\x00\x00" + struct.pack(">iI", 1, 2) + struct.pack(">I", 1) + b"\0\0\0\0" + bytes(16)
    return [
        joints(["waist"], [float("nan")], [float("inf")], [float("-inf")]),
        joints(["waist"], [payload_nan], [-0.0], [tiny]),
        joints([], [], [], []),
        joints(["Gelenk ä€", ""], [huge, -huge], [], []),
        joints([f"joint_{i}" for i in range(1000)], random.normal(size=1000).tolist(), [0.0] * 1000, []),
        big_endian,
        *(joints(["waist"], [random.normal()], [float(i)], [0.0]) for i in range(200)),
    ]


def messages(random: np.random.Generator) -> dict[str, tuple[type, list[bytes]]]:
    """{topic: (type, bytes of each message)}; the lengths reach from 4 bytes to 6 MB, and have every remainder by 4."""
    infos = [
        message_class("sensor_msgs/msg/CameraInfo")(
            header(time.time_ns(), "optical"), 720, 1280, "plumb_bob", random.normal(size=n), random.normal(size=9),
            np.eye(3).ravel(), random.normal(size=12), 0, 0,
            message_class("sensor_msgs/msg/RegionOfInterest")(0, 0, 0, 0, False),
        )
        for n in (0, 4, 5, 8, 12, 14)
    ]  # fmt: skip
    compressed = message_class("sensor_msgs/msg/CompressedImage")
    jpegs = [
        compressed(header(time.time_ns()), "jpeg", random.integers(0, 256, n, np.uint8))
        for n in (0, 1, 2, 3, 4, 5, 63_001, 65_437, 65_500, 65_535, 100_001, 1_000_003)
    ]
    text = message_class("std_msgs/msg/String")
    strings = [text("x" * n) for n in range(9)] + [text("\x01\x7f\u20ac" * 1000), text("x" * 2_000_000)]
    multi = message_class("std_msgs/msg/MultiArrayLayout")([], 0)
    raws = [message_class("std_msgs/msg/UInt8MultiArray")(multi, np.full(n, 255, np.uint8)) for n in (0, 1, 6_000_001)]
    return {
        "/joint_states": (JointState, strange_joints(random)),
        "/teleop/intent": (JointState, [joints(["waist"], [i / 7], [], []) for i in range(50)]),
        "/camera/image_raw": (
            Image,
            [image(random, *size) for size in ((1280, 720, "rgb8", 3), (1, 1, "mono8", 1), (3, 1, "mono8", 1))]
            + [image(random, 640, 480, "16UC1", 2) for _ in range(6)],
        ),
        "/camera/camera_info": (CameraInfo, [serialize(info, "sensor_msgs/msg/CameraInfo") for info in infos]),
        "/camera/image_raw/compressed": (
            CompressedImage,
            [serialize(jpeg, "sensor_msgs/msg/CompressedImage") for jpeg in jpegs],
        ),
        "/notes": (String, [serialize(string, "std_msgs/msg/String") for string in strings]),
        "/blobs": (UInt8MultiArray, [serialize(raw, "std_msgs/msg/UInt8MultiArray") for raw in raws]),
        LATCHED_TOPIC: (String, [serialize(text("<robot>\u00e4</robot>" * 5000), "std_msgs/msg/String")]),
    }


def main() -> None:
    log, go = Path(sys.argv[1]), Path(sys.argv[2])
    rclpy.init()
    node = rclpy.create_node("identity_publisher")
    everything = messages(np.random.default_rng(7))
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    publishers = {
        topic: node.create_publisher(kind, topic, latched if topic == LATCHED_TOPIC else QoSProfile(depth=QUEUE_DEPTH))
        for topic, (kind, _) in everything.items()
    }
    typed = node.create_publisher(JointState, TYPED_TOPIC, QoSProfile(depth=QUEUE_DEPTH))
    lines = []

    def publish(topic: str, raw: bytes) -> None:
        publishers[topic].publish(raw)
        padded = raw + bytes(-len(raw) % 4)
        hashes = (hashlib.sha256(data).hexdigest() for data in (raw, padded))
        lines.append(" ".join((topic, str(len(raw)), *hashes)))

    for raw in everything[LATCHED_TOPIC][1]:
        publish(LATCHED_TOPIC, raw)
    watched = [*publishers.values(), typed, typed]  # the recorder; on the typed topic a witness, too
    while not go.exists() or any(p.get_subscription_count() < watched.count(p) for p in watched):
        time.sleep(0.01)
    left = {topic: list(raws) for topic, (_, raws) in everything.items() if topic != LATCHED_TOPIC}
    while left:  # in turn, so that topics are mixed as in a real recording
        for topic in list(left):
            publish(topic, left[topic].pop(0))
            typed.publish(JointState(name=["waist"], position=[float(len(lines))], effort=[-0.0]))
            if not left[topic]:
                del left[topic]
            time.sleep(PAUSE_S)
    part = log.with_suffix(".part")
    part.write_text("\n".join(lines) + "\n")
    part.rename(log)
    rclpy.spin(node)


if __name__ == "__main__":
    main()
