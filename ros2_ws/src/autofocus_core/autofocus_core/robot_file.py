"""A robot's YAML, parsed once, at the edge: nothing missing, unknown, doubled or out of range gets through."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from autofocus_core.errors import AutofocusError
from autofocus_core.fields import Fields, load_yaml, require_unique
from autofocus_core.names import GUARD_COMMAND_TOPIC
from autofocus_core.robot import Camera, Extrinsics, Intrinsics, Joint, Kinematics, Robot, Start, Stream

ROBOT_SCHEMA = 1
#: A jerk limit makes every stop 2 acceleration / jerk longer: by no more than this.
JERK_MAX_DELAY_S = 0.25
STATE_TYPES = ("sensor_msgs/msg/JointState",)
ACTION_TYPES = ("sensor_msgs/msg/JointState", "trajectory_msgs/msg/JointTrajectory", "std_msgs/msg/Float64MultiArray")
COMMAND_TYPES = ("sensor_msgs/msg/JointState", "std_msgs/msg/Float64MultiArray", "trajectory_msgs/msg/JointTrajectory")
IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")


def load_robot(path: str | Path) -> Robot:
    """Parse a robot YAML; raises AutofocusError for anything missing, unknown, doubled or out of range.

    A relative `kinematics.model` is taken from the folder of the YAML. Whether the file is there is asked where it is
    used (`Kinematics`): a machine that trains or records needs no URDF.
    """
    robot = parse_robot(load_yaml(path, "robot"))
    if robot.kinematics is None:
        return robot
    model = Path(path).absolute().parent / robot.kinematics.model
    return dataclasses.replace(robot, kinematics=Kinematics(str(model), robot.kinematics.tip))


def parse_robot(fields: Fields) -> Robot:
    """A robot from its mapping; see :func:`load_robot`."""
    fields.version(ROBOT_SCHEMA)
    where = fields.where
    name = fields.text("name")
    joints = tuple(_joint(item) for item in fields.items("joints"))
    gripper = _joint(fields.sub("gripper")) if fields.has("gripper") else None
    everything = joints if gripper is None else (*joints, gripper)
    require_unique([joint.name for joint in everything], f"{where}: joints")
    cameras = tuple(_camera(item) for item in fields.items("cameras"))
    require_unique([camera.name for camera in cameras], f"{where}: cameras")
    require_unique([camera.topic for camera in cameras], f"{where}: camera topics")
    robot = Robot(
        name=name,
        joints=joints,
        gripper=gripper,
        start=_start(fields.sub("start"), everything),
        state=_stream(fields.sub("state"), STATE_TYPES),
        action=_stream(fields.sub("action"), ACTION_TYPES),
        command=_stream(fields.sub("command"), COMMAND_TYPES),
        cameras=cameras,
        control_rate_hz=fields.number("control_rate_hz", above=0.0),
        command_timeout_ms=fields.number("command_timeout_ms", above=0.0),
        heartbeat_timeout_ms=fields.number("heartbeat_timeout_ms", above=0.0),
        kinematics=_kinematics(fields.sub("kinematics")) if fields.has("kinematics") else None,
        gripper_command=(
            _stream(fields.sub("gripper_command"), COMMAND_TYPES) if fields.has("gripper_command") else None
        ),
    )
    _check_commands(robot, where)
    fields.done()
    return robot


def _check_commands(robot: Robot, where: str) -> None:
    """A gripper with a topic of its own leaves the arm's command without it: neither is then a whole action."""
    if robot.gripper_command is None:
        return
    if robot.gripper is None:
        raise AutofocusError(
            f"{where}: gripper_command", "no gripper", "a robot with a gripper", "describe `gripper:`, or remove this"
        )
    topics = (robot.command.topic, robot.gripper_command.topic)
    if topics[0] == topics[1] or robot.action.topic in topics:
        raise AutofocusError(
            f"{where}: gripper_command",
            f"command on {topics[0]}, gripper on {topics[1]}, action on {robot.action.topic}",
            "three topics",
            f"take {GUARD_COMMAND_TOPIC} as action: the guard publishes all joints there as they were sent",
        )


def _joint(fields: Fields) -> Joint:
    """Limits have no defaults: a robot whose limits nobody wrote down is not moved."""
    name = fields.text("name")
    lower, upper = fields.numbers("position", 2)
    if not lower < upper:
        raise AutofocusError(
            f"{fields.where}: position",
            f"[{lower:g}, {upper:g}]",
            "[lower, upper] with lower < upper",
            "swap or correct them",
        )
    joint = Joint(
        name=name,
        lower=lower,
        upper=upper,
        velocity=fields.number("velocity", above=0.0),
        acceleration=fields.number("acceleration", above=0.0),
        unit=fields.choice("unit", ("rad", "m")),
        jerk=fields.number("jerk", above=0.0) if fields.has("jerk") else None,
    )
    fields.done()
    if joint.jerk is not None and joint.jerk * JERK_MAX_DELAY_S < 2.0 * joint.acceleration:
        raise AutofocusError(
            f"{fields.where}: jerk",
            f"{joint.jerk:g}: the guard would stop {2.0 * joint.acceleration / joint.jerk:.2g} s later for it",
            f">= {2.0 * joint.acceleration / JERK_MAX_DELAY_S:g} (2 acceleration / {JERK_MAX_DELAY_S:g} s)",
            "raise it, lower the acceleration, or leave it out",
        )
    return joint


def _stream(fields: Fields, types: tuple[str, ...]) -> Stream:
    stream = Stream(
        topic=_topic(fields, "topic"),
        type=fields.choice("type", types),
        rate_hz=fields.number("rate_hz", above=0.0),
        timeout_ms=fields.number("timeout_ms", above=0.0),
    )
    fields.done()
    return stream


def _camera(fields: Fields) -> Camera:
    camera = Camera(
        name=fields.text("name"),
        topic=_topic(fields, "topic"),
        info_topic=_topic(fields, "info_topic"),
        type=fields.choice("type", IMAGE_TYPES),
        width_px=fields.integer("width_px", minimum=1),
        height_px=fields.integer("height_px", minimum=1),
        rate_hz=fields.number("rate_hz", above=0.0),
        timeout_ms=fields.number("timeout_ms", above=0.0),
        extrinsics=_extrinsics(fields.sub("extrinsics")) if fields.has("extrinsics") else None,
        intrinsics=_intrinsics(fields.sub("intrinsics")) if fields.has("intrinsics") else None,
    )
    fields.done()
    return camera


def _extrinsics(fields: Fields) -> Extrinsics:
    quaternion = fields.numbers("quaternion_xyzw", 4)
    length = float(np.linalg.norm(quaternion))
    if abs(length - 1.0) > 1e-2:
        raise AutofocusError(
            f"{fields.where}: quaternion_xyzw", f"{list(quaternion)} of length {length:.3g}", "length 1, w last",
            "check the order (x, y, z, w) and the digits",
        )
    extrinsics = Extrinsics(
        parent=fields.text("parent"),
        position_m=fields.numbers("position_m", 3),
        quaternion_xyzw=tuple(value / length for value in quaternion),
    )
    fields.done()
    return extrinsics


def _intrinsics(fields: Fields) -> Intrinsics:
    intrinsics = Intrinsics(
        fx_px=fields.number("fx_px", above=0.0),
        fy_px=fields.number("fy_px", above=0.0),
        cx_px=fields.number("cx_px"),
        cy_px=fields.number("cy_px"),
    )
    fields.done()
    return intrinsics


def _start(fields: Fields, joints: tuple[Joint, ...]) -> Start:
    pose = fields.numbers("pose", len(joints))
    for joint, position in zip(joints, pose, strict=True):
        if not joint.lower <= position <= joint.upper:
            raise AutofocusError(
                f"{fields.where}: pose",
                f"{joint.name} at {position:g} {joint.unit}",
                f"{joint.lower:g} to {joint.upper:g}",
                "choose a start pose within the joint's limits",
            )
    start = Start(
        pose=pose,
        ramp_distance_rad=fields.number("ramp_distance_rad", above=0.0),
        refuse_distance_rad=fields.number("refuse_distance_rad", above=0.0),
    )
    if start.refuse_distance_rad < start.ramp_distance_rad:
        raise AutofocusError(
            f"{fields.where}: refuse_distance_rad",
            f"{start.refuse_distance_rad:g}",
            f">= ramp_distance_rad ({start.ramp_distance_rad:g})",
            "refuse only beyond the distance that is ramped",
        )
    fields.done()
    return start


def _kinematics(fields: Fields) -> Kinematics:
    kinematics = Kinematics(model=fields.text("model"), tip=fields.text("tip"))
    fields.done()
    return kinematics


def _topic(fields: Fields, key: str) -> str:
    topic = fields.text(key)
    if not topic.startswith("/"):
        raise AutofocusError(
            f"{fields.where}: {key}", repr(topic), "an absolute topic name, e.g. /joint_states", "start it with a slash"
        )
    return topic
