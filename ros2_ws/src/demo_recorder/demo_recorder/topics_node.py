"""The recorder's subscriptions: raw, with what the publishers offer, made once and kept between episodes."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import yaml
from autofocus_core.bags import qos_profile
from autofocus_core.errors import AutofocusError
from autofocus_core.schema import Robot
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription

from demo_recorder.writer import TopicSpec

#: Messages that may wait while Python is busy: 10 s at 100 Hz, 3 s of images. DDS allocates them as they come.
MESSAGE_DEPTH = 1000
IMAGE_DEPTH = 100
IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")


@dataclass(slots=True)
class Wanted:
    """A topic the recorder was asked for. `type` "" is taken from its publishers; `required`: no start without."""

    name: str
    type: str
    required: bool
    expected_rate_hz: float | None = None
    subscription: Subscription | None = None
    qos: QoSProfile | None = None
    offers: str = ""
    last: dict[bytes, bytes] = field(default_factory=dict, repr=False)  # newest raw message of each publisher

    @property
    def latched(self) -> bool:
        """Whether late subscribers get the last message, so that an episode must begin with it."""
        return self.qos is not None and self.qos.durability == DurabilityPolicy.TRANSIENT_LOCAL

    def spec(self) -> TopicSpec:
        """What the writer has to know."""
        return TopicSpec(self.name, self.type, self.offers, self.expected_rate_hz, self.latched)


def wanted_topics(robot: Robot, extra: list[str]) -> dict[str, Wanted]:
    """The topics to record for a robot: state, action and cameras must be there; camera infos and the command
    are recorded where they are published; extra topics were asked for by name, so they must be there too."""
    wanted: dict[str, Wanted] = {}

    def add(name: str, type: str, required: bool, rate_hz: float | None) -> None:
        wanted.setdefault(name, Wanted(name, type, required, rate_hz))

    add(robot.state.topic, robot.state.type, True, robot.state.rate_hz)
    add(robot.action.topic, robot.action.type, True, robot.action.rate_hz)
    for camera in robot.cameras:
        add(camera.topic, camera.type, True, camera.rate_hz)
        add(camera.info_topic, "sensor_msgs/msg/CameraInfo", False, None)
    add(robot.command.topic, robot.command.type, False, None)
    for name in extra:
        add(name, "", True, None)
    return wanted


def attach(node: Node, wanted: Wanted, on_message: Callable[[Wanted, bytes, dict[str, Any]], None]) -> bool:
    """Subscribe to a topic if somebody publishes it; True once subscribed with fitting QoS.

    Raises AutofocusError where the publishers' type is not the one wanted, or they disagree among themselves.
    """
    publishers = node.get_publishers_info_by_topic(wanted.name)
    if not publishers:
        return False
    types = sorted({publisher.topic_type for publisher in publishers})
    if len(types) > 1 or (wanted.type and types != [wanted.type]):
        raise AutofocusError(
            f"recorder: topic {wanted.name}",
            f"published as {' and '.join(types)}",
            wanted.type or "one type",
            "correct the type in the robot YAML, or stop the publisher that does not belong there",
        )
    qos = matching_qos([publisher.qos_profile for publisher in publishers], types[0])
    wanted.offers = offers_yaml([publisher.qos_profile for publisher in publishers])
    if wanted.subscription is not None and wanted.type == types[0] and wanted.qos == qos:
        return True
    if wanted.subscription is not None:
        node.destroy_subscription(wanted.subscription)
    wanted.type = types[0]
    wanted.qos = qos

    def callback(raw: bytes, info: dict[str, Any]) -> None:
        on_message(wanted, raw, info)

    wanted.subscription = node.create_subscription(message_type(types[0]), wanted.name, callback, qos, raw=True)
    return True


def drain(wanted: Wanted, on_message: Callable[[Wanted, bytes, dict[str, Any]], None]) -> None:
    """Take what has arrived for a topic and waits for its callback: it belongs to the episode being stopped."""
    if wanted.subscription is None:
        return
    handle = wanted.subscription.handle
    with handle:
        for _ in range(MESSAGE_DEPTH):
            taken = handle.take_message(wanted.subscription.msg_type, True)
            if taken is None:
                return
            on_message(wanted, taken[0], taken[1])


def publisher_id(info: dict[str, Any]) -> bytes:
    """The publisher's identity from a message's info; empty where the middleware does not tell."""
    gid = info.get("publisher_gid")
    return gid["data"] if gid else b""


def matching_qos(offers: list[QoSProfile], type: str) -> QoSProfile:
    """The strongest request that all offers satisfy (the rule of rosbag2's recorder), with a deep history."""
    reliable = all(offer.reliability == ReliabilityPolicy.RELIABLE for offer in offers)
    latched = all(offer.durability == DurabilityPolicy.TRANSIENT_LOCAL for offer in offers)
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=IMAGE_DEPTH if type in IMAGE_TYPES else MESSAGE_DEPTH,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


def offers_yaml(offers: list[QoSProfile]) -> str:
    """The publishers' offers as rosbag2 version 9 writes them. Depths are not discovered, so they are 0/unknown."""
    profiles = [
        qos_profile(
            reliability=offer.reliability.name.lower(),
            durability=offer.durability.name.lower(),
            history=offer.history.name.lower(),
            depth=offer.depth,
        )
        for offer in offers
    ]
    return yaml.safe_dump(profiles, sort_keys=False)


def message_type(name: str) -> type:
    """The rclpy class of ``package/msg/Name``; raises AutofocusError where it is not installed."""
    package, _, short = name.split("/")
    try:
        return getattr(importlib.import_module(f"{package}.msg"), short)
    except (ImportError, AttributeError) as error:
        raise AutofocusError(
            f"message type {name}",
            f"not installed ({error})",
            "an installed message package",
            f"install {package} for this Python",
        ) from error
