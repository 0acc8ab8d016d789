"""The scripted operator: phases, waypoints, damped least squares. Its target is clean; what it executes is noisy.

The noise goes to the arm and not into the label (as in DART), so the demonstrations show how to come back from where a
policy's own errors will lead. Works on :class:`Truth` and joint positions only: in process or over ROS alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from autofocus_sim import arm, phases
from autofocus_sim.ik import TipPose, forward, inverse, nearest_quarter_turn, wrap
from autofocus_sim.phases import Phase, PhaseMachine
from autofocus_sim.truth import Truth

#: Ticks of the operator: a target for one period ahead.
PERIOD_S = 0.1
NOISE_M = 0.006
_NOISE_MEMORY = 0.4
_MAX_STEP_M = 0.014
_MAX_TURN_RAD = 0.20
_MAX_GRIPPER_STEP_M = 0.010
#: Ticks at the end of the task that show the imitator to stay there.
_STAY_TICKS = 4


@dataclass(frozen=True, slots=True)
class Action:
    """Joint targets (A,) for one period ahead: ``clean`` is the label, ``noisy`` goes to the arm."""

    clean: np.ndarray
    noisy: np.ndarray
    phase: Phase
    done: bool


class Expert:
    """The scripted operator of one task. Call :meth:`reset`, then :meth:`act` every :data:`PERIOD_S`."""

    def __init__(self, task: str, noise_m: float = NOISE_M) -> None:
        """``noise_m``: standard deviation per axis of the Cartesian noise on what is executed; 0 is none."""
        self._machine = PhaseMachine(task)
        self._noise_scale_m = noise_m
        self.reset(np.random.default_rng(0))

    def reset(self, rng: np.random.Generator) -> None:
        """Begins a demonstration; ``rng`` is where its noise comes from."""
        self._rng = rng
        self._machine.reset()
        self._noise_m = np.zeros(3)
        self._stayed_ticks = 0

    def act(self, truth: Truth, q: np.ndarray) -> Action:
        """The targets for one period after the moment of ``truth`` and joint positions ``q`` (A,)."""
        tip = forward(q)
        phase = self._machine.update(truth, tip, float(q[-1]))
        goal, opening_m = self._waypoint(phase, truth, tip)
        towards_m = goal.position_m - tip.position_m
        distance_m = float(np.linalg.norm(towards_m))
        step_m = towards_m * min(1.0, _MAX_STEP_M / max(distance_m, 1e-9))
        turn_rad = np.clip(wrap(goal.yaw_rad - tip.yaw_rad), -_MAX_TURN_RAD, _MAX_TURN_RAD)
        next_tip = TipPose(tip.position_m + step_m, goal.pitch_rad, tip.yaw_rad + float(turn_rad))
        gripper_m = q[-1] + np.clip(opening_m - q[-1], -_MAX_GRIPPER_STEP_M, _MAX_GRIPPER_STEP_M)
        clean = self._joints(q, next_tip, gripper_m)
        noisy = self._joints(q, TipPose(next_tip.position_m + self._next_noise(), next_tip.pitch_rad, next_tip.yaw_rad),
                             gripper_m)
        self._stayed_ticks = self._stayed_ticks + 1 if truth.success and distance_m < 0.015 else 0
        return Action(clean, noisy, phase, self._stayed_ticks >= _STAY_TICKS)

    def _waypoint(self, phase: Phase, truth: Truth, tip: TipPose) -> tuple[TipPose, float]:
        """Where the tip should go in this phase, and the gripper's opening in m."""
        cube = truth.objects[self._machine.target]
        # Of the cube's four equal turns the one nearest to straight: the fingers' axis stays along y, clear of the arm.
        # Once down, the one nearest to the hand's: a cube that turns on being touched must not turn the hand round.
        yaw_rad = nearest_quarter_turn(cube.yaw_rad, 0.0 if phase == Phase.APPROACH else tip.yaw_rad)
        x, y = cube.position_m[:2]
        if phase in (Phase.APPROACH, Phase.DESCEND, Phase.CLOSE):
            height_m = phases.HOVER_M if phase == Phase.APPROACH else phases.GRASP_HEIGHT_M
            opening_m = arm.GRIPPER_CLOSED_M if phase == Phase.CLOSE else arm.GRIPPER_OPEN_M
            return _down(x, y, height_m, yaw_rad), opening_m
        if phase == Phase.LIFT:
            return _down(*tip.position_m[:2], phases.LIFT_TO_M, yaw_rad), arm.GRIPPER_CLOSED_M
        goal = phases.spot(self._machine.task, self._machine.target, truth)
        if phase == Phase.CARRY:
            return _down(goal[0], goal[1], phases.CARRY_M, tip.yaw_rad), arm.GRIPPER_CLOSED_M
        if phase == Phase.LOWER:
            return _down(goal[0], goal[1], phases.LOWER_TO_M, tip.yaw_rad), arm.GRIPPER_CLOSED_M
        height_m = phases.LOWER_TO_M if phase == Phase.OPEN else phases.RETREAT_M
        return _down(*tip.position_m[:2], height_m, tip.yaw_rad), arm.GRIPPER_OPEN_M

    def _joints(self, q: np.ndarray, tip: TipPose, gripper_m: float) -> np.ndarray:
        return np.clip(np.append(inverse(q, tip), gripper_m), arm.LOWER, arm.UPPER)

    def _next_noise(self) -> np.ndarray:
        """(3,) m: first-order noise of the set standard deviation, half of it in height, never beyond two sigma."""
        scale_m = self._noise_scale_m * np.array([1.0, 1.0, 0.5])
        fresh = self._rng.normal(size=3) * scale_m * np.sqrt(1 - _NOISE_MEMORY**2)
        self._noise_m = np.clip(_NOISE_MEMORY * self._noise_m + fresh, -2 * scale_m, 2 * scale_m)
        return self._noise_m


def _down(x_m: float, y_m: float, z_m: float, yaw_rad: float) -> TipPose:
    return TipPose(np.array([x_m, y_m, z_m]), np.pi / 2, yaw_rad)
