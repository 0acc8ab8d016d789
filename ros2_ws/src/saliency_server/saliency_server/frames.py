"""A camera's frames and a gripper's motion out of a bag, ours or foreign."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from autofocus_core.bags import Bag
from autofocus_core.errors import AutofocusError
from autofocus_core.images import ImageDecodeError, decode_image
from autofocus_core.joints import decode_joints
from autofocus_core.schema import IMAGE_TYPES, Camera, Robot

GRIPPER_RATE_HZ = 25.0  # enough to place an event; the 100 Hz of a driver are thinned to about this


@dataclass(frozen=True, slots=True)
class Frame:
    """stamp_ns: header stamp; image: rgb uint8 (H, W, 3), or None with the reason why it cannot be used."""

    stamp_ns: int
    image: np.ndarray | None
    reason: str


def check_image_topic(bag: Bag, camera: Camera) -> None:
    """Raise AutofocusError, naming the bag's image topics, unless the camera's topic is there with images on it."""
    where = f"bag {bag.path}: camera {camera.name}"
    images = sorted(topic for topic, kind in bag.topics.items() if kind in IMAGE_TYPES)
    listed = ", ".join(images) or f"none; it has {', '.join(sorted(bag.topics)) or 'no topics at all'}"
    if camera.topic not in bag.topics:
        raise AutofocusError(
            where, f"no topic {camera.topic}", f"image topics in this bag: {listed}",
            f"set the topic of camera {camera.name} in the robot YAML, or record that topic",
        )
    if bag.topics[camera.topic] not in IMAGE_TYPES:
        raise AutofocusError(
            where, f"{camera.topic} is a {bag.topics[camera.topic]}", ", ".join(IMAGE_TYPES),
            f"image topics in this bag: {listed}",
        )
    if bag.counts[camera.topic] == 0:
        raise AutofocusError(where, f"no message on {camera.topic}", "at least one image", "record the episode again")


def read_frames(bag: Bag, camera: Camera) -> Iterator[Frame]:
    """Each image message as a Frame, in the order of recording; a frame that cannot be used is not left out."""
    for message in bag.messages([camera.topic]):
        stamp_ns = bag.header_ns(message)
        if stamp_ns is None:
            raise AutofocusError(
                f"bag {bag.path}: topic {camera.topic}", f"a message of {len(message.raw)} bytes",
                "a message with a header", "leave this bag out, or record it again",
            )
        try:
            decoded = bag.decode(message.type, message.raw, topic=message.topic, receive_ns=message.receive_ns)
            image = decode_image(decoded, message.type)
        except (ImageDecodeError, AutofocusError):
            yield Frame(stamp_ns, None, "unreadable image")
            continue
        height, width = image.shape[:2]
        if (width, height) != (camera.width_px, camera.height_px):
            yield Frame(
                stamp_ns, None, f"image of {width}x{height} instead of {camera.width_px}x{camera.height_px}"
            )
            continue
        yield Frame(stamp_ns, image, "")


def sample_images(bag: Bag, camera: Camera, wanted: int) -> list[np.ndarray]:
    """`wanted` usable images spread evenly over the recording, fewer if it has not that many."""
    if wanted <= 0:
        return []
    chosen = set(np.unique(np.linspace(0, bag.counts[camera.topic] - 1, wanted).round().astype(int)).tolist())
    return [f.image for i, f in enumerate(read_frames(bag, camera)) if i in chosen and f.image is not None]


def read_gripper(bag: Bag, robot: Robot) -> tuple[np.ndarray, np.ndarray]:
    """(stamps in ns (M,) int64, gripper position (M,)) at about GRIPPER_RATE_HZ; empty where the robot has no
    gripper or the bag no joint states."""
    if robot.gripper is None or robot.state.topic not in bag.topics:
        return np.empty(0, dtype=np.int64), np.empty(0)
    every = max(1, round(robot.state.rate_hz / GRIPPER_RATE_HZ))
    stamps, positions = [], []
    for i, message in enumerate(bag.messages([robot.state.topic])):
        if i % every == 0:
            decoded = bag.decode(message.type, message.raw, topic=message.topic, receive_ns=message.receive_ns)
            stamp_ns, joints = decode_joints(decoded, message.type, robot)
            stamps.append(message.receive_ns if stamp_ns is None else stamp_ns)
            positions.append(joints[-1])
    return np.array(stamps, dtype=np.int64), np.array(positions)
