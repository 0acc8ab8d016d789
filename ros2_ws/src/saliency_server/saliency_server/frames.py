"""A camera's frames and a robot's joint states out of a bag, ours or foreign."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from autofocus_core.bags import Bag
from autofocus_core.errors import AutofocusError
from autofocus_core.images import ImageSizeError, decode_image
from autofocus_core.joints import decode_joints
from autofocus_core.schema import IMAGE_TYPES, Camera, Robot
from scipy.ndimage import median_filter

from saliency_server.values import UNREADABLE

ASTRAY = "a header stamp far from those around it"
ASTRAY_NS = 60 * 1_000_000_000
JOINT_RATE_HZ = 25.0  # enough to place an event; the 100 Hz of a driver are thinned to about this


@dataclass(frozen=True, slots=True)
class Frame:
    """stamp_ns: header stamp; image: rgb uint8 (H, W, 3), or None with the reason why it cannot be used; receive_ns:
    when it was recorded."""

    stamp_ns: int
    image: np.ndarray | None
    reason: str
    receive_ns: int = 0


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
    """Each image message as a Frame, in the order of recording; a frame that cannot be used is not left out, but one
    that is too short to have a stamp.

    wanted: says by the message's number on its topic and its header stamp which to decode and give; None: all.
    Messages without a readable image are noted in `bag.dropped`.
    """
    size_px = camera.width_px, camera.height_px
    for number, message in enumerate(bag.messages([camera.topic])):
        stamp_ns = bag.header_ns(message)
        if stamp_ns is None:
            bag.dropped.add(camera.topic, message.receive_ns, None, f"{len(message.raw)} bytes, without a header")
            continue
        if wanted is not None and not wanted(number, stamp_ns):
            continue
        try:
            decoded = bag.decode(message.type, message.raw, topic=message.topic, receive_ns=message.receive_ns)
            image = decode_image(decoded, message.type, size_px=size_px)
        except ImageSizeError as error:
            width, height = error.size_px
            why = f"image of {width}x{height} instead of {size_px[0]}x{size_px[1]}"
            yield Frame(stamp_ns, None, why, message.receive_ns)
        except AutofocusError as error:
            bag.dropped.add(camera.topic, message.receive_ns, stamp_ns, error)
            yield Frame(stamp_ns, None, UNREADABLE, message.receive_ns)
        else:
            yield Frame(stamp_ns, image, "", message.receive_ns)


def astray(stamps_ns: np.ndarray, receive_ns: np.ndarray) -> np.ndarray:
    """(N,) bool: header stamps, in the order of recording, that are more than ASTRAY_NS away from where those around
    them say: a damaged message. A clock that is another one, or is set, shifts all that follow, and is left alone."""
    late_ns = receive_ns - stamps_ns
    if len(late_ns) < 3:
        return np.zeros(len(late_ns), dtype=bool)
    return np.abs(late_ns - median_filter(late_ns, size=5, mode="nearest")) > ASTRAY_NS


def sample_frames(bag: Bag, camera: Camera, count: int) -> list[Frame]:
    """`count` frames spread evenly over the recording, without those that cannot be used; no other is decoded."""
    if count <= 0:
        return []
    chosen = set(np.unique(np.linspace(0, bag.counts[camera.topic] - 1, count).round().astype(int)).tolist())
    frames = read_frames(bag, camera, lambda number, stamp_ns: number in chosen and stamp_ns > 0)
    return [frame for frame in frames if frame.image is not None]


def read_joints(bag: Bag, robot: Robot) -> tuple[np.ndarray, np.ndarray]:
    """(stamps in ns (M,) int64, rising, joint vectors (M, A)) at about JOINT_RATE_HZ; empty where the bag has no
    joint states. Messages that cannot be read are left out and noted in `bag.dropped`; where none can be
    read, AutofocusError says what is wrong with the first."""
    nothing = np.empty(0, dtype=np.int64), np.empty((0, len(robot.joint_names)))
    if robot.state.topic not in bag.topics:
        return nothing
    every = max(1, round(robot.state.rate_hz / JOINT_RATE_HZ))
    stamps, received, positions = [], [], []
    problem: AutofocusError | None = None
    due = 0
    for i, message in enumerate(bag.messages([robot.state.topic])):
        if i < due:
            continue
        try:
            decoded = bag.decode(message.type, message.raw, topic=message.topic, receive_ns=message.receive_ns)
            stamp_ns, joints = decode_joints(decoded, message.type, robot)
        except AutofocusError as error:  # the next one takes its place
            problem = problem or error
            bag.dropped.add(message.topic, message.receive_ns, bag.header_ns(message), error)
            continue
        due = i - i % every + every
        stamps.append(stamp_ns or message.receive_ns)
        received.append(message.receive_ns)
        positions.append(joints)
    if not stamps:
        if problem is not None:
            raise problem
        return nothing
    stamps_ns, receive_ns = np.array(stamps, dtype=np.int64), np.array(received, dtype=np.int64)
    lost = astray(stamps_ns, receive_ns)
    for i in np.flatnonzero(lost):
        bag.dropped.add(robot.state.topic, received[i], stamps[i], ASTRAY)
    rising, first = np.unique(stamps_ns[~lost], return_index=True)
    return rising, np.array(positions)[~lost][first]
