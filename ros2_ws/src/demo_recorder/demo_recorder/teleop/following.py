"""The follower's target from the leader's pose: a slow approach, then 1:1; silence as soon as anything is wrong."""

from __future__ import annotations

import enum
import math

import numpy as np
from autofocus_core.schema import Robot

from demo_recorder.teleop.guard_view import GuardView
from demo_recorder.teleop.leader_config import LeaderConfig
from demo_recorder.teleop.target import Target


class Phase(enum.Enum):
    """What is being asked of the guard."""

    SILENT = "silent"  # nothing: it holds
    JOINING = "joining"  # to stay where it is, until it follows
    APPROACHING = "approaching"  # to come slowly to the leader's pose
    FOLLOWING = "following"  # to do as the leader does


class Following:
    """`step` once per period. Vectors are (A,) in the robot's order, rad or m; `now_s` is monotonic.

    A leader that jumped, broke or ran away from the follower is a stop: it lasts until `engage`, which a person
    causes. A leader that is only late, or a deadman that is not held, is silence: it ends when that ends, with a new
    approach.
    """

    def __init__(self, robot: Robot, config: LeaderConfig) -> None:
        self.robot, self.config = robot, config
        self.phase = Phase.SILENT
        self.reason = "not started"
        self._target = Target(robot)
        self._smooth: np.ndarray | None = None
        self._stopped: str | None = None
        self._revolute = [i for i, joint in enumerate(robot.all_joints) if joint.unit == "rad"]

    def stop(self, reason: str) -> None:
        """Fall silent until `engage`; the first reason is kept."""
        if self._stopped is None:
            self._stopped = reason
        self._be_silent(self._stopped)

    def engage(self) -> None:
        """A person says that it may go on."""
        self._stopped = None

    def step(
        self, leader: np.ndarray, problem: str | None, view: GuardView, now_s: float, dt_s: float
    ) -> np.ndarray | None:
        """The target for this period, or None where nothing may be asked for.

        `leader`: positions in the order of `config.leader_joints`; not looked at where `problem` says what is wrong.
        """
        problem = self._stopped or problem or view.problem(now_s)
        if problem is not None:
            return self._be_silent(problem)
        wanted = self._smoothed(self.config.follower_pose(leader, self.robot), dt_s)
        joint, away_rad = self._farthest(wanted, view.measured.positions)
        if away_rad > self.config.approach.refuse_rad:
            return self._refuse(joint, away_rad)
        if self._target.position is None or not view.tracking:
            self._target.anchor(view.anchor(now_s))
            self._now(Phase.JOINING, "waiting for the guard to follow")
        elif self.phase is Phase.FOLLOWING:
            self._target.move(wanted, self.robot.velocity * self.config.velocity_scale, dt_s)
        else:
            self._target.move(wanted, self.robot.velocity * self.config.approach.velocity_scale, dt_s)
            left_rad = self._farthest(wanted, self._target.position)[1]
            if left_rad <= self.config.approach.follow_within_rad:
                self._now(Phase.FOLLOWING, "following the leader")
            else:
                self._now(Phase.APPROACHING, f"approaching the leader, {left_rad:.1f} rad to go")
        return self._target.position

    def _smoothed(self, wanted: np.ndarray, dt_s: float) -> np.ndarray:
        """First-order low-pass with the configured time constant."""
        if self._smooth is None or self.config.smoothing_s == 0.0:
            self._smooth = wanted
        else:
            self._smooth = self._smooth + (wanted - self._smooth) * -math.expm1(-dt_s / self.config.smoothing_s)
        return self._smooth

    def _farthest(self, a: np.ndarray, b: np.ndarray) -> tuple[str, float]:
        """The revolute joint with the largest difference, and that, in rad. A gripper that is not led has none."""
        away = np.nan_to_num(np.abs(a - b))
        worst = max(self._revolute, key=lambda i: away[i])
        return self.robot.joint_names[worst], float(away[worst])

    def _refuse(self, joint: str, away_rad: float) -> None:
        allowed_rad = self.config.approach.refuse_rad
        text = f"leader and follower are {away_rad:.2f} rad apart at {joint}, allowed {allowed_rad:g}"
        if self.phase is Phase.FOLLOWING:
            self.stop(f"{text}: moved too fast, or the follower is blocked")
        else:
            self._be_silent(f"{text}: bring the leader nearer to the follower's pose")

    def _be_silent(self, reason: str) -> None:
        self._target.release()
        self._smooth = None
        self._now(Phase.SILENT, reason)

    def _now(self, phase: Phase, reason: str) -> None:
        self.phase, self.reason = phase, reason
