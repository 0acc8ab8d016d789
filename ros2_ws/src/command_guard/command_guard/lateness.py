"""Requests beyond what the joints can do: limiting that lasts means that the commander is wrong about the arm."""

from __future__ import annotations

from collections.abc import Sequence


class Lateness:
    """Watches how late each joint would be, at full speed, where it is asked to be."""

    def __init__(self, speed: Sequence[float], limit_s: float, abort_s: float) -> None:
        """`speed` (A,) per s; later than `limit_s` is being limited, for longer than `abort_s` is too long."""
        self._speed, self._limit_s, self._abort_s = speed, limit_s, abort_s
        self._since_s: float | None = None

    def clear(self) -> None:
        """Nothing is being limited, or it is meant to be (the ramp)."""
        self._since_s = None

    @property
    def limited(self) -> bool:
        return self._since_s is not None

    def worst(self, here: Sequence[float], goal: Sequence[float], due_s: float, now_s: float) -> int | None:
        """The joint that is latest at `goal`, due in `due_s`, where one has been limited for too long; else None."""
        allowed_s = max(0.0, due_s) + self._limit_s
        late_s = [abs(g - p) / s for g, p, s in zip(goal, here, self._speed)]
        if max(late_s) <= allowed_s:
            self._since_s = None
            return None
        if self._since_s is None:
            self._since_s = now_s
        return late_s.index(max(late_s)) if now_s - self._since_s > self._abort_s else None
