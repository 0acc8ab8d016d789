"""Where the robot is and who speaks: checked before the state machine uses it."""

from __future__ import annotations

from collections.abc import Sequence

from command_guard.chunk import RefusedError, column_order

NEVER = float("-inf")
#: A measured position beyond this (rad or m) is no position.
ABSURD = 1e6
#: A measured pose may be this share of a joint's range outside its limits (encoder offset) when the guard arms.
ARM_TOLERANCE = 0.05


class StateReader:
    """Reads joint states of one robot; the order of the names is looked up once and remembered."""

    def __init__(self, joint_names: Sequence[str]) -> None:
        self._joint_names = joint_names
        self._columns: tuple[tuple[str, ...], list[int]] = ((), [])  # of the names that came last

    def read(self, names: Sequence[str], positions: Sequence[float]) -> list[float]:
        """Positions (A,) in joint order; more joints than the robot's are ignored. Raises RefusedError "names",
        "shape", "nonfinite"."""
        key, columns = self._columns
        if len(key) != len(names) or key != tuple(names):
            columns = column_order(names, self._joint_names, extra_allowed=True)
            self._columns = (tuple(names), columns)
        if len(positions) != len(names):
            raise RefusedError("shape", f"{len(positions)} positions for {len(names)} names")
        measured = [float(positions[i]) for i in columns]
        if not all(-ABSURD < p < ABSURD for p in measured):  # false for NaN too
            raise RefusedError("nonfinite", "NaN, infinite or absurd joint position")
        return measured


def outside_limits(
    names: Sequence[str], measured: Sequence[float], lower: Sequence[float], upper: Sequence[float]
) -> str | None:
    """Which joint is too far outside its limits to begin from, in words; None where none is."""
    for name, p, low, high in zip(names, measured, lower, upper):
        slack = ARM_TOLERANCE * (high - low)
        if not low - slack <= p <= high + slack:
            return f"{name} is at {p:.4f}, outside its limits {low:g} to {high:g}: move it back by hand"
    return None


class Senders:
    """Tells whether two senders of one thing are heard at a time."""

    def __init__(self) -> None:
        self._heard_s: dict[str, dict[object, float]] = {}  # of each thing: its senders, and when each came last

    def second(self, of: str, sender: object, now_s: float, timeout_s: float) -> bool:
        """Whether another sender than `sender` was heard within `timeout_s`: then neither is to be believed, however
        many messages in a row are one's. None is a sender that nobody can tell from others."""
        if sender is not None:
            self._heard_s.setdefault(of, {})[sender] = now_s
        return self.several(of, now_s, timeout_s)

    def several(self, of: str, now_s: float, timeout_s: float) -> bool:
        """Whether more than one sender was heard within `timeout_s`."""
        heard_s = self._heard_s.get(of, {})
        for silent in [sender for sender, last_s in heard_s.items() if now_s - last_s > timeout_s]:
            del heard_s[silent]
        return len(heard_s) > 1
