"""How the command moves: along the newest request within the limits, slowly to a far one, or braking to rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from autofocus_core.schema import Robot

from command_guard.chunk import Chunk
from command_guard.inputs import NEVER
from command_guard.lateness import Lateness
from command_guard.limiter import Limiter
from command_guard.settings import Settings


class Motion:
    """The last command, the request that is being followed (if any), and what leads from the one to the other.

    Vectors are (A,), rad or m, in joint order. at_s: the period that the last command was for.
    ramping: whether a far first request is being approached, slowly. Counts into `counts`: limited_periods.
    """

    def __init__(self, robot: Robot, settings: Settings, period_s: float, counts: Counter[str]) -> None:
        self.at_s = NEVER
        self.ramping = False
        self._start, self._ramp_scale = robot.start, settings.ramp_velocity_scale
        self._counts, self._names = counts, robot.joint_names
        self._rad = [i for i, joint in enumerate(robot.all_joints) if joint.unit == "rad"]
        limits = (robot.lower, robot.upper, robot.velocity, robot.acceleration)
        self._limiter = Limiter(*limits, period_s, [joint.jerk for joint in robot.all_joints])
        self._lateness = Lateness(robot.velocity.tolist(), settings.late_limit_s, settings.late_abort_s)
        self._too_late = f"was limited for {settings.late_abort_s:g} s: requests beyond what it can do"
        self._chunk: Chunk | None = None

    # ---- the command

    @property
    def started(self) -> bool:
        """Whether there is a command at all."""
        return bool(self._limiter.position)

    @property
    def at_rest(self) -> bool:
        """Whether the command stays as it is if nothing moves it."""
        return self._limiter.at_rest

    @property
    def command(self) -> np.ndarray:
        """What is to be sent."""
        return np.array(self._limiter.command)

    def anchor(self, positions: Sequence[float], now_s: float) -> None:
        """Begin at rest at `positions`: the only way to a discontinuity."""
        self._limiter.anchor(positions)
        self.at_s = now_s

    def clear(self) -> None:
        """No command any more; `anchor` begins anew."""
        self._limiter.clear()

    def distance(self, positions: Sequence[float]) -> float:
        """Largest distance of a revolute joint, in rad, between `positions` and the last command."""
        here = self._limiter.position
        return max((abs(positions[i] - here[i]) for i in self._rad), default=0.0)

    # ---- the request

    def take(self, now_s: float, times: np.ndarray, positions: np.ndarray) -> None:
        """A checked request, from `check_request`: it replaces the one before."""
        self._chunk = Chunk(now_s, self.at_s, self._limiter.position, times, positions)

    def drop(self) -> None:
        """Forget the request."""
        self._chunk, self.ramping = None, False
        self._lateness.clear()

    @property
    def received_s(self) -> float:
        """When the request came; NEVER where there is none."""
        return self._chunk.received_s if self._chunk else NEVER

    def why_not_join(self) -> str | None:
        """Get ready to follow the request; or why it is too far away. A gripper's travel is no reason for either."""
        distance_rad, refuse_rad = self.distance(self._chunk.goal), self._start.refuse_distance_rad
        if distance_rad > refuse_rad:
            return f"first request is {distance_rad:.3f} rad away, allowed {refuse_rad:g}: go to the start pose first"
        self.ramping = distance_rad > self._start.ramp_distance_rad
        self._lateness.clear()
        return None

    # ---- once per period, one of these

    def brake(self) -> None:
        """Slow down; at rest, stay there."""
        self._limiter.brake()

    def follow(self, now_s: float) -> str | None:
        """Follow the request. Returns what is wrong with it: a joint that could not keep its appointments at full
        speed for too long."""
        chunk = self._chunk
        target, slope = chunk.sample(now_s)
        if self.ramping:
            self.ramping = self.distance(chunk.goal) > self._start.ramp_distance_rad
        self._limiter.track(target, slope, self._ramp_scale if self.ramping else 1.0)
        if self.ramping:
            return None
        worst = self._lateness.worst(self._limiter.position, chunk.goal, chunk.goal_s - now_s, now_s)
        self._counts["limited_periods"] += self._lateness.limited
        return None if worst is None else f"{self._names[worst]} {self._too_late}"
