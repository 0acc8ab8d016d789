"""A camera: noise at the robot YAML's size and rate, stamped when it is handed over: `python camera_node.py ROBOT`."""

from __future__ import annotations

import contextlib
import sys

import numpy as np
import rclpy
from autofocus_core.schema import load_robot
from rclpy.executors import ExternalShutdownException
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image


def main(robot_file: str) -> None:
    camera = load_robot(robot_file).cameras[0]
    rclpy.init()
    node = rclpy.create_node("camera")
    images = node.create_publisher(Image, camera.topic, QoSProfile(depth=2, reliability=ReliabilityPolicy.RELIABLE))
    noise = np.random.default_rng(0)
    shape = (camera.height_px, camera.width_px, 3)
    pool = []
    for _ in range(8):
        msg = Image(height=shape[0], width=shape[1], encoding="rgb8", step=shape[1] * 3)
        msg.data.frombytes(noise.integers(0, 256, shape, np.uint8).tobytes())
        pool.append(msg)
    sent = 0

    def send() -> None:
        nonlocal sent
        msg = pool[sent % len(pool)]
        sent += 1
        msg.header.stamp = node.get_clock().now().to_msg()
        images.publish(msg)

    node.create_timer(1.0 / camera.rate_hz, send)
    with contextlib.suppress(KeyboardInterrupt, ExternalShutdownException):
        rclpy.spin(node)


if __name__ == "__main__":
    main(*sys.argv[1:])
