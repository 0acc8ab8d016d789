"""What a robot and a task are: frozen dataclasses, parsed from YAML once, at the edge.

Units: rad and rad/s for revolute joints, m and m/s for prismatic ones (REP-103); times in their names.
A *joint vector* is the arm's joints in YAML order, then the gripper: shape (A,).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from autofocus_core.errors import AutofocusError
from autofocus_core.fields import Fields, load_yaml, require_unique
from autofocus_core.names import GUARD_COMMAND_TOPIC

SCHEMA_VERSION = 1
#: A jerk limit makes every stop 2 acceleration / jerk longer: by no more than this.
JERK_MAX_DELAY_S = 0.25
STATE_TYPES = ("sensor_msgs/msg/JointState",)
ACTION_TYPES = ("sensor_msgs/msg/JointState", "trajectory_msgs/msg/JointTrajectory", "std_msgs/msg/Float64MultiArray")
COMMAND_TYPES = ("sensor_msgs/msg/JointState", "std_msgs/msg/Float64MultiArray", "trajectory_msgs/msg/JointTrajectory")
IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")


@dataclass(frozen=True, slots=True)
class Joint:
    """One joint and its limits; `unit` is "rad" or "m"; velocity, acceleration and jerk are per s, s^2 and s^3.

    Without a jerk limit (None) the acceleration may change at once.
    """

    name: str
    lower: float
    upper: float
    velocity: float
    acceleration: float
    unit: str
    jerk: float | None = None


@dataclass(frozen=True, slots=True)
class Stream:
    """A topic with its type, nominal rate and the age at which its last message is stale."""

    topic: str
    type: str
    rate_hz: float
    timeout_ms: float


@dataclass(frozen=True, slots=True)
class Extrinsics:
    """Where a camera is: the pose of its optical frame (REP-103: x right, y down, z forward) in `parent`, a body of the
    kinematics' model, or "base", the model's world frame. quaternion_xyzw has length 1."""

    parent: str
    position_m: tuple[float, float, float]
    quaternion_xyzw: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Intrinsics:
    """A pinhole without distortion, in ROS's convention: the first pixel's centre is at (0, 0)."""

    fx_px: float
    fy_px: float
    cx_px: float
    cy_px: float


@dataclass(frozen=True, slots=True)
class Camera:
    """A camera stream with the size that its images must have. extrinsics, intrinsics: None where nobody measured
    them; a CameraInfo in a recording goes before `intrinsics`."""

    name: str
    topic: str
    info_topic: str
    type: str
    width_px: int
    height_px: int
    rate_hz: float
    timeout_ms: float
    extrinsics: Extrinsics | None = None
    intrinsics: Intrinsics | None = None


@dataclass(frozen=True, slots=True)
class Start:
    """Pose (A,) to start from; a first command farther than `ramp_distance_rad` from where the arm is is
    approached slowly, one farther than `refuse_distance_rad` is refused (largest joint difference)."""

    pose: tuple[float, ...]
    ramp_distance_rad: float
    refuse_distance_rad: float


@dataclass(frozen=True, slots=True)
class Kinematics:
    """A URDF or MJCF file whose joints are called as the robot's, and the body or site that is the tool."""

    model: str
    tip: str


@dataclass(frozen=True)
class Robot:
    """Everything the parts must agree on about one robot."""

    name: str
    joints: tuple[Joint, ...]
    gripper: Joint | None
    start: Start
    state: Stream
    action: Stream
    command: Stream
    cameras: tuple[Camera, ...]
    control_rate_hz: float
    command_timeout_ms: float
    heartbeat_timeout_ms: float
    kinematics: Kinematics | None = None
    gripper_command: Stream | None = None

    @cached_property
    def all_joints(self) -> tuple[Joint, ...]:
        """The arm's joints, then the gripper: the order of every joint vector."""
        return self.joints if self.gripper is None else (*self.joints, self.gripper)

    @cached_property
    def joint_names(self) -> tuple[str, ...]:
        return tuple(joint.name for joint in self.all_joints)

    @cached_property
    def lower(self) -> np.ndarray:
        """(A,) float64, rad or m."""
        return np.array([joint.lower for joint in self.all_joints])

    @cached_property
    def upper(self) -> np.ndarray:
        """(A,) float64, rad or m."""
        return np.array([joint.upper for joint in self.all_joints])

    @cached_property
    def velocity(self) -> np.ndarray:
        """(A,) float64, rad/s or m/s."""
        return np.array([joint.velocity for joint in self.all_joints])

    @cached_property
    def acceleration(self) -> np.ndarray:
        """(A,) float64, rad/s^2 or m/s^2."""
        return np.array([joint.acceleration for joint in self.all_joints])

    def camera(self, name: str) -> Camera:
        """The camera of that name; raises AutofocusError naming those there are."""
        for camera in self.cameras:
            if camera.name == name:
                return camera
        raise AutofocusError(
            f"robot {self.name}", f"camera {name!r}", ", ".join(c.name for c in self.cameras), "use one of these names"
        )

    def hash(self) -> str:
        """Hex SHA-256 of all that is in the robot: equal hashes mean the same robot description.

        But for the kinematics and the cameras' calibration: where a model file lies on this machine, and how well
        somebody measured where a camera is, changes nothing recorded or commanded.
        """
        document = dataclasses.asdict(self)
        del document["kinematics"]
        for camera in document["cameras"]:
            del camera["extrinsics"], camera["intrinsics"]
        if self.gripper_command is None:
            del document["gripper_command"]  # so that robots described before there was such a key keep their hash
        for joint in filter(None, (*document["joints"], document["gripper"])):
            if joint["jerk"] is None:
                del joint["jerk"]
        text = json.dumps(document, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Threshold:
    """A figure up to `good` is good, up to `usable` usable; beyond that the episode is bad."""

    good: float
    usable: float


@dataclass(frozen=True, slots=True)
class QualityRules:
    """What an episode must keep to be called good or usable, by its worst stream.

    Only streams with an expected rate (state, action, cameras) are judged. `missing_share`: messages lost, refused or
    missing by their stamps, of all that there should be; `rate_deficit`: 1 - achieved / expected rate;
    `longest_gap_periods`: longest interval in expected periods; `jitter_share`: standard deviation of the intervals
    in expected periods; `stamp_fault_share`: messages with a faulty stamp; `latency_ms`: p99 from stamp to receipt.
    """

    missing_share: Threshold = Threshold(0.01, 0.05)
    rate_deficit: Threshold = Threshold(0.05, 0.15)
    longest_gap_periods: Threshold = Threshold(3.5, 30.0)
    jitter_share: Threshold = Threshold(0.5, 1.5)
    stamp_fault_share: Threshold = Threshold(0.0, 0.01)
    latency_ms: Threshold = Threshold(200.0, 1000.0)
    min_duration_s: float = 1.0


@dataclass(frozen=True, slots=True)
class RecordingRules:
    """How a session goes: countdown before each episode, the length at which one is stopped, how many are wanted."""

    countdown_s: float = 0.0
    max_duration_s: float | None = None
    target_episodes: int | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be done: the instruction, the objects by name (may be empty: they are then read from the
    instruction), the cameras to annotate, how long an attempt may take, and how it is recorded and judged."""

    name: str
    instruction: str
    objects: tuple[str, ...]
    cameras: tuple[str, ...]
    timeout_s: float
    recording: RecordingRules = RecordingRules()
    quality: QualityRules = QualityRules()


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


def load_task(path: str | Path) -> Task:
    """Parse a task YAML; raises AutofocusError for anything missing, unknown, doubled or out of range."""
    return parse_task(load_yaml(path, "task"))


def parse_robot(fields: Fields) -> Robot:
    """A robot from its mapping; see :func:`load_robot`."""
    _check_version(fields)
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


def parse_task(fields: Fields) -> Task:
    """A task from its mapping; see :func:`load_task`."""
    _check_version(fields)
    task = Task(
        name=fields.text("name"),
        instruction=fields.text("instruction"),
        objects=fields.texts("objects") if fields.has("objects") else (),
        cameras=fields.texts("cameras"),
        timeout_s=fields.number("timeout_s", above=0.0),
        recording=_recording(fields.sub("recording")) if fields.has("recording") else RecordingRules(),
        quality=_quality(fields.sub("quality")) if fields.has("quality") else QualityRules(),
    )
    fields.done()
    return task


def _check_version(fields: Fields) -> None:
    version = fields.integer("schema", minimum=1)
    if version != SCHEMA_VERSION:
        raise AutofocusError(
            f"{fields.where}: schema",
            str(version),
            str(SCHEMA_VERSION),
            "use a file of this version, or update AutoFocus-IL",
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


def _recording(fields: Fields) -> RecordingRules:
    rules = RecordingRules(
        countdown_s=fields.number("countdown_s", minimum=0.0) if fields.has("countdown_s") else 0.0,
        max_duration_s=fields.number("max_duration_s", above=0.0) if fields.has("max_duration_s") else None,
        target_episodes=fields.integer("target_episodes", minimum=1) if fields.has("target_episodes") else None,
    )
    fields.done()
    return rules


def _quality(fields: Fields) -> QualityRules:
    default = QualityRules()
    changes: dict[str, Threshold | float] = {}
    for entry in dataclasses.fields(QualityRules):
        if entry.name == "min_duration_s":
            if fields.has("min_duration_s"):
                changes["min_duration_s"] = fields.number("min_duration_s", minimum=0.0)
        elif fields.has(entry.name):
            changes[entry.name] = _threshold(fields.sub(entry.name))
    fields.done()
    return dataclasses.replace(default, **changes)


def _threshold(fields: Fields) -> Threshold:
    good = fields.number("good", minimum=0.0)
    threshold = Threshold(good, fields.number("usable", minimum=good))
    fields.done()
    return threshold


def _topic(fields: Fields, key: str) -> str:
    topic = fields.text(key)
    if not topic.startswith("/"):
        raise AutofocusError(
            f"{fields.where}: {key}", repr(topic), "an absolute topic name, e.g. /joint_states", "start it with a slash"
        )
    return topic
