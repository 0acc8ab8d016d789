"""The recorder's subscriptions: raw, with what the publishers offer, made once and kept between episodes."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from autofocus_core.errors import AutofocusError
from autofocus_core.names import DEVICE_INFO_NAME, GUARD_REQUEST_TOPIC
from autofocus_core.schema import Robot
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.subscription import Subscription
from rclpy.topic_endpoint_info import TopicEndpointInfo

from demo_recorder.definitions import Definition, define
from demo_recorder.qos_node import Override, in_words, matching_qos, mismatches, offers_yaml
from demo_recorder.reader_events_node import NoExecutor, ReaderEvents
from demo_recorder.watch import Publisher
from demo_recorder.writer import TopicSpec

#: Bytes of a publisher's identity that the graph and a message's info both have.
GID_BYTES = 16


def _nothing() -> None:
    return None


@dataclass(slots=True, eq=False)
class Wanted:
    """A topic the recorder was asked for: what is known of it, its subscription, and what came last.

    `type` "" is taken from its publishers; `required`: no start without it.
    """

    name: str
    declared_type: str
    required: bool
    expected_rate_hz: float | None = None
    override: Override | None = None
    type: str = ""
    subscription: Subscription | None = None
    events: ReaderEvents | None = None
    take: Callable[[], tuple[bytes, dict[str, Any]] | None] = _nothing
    qos: QoSProfile | None = None
    definition: Definition | None = None
    offers: list[QoSProfile] = field(default_factory=list)
    publishers: list[Publisher] = field(default_factory=list)
    fitted: list[Publisher] = field(default_factory=list)  # those that the subscription was made for
    latched: bool = False  # late subscribers get the last message, so an episode must begin with it
    last: dict[bytes, bytes] = field(default_factory=dict, repr=False)  # of a latched topic, by publisher
    numbers: dict[bytes, int] = field(default_factory=dict)  # of the last message before a recording, by publisher
    last_ns: int = 0
    received: int = 0
    failures: int = 0

    def spec(self) -> TopicSpec:
        """What the writer has to know."""
        return TopicSpec(self.name, self.type, offers_yaml(self.offers), self.expected_rate_hz, self.definition)

    def latched_now(self) -> list[bytes]:
        """The last message of each publisher that is still there; of a publisher without identity, the last one."""
        alive = {publisher.gid for publisher in self.publishers}
        return [raw for gid, raw in self.last.items() if not gid or gid[:GID_BYTES] in alive]

    def lost(self) -> int:
        """Messages that the middleware says were lost since it was last asked."""
        return 0 if self.events is None else self.events.lost()

    @property
    def qos_words(self) -> str:
        """Such as "reliable volatile"; empty while nobody publishes it."""
        return "" if self.qos is None else in_words(self.qos)


def wanted_topics(robot: Robot, extra: Iterable[str], overrides: Mapping[str, Override]) -> dict[str, Wanted]:
    """The topics to record for a robot: state, action and cameras must be there; camera infos, what cameras say of
    themselves, the command and the request it was made from are recorded where they are published; extra topics were
    asked for by name, so they must be there too."""
    wanted: dict[str, Wanted] = {}

    def add(name: str, type: str, required: bool, rate_hz: float | None) -> None:
        wanted.setdefault(name, Wanted(name, type, required, rate_hz, overrides.get(name)))

    add(robot.state.topic, robot.state.type, True, robot.state.rate_hz)
    add(robot.action.topic, robot.action.type, True, robot.action.rate_hz)
    for camera in robot.cameras:
        add(camera.topic, camera.type, True, camera.rate_hz)
        add(camera.info_topic, "sensor_msgs/msg/CameraInfo", False, None)
        add(device_info_topic(camera.topic), "std_msgs/msg/String", False, None)
    add(robot.command.topic, robot.command.type, False, None)
    add(GUARD_REQUEST_TOPIC, "trajectory_msgs/msg/JointTrajectory", False, None)
    for name in extra:
        add(name, "", True, None)
    unknown = sorted(set(overrides) - set(wanted))
    if unknown:
        raise AutofocusError(
            "recorder: qos_overrides", ", ".join(unknown), ", ".join(wanted), "name topics that are recorded"
        )
    return wanted


def device_info_topic(image_topic: str) -> str:
    """Where a camera says what it is: /camera/camera/color/image_raw -> /camera/camera/device_info."""
    parts = image_topic.strip("/").split("/")
    return "/".join(("", *(parts[:-2] or parts[:-1]), DEVICE_INFO_NAME))


@dataclass(frozen=True, slots=True)
class Attachments:
    """Subscribes. `lock` is held while a subscription is exchanged, after `drain` has taken what the old one has."""

    node: Node
    group: NoExecutor
    lock: AbstractContextManager[Any]
    drain: Callable[[], None]

    def look(self, wanted: Wanted) -> list[TopicEndpointInfo]:
        """Ask the graph who publishes a topic."""
        infos = self.node.get_publishers_info_by_topic(wanted.name)
        wanted.publishers = [_publisher(info) for info in infos]
        return infos

    def attach(self, wanted: Wanted) -> bool:
        """Subscribe to a topic if somebody publishes it; True once subscribed with fitting QoS.

        Raises AutofocusError where the publishers' type is not the one wanted, they disagree among themselves, the
        type is not known here, or none of them can give what an override asks for.
        """
        infos = self.look(wanted)
        if not infos:
            return False
        if wanted.fitted == wanted.publishers:
            return True
        types = sorted({info.topic_type for info in infos})
        if len(types) > 1 or (wanted.declared_type and types != [wanted.declared_type]):
            raise AutofocusError(
                f"recorder: topic {wanted.name}",
                f"published as {' and '.join(types)}",
                wanted.declared_type or "one type",
                "correct the type in the robot YAML, or stop the publisher that does not belong there",
            )
        offers = [info.qos_profile for info in infos]
        qos = matching_qos(offers, types[0], wanted.override)
        self._require_fit(wanted, infos, qos)
        wanted.offers = offers
        if wanted.subscription is None or wanted.type != types[0] or wanted.qos != qos:
            # Without a definition it cannot be written: say so now, not in mid-recording.
            wanted.definition = define(types[0], str(infos[0].topic_type_hash))
            self._subscribe(wanted, types[0], qos)
        wanted.fitted = wanted.publishers
        return True

    def _require_fit(self, wanted: Wanted, infos: list[TopicEndpointInfo], qos: QoSProfile) -> None:
        reasons = {_node_name(info): mismatches(info.qos_profile, qos) for info in infos}
        if all(reasons.values()):
            texts = [f"{'; '.join(reason)} (publisher {node})" for node, reason in reasons.items()]
            raise AutofocusError(
                f"recorder: topic {wanted.name}",
                ", ".join(texts),
                "a publisher whose QoS fits what is asked for",
                "change qos_overrides, or what the publisher offers",
            )

    def _subscribe(self, wanted: Wanted, type: str, qos: QoSProfile) -> None:
        message = message_type(type)
        made = self.node.create_subscription(
            message,
            wanted.name,
            _unused,
            qos,
            callback_group=self.group,
            event_callbacks=SubscriptionEventCallbacks(use_default_callbacks=False),
            raw=True,
        )
        before, events_before = wanted.subscription, wanted.events
        with self.lock:
            if before is not None:
                self.drain()
            wanted.subscription = made
            wanted.events = ReaderEvents(made, self.group)
            wanted.take = partial(made.handle.take_message, message, True)
            wanted.type = type
            wanted.qos = qos
            wanted.latched = qos.durability == DurabilityPolicy.TRANSIENT_LOCAL
            wanted.last.clear()
        if before is not None and events_before is not None:
            events_before.destroy()
            self.node.destroy_subscription(before)


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


def _unused(message: bytes) -> None:
    """The executor never calls it: see NoExecutor."""


def _publisher(info: TopicEndpointInfo) -> Publisher:
    return Publisher(bytes(info.endpoint_gid[:GID_BYTES]), _node_name(info), info.topic_type)


def _node_name(info: TopicEndpointInfo) -> str:
    return f"{info.node_namespace.rstrip('/')}/{info.node_name}"
