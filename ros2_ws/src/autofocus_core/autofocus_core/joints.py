"""Joint messages to joint vectors, by joint name: a missing joint is an error, never a shift."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from autofocus_core.dropped import Dropped
from autofocus_core.errors import AutofocusError
from autofocus_core.messages import stamp_ns
from autofocus_core.schema import Robot

if TYPE_CHECKING:
    from autofocus_core.bags import Bag

JOINT_STATE = "sensor_msgs/msg/JointState"
JOINT_TRAJECTORY = "trajectory_msgs/msg/JointTrajectory"
FLOAT64_MULTI_ARRAY = "std_msgs/msg/Float64MultiArray"


def decode_joints(msg: Any, msgtype: str, robot: Robot) -> tuple[int | None, np.ndarray]:
    """(stamp in ns, positions float64 (A,) in rad or m, in the robot's order) of a joint message.

    JointState: header stamp; joints by name, others in the message are ignored. JointTrajectory: the first
    point; its stamp is the time at which that point applies (header stamp + time_from_start). A stamp is
    None where the message has none (Float64MultiArray, whose values are taken in the robot's order).
    Raises AutofocusError for missing or doubled joints, wrong lengths and values that are not finite.
    """
    if msgtype == JOINT_STATE:
        return stamp_ns(msg.header), by_name(msg.name, msg.position, robot, "JointState")
    if msgtype == JOINT_TRAJECTORY:
        if not msg.points:
            raise _wrong(
                robot, "JointTrajectory without points", "at least one point", "publish the target as its first point"
            )
        point = msg.points[0]
        offset_ns = point.time_from_start.sec * 1_000_000_000 + point.time_from_start.nanosec
        return stamp_ns(msg.header) + offset_ns, by_name(msg.joint_names, point.positions, robot, "JointTrajectory")
    if msgtype == FLOAT64_MULTI_ARRAY:
        values = np.array(msg.data, dtype=np.float64)
        if values.shape != (len(robot.joint_names),):
            raise _wrong(
                robot,
                f"Float64MultiArray of {values.size} values",
                f"{len(robot.joint_names)}: {', '.join(robot.joint_names)}",
                "publish one value for each joint, in this order",
            )
        return None, _finite(values, robot, "Float64MultiArray")
    raise _wrong(
        robot,
        f"type {msgtype}",
        f"{JOINT_STATE} | {JOINT_TRAJECTORY} | {FLOAT64_MULTI_ARRAY}",
        "correct the type in the robot YAML",
    )


def by_name(names: Sequence[str], values: Sequence[float], robot: Robot, what: str) -> np.ndarray:
    """Values float64 (A,) in the robot's order, picked by name; raises AutofocusError (see decode_joints)."""
    if len(names) != len(values):
        raise _wrong(
            robot, f"{what}: {len(names)} names, {len(values)} values", "as many values as names", "mend the publisher"
        )
    index = {name: i for i, name in enumerate(names)}
    if len(index) != len(names):
        twice = sorted({name for name in names if list(names).count(name) > 1})
        raise _wrong(robot, f"{what}: {', '.join(twice)} twice", "each joint once", "mend the publisher")
    missing = [name for name in robot.joint_names if name not in index]
    if missing:
        raise _wrong(
            robot,
            f"{what} without {', '.join(missing)} (it has {', '.join(names) or 'no names'})",
            ", ".join(robot.joint_names),
            "correct the joint names in the robot YAML, or have the driver publish them in one message",
        )
    return _finite(np.array([values[index[name]] for name in robot.joint_names], dtype=np.float64), robot, what)


def read_joints(
    bag: Bag, topic: str, robot: Robot, dropped: Dropped | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """(stamps int64 (N,) ns, positions float64 (N, A)) of a joint topic, sorted by stamp, one for each stamp.

    Messages without a stamp take their receive stamp. Of messages with the same stamp the first is kept.
    One that cannot be decoded raises AutofocusError naming bag, topic and receive stamp, or with `dropped` is left out
    and noted there.
    """
    stamps: list[int] = []
    positions: list[np.ndarray] = []
    for stamp, receive_ns, values in iter_joints(bag, topic, robot, dropped):
        stamps.append(receive_ns if stamp is None else stamp)
        positions.append(values)
    if not stamps:
        return np.zeros(0, np.int64), np.zeros((0, len(robot.joint_names)))
    unique, first = np.unique(np.array(stamps, dtype=np.int64), return_index=True)
    return unique, np.stack(positions)[first]


def iter_joints(
    bag: Bag, topic: str, robot: Robot, dropped: Dropped | None = None
) -> Iterator[tuple[int | None, int, np.ndarray]]:
    """(stamp ns or None, receive stamp ns, positions (A,)) of each message, in order of receipt; see read_joints."""
    for message, msg in bag.decoded([topic], dropped):
        try:
            stamp, values = decode_joints(msg, message.type, robot)
        except AutofocusError as error:
            if dropped is not None:
                dropped.add(topic, message.receive_ns, bag.header_ns(message), error)
                continue
            where = f"bag {bag.path}: topic {topic}: message received at {message.receive_ns} ns: {error.where}"
            raise AutofocusError(where, error.got, error.allowed, error.fix) from error
        yield stamp, message.receive_ns, values


def _finite(values: np.ndarray, robot: Robot, what: str) -> np.ndarray:
    if not np.isfinite(values).all():
        bad = [name for name, value in zip(robot.joint_names, values) if not np.isfinite(value)]
        raise _wrong(robot, f"{what}: {', '.join(bad)} is NaN or infinite", "finite numbers", "mend the publisher")
    return values


def _wrong(robot: Robot, got: str, allowed: str, fix: str) -> AutofocusError:
    return AutofocusError(f"joints of robot {robot.name}", got, allowed, fix)
