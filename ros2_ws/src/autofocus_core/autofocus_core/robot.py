"""What a robot is: frozen dataclasses. `robot_file` reads them.

Units: rad and rad/s for revolute joints, m and m/s for prismatic ones (REP-103); times in their names.
A *joint vector* is the arm's joints in YAML order, then the gripper: shape (A,).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from autofocus_core.errors import AutofocusError


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
