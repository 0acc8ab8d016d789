"""What a commander knows of the guard and of the robot: whether it would be followed, and from where it must begin."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from autofocus_core.schema import Robot

from demo_recorder.teleop.intake import JointSource
from demo_recorder.teleop.target import LONGEST_STEP_S

#: The guard says how it is 10 times a second and at every change.
STATUS_TIMEOUT_S = 1.0
#: After this much silence of ours a guard that is tracking follows somebody else.
FOREIGN_AFTER_S = 0.3


class GuardView:
    """Fed with the guard's status, the robot's joint states and the commands really sent. `now_s` is monotonic."""

    def __init__(self, robot: Robot, jumps: np.ndarray) -> None:
        """`jumps` (A,): how far a measured joint may move between two messages, rad or m."""
        self.robot = robot
        self.measured = JointSource("follower", robot.joint_names, robot.state.timeout_ms / 1e3, jumps)
        self.state = ""
        self.reason = ""
        self.needs_arm = True
        self.armed = 0  # how often a person has armed the guard
        self._status_s = -math.inf
        self._command: np.ndarray | None = None
        self._command_s = -math.inf
        self._quiet_s = math.inf  # how long we have asked for nothing

    def on_status(self, values: Mapping[str, str], now_s: float) -> None:
        """The values of the guard's status."""
        self.state, self.reason = values.get("state", ""), values.get("reason", "")
        self.needs_arm = values.get("needs_arm") != "False"
        self.armed = int(values.get("count.armed", 0))
        self._status_s = now_s

    def on_command(self, positions: np.ndarray, now_s: float) -> None:
        """A command (A,) that the guard really sent."""
        if np.isfinite(positions).all():
            self._command, self._command_s = np.clip(positions, self.robot.lower, self.robot.upper), now_s

    def asked(self, asked: bool, dt_s: float) -> None:
        """Whether we asked for something in this period. Periods are summed: a stall of this process is no silence."""
        self._quiet_s = 0.0 if asked else self._quiet_s + min(dt_s, LONGEST_STEP_S)

    @property
    def tracking(self) -> bool:
        """Whether the guard follows requests; only then may a target move."""
        return self.state == "tracking"

    def problem(self, now_s: float) -> str | None:
        """Why nothing may be sent now, or None. While the guard would not listen, silence is what it needs to hear."""
        if now_s - self._status_s > STATUS_TIMEOUT_S:
            return "no word from the command guard: is it running?"
        if self.needs_arm or self.state not in ("holding", "tracking"):
            return f"guard {self.state}: {self.reason}; arm it to go on"
        if self.tracking and self._quiet_s > FOREIGN_AFTER_S:
            return "the guard follows another commander: stop that one first"
        return self.measured.problem(now_s)

    def anchor(self, now_s: float) -> np.ndarray:
        """(A,) from where a target must begin: the guard's last command, else the measured pose. Never a third place:
        what begins elsewhere is a step."""
        if self._command is not None and now_s - self._command_s <= self.measured.timeout_s:
            return self._command.copy()
        return np.clip(self.measured.positions, self.robot.lower, self.robot.upper)
