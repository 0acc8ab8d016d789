"""A camera's frames and a robot's joint states out of a bag, ours or foreign."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from autofocus_core.bags import Bag
from autofocus_core.errors import AutofocusError
from autofocus_core.images import ImageDecodeError, decode_image
from autofocus_core.joints import decode_joints
from autofocus_core.schema import IMAGE_TYPES, Camera, Robot

JOINT_RATE_HZ = 25.0  # enough to place an event; the 100 Hz of a driver are thinned to about this


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


def read_frames(
    bag: Bag, camera: Camera, wanted: Callable[[int, int], bool] | None = None
) -> Iterator[Frame]:
    """Each image message as a Frame, in the order of recording; a frame that cannot be used is not left out.

    wanted: says by the message's number on its topic and its header stamp which to decode and give; None: all.
    """
    for number, message in enumerate(bag.messages([camera.topic])):
        stamp_ns = bag.header_ns(message)
        if stamp_ns is None:
            raise AutofocusError(
                f"bag {bag.path}: topic {camera.topic}", f"a message of {len(message.raw)} bytes",
                "a message with a header", "leave this bag out, or record it again",
            )
        if wanted is not None and not wanted(number, stamp_ns):
            continue
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


def sample_frames(bag: Bag, camera: Camera, count: int) -> list[Frame]:
    """`count` frames spread evenly over the recording, without those that cannot be used; no other is decoded."""
    if count <= 0:
        return []
    chosen = set(np.unique(np.linspace(0, bag.counts[camera.topic] - 1, count).round().astype(int)).tolist())
    frames = read_frames(bag, camera, lambda number, stamp_ns: number in chosen and stamp_ns > 0)
    return [frame for frame in frames if frame.image is not None]


def read_joints(bag: Bag, robot: Robot) -> tuple[np.ndarray, np.ndarray]:
    """(stamps in ns (M,) int64, rising, joint vectors (M, A)) at about JOINT_RATE_HZ; empty where the bag has no
    joint states."""
    if robot.state.topic not in bag.topics:
        return np.empty(0, dtype=np.int64), np.empty((0, len(robot.joint_names)))
    every = max(1, round(robot.state.rate_hz / JOINT_RATE_HZ))
    stamps, positions = [], []
    for i, message in enumerate(bag.messages([robot.state.topic])):
        if i % every == 0:
            decoded = bag.decode(message.type, message.raw, topic=message.topic, receive_ns=message.receive_ns)
            stamp_ns, joints = decode_joints(decoded, message.type, robot)
            stamps.append(stamp_ns or message.receive_ns)
            positions.append(joints)
    rising, first = np.unique(np.array(stamps, dtype=np.int64), return_index=True)
    return rising, np.array(positions).reshape(-1, len(robot.joint_names))[first]
