"""When a gripper closes and opens: as the operator did it, and as a policy would have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

#: Of the operator's own travel: below the lower third it has closed, above the upper third it has opened.
THIRD = 1.0 / 3.0
#: A gripper that moves by less than this share of its range does nothing worth timing.
LEAST_TRAVEL = 0.1
#: Farther apart than this, a policy's closing is not that closing of the operator.
MATCH_S = 1.0


@dataclass(frozen=True, slots=True)
class Event:
    """"closes" (the position falls) or "opens" at a time in s."""

    kind: str
    at_s: float


@dataclass(frozen=True, slots=True)
class Timing:
    """One event of the operator: when the policy did the same, in ms later (negative: sooner); None: it did not."""

    kind: str
    at_s: float
    late_ms: float | None


def band(values: np.ndarray, lower: float, upper: float) -> tuple[float, float] | None:
    """(closed below, open above) for a gripper's positions (M,); None where it hardly moves within its limits."""
    if not len(values):
        return None
    low, high = float(values.min()), float(values.max())
    if high - low < LEAST_TRAVEL * (upper - lower):
        return None
    return low + THIRD * (high - low), high - THIRD * (high - low)


def events(times_s: np.ndarray, values: np.ndarray, band: tuple[float, float]) -> list[Event]:
    """Passages of `values` (M,) from one side of the band to the other, at the time they last crossed its middle."""
    closed, opened = band
    middle = (closed + opened) / 2
    found: list[Event] = []
    side, crossed_s = 0, None
    for i, value in enumerate(values):
        if i and (values[i - 1] - middle) * (value - middle) <= 0 and value != values[i - 1]:
            part = (middle - values[i - 1]) / (value - values[i - 1])
            crossed_s = float(times_s[i - 1] + part * (times_s[i] - times_s[i - 1]))
        now = -1 if value <= closed else 1 if value >= opened else side
        if now != side:
            if side and crossed_s is not None:
                found.append(Event("closes" if now < 0 else "opens", crossed_s))
            side = now
    return found


def compare(done: Sequence[Event], predicted: Sequence[Event]) -> tuple[list[Timing], list[Event]]:
    """Each event of the operator with the policy's nearest of its kind within MATCH_S; and the policy's that are left.

    Pairs are made nearest first, and no event is used twice.
    """
    pairs = sorted((abs(p.at_s - d.at_s), i, j) for i, d in enumerate(done) for j, p in enumerate(predicted)
                   if d.kind == p.kind and abs(p.at_s - d.at_s) <= MATCH_S)
    mate: dict[int, int] = {}
    for _, i, j in pairs:
        if i not in mate and j not in mate.values():
            mate[i] = j
    timings = [Timing(d.kind, d.at_s, (predicted[mate[i]].at_s - d.at_s) * 1e3 if i in mate else None)
               for i, d in enumerate(done)]
    return timings, [p for j, p in enumerate(predicted) if j not in mate.values()]
