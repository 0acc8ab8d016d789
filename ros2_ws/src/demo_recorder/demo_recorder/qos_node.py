"""Quality of service: asked for as the publishers offer it, or as somebody has written it down for a topic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import yaml
from autofocus_core.bags import qos_profile
from autofocus_core.errors import AutofocusError
from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, HistoryPolicy, LivelinessPolicy, QoSProfile, ReliabilityPolicy

#: Messages that may wait while Python is busy: 10 s at 100 Hz, 3 s of images. DDS allocates them as they come.
MESSAGE_DEPTH = 1000
IMAGE_DEPTH = 100
IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")

_ENUMS: dict[str, type[Enum]] = {
    "history": HistoryPolicy,
    "reliability": ReliabilityPolicy,
    "durability": DurabilityPolicy,
    "liveliness": LivelinessPolicy,
}
_DURATIONS = ("deadline", "lifespan", "liveliness_lease_duration")
_UNUSABLE = ("UNKNOWN", "SYSTEM_DEFAULT", "BEST_AVAILABLE")
_KEYS = (*_ENUMS, "depth", *_DURATIONS, "avoid_ros_namespace_conventions")

#: {policy: value} of one topic, as arguments of QoSProfile.
Override = Mapping[str, Any]


def load_overrides(path: str) -> dict[str, Override]:
    """The file that `ros2 bag record --qos-profile-overrides-path` takes: {topic: {policy: value}}; {} for "".

    Policies that it does not name follow the publishers' offers. Raises AutofocusError for anything not understood.
    """
    if not path:
        return {}
    where = f"qos_overrides {path}"
    try:
        document = yaml.safe_load(Path(path).expanduser().read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise AutofocusError(where, f"unreadable: {error}", "a YAML file", "correct the path or the file") from error
    if not isinstance(document, dict) or not all(isinstance(entry, dict) for entry in document.values()):
        raise AutofocusError(
            where, type(document).__name__, "topics, each with its policies", "see `ros2 bag record --help`"
        )
    return {str(topic): _override(f"{where}: {topic}", entry) for topic, entry in document.items()}


def _override(where: str, entry: dict[str, Any]) -> Override:
    policies: dict[str, Any] = {}
    for key, value in entry.items():
        if key in _ENUMS:
            allowed = [name.lower() for name in _ENUMS[key].__members__ if name not in _UNUSABLE and "RMW" not in name]
            if str(value).lower() not in allowed:
                raise AutofocusError(f"{where}: {key}", repr(value), " | ".join(allowed), "choose one of these")
            policies[key] = _ENUMS[key][str(value).upper()]
        elif key in _DURATIONS:
            if not isinstance(value, dict) or not {"sec", "nsec"} >= set(value):
                raise AutofocusError(f"{where}: {key}", repr(value), "{sec: 1, nsec: 0}", "give seconds and nsec")
            policies[key] = Duration(seconds=int(value.get("sec", 0)), nanoseconds=int(value.get("nsec", 0)))
        elif (key == "depth" and type(value) is int and value >= 0) or (
            key == "avoid_ros_namespace_conventions" and type(value) is bool
        ):
            policies[key] = value
        else:
            raise AutofocusError(f"{where}: {key}", repr(value), ", ".join(_KEYS), "correct the policy or its value")
    return policies


def matching_qos(offers: Sequence[QoSProfile], type: str, override: Override | None = None) -> QoSProfile:
    """The strongest request that all offers satisfy (the rule of rosbag2's recorder), with a deep history.

    What `override` names is taken from there.
    """
    reliable = all(offer.reliability == ReliabilityPolicy.RELIABLE for offer in offers)
    latched = all(offer.durability == DurabilityPolicy.TRANSIENT_LOCAL for offer in offers)
    policies: dict[str, Any] = {
        "history": HistoryPolicy.KEEP_LAST,
        "depth": IMAGE_DEPTH if type in IMAGE_TYPES else MESSAGE_DEPTH,
        "reliability": ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        "durability": DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    }
    return QoSProfile(**{**policies, **(override or {})})


def mismatches(offer: QoSProfile, request: QoSProfile) -> list[str]:
    """Policies for which DDS keeps a publisher and a subscription apart, in words; empty where they fit."""
    found = []
    if offer.reliability == ReliabilityPolicy.BEST_EFFORT and request.reliability == ReliabilityPolicy.RELIABLE:
        found.append("reliability: best_effort is offered, reliable is asked for")
    if offer.durability == DurabilityPolicy.VOLATILE and request.durability == DurabilityPolicy.TRANSIENT_LOCAL:
        found.append("durability: volatile is offered, transient_local is asked for")
    if request.liveliness == LivelinessPolicy.MANUAL_BY_TOPIC and offer.liveliness == LivelinessPolicy.AUTOMATIC:
        found.append("liveliness: automatic is offered, manual_by_topic is asked for")
    for key in ("deadline", "liveliness_lease_duration"):
        offered_ns, asked_ns = getattr(offer, key).nanoseconds, getattr(request, key).nanoseconds
        if asked_ns > 0 and (offered_ns == 0 or offered_ns > asked_ns):
            found.append(f"{key}: {offered_ns / 1e9:g} s is offered, {asked_ns / 1e9:g} s is asked for")
    return found


def in_words(qos: QoSProfile) -> str:
    """Such as "reliable volatile"."""
    return f"{qos.reliability.name} {qos.durability.name}".lower()


def offers_yaml(offers: Sequence[QoSProfile]) -> str:
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
