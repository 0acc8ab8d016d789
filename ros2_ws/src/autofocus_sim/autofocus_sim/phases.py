"""The operator's phases and when one follows another. Shared by the expert and by the lamp that shows them."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from autofocus_core.errors import AutofocusError

from autofocus_sim import arm, mjcf
from autofocus_sim.ik import TipPose, nearest_quarter_turn
from autofocus_sim.truth import CUBE, PLATE, Truth

TASKS: tuple[str, ...] = ("lift", "place")

HOVER_M = 0.095
GRASP_HEIGHT_M = 0.021
LIFT_TO_M = 0.130
CARRY_M = 0.120
RETREAT_M = 0.130
LOWER_TO_M = GRASP_HEIGHT_M + 2 * mjcf.PLATE_HALF_HEIGHT_M + 0.004


class Phase(IntEnum):
    """What the operator is doing. ``lift`` ends in LIFT, ``place`` in RETREAT."""

    APPROACH = 0
    DESCEND = 1
    CLOSE = 2
    LIFT = 3
    CARRY = 4
    LOWER = 5
    OPEN = 6
    RETREAT = 7


class PhaseMachine:
    """Follows the operator's phase from what can be seen: the tip, the gripper and the objects.

    Transitions depend on the present state only (no timers), so an imitator sees the reason for each in its
    observation. A cube lost on the way leads back to APPROACH.
    """

    def __init__(self, task: str) -> None:
        if task not in TASKS:
            raise AutofocusError("autofocus_sim task", repr(task), " | ".join(TASKS), "choose one of the allowed tasks")
        self.task = task
        self.phase = Phase.APPROACH

    def reset(self) -> None:
        self.phase = Phase.APPROACH

    def update(self, truth: Truth, tip: TipPose, opening_m: float) -> Phase:
        """The phase now, given the truth, the tip's pose and the gripper's opening in m."""
        cube = truth.objects[CUBE]
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
        elif self.task == "place":
            phase = self._after_lift(phase, truth, tip, opening_m)
        self.phase = phase
        return phase

    def _after_lift(self, phase: Phase, truth: Truth, tip: TipPose, opening_m: float) -> Phase:
        plate = truth.objects[PLATE].position_m
        sideways_m = float(np.hypot(*(plate - tip.position_m)[:2]))
        height_m = tip.position_m[2]
        if phase == Phase.LIFT and height_m > CARRY_M - 0.015:
            return Phase.CARRY
        if phase == Phase.CARRY and sideways_m < 0.015:
            return Phase.LOWER
        if phase == Phase.LOWER and height_m < LOWER_TO_M + 0.008:
            return Phase.OPEN
        if phase == Phase.OPEN and opening_m > 0.029:
            return Phase.RETREAT
        return phase


def _lost(cube_from_tip_m: np.ndarray, opening_m: float) -> bool:
    return opening_m < arm.GRIPPER_EMPTY_BELOW_M or float(np.linalg.norm(cube_from_tip_m)) > 0.045
