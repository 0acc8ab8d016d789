"""What the simulator knows about a moment, as plain values. The expert works on these, from the cell or over ROS."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Names as the task files write them.
CUBE = "red cube"
PLATE = "white plate"
SECOND_CUBE = "green cube"
TRAY = "white tray"
GRIPPER = "orange gripper"
MATE = "blue box"
LAMP = "lamp"


@dataclass(frozen=True, slots=True)
class ObjectTruth:
    """One object: where it is, and where the camera sees it."""

    position_m: np.ndarray  # (3,) centre in the base frame
    yaw_rad: float
    pixel_xy: np.ndarray  # (2,) projected centre, px; may lie outside the image
    box_px: np.ndarray  # (4,) x0 y0 x1 y1, exclusive at x1 y1; NaN where nothing is visible
    visible: bool


@dataclass(frozen=True, slots=True)
class Truth:
    """All objects in the scene by name, and whether the task has been achieved since the reset."""

    objects: dict[str, ObjectTruth]
    success: bool
    time_s: float
