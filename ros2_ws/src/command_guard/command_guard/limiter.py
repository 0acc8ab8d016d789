"""Position, velocity and acceleration limits per joint, exact in discrete time: whatever the target is.

A command sequence p[k] with period T has velocity v[k] = (p[k] - p[k-1]) / T and acceleration
(v[k] - v[k-1]) / T. The bounds below keep lower <= p <= upper, |v| <= velocity and |acceleration| <= acceleration
for ever, because every step leaves room to brake before the position limit. Joints are independent of each other.
Plain floats: for six joints they are faster than arrays, and one joint is what a reader wants to follow.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

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


class Limiter:
    """Turns any targets into commands within the limits. All vectors are (A,) in joint order; rad or m, and s."""

    def __init__(
        self,
        lower: Sequence[float],
        upper: Sequence[float],
        velocity: Sequence[float],
        acceleration: Sequence[float],
        period_s: float,
    ) -> None:
        self.period_s = period_s
        self._lower = [float(x) for x in lower]
        self._upper = [float(x) for x in upper]
        self._velocity = [float(x) for x in velocity]
        self._velocity_step = [float(a) * period_s for a in acceleration]
        self.clear()

    def anchor(self, positions: Sequence[float]) -> None:
        """Start at rest at `positions`, clipped to the position limits. The only way to a discontinuity."""
        self.position = [min(max(float(p), lo), hi) for p, lo, hi in zip(positions, self._lower, self._upper)]
        self.velocity = [0.0] * len(self.position)

    def clear(self) -> None:
        """Forget the command; `anchor` begins anew."""
        self.position: list[float] = []
        self.velocity: list[float] = []

    @property
    def at_rest(self) -> bool:
        return not any(self.velocity)

    def brake(self) -> None:
        """One period of braking to rest, as hard as the limits allow, from the last command (never from feedback)."""
        for i in range(len(self.position)):
            self._advance(i, 0.0)

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

    def _advance(self, i: int, wanted: float) -> None:
        """One period of joint `i` at the velocity nearest to `wanted` that the limits allow."""
        p, v, step, period_s = self.position[i], self.velocity[i], self._velocity_step[i], self.period_s
        lower, upper, fastest = self._lower[i], self._upper[i], self._velocity[i]
        highest = min(fastest, stopping_velocity(upper - p - MARGIN, step, period_s))
        lowest = -min(fastest, stopping_velocity(p - lower - MARGIN, step, period_s))
        v_new = min(max(wanted, lowest), highest)
        # The acceleration bound comes last: the bounds above always leave it a choice, but for rounding errors.
        v_new = min(max(v_new, v - step), v + step)
        p_new = min(max(p + v_new * period_s, lower), upper)
        self.position[i] = p_new
        self.velocity[i] = (p_new - p) / period_s
