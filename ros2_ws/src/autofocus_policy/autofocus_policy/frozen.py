"""A camera whose driver repeats one picture under new stamps: it looks alive, and shows the past.

Equal bytes alone do not tell. A real sensor's noise makes every frame different, but a simulator without noise gives
equal frames of a scene at rest, honestly, and an arm that waits there for its first request would wait for ever. So
what counts is the arm: frames that stay equal while the joints say that it moves cannot be true. Wherever a camera sees
the arm, or is on it, hundredths of a radian change some byte (in the simulator 0.005 rad of any joint, 0.1 mm of the
gripper). With `motion_rad` 0 equal bytes alone count: right for a real camera, whatever it sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from autofocus_core.errors import AutofocusError

#: Bytes in the middle of a frame that are compared first: with noise the rest is hardly ever looked at.
_PROBE_BYTES = 4096
#: From this share of `motion_rad` on, equal frames are worth a warning.
WARN_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class FrozenRule:
    """after_s: frames equal for this long by their stamps, s; motion_rad: while a joint moved at least this far, rad.

    Raises AutofocusError where a value is out of range.
    """

    after_s: float = 0.1
    motion_rad: float = 0.02

    def __post_init__(self) -> None:
        if not (self.after_s > 0.0 and self.motion_rad >= 0.0):
            raise AutofocusError("frozen images", f"after {self.after_s} s, motion {self.motion_rad} rad",
                                 "above 0 s, 0 rad or more", "leave the rule out to switch it off")


class FrozenImage:
    """Watches one camera. `radians`: which joints of a joint vector are revolute (a gripper in m takes no part)."""

    def __init__(self, rule: FrozenRule, radians: Sequence[bool]) -> None:
        self._rule = rule
        self._radians = np.array(radians, dtype=bool)
        self.clear()

    def clear(self) -> None:
        """Forget the last frame."""
        self._data: np.ndarray | None = None
        self._since_ns = self._until_ns = 0
        self._start: np.ndarray | None = None
        self.moved_rad = 0.0

    def add(self, stamp_ns: int, data: object, q: np.ndarray | None) -> None:
        """The next frame: its bytes (any buffer; kept, not copied) and the joints (A,) at its stamp, None: unknown."""
        found = np.frombuffer(data, np.uint8)
        if self._data is None or stamp_ns < self._since_ns or not _equal(self._data, found):
            self.clear()
            self._data, self._since_ns = found, stamp_ns
            self._until_ns = stamp_ns
            return
        self._until_ns = max(self._until_ns, stamp_ns)
        # Motion counts from the first repetition, not from the first frame: the joints known at that frame's stamp may
        # be a message older than what it shows (after a simulator's reset: another pose altogether).
        if self._start is None:
            self._start = q
        elif q is not None:
            self.moved_rad = max(self.moved_rad, float(np.abs(q - self._start)[self._radians].max(initial=0.0)))

    @property
    def equal_s(self) -> float:
        """For how long the frames have been the same bytes, s, from the first of them to the last."""
        return (self._until_ns - self._since_ns) * 1e-9

    @property
    def frozen(self) -> bool:
        """Whether the camera shows the past."""
        return self.equal_s >= self._rule.after_s and self.moved_rad >= self._rule.motion_rad

    @property
    def suspect(self) -> bool:
        """Whether it is on the way there."""
        return (self.equal_s > 0.0 and self.moved_rad >= WARN_SHARE * self._rule.motion_rad > 0.0) or self.frozen

    def __str__(self) -> str:
        return f"repeats the same bytes for {self.equal_s:.2f} s, while a joint moved {self.moved_rad:.3f} rad"


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    if a.size != b.size:
        return False
    middle = a.size // 2
    probe = slice(middle, middle + _PROBE_BYTES)
    return np.array_equal(a[probe], b[probe]) and np.array_equal(a, b)
