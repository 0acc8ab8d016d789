"""The operator's phases and when one follows another. Shared by the expert and by the lamp that shows them."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from autofocus_core.errors import AutofocusError

from autofocus_sim import arm, mjcf
from autofocus_sim.ik import TipPose, nearest_quarter_turn
from autofocus_sim.truth import CUBE, PLATE, SECOND_CUBE, TRAY, Truth

TASKS: tuple[str, ...] = ("lift", "place", "pack")
#: What each task moves, in this order.
CUBES_OF: dict[str, tuple[str, ...]] = {"lift": (CUBE,), "place": (CUBE,), "pack": (CUBE, SECOND_CUBE)}
#: Where each task puts it down.
GOAL_OF: dict[str, str] = {"place": PLATE, "pack": TRAY}
#: Along x from the tray's middle: the first cube goes to the robot's side, so that the hand that brings the second one
#: does not reach over it. The fingers open along y.
_SPOT_X_M: dict[str, float] = {CUBE: -0.031, SECOND_CUBE: 0.031}

HOVER_M = 0.095
GRASP_HEIGHT_M = 0.021
LIFT_TO_M = 0.130
CARRY_M = 0.120
RETREAT_M = 0.130
#: The hand is clear of what it let go.
CLEAR_M = 0.095
LOWER_TO_M = GRASP_HEIGHT_M + 2 * mjcf.PLATE_HALF_HEIGHT_M + 0.004


class Phase(IntEnum):
    """What the operator is doing. ``lift`` ends in LIFT, the others in RETREAT; ``pack`` goes round twice."""

    APPROACH = 0
    DESCEND = 1
    CLOSE = 2
    LIFT = 3
    CARRY = 4
    LOWER = 5
    OPEN = 6
    RETREAT = 7


def spot(task: str, cube: str, truth: Truth) -> np.ndarray:
    """(3,) m: where ``task`` puts ``cube`` down, at the height of the goal's centre."""
    goal = truth.objects[GOAL_OF[task]].position_m
    return goal + np.array([_SPOT_X_M[cube], 0.0, 0.0]) if task == "pack" else goal


def rests_on_goal(task: str, cube_m: np.ndarray, goal_m: np.ndarray) -> bool:
    """Whether a cube centred at ``cube_m`` (3,) stands on the task's goal centred at ``goal_m`` (3,), a centimetre from
    the plate's edge, 8 mm from the tray's."""
    dx, dy, dz = (float(value) for value in cube_m - goal_m)
    above_m = dz - mjcf.CUBE_HALF_M - mjcf.PLATE_HALF_HEIGHT_M
    if task == "pack":
        centred = abs(dx) < mjcf.TRAY_HALF_M[0] - 0.008 and abs(dy) < mjcf.TRAY_HALF_M[1] - 0.008
    else:
        centred = np.hypot(dx, dy) < mjcf.PLATE_RADIUS_M - 0.010
    return bool(centred and abs(above_m) < 0.006)


class PhaseMachine:
    """Follows the operator's phase from what can be seen: the tip, the gripper and the objects.

    Transitions depend on the present state only (no timers), so an imitator sees the reason for each in its
    observation. A cube lost on the way leads back to APPROACH. ``target`` is the cube that is dealt with.
    """

    def __init__(self, task: str) -> None:
        if task not in TASKS:
            raise AutofocusError("autofocus_sim task", repr(task), " | ".join(TASKS), "choose one of the allowed tasks")
        self.task = task
        self.reset()

    def reset(self) -> None:
        """Back to the beginning."""
        self.phase = Phase.APPROACH
        self.target = CUBE

    def update(self, truth: Truth, tip: TipPose, opening_m: float) -> Phase:
        """The phase now, given the truth, the tip's pose and the gripper's opening in m."""
        if self.phase == Phase.APPROACH:
            self.target = (self._left(truth) or [self.target])[0]
        cube = truth.objects[self.target]
        offset_m = cube.position_m - tip.position_m
        sideways_m = float(np.hypot(offset_m[0], offset_m[1]))
        turn_rad = abs(nearest_quarter_turn(cube.yaw_rad, tip.yaw_rad) - tip.yaw_rad)
        height_m = tip.position_m[2]
        phase = self.phase
        if phase in (Phase.LIFT, Phase.CARRY, Phase.LOWER) and _lost(offset_m, opening_m):
            phase = Phase.APPROACH
        elif phase == Phase.APPROACH and sideways_m < 0.010 and turn_rad < 0.20 and opening_m > 0.028:
            phase = Phase.DESCEND
        elif phase == Phase.DESCEND and sideways_m > 0.025:
            phase = Phase.APPROACH
        elif phase == Phase.DESCEND and height_m < GRASP_HEIGHT_M + 0.008 and sideways_m < 0.012:
            phase = Phase.CLOSE
        elif phase == Phase.CLOSE and (opening_m < arm.GRIPPER_EMPTY_BELOW_M or sideways_m > 0.025 or turn_rad > 0.40):
            phase = Phase.APPROACH  # closed on nothing, or the cube was pushed away or has jammed across the fingers
        elif phase == Phase.CLOSE and opening_m < arm.GRIPPER_HOLDING_BELOW_M:
            phase = Phase.LIFT
        elif self.task in GOAL_OF:
            phase = self._after_lift(phase, truth, tip, opening_m)
        self.phase = phase
        return phase

    def _left(self, truth: Truth) -> list[str]:
        """The cubes that are not where they belong, in order; of a task that moves one cube, this one."""
        cubes = CUBES_OF[self.task]
        if len(cubes) == 1:
            return [CUBE]
        tray = truth.objects[TRAY].position_m
        return [name for name in cubes if not rests_on_goal(self.task, truth.objects[name].position_m, tray)]

    def _after_lift(self, phase: Phase, truth: Truth, tip: TipPose, opening_m: float) -> Phase:
        goal = spot(self.task, self.target, truth)
        sideways_m = float(np.hypot(*(goal - tip.position_m)[:2]))
        height_m = tip.position_m[2]
        if phase == Phase.LIFT and height_m > CARRY_M - 0.015:
            return Phase.CARRY
        if phase == Phase.CARRY and sideways_m < 0.015:
            return Phase.LOWER
        if phase == Phase.LOWER and height_m < LOWER_TO_M + 0.008:
            return Phase.OPEN
        if phase == Phase.OPEN and opening_m > 0.029:
            return Phase.RETREAT
        if phase == Phase.RETREAT and self.task == "pack" and height_m > CLEAR_M and self._left(truth):
            self.target = self._left(truth)[0]
            return Phase.APPROACH
        return phase


def _lost(cube_from_tip_m: np.ndarray, opening_m: float) -> bool:
    return opening_m < arm.GRIPPER_EMPTY_BELOW_M or float(np.linalg.norm(cube_from_tip_m)) > 0.045
