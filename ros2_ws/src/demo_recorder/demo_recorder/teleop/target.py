"""A joint target that is finite, within the joint limits, and moves at bounded speed: whatever it is told."""

from __future__ import annotations

import numpy as np
from autofocus_core.schema import Robot

#: A process that was not run for longer than this does not make up for it: the target would leap.
LONGEST_STEP_S = 0.05


class Target:
    """Vectors are (A,) in the robot's order, rad or m."""

    def __init__(self, robot: Robot) -> None:
        self._lower, self._upper = robot.lower, robot.upper
        self.position: np.ndarray | None = None  # None: nothing is being asked for

    def release(self) -> None:
        """Ask for nothing."""
        self.position = None

    def anchor(self, positions: np.ndarray) -> None:
        """Begin at `positions`, clipped to the limits; the only discontinuity there is."""
        if not np.isfinite(positions).all():
            raise ValueError(f"anchor {positions} is not finite")
        self.position = np.clip(positions, self._lower, self._upper)

    def move(self, wanted: np.ndarray, speed: np.ndarray, dt_s: float) -> None:
        """One step towards `wanted`, by at most `speed` (per s) in `dt_s`; a joint wanted nowhere (NaN) stays."""
        assert self.position is not None, "anchor it first"
        reach = speed * min(max(dt_s, 0.0), LONGEST_STEP_S)
        step = np.nan_to_num(np.clip(wanted - self.position, -reach, reach), nan=0.0)
        self.position = np.clip(self.position + step, self._lower, self._upper)
