"""What became of an attempt at a task: success, how far it came, and why it failed. Plain values, no MuJoCo."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from autofocus_sim import mjcf
from autofocus_sim.phases import CUBES_OF, GOAL_OF, rests_on_goal

#: How an attempt can end. "timeout": none of the others applies, such as a cube still held, or placed and not let go.
OUTCOMES: tuple[str, ...] = ("success", "never grasped", "dropped", "wrong place", "wrong order", "timeout")

#: `lift` wants the cube's underside this high, ...
LIFTED_M = 0.04
#: ... and every task its end state for so long.
HELD_S = 0.3
_AT_REST_M_S = 0.02
#: A cube whose underside is higher than this has been grasped: neither table nor tray hold it there.
_RAISED_M = 0.015
#: Faster than a hand sets down (0.14 m/s); reached after falling one centimetre.
_FALLING_M_S = 0.45


class Attempt:
    """Follows one attempt; call :meth:`update` every 10 ms at the latest.

    ``success`` stays once it is reached. ``stages``: what was reached at any time, in order of time, such as ("red cube
    grasped", "red cube on white tray", "green cube grasped").
    """

    def __init__(self, task: str, touched: Callable[[str], bool]) -> None:
        """``touched(cube)``: whether the fingers touch the cube now; it is asked only where the rest is met."""
        self.task = task
        self.success = False
        self.stages: tuple[str, ...] = ()
        self._touched = touched
        self._cubes = CUBES_OF[task]
        self._met_since_s: float | None = None
        self._order_broken = False
        self._raised = dict.fromkeys(self._cubes, False)  # now
        self._fell = dict.fromkeys(self._cubes, False)  # when it was last raised
        self._placed = dict.fromkeys(self._cubes, False)  # now

    def update(self, time_s: float, positions_m: Mapping[str, np.ndarray], velocities_m_s: Mapping[str, np.ndarray],
               goal_m: np.ndarray | None) -> None:
        """The cubes' centres and velocities (3,) at ``time_s``; the goal's centre (3,), None where there is none."""
        for cube in self._cubes:
            self._look(cube, positions_m[cube], velocities_m_s[cube], goal_m)
        if self._met(positions_m, velocities_m_s):
            if self._met_since_s is None:
                self._met_since_s = time_s
            elif time_s - self._met_since_s >= HELD_S:
                self.success = True
        else:
            self._met_since_s = None

    def _look(self, cube: str, position_m: np.ndarray, velocity_m_s: np.ndarray, goal_m: np.ndarray | None) -> None:
        raised = position_m[2] - mjcf.CUBE_HALF_M > _RAISED_M
        if raised and not self._raised[cube]:
            self._reached(f"{cube} grasped")
            self._fell[cube] = False
            before = self._cubes[: self._cubes.index(cube)]
            self._order_broken |= not all(self._placed[other] for other in before)
        if raised and velocity_m_s[2] < -_FALLING_M_S:
            self._fell[cube] = True
        self._raised[cube] = raised
        if goal_m is not None:
            self._placed[cube] = not raised and rests_on_goal(self.task, position_m, goal_m)
            if self._placed[cube]:
                self._reached(f"{cube} on {GOAL_OF[self.task]}")

    def _reached(self, stage: str) -> None:
        if stage not in self.stages:
            self.stages = (*self.stages, stage)

    def _met(self, positions_m: Mapping[str, np.ndarray], velocities_m_s: Mapping[str, np.ndarray]) -> bool:
        if self.task not in GOAL_OF:
            return all(positions_m[cube][2] - mjcf.CUBE_HALF_M >= LIFTED_M for cube in self._cubes)
        return (
            not self._order_broken
            and all(self._placed.values())
            and all(np.abs(velocities_m_s[cube]).max() < _AT_REST_M_S for cube in self._cubes)
            and not any(self._touched(cube) for cube in self._cubes)
        )

    @property
    def outcome(self) -> str:
        """One of :data:`OUTCOMES`: what there is to say if it ended now, about the first cube that is not in its place.

        "never grasped": it was not lifted off what it stands on; "dropped": it was, and fell (or, in `lift`, went down
        again); "wrong place": it was put down beside the goal; "wrong order": a later cube was lifted before an
        earlier one was in its place.
        """
        if self.success:
            return "success"
        if self._order_broken:
            return "wrong order"
        left = [cube for cube in self._cubes if not self._placed[cube]]
        if not left or self._raised[left[0]]:
            return "timeout"
        if f"{left[0]} grasped" not in self.stages:
            return "never grasped"
        return "dropped" if self._fell[left[0]] or self.task not in GOAL_OF else "wrong place"
