"""Standard message types without a ROS installation: definitions, hashes, (de)serialisation, header stamps."""

from __future__ import annotations

import os
import struct
from functools import lru_cache
from typing import Any

from rosbags.typesys import Stores, get_typestore
from rosbags.typesys.store import Typestore

from autofocus_core.errors import AutofocusError

HEADER_TYPE = "std_msgs/msg/Header"
#: Distributions whose definitions are known, by the name that ROS_DISTRO has.
DISTROS = {store.value.removeprefix("ros2_"): store for store in Stores if store.value.startswith("ros2_")}
#: Distribution assumed where ROS_DISTRO is not set: the one the ROS 2 wheels on PyPI are built from.
PYPI_DISTRO = "kilted"

_LITTLE_STAMP = struct.Struct("<iI")
_BIG_STAMP = struct.Struct(">iI")
_STAMP_END = 12  # 4 bytes of encapsulation, int32 sec, uint32 nanosec


def default_distro() -> str:
    """Name of the distribution of this process: ROS_DISTRO, else that of the wheels on PyPI."""
    return os.environ.get("ROS_DISTRO") or PYPI_DISTRO


@lru_cache(maxsize=4)
def typestore(distro: str = PYPI_DISTRO) -> Typestore:
    """All standard types of a distribution; raises AutofocusError for one that is not known."""
    if distro not in DISTROS:
        raise AutofocusError(
            "ROS distribution",
            repr(distro),
            ", ".join(sorted(DISTROS)),
            "set ROS_DISTRO to one of these, or update rosbags",
        )
    return get_typestore(DISTROS[distro])


@lru_cache(maxsize=256)
def definition(msgtype: str, distro: str = PYPI_DISTRO) -> tuple[str, str]:
    """(full ros2msg definition text, RIHS01 hash) of a standard type such as ``sensor_msgs/msg/Image``."""
    store = typestore(distro)
    if msgtype not in store.fielddefs:
        raise AutofocusError(
            f"message type {msgtype}",
            f"not among the standard types of {distro}",
            "a type of the standard packages (sensor_msgs, std_msgs, trajectory_msgs, ...)",
            "give its definition and type hash to add_topic, or record a topic of a standard type",
        )
    text, _ = store.generate_msgdef(msgtype, ros_version=2)
    return text, store.hash_rihs01(msgtype)


def message_class(msgtype: str, distro: str = PYPI_DISTRO) -> type:
    """The dataclass of a standard type, to be given to :func:`serialize`."""
    definition(msgtype, distro)
    return typestore(distro).types[msgtype]


def serialize(message: Any, msgtype: str, distro: str = PYPI_DISTRO) -> bytes:
    """CDR bytes (with the 4-byte encapsulation) of a message of :func:`message_class`."""
    return bytes(typestore(distro).serialize_cdr(message, msgtype))


def starts_with_header(msgtype: str, store: Typestore | None = None) -> bool:
    """Whether a message of this type begins with a std_msgs/Header (or is one); False for unknown types."""
    fields = (store or typestore()).fielddefs.get(msgtype)
    if fields is None:
        return False
    if msgtype == HEADER_TYPE:
        return True
    return bool(fields[1]) and fields[1][0][1][1] == HEADER_TYPE


def header_stamp_ns(raw: bytes | memoryview) -> int | None:
    """Header stamp in ns of a CDR message that begins with a Header, read from its first 12 bytes.

    None where the message is too short to have one. Costs about 0.3 us: images are never deserialised.
    """
    if len(raw) < _STAMP_END:
        return None
    sec, nanosec = (_LITTLE_STAMP if raw[1] & 1 else _BIG_STAMP).unpack_from(raw, 4)
    return sec * 1_000_000_000 + nanosec


def stamp_ns(header: Any) -> int:
    """Stamp in ns of a deserialised Header (rclpy's or rosbags')."""
    return header.stamp.sec * 1_000_000_000 + header.stamp.nanosec
