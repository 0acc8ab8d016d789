"""Joint positions as they arrive: by name, checked, and with an age. Nothing stale or broken ever gets past here."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

#: Positions beyond this (rad or m) are no positions.
_ABSURD = 1e6


class JointSource:
    """The newest positions of some joints, from JointState messages.

    `now_s` is one monotonic clock in s. A message is refused when a joint is missing or stands there twice, when a
    position is not finite, when it was stamped longer than `timeout_s` ago, or when a joint jumped by more than its
    entry in `jumps`. Repeated and older stamps are ignored: a driver that repeats itself goes stale.
    """

    def __init__(self, what: str, joints: Sequence[str], timeout_s: float, jumps: Sequence[float]) -> None:
        """`what` names the source in texts; `jumps` (n,) in rad or m, inf where a joint may jump."""
        self.what = what
        self.joints = tuple(joints)
        self.timeout_s = timeout_s
        self.positions = np.zeros(0)  # (n,) in the order of `joints`, empty before the first message
        self._jumps = np.asarray(jumps, dtype=np.float64)
        self._received_s = -math.inf
        self._stamp_ns = 0
        self._refusal: str | None = None  # of the last message

    def message(
        self, names: Sequence[str], positions: Sequence[float], stamp_ns: int, age_s: float, now_s: float
    ) -> str | None:
        """Take a message, or return why not. `stamp_ns` 0: it has none, and then `age_s` since the stamp is nothing."""
        self._refusal = self._take(names, positions, stamp_ns, age_s, now_s)
        return self._refusal

    def _take(
        self, names: Sequence[str], positions: Sequence[float], stamp_ns: int, age_s: float, now_s: float
    ) -> str | None:
        stale = now_s - self._received_s > self.timeout_s
        if stamp_ns and (stamp_ns == self._stamp_ns or (stamp_ns < self._stamp_ns and not stale)):
            return None
        if stamp_ns and age_s > self.timeout_s:
            return f"{self.what}: stamped {age_s:.3g} s ago, allowed {self.timeout_s:g} s (slow? clocks not in step?)"
        if len(positions) != len(names):
            return f"{self.what}: {len(names)} names, {len(positions)} positions"
        index = {name: i for i, name in enumerate(names)}
        missing = [name for name in self.joints if name not in index]
        if missing:
            return f"{self.what}: joint missing: {', '.join(missing)}; got {', '.join(names) or 'none'}"
        twice = [name for name in self.joints if list(names).count(name) > 1]
        if twice:
            return f"{self.what}: joint twice: {', '.join(twice)}"
        found = np.array([float(positions[index[name]]) for name in self.joints])
        broken = [name for name, value in zip(self.joints, found) if not abs(value) < _ABSURD]
        if broken:
            return f"{self.what}: {', '.join(broken)} is NaN, infinite or absurd"
        refusal = None if stale else self._jump(found)
        # After a jump the new place is where it is; the jump itself is what must not be followed.
        self.positions, self._received_s, self._stamp_ns = found, now_s, stamp_ns
        return refusal

    def problem(self, now_s: float) -> str | None:
        """Why the positions may not be used now, or None."""
        age_s = now_s - self._received_s
        if age_s > self.timeout_s and self._refusal:
            return self._refusal
        if not self.positions.size:
            return f"{self.what}: nothing received yet"
        if age_s > self.timeout_s:
            return f"{self.what}: silent for {age_s * 1e3:.0f} ms, allowed {self.timeout_s * 1e3:g} ms"
        return None

    def _jump(self, found: np.ndarray) -> str | None:
        moved = np.abs(found - self.positions)
        jumped = np.flatnonzero(moved > self._jumps)
        if not jumped.size:
            return None
        name, far = self.joints[jumped[0]], moved[jumped[0]]
        return f"{self.what}: {name} jumped by {far:.3g} between two messages, allowed {self._jumps[jumped[0]]:g}"
