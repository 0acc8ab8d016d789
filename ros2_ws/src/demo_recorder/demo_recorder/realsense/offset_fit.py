"""A device's clock against the host's, from the arrival of frames alone: the line of least latency.

A frame of device time x arrives at x + offset + drift * x + latency, and a latency is never less than the shortest.
So the line wanted lies under all points (x, arrival - x) and as close to them as it can: an edge of their lower
hull, the one over their mean (Moon, Skelly and Towsley, "Estimation and removal of clock skew from network delay
measurements", 1999). A late frame cannot pull it; the first frame with less latency corrects it at once.

What one-way arrivals cannot tell is the shortest latency itself: mapped times are late by that constant.
"""

from __future__ import annotations

import itertools
from collections import deque
from dataclasses import dataclass

import numpy as np

#: The hardware clock of RealSense devices: 32 bits of microseconds, 71.6 minutes.
WRAP_NS = 2**32 * 1000
WINDOW_S = 30.0
BUCKET_S = 0.5
#: Before that much is seen of a clock, its drift is taken as none: over less, jitter would pass for drift.
DRIFT_SPAN_S = 10.0
#: A quartz is off by some 50 ppm; what says more is jitter.
MAX_DRIFT_PPM = 200.0
SETTLE_S = 1.0
SETTLE_SAMPLES = 5
#: A frame that is this much too early, or frames that are all this late for that long: another clock than before.
#: Frames that have waited for a host that stood still are late, too, but come within moments.
EARLY_NS = 50_000_000
LATE_NS = 200_000_000
LATE_FOR_NS = 2_000_000_000


@dataclass(frozen=True, slots=True)
class Residual:
    """Arrival minus mapped device time over the window, in ms: how much longer than the shortest way frames took."""

    p50_ms: float
    p99_ms: float
    max_ms: float


class OffsetFit:
    """The map of one device clock to the host's; feed it every frame, in the order of arrival. All times in ns."""

    def __init__(self, window_s: float = WINDOW_S, wrap_ns: int = WRAP_NS) -> None:
        self._wrap_ns = wrap_ns
        self._buckets: deque[tuple[int, int]] = deque(maxlen=round(window_s / BUCKET_S))  # (x, least arrival - x)
        self._residuals_ns: deque[int] = deque(maxlen=1024)
        self._bucket = 0
        self._first_ns = 0
        self._last: tuple[int, int] | None = None  # (x, arrival)
        self._x0 = self._offset_ns = 0
        self._drift = 0.0
        self._late_since_ns: int | None = None
        self.samples = 0

    @property
    def settled(self) -> bool:
        """Whether enough frames have been seen for one of them to have come fast."""
        return (
            self.samples >= SETTLE_SAMPLES
            and self._last is not None
            and self._last[1] - self._first_ns >= SETTLE_S * 1e9
        )

    @property
    def drift_ppm(self) -> float:
        """How much faster the host's clock runs than the device's."""
        return self._drift * 1e6

    @property
    def window_s(self) -> float:
        """How much of the past the line rests on."""
        return (self._buckets[-1][0] - self._buckets[0][0]) / 1e9 if self._buckets else 0.0

    def residual(self) -> Residual:
        """What is known of the error: see :class:`Residual`."""
        if not self._residuals_ns:
            return Residual(0.0, 0.0, 0.0)
        p50, p99, most = np.percentile(np.array(self._residuals_ns) / 1e6, [50, 99, 100])
        return Residual(float(p50), float(p99), float(most))

    def unwrap(self, device_ms: float, arrival_ns: int) -> int:
        """Device time in ns without the turns of its counter: the turn that is nearest to where it should be by now."""
        raw_ns = round(device_ms * 1e6)
        if self._last is None:
            return raw_ns
        expected_ns = self._last[0] + arrival_ns - self._last[1]
        return raw_ns + round((expected_ns - raw_ns) / self._wrap_ns) * self._wrap_ns

    def map(self, x_ns: int) -> int:
        """Host time of the unwrapped device time `x_ns`."""
        return x_ns + self._offset_ns + round(self._drift * (x_ns - self._x0))

    def fits(self, x_ns: int, arrival_ns: int) -> bool:
        """Whether a frame can be of the clock that has been seen so far; True before there was one."""
        if not self.samples:
            return True
        residual_ns = arrival_ns - self.map(x_ns)
        if residual_ns < LATE_NS:
            self._late_since_ns = None
            return residual_ns > -EARLY_NS
        if self._late_since_ns is None:
            self._late_since_ns = arrival_ns
        return arrival_ns - self._late_since_ns < LATE_FOR_NS

    def add(self, x_ns: int, arrival_ns: int) -> int:
        """Take a frame in; gives by how much the map of `x_ns` has moved (0 for most frames)."""
        offset_ns = arrival_ns - x_ns
        self._last = (x_ns, arrival_ns)
        self.samples += 1
        if self.samples == 1:
            self._first_ns, self._x0, self._offset_ns = arrival_ns, x_ns, offset_ns
        before_ns = self.map(x_ns)
        bucket = x_ns // round(BUCKET_S * 1e9)
        if bucket > self._bucket or not self._buckets:
            self._bucket = bucket
            self._buckets.append((x_ns, offset_ns))
            self._refit()
        elif bucket == self._bucket and offset_ns < self._buckets[-1][1]:
            self._buckets[-1] = (x_ns, offset_ns)
        early_ns = self.map(x_ns) - arrival_ns
        if early_ns > 0:
            self._offset_ns -= early_ns
        self._residuals_ns.append(arrival_ns - self.map(x_ns))
        return self.map(x_ns) - before_ns

    def shift(self, step_ns: int) -> None:
        """The host's clock was set by `step_ns`."""
        self._offset_ns += step_ns
        self._first_ns += step_ns
        self._buckets = deque(((x, offset + step_ns) for x, offset in self._buckets), maxlen=self._buckets.maxlen)
        if self._last is not None:
            self._last = (self._last[0], self._last[1] + step_ns)

    def _refit(self) -> None:
        """The line anew, from the least latency of each bucket."""
        reference_x, reference_offset = self._buckets[0]
        points = [((x - reference_x) / 1e9, float(offset - reference_offset)) for x, offset in self._buckets]
        slope = self._drift * 1e9  # ns of offset per second of device time
        if points[-1][0] >= DRIFT_SPAN_S:
            slope = float(np.clip(_edge_slope(points), -MAX_DRIFT_PPM * 1e3, MAX_DRIFT_PPM * 1e3))
        self._drift = slope / 1e9
        self._x0 = reference_x
        self._offset_ns = reference_offset + round(min(offset - slope * x for x, offset in points))


def _edge_slope(points: list[tuple[float, float]]) -> float:
    """Slope of that edge of the points' lower hull which lies over their mean; `points` by rising x, at least two."""
    hull: list[tuple[float, float]] = []
    for x, y in points:
        while len(hull) > 1 and _turns_down(hull[-2], hull[-1], (x, y)):
            hull.pop()
        hull.append((x, y))
    mean = sum(x for x, _ in points) / len(points)
    for (x0, y0), (x1, y1) in itertools.pairwise(hull):
        if x1 >= mean and x1 > x0:
            return (y1 - y0) / (x1 - x0)
    return 0.0


def _turns_down(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> bool:
    return (b[0] - a[0]) * (c[1] - a[1]) <= (b[1] - a[1]) * (c[0] - a[0])
