"""Publishes the attention overlay: drawn and compressed in a thread of its own, and only while somebody looks."""

from __future__ import annotations

import time

import numpy as np
from autofocus_core.images import encode_jpeg
from autofocus_core.overlay import draw_overlay
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage

from autofocus_policy.messages_node import to_time
from autofocus_policy.runner import Chunk
from autofocus_policy.worker import NewestWins

QUALITY = 80
QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)


class Overlay:
    """Topic ~/overlay/compressed of `node`: the first of `cameras` cameras, at most `rate_hz` images per second."""

    def __init__(self, node: Node, rate_hz: float, cameras: int) -> None:
        self._period_s = 1.0 / rate_hz
        self._cameras = cameras
        self._next_s = 0.0
        self._node = node
        self._images = node.create_publisher(CompressedImage, "~/overlay/compressed", QOS)
        self._worker: NewestWins[tuple[Chunk, np.ndarray]] = NewestWins(self._draw, "overlay")

    def offer(self, chunk: Chunk, image: np.ndarray) -> None:
        """An answer and the image (H, W, 3) that it was given; returns at once."""
        now_s = time.monotonic()
        if now_s >= self._next_s and self._images.get_subscription_count() > 0:
            self._next_s = max(self._next_s, now_s - self._period_s / 2) + self._period_s  # no catching up
            self._worker.submit((chunk, image))

    def close(self) -> None:
        """End the thread and the topic."""
        self._worker.close()
        self._node.destroy_publisher(self._images)

    def _draw(self, item: tuple[Chunk, np.ndarray]) -> None:
        chunk, image = item
        message = CompressedImage(format="jpeg")
        message.header.stamp = to_time(chunk.stamp_ns)
        first = chunk.attention[: max(1, len(chunk.attention) // self._cameras)]  # maps go camera by camera
        message.data.frombytes(encode_jpeg(draw_overlay(image, first), QUALITY))
        self._images.publish(message)
