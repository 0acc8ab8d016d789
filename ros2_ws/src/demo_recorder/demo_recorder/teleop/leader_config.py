"""leader.yaml: which joint of the leader moves which joint of the follower, and how the follower is led to it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from autofocus_core.errors import AutofocusError
from autofocus_core.fields import Fields, require_unique
from autofocus_core.schema import Robot

from demo_recorder.teleop import config


@dataclass(frozen=True, slots=True)
class JointMap:
    """follower = sign * scale * leader + offset, in the follower's unit (rad or m)."""

    leader: str
    sign: float
    scale: float
    offset: float

    def apply(self, position: float) -> float:
        return self.sign * self.scale * position + self.offset


@dataclass(frozen=True, slots=True)
class GripperMap:
    """A range of the leader's joint onto a range of the follower's, clamped: (closed, open) each."""

    leader: str
    leader_range: tuple[float, float]
    follower_range: tuple[float, float]

    def apply(self, position: float) -> float:
        (from_low, from_high), (low, high) = self.leader_range, self.follower_range
        share = min(max((position - from_low) / (from_high - from_low), 0.0), 1.0)
        return low + share * (high - low)


@dataclass(frozen=True, slots=True)
class Approach:
    """velocity_scale: share of the velocity limits until the follower is at the leader's pose; refuse_rad: a leader
    farther than this from the follower (largest joint difference) is not followed; within follow_within_rad the
    follower has arrived."""

    velocity_scale: float = 0.2
    refuse_rad: float = 0.8
    follow_within_rad: float = 0.05


@dataclass(frozen=True, slots=True)
class Deadman:
    """Who says that the leader may lead: a button held ("joy") or the services ~/engage and ~/disengage ("service")."""

    by: str
    topic: str = "/joy"
    button: int = 0
    timeout_ms: float = 300.0


@dataclass(frozen=True, slots=True)
class LeaderConfig:
    """Everything in a leader.yaml. `joints` are in the order of the robot's arm; `gripper` None: it stays as it is."""

    topic: str
    timeout_ms: float
    jump_rad: float
    jump_m: float
    joints: tuple[JointMap, ...]
    gripper: GripperMap | None
    smoothing_s: float
    velocity_scale: float
    approach: Approach
    deadman: Deadman | None

    @property
    def leader_joints(self) -> tuple[str, ...]:
        """Names of the leader's joints: of the arm in the follower's order, then of the gripper."""
        names = tuple(joint.leader for joint in self.joints)
        return names if self.gripper is None else (*names, self.gripper.leader)

    def follower_pose(self, leader: np.ndarray, robot: Robot) -> np.ndarray:
        """(A,) rad or m, within the robot's limits, for the leader's positions in the order of `leader_joints`; NaN
        for a gripper that the leader does not have."""
        pose = [joint.apply(float(position)) for joint, position in zip(self.joints, leader)]
        if robot.gripper is not None:
            pose.append(np.nan if self.gripper is None else self.gripper.apply(float(leader[-1])))
        return np.clip(np.array(pose), robot.lower, robot.upper)

    def leader_jumps(self, robot: Robot) -> np.ndarray:
        """How far each of `leader_joints` may move between two messages; the gripper, a trigger, as far as it likes."""
        arm = [self.jump_rad if joint.unit == "rad" else self.jump_m for joint in robot.joints]
        return np.array(arm if self.gripper is None else [*arm, np.inf])

    def follower_jumps(self, robot: Robot) -> np.ndarray:
        """The same for the follower's measured joints (A,)."""
        arm = [self.jump_rad if joint.unit == "rad" else self.jump_m for joint in robot.joints]
        return np.array(arm if robot.gripper is None else [*arm, np.inf])


def load_leader(path: str | Path, robot: Robot) -> LeaderConfig:
    """Parse a leader.yaml for `robot`; raises AutofocusError for whatever is missing, unknown or out of range."""
    fields = config.load(path, "leader")
    leader = fields.sub("leader")
    topic, timeout_ms = config.topic(leader, "topic", ""), leader.number("timeout_ms", above=0.0)
    jump_rad = config.number(leader, "jump_rad", 0.5, above=0.0)
    jump_m = config.number(leader, "jump_m", 0.05, above=0.0)
    leader.done()
    maps = _joints(fields, robot)
    gripper = None
    if fields.has("gripper"):
        gripper = _gripper(fields.sub("gripper"), robot)
    loaded = LeaderConfig(
        topic=topic,
        timeout_ms=timeout_ms,
        jump_rad=jump_rad,
        jump_m=jump_m,
        joints=maps,
        gripper=gripper,
        smoothing_s=config.number(fields, "smoothing_s", 0.0, minimum=0.0, maximum=1.0),
        velocity_scale=config.number(fields, "velocity_scale", 1.0, above=0.0, maximum=1.0),
        approach=_approach(fields.sub("approach"), robot) if fields.has("approach") else _default_approach(robot),
        deadman=_deadman(fields.sub("deadman")) if fields.has("deadman") else None,
    )
    fields.done()
    require_unique(list(loaded.leader_joints), f"{fields.where}: `from`")
    return loaded


def _joints(fields: Fields, robot: Robot) -> tuple[JointMap, ...]:
    found: dict[str, JointMap] = {}
    wanted = [joint.name for joint in robot.joints]
    for item in fields.items("joints"):
        name = item.choice("name", tuple(wanted))
        if name in found:
            raise AutofocusError(item.where, f"{name} twice", "each joint once", "remove one of them")
        sign = config.number(item, "sign", 1.0)
        if abs(sign) != 1.0:
            raise AutofocusError(f"{item.where}: sign", f"{sign:g}", "1 or -1", "use `scale` for a factor")
        found[name] = JointMap(
            leader=item.text("from") if item.has("from") else name,
            sign=sign,
            scale=config.number(item, "scale", 1.0, above=0.0),
            offset=config.number(item, "offset", 0.0),
        )
        item.done()
    missing = [name for name in wanted if name not in found]
    if missing:
        fix = "add a line for each; a joint that nobody leads cannot be told where to be"
        raise AutofocusError(f"{fields.where}: joints", f"no {', '.join(missing)}", ", ".join(wanted), fix)
    return tuple(found[name] for name in wanted)


def _gripper(fields: Fields, robot: Robot) -> GripperMap:
    if robot.gripper is None:
        raise AutofocusError(fields.where, "a gripper", f"none: {robot.name} has no gripper", "remove `gripper:`")
    joint = robot.gripper
    leader_range = fields.numbers("leader", 2)
    follower_range = fields.numbers("follower", 2) if fields.has("follower") else (joint.lower, joint.upper)
    gripper = GripperMap(fields.text("from"), leader_range, follower_range)
    if leader_range[0] == leader_range[1]:
        raise AutofocusError(f"{fields.where}: leader", str(list(leader_range)), "[closed, open], different", "measure")
    outside = [value for value in follower_range if not joint.lower <= value <= joint.upper]
    if outside:
        allowed = f"{joint.lower:g} to {joint.upper:g} {joint.unit}"
        raise AutofocusError(f"{fields.where}: follower", f"{outside[0]:g}", allowed, "stay within the joint's limits")
    fields.done()
    return gripper


def _default_approach(robot: Robot) -> Approach:
    return Approach(refuse_rad=min(Approach().refuse_rad, robot.start.refuse_distance_rad))


def _approach(fields: Fields, robot: Robot) -> Approach:
    default = _default_approach(robot)
    approach = Approach(
        velocity_scale=config.number(fields, "velocity_scale", default.velocity_scale, above=0.0, maximum=1.0),
        refuse_rad=config.number(fields, "refuse_rad", default.refuse_rad, above=0.0),
        follow_within_rad=config.number(fields, "follow_within_rad", default.follow_within_rad, above=0.0),
    )
    fields.done()
    if approach.follow_within_rad >= approach.refuse_rad:
        got, allowed = f"{approach.follow_within_rad:g}", f"less than refuse_rad ({approach.refuse_rad:g})"
        raise AutofocusError(f"{fields.where}: follow_within_rad", got, allowed, "lower it")
    return approach


def _deadman(fields: Fields) -> Deadman:
    by = fields.choice("by", ("joy", "service"))
    deadman = Deadman(by)
    if by == "joy":
        timeout_ms = config.number(fields, "timeout_ms", deadman.timeout_ms, above=0.0)
        deadman = Deadman(by, config.topic(fields, "topic", "/joy"), fields.integer("button", minimum=0), timeout_ms)
    fields.done()
    return deadman
