"""Pixels of the library's frames as arrays, depth in mm, and depth as the color camera sees it."""

from __future__ import annotations

from typing import Any

import numpy as np

ROS_DEPTH_UNIT_M = 0.001


def view(frame: Any) -> np.ndarray:
    """The frame's own memory, not copied: uint8 (H, W, 3) of color, uint16 (H, W) of depth; keeps the frame alive."""
    return np.asanyarray(frame.as_video_frame().get_data())


class Millimetres:
    """Depth in the device's unit to mm, as 16UC1 has it. Without a copy where the unit is 1 mm, as on most devices."""

    def __init__(self, depth_unit_m: float) -> None:
        self._table: np.ndarray | None = None
        if abs(depth_unit_m - ROS_DEPTH_UNIT_M) > 1e-9:
            mm = np.rint(np.arange(2**16) * (depth_unit_m / ROS_DEPTH_UNIT_M))
            # What 16 bits of mm cannot say is no measurement; wrapped, it would be an obstacle.
            self._table = np.where(mm < 2**16, mm, 0).astype(np.uint16)

    def __call__(self, depth: np.ndarray) -> np.ndarray:
        """uint16 (H, W) in the device's unit -> uint16 (H, W) in mm."""
        return depth if self._table is None else self._table[depth]


class Aligner:
    """Depth frames in the geometry of the color stream, by the library's align.

    It is given each depth frame with the newest color frame, of which it needs only the geometry. The library's
    syncer is not used: when depth frames stay away, it holds color frames back and loses some (ADR 0013).
    """

    def __init__(self, rs: Any) -> None:
        self._align = rs.align(rs.stream.color)
        self._pair: list[Any] = []
        self._composed: Any = None
        self._composer = rs.processing_block(self._compose)
        self._composer.start(self._take)

    def _compose(self, _frame: Any, source: Any) -> None:
        source.frame_ready(source.allocate_composite_frame(self._pair))

    def _take(self, frame: Any) -> None:
        self._composed = frame

    def align(self, depth: Any, color: Any) -> Any:
        """`depth` in color geometry, with its own time and number; raises RuntimeError (the library's)."""
        self._pair = [depth, color]
        self._composer.invoke(depth)
        # Nothing may keep the composed frame: the library's pool has room for one.
        composed, self._composed, self._pair = self._composed, None, []
        if composed is None:
            raise RuntimeError("the library has not composed the frames")
        return self._align.process(composed.as_frameset()).get_depth_frame()
