"""Jogging: from sticks or keys to a joint target, in joint space or with the tool, that stops by itself.

The target is integrated from where the guard's command is and never runs farther than a lead ahead of the measured
pose: an arm that is blocked, or a guard that holds, is not followed by a leap.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np
from autofocus_core.errors import AutofocusError
from autofocus_core.fields import Fields
from autofocus_core.kinematics import Kinematics
from autofocus_core.schema import Robot

from demo_recorder.teleop import config
from demo_recorder.teleop.cartesian import joint_velocity
from demo_recorder.teleop.guard_view import GuardView
from demo_recorder.teleop.target import LONGEST_STEP_S, Target

#: A joint this near to its limit (rad or m) is at it.
_AT_LIMIT = 1e-6


class Mode(enum.Enum):
    """What the sticks or keys move."""

    JOINT = "joint"
    BASE = "base"  # the tool, along and about the axes of the robot's base
    TOOL = "tool"  # the tool, along and about its own axes


@dataclass(frozen=True, slots=True)
class JogCommand:
    """What is asked for, as shares from -1 to 1 of the configured speeds. `joints` (n,) in joint mode, `twist` (6,)
    otherwise (linear x y z, angular x y z); `gripper` positive opens; `scale` from 0 to 1 scales all of it."""

    mode: Mode
    joints: tuple[float, ...]
    twist: tuple[float, ...]
    gripper: float
    scale: float

    @property
    def still(self) -> bool:
        return not (any(self.joints if self.mode is Mode.JOINT else self.twist) or self.gripper)


@dataclass(frozen=True, slots=True)
class JogSpeeds:
    """Full speed of everything, and how far a target may run ahead of the measured joint."""

    joint_scale: float = 0.3  # share of each joint's velocity limit
    gripper_scale: float = 0.5
    linear_m_s: float = 0.1
    angular_rad_s: float = 0.6
    lead_rad: float = 0.2
    lead_m: float = 0.02


def read_speeds(fields: Fields) -> JogSpeeds:
    """`speeds:` of a gamepad or keyboard YAML."""
    default = JogSpeeds()
    speeds = JogSpeeds(
        joint_scale=config.number(fields, "joint_scale", default.joint_scale, above=0.0, maximum=1.0),
        gripper_scale=config.number(fields, "gripper_scale", default.gripper_scale, above=0.0, maximum=1.0),
        linear_m_s=config.number(fields, "linear_m_s", default.linear_m_s, above=0.0, maximum=1.0),
        angular_rad_s=config.number(fields, "angular_rad_s", default.angular_rad_s, above=0.0, maximum=3.0),
        lead_rad=config.number(fields, "lead_rad", default.lead_rad, above=0.0, maximum=1.0),
        lead_m=config.number(fields, "lead_m", default.lead_m, above=0.0, maximum=0.1),
    )
    fields.done()
    return speeds


class Jogger:
    """`step` once per period. Vectors are (A,) in the robot's order, rad or m; `now_s` is monotonic."""

    def __init__(self, robot: Robot, speeds: JogSpeeds, kinematics: Kinematics | None = None) -> None:
        """Without `kinematics` only joint mode moves anything."""
        self.robot, self.speeds = robot, speeds
        self.reason = "not started"
        self._kinematics = kinematics
        self._target = Target(robot)
        self._arm = len(robot.joints)
        self._lead = np.array([speeds.lead_rad if j.unit == "rad" else speeds.lead_m for j in robot.all_joints])
        if robot.gripper is not None:  # it closes on things: the target must be able to press
            self._lead[-1] = robot.gripper.upper - robot.gripper.lower

    def step(
        self, command: JogCommand, problem: str | None, view: GuardView, now_s: float, dt_s: float
    ) -> np.ndarray | None:
        """The target for this period, or None where nothing may be asked for. `reason` then says why."""
        problem = problem or view.problem(now_s)
        if problem is not None:
            self._target.release()
            self.reason = problem
            return None
        if self._target.position is None or not view.tracking:
            self._target.anchor(view.anchor(now_s))
            self.reason = "waiting for the guard to follow"
            return self._target.position
        dt_s = min(max(dt_s, 0.0), LONGEST_STEP_S)
        here, measured = self._target.position, view.measured.positions
        velocity, self.reason = self._velocity(command, here)
        step = velocity * dt_s
        if command.mode is not Mode.JOINT:  # all joints or none: half a step would go somewhere else
            share = min(1.0, self._share(step[: self._arm], here[: self._arm], measured[: self._arm]))
            step[: self._arm] *= share
            if share == 0.0 and np.any(velocity[: self._arm]):
                self.reason = "the arm does not follow, or is at a limit: go another way, or jog a joint"
        wanted = np.clip(here + step, measured - self._lead, measured + self._lead)
        self._target.move(wanted, self.robot.velocity, dt_s)
        return self._target.position

    def _velocity(self, command: JogCommand, q: np.ndarray) -> tuple[np.ndarray, str]:
        """(velocities (A,), what to tell the operator)."""
        scale = float(np.clip(command.scale, 0.0, 1.0))
        velocity = np.zeros(len(self.robot.joint_names))
        text = "still" if command.still else "moving"
        if command.mode is Mode.JOINT:
            shares = np.clip(command.joints, -1.0, 1.0)
            velocity[: self._arm] = shares * self.robot.velocity[: self._arm] * self.speeds.joint_scale
        elif self._kinematics is None:
            text = no_kinematics(self.robot).got
        elif any(command.twist):
            velocity[: self._arm], text = self._tool_velocity(command, q)
        if self.robot.gripper is not None:
            gripper = float(np.clip(command.gripper, -1.0, 1.0))
            velocity[-1] = gripper * self.robot.gripper.velocity * self.speeds.gripper_scale
        return velocity * scale, text

    def _tool_velocity(self, command: JogCommand, q: np.ndarray) -> tuple[np.ndarray, str]:
        assert self._kinematics is not None
        twist = np.clip(command.twist, -1.0, 1.0)
        twist[:3] *= self.speeds.linear_m_s
        twist[3:] *= self.speeds.angular_rad_s
        if command.mode is Mode.TOOL:
            _, rotation = self._kinematics.tip_pose(q)
            twist = np.concatenate([rotation @ twist[:3], rotation @ twist[3:]])
        lower, upper = self.robot.lower[: self._arm] + _AT_LIMIT, self.robot.upper[: self._arm] - _AT_LIMIT
        free = np.ones(self._arm, dtype=bool)
        for _ in range(self._arm):  # joints at a limit are locked, and the others asked again
            jacobian = self._kinematics.jacobian(q)[:, : self._arm] * free
            velocity, slowed = joint_velocity(jacobian, twist)
            outward = ((velocity > 0.0) & (q[: self._arm] >= upper)) | ((velocity < 0.0) & (q[: self._arm] <= lower))
            if not outward.any():
                break
            free &= ~outward
        fastest = (np.abs(velocity) / self.robot.velocity[: self._arm]).max(initial=0.0)
        velocity /= max(1.0, fastest)  # the same direction, no joint beyond its limit
        if not slowed:
            return velocity, "moving"
        locked = [joint.name for joint, can in zip(self.robot.joints, free) if not can]
        at = f"the limit of {', '.join(locked)}" if locked else "a singularity"
        return velocity, f"slowed at {at}: go back, or jog a joint"

    def _share(self, step: np.ndarray, here: np.ndarray, measured: np.ndarray) -> float:
        """The largest share of `step` with which every joint stays within its limits and its lead."""
        high = np.minimum(self.robot.upper[: self._arm], measured + self._lead[: self._arm])
        low = np.maximum(self.robot.lower[: self._arm], measured - self._lead[: self._arm])
        room = np.where(step > 0.0, high - here, here - low)
        moving = step != 0.0
        return float((np.maximum(room[moving], 0.0) / np.abs(step[moving])).min(initial=1.0))


def no_kinematics(robot: Robot) -> AutofocusError:
    """Why there is no Cartesian jogging, and what to do."""
    return AutofocusError(
        f"robot {robot.name}",
        "no kinematics: only joints can be jogged",
        "kinematics: {model: arm.urdf, tip: tool0} in the robot YAML",
        "name the robot's URDF or MJCF there",
    )
