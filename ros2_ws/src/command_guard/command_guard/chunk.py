"""A commander's request: checked once on receipt, then read as a piecewise linear path. No queue: newest replaces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MAX_POINTS = 1000
#: A request that reaches farther ahead than this is a mistake (most likely absolute times in `times_s`).
MAX_AHEAD_S = 60.0


@dataclass(frozen=True, slots=True)
class Request:
    """Joint positions over time, as they arrive: nothing in it is trusted before `check_request`.

    stamp_s: when the request applies from (observation or issue time), on the clock that `now_s` is on.
    names: (A,) joint names, in any order. times_s: (K,) s after stamp_s, increasing (time_from_start).
    positions: (K, A) rad or m, columns as in `names`. Without points (K = 0) it asks to hold, as an empty trajectory
    on a topic of ros_control's joint trajectory controller does.
    """

    stamp_s: float
    names: Sequence[str]
    times_s: Sequence[float]
    positions: Sequence[Sequence[float]]


class RefusedError(Exception):
    """Why a request is not used. `kind` is what it is counted under; `fatal` means the commander is broken."""

    def __init__(self, kind: str, text: str, fatal: bool = False) -> None:
        super().__init__(text)
        self.kind = kind
        self.fatal = fatal


def column_order(names: Sequence[str], joint_names: Sequence[str], extra_allowed: bool) -> list[int]:
    """Index in `names` of each joint; raises RefusedError("names") for missing, doubled or unknown joints."""
    index = {name: i for i, name in enumerate(names)}
    if len(index) != len(names):
        twice = sorted({name for name in names if list(names).count(name) > 1})
        raise RefusedError("names", f"joint twice: {', '.join(twice)}")
    missing = [name for name in joint_names if name not in index]
    if missing:
        raise RefusedError("names", f"joint missing: {', '.join(missing)}; got {', '.join(names) or 'none'}")
    if not extra_allowed and len(names) != len(joint_names):
        unknown = [name for name in names if name not in joint_names]
        raise RefusedError("names", f"unknown joint: {', '.join(unknown)}; allowed: {', '.join(joint_names)}")
    return [index[name] for name in joint_names]


def check_request(
    request: Request,
    joint_names: Sequence[str],
    lower: np.ndarray,
    upper: np.ndarray,
    now_s: float,
    max_age_s: float,
    max_ahead_s: float,
) -> tuple[np.ndarray, np.ndarray]:
    """(times (K,) on the clock of `now_s`, positions (K, A) in joint order), of points still ahead of `now_s`; none of
    a request to hold.

    Raises RefusedError: "names", "shape", "nonfinite" and "implausible" (both fatal), "times", "stamp", "late".
    """
    order = column_order(request.names, joint_names, extra_allowed=False)
    try:
        times = np.asarray(request.times_s, dtype=np.float64)
        positions = np.asarray(request.positions, dtype=np.float64)
    except (ValueError, TypeError) as error:  # ragged rows, or not numbers
        raise RefusedError("shape", f"not a table of numbers: {error}") from error
    if times.size == 0 and positions.size == 0:
        times, positions = np.zeros(0), np.zeros((0, len(order)))
    if times.ndim != 1 or len(times) > MAX_POINTS or positions.shape != (len(times), len(order)):
        wanted = f"(K,) and (K, {len(order)}), K <= {MAX_POINTS}"
        raise RefusedError("shape", f"times {times.shape} and positions {positions.shape}; allowed: {wanted}")
    positions = positions[:, order]
    if not (np.isfinite(positions).all() and np.isfinite(times).all() and np.isfinite(request.stamp_s)):
        raise RefusedError("nonfinite", "NaN or infinity in the request", fatal=True)
    beyond = np.maximum(lower - positions, positions - upper).max(axis=0, initial=0.0)
    if (beyond > upper - lower).any():
        i = int(np.argmax(beyond / (upper - lower)))
        text = f"{joint_names[i]} asked to go {beyond[i]:.4g} beyond its limits, more than its whole range: wrong unit?"
        raise RefusedError("implausible", text, fatal=True)
    if (times < 0.0).any() or (np.diff(times) <= 0.0).any() or (times > MAX_AHEAD_S).any():
        raise RefusedError("times", f"times must be >= 0, increasing and <= {MAX_AHEAD_S:g} s after the stamp")
    age_s = now_s - request.stamp_s
    if not -max_ahead_s <= age_s <= max_age_s:
        text = f"stamped {age_s:.3f} s ago; allowed: {-max_ahead_s:g} to {max_age_s:g} s (clocks in step? a replay?)"
        raise RefusedError("stamp", text)
    if not len(times):
        return times, positions
    times = times + request.stamp_s
    ahead = int(np.searchsorted(times, now_s, side="right"))
    if ahead == len(times):
        raise RefusedError("late", f"its last point was due {now_s - times[-1]:.3f} s ago")
    return times[ahead:], positions[ahead:]


class Chunk:
    """The path of one accepted request: from the last command through the points ahead; rests at the last of them."""

    def __init__(
        self,
        received_s: float,
        command_s: float,
        command: Sequence[float],
        times: np.ndarray,
        positions: np.ndarray,
    ) -> None:
        """`command` (A,) is the last one and `command_s` the period it was for: begun at receipt, every path would
        repeat it and then hurry. All times are on one clock, `times` after `received_s` (see `check_request`)."""
        self.received_s = received_s
        self._times = [command_s, *times.tolist()]
        self._points = [list(command), *positions.tolist()]
        self._rest = [0.0] * len(self._points[0])
        self._segment = -1
        self._enter(0)

    def _enter(self, segment: int) -> None:
        """Make `segment` (from point `segment` to the next) the present one and work out its slope."""
        self._segment = segment
        self._start = self._points[segment]
        self._start_s = self._times[segment]
        self.goal = self._points[segment + 1]
        self.goal_s = self._times[segment + 1]
        duration_s = self.goal_s - self._start_s
        self._slope = [(b - a) / duration_s for a, b in zip(self._start, self.goal)]

    def sample(self, now_s: float) -> tuple[list[float], list[float]]:
        """(target (A,), slope (A,) per s) at `now_s`, which must not go back. Also sets `goal`, due at `goal_s`."""
        while now_s > self.goal_s and self._segment + 2 < len(self._points):
            self._enter(self._segment + 1)
        if now_s > self.goal_s:
            return self.goal, self._rest
        elapsed_s = now_s - self._start_s
        return [a + s * elapsed_s for a, s in zip(self._start, self._slope)], self._slope
