"""Position, velocity and acceleration limits per joint, exact in discrete time: whatever the target is.

A command sequence p[k] with period T has velocity v[k] = (p[k] - p[k-1]) / T and acceleration
(v[k] - v[k-1]) / T. The bounds below keep lower <= p <= upper, |v| <= velocity and |acceleration| <= acceleration
for ever, because every step leaves room to brake before the position limit. Joints are independent of each other.
Plain floats: for six joints they are faster than arrays, and one joint is what a reader wants to follow.

A joint with a jerk limit commands the mean of its last N positions. That keeps every bound above, because each
derivative of the mean is a mean of derivatives within the bound; and (a[k] - a[k-1]) / T of the mean is
(a[k] - a[k-N]) / (N T), at most 2 acceleration / (N T). So N = 2 acceleration / (jerk T) keeps the limit exactly, at
the price of (N - 1) T / 2 of lag and (N - 1) T more until rest.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from math import ceil, sqrt

#: A target farther than this (rad or m) is no target.
ABSURD = 1e6
#: Braking ends this much (rad or m) before a position limit, so that rounding errors summed over a braking (about
#: 1e-16 a period) never meet the clip at the limit, where they would show divided by the period squared.
MARGIN = 1e-12


def stopping_velocity(distance: float, velocity_step: float, period_s: float) -> float:
    """Largest velocity >= 0 for the next period from which braking ends within `distance` (0 where that is <= 0).

    The next period covers v T; then v falls by `velocity_step` = a T each period until it is 0. With
    v = (n + f) a T, n whole and 0 <= f < 1, all of it covers a T^2 (n + 1)(n / 2 + f). Solved for v; the discrete
    form of sqrt(2 a d). It is exact: v = d / T lands on the spot when that is within one step of rest.
    """
    if distance <= 0.0:
        return 0.0
    w = distance / (velocity_step * period_s)
    n = int((sqrt(1.0 + 8.0 * w) - 1.0) * 0.5)
    return velocity_step * (0.5 * n + w / (n + 1))


def smoothing_periods(acceleration: float, jerk: float | None, period_s: float) -> int:
    """Of how many positions the command is the mean, so that its jerk is at most `jerk` (None: unlimited)."""
    return 1 if jerk is None else max(1, ceil(2.0 * acceleration / (jerk * period_s) - 1e-9))


class Limiter:
    """Turns any targets into commands within the limits. All vectors are (A,) in joint order; rad or m, and s.

    position, velocity: where the limits were kept last. command: what is to be sent, smoothed where jerk is limited.
    """

    def __init__(
        self,
        lower: Sequence[float],
        upper: Sequence[float],
        velocity: Sequence[float],
        acceleration: Sequence[float],
        period_s: float,
        jerk: Sequence[float | None] | None = None,
    ) -> None:
        self.period_s = period_s
        self._lower = [float(x) for x in lower]
        self._upper = [float(x) for x in upper]
        self._velocity = [float(x) for x in velocity]
        self._velocity_step = [float(a) * period_s for a in acceleration]
        jerk = [None] * len(self._velocity) if jerk is None else jerk
        lengths = [smoothing_periods(float(a), j, period_s) for a, j in zip(acceleration, jerk)]
        self._lengths = {i: n for i, n in enumerate(lengths) if n > 1}
        self.clear()

    def anchor(self, positions: Sequence[float]) -> None:
        """Start at rest at `positions`: the only way to a discontinuity. A joint that begins outside its limits stays
        where it is while braking, and comes back within the limits when a target asks it to."""
        self.position = [float(p) for p in positions]
        self.velocity = [0.0] * len(self.position)
        self._last = {i: deque([self.position[i]] * n, maxlen=n) for i, n in self._lengths.items()}

    def clear(self) -> None:
        """Forget the command; `anchor` begins anew."""
        self.position: list[float] = []
        self.velocity: list[float] = []
        self._last: dict[int, deque[float]] = {}

    @property
    def at_rest(self) -> bool:
        """Whether the command stays as it is if nothing moves it."""
        return not any(self.velocity) and all(min(last) == max(last) for last in self._last.values())

    @property
    def command(self) -> list[float]:
        command = self.position.copy()
        for i, last in self._last.items():  # between the extremes: a sum has rounding errors
            command[i] = min(max(sum(last) / len(last), min(last)), max(last))
        return command

    def brake(self) -> None:
        """One period of braking to rest, as hard as the limits allow, from the last command (never from feedback)."""
        for i in range(len(self.position)):
            self._advance(i, 0.0)
        self._remember()

    def track(self, target: Sequence[float], slope: Sequence[float], scale: float = 1.0) -> None:
        """One period towards a target which is at `target` now and moves at `slope` (per s).

        The velocity is the slope plus the largest closing velocity that still meets the target without passing it:
        no lag behind a steady target, no overshoot of a resting one, no chatter on it. `scale` in (0, 1] lowers the
        velocity limit (the ramp); a joint that is faster when that begins brakes within its acceleration limit.
        A joint whose target is not finite, or absurdly far, brakes.
        """
        period_s = self.period_s
        for i, (x, xdot) in enumerate(zip(target, slope)):
            fastest = self._velocity[i] * scale
            xdot = min(max(xdot, -fastest), fastest)
            gap = x - xdot * period_s - self.position[i]
            if not abs(gap) < ABSURD:  # also true of NaN
                self._advance(i, 0.0)
            elif gap >= 0.0:
                wanted = xdot + stopping_velocity(gap, self._velocity_step[i], period_s)
                self._advance(i, min(wanted, fastest))
            else:
                wanted = xdot - stopping_velocity(-gap, self._velocity_step[i], period_s)
                self._advance(i, max(wanted, -fastest))
        self._remember()

    def _remember(self) -> None:
        for i, last in self._last.items():
            last.append(self.position[i])

    def _advance(self, i: int, wanted: float) -> None:
        """One period of joint `i` at the velocity nearest to `wanted` that the limits allow."""
        p, v, step, period_s = self.position[i], self.velocity[i], self._velocity_step[i], self.period_s
        lower, upper, fastest = self._lower[i], self._upper[i], self._velocity[i]
        highest = min(fastest, stopping_velocity(upper - p - MARGIN, step, period_s))
        lowest = -min(fastest, stopping_velocity(p - lower - MARGIN, step, period_s))
        v_new = min(max(wanted, lowest), highest)
        # The acceleration bound comes last: the bounds above always leave it a choice, but for rounding errors.
        v_new = min(max(v_new, v - step), v + step)
        p_new = min(max(p + v_new * period_s, min(lower, p)), max(upper, p))
        self.position[i] = p_new
        self.velocity[i] = (p_new - p) / period_s
