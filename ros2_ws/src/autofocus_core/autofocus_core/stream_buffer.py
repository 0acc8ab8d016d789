"""The last values of a stream by header stamp, and what was wrong with the stamps."""

from __future__ import annotations

from bisect import bisect_right, insort
from dataclasses import dataclass
from typing import Any

from autofocus_core.errors import AutofocusError

#: How far a header stamp may be ahead of its receipt: clocks that differ by more do not belong to one recording.
MAX_AHEAD_NS = 1_000_000_000


@dataclass(slots=True)
class StampCounts:
    """Faults of a stream's header stamps: zero, duplicate, future (not stored), backwards (sorted in).

    Each message counts at most once; `future` are stamps more than MAX_AHEAD_NS after receipt, where that is known.
    """

    received: int = 0
    zero: int = 0
    duplicate: int = 0
    backwards: int = 0
    future: int = 0

    @property
    def refused(self) -> int:
        """Messages that were not stored."""
        return self.zero + self.duplicate + self.future


class StreamBuffer:
    """The last `maxlen` values of a stream, sorted by header stamp."""

    def __init__(self, max_age_ns: int, maxlen: int) -> None:
        if max_age_ns <= 0 or maxlen < 1:
            raise AutofocusError(
                "stream buffer", f"max_age_ns {max_age_ns}, maxlen {maxlen}", "> 0 and >= 1", "set the stream's timeout"
            )
        self.max_age_ns = max_age_ns
        self.maxlen = maxlen
        self.counts = StampCounts()
        self._stamps: list[int] = []
        self._values: dict[int, Any] = {}

    def push(self, stamp_ns: int, value: Any, receive_ns: int | None = None) -> bool:
        """Sort a value in by its stamp; False (and counted) where the stamp is zero, known already, or in the future.

        A stamp from the future would make the stream look settled for all that comes until then.
        """
        self.counts.received += 1
        if stamp_ns <= 0:
            self.counts.zero += 1
            return False
        if receive_ns is not None and stamp_ns - receive_ns > MAX_AHEAD_NS:
            self.counts.future += 1
            return False
        if stamp_ns in self._values:
            self.counts.duplicate += 1
            return False
        if self._stamps and stamp_ns < self._stamps[-1]:
            self.counts.backwards += 1
        insort(self._stamps, stamp_ns)
        self._values[stamp_ns] = value
        if len(self._stamps) > self.maxlen:
            del self._values[self._stamps.pop(0)]
        return True

    @property
    def newest_ns(self) -> int | None:
        """The greatest stamp, None while empty."""
        return self._stamps[-1] if self._stamps else None

    def latest(self, t_ns: int) -> tuple[int, Any] | None:
        """(stamp, value) of the last value at or before t, None where there is none or it is older than max_age_ns."""
        i = bisect_right(self._stamps, t_ns)
        if i == 0 or t_ns - self._stamps[i - 1] > self.max_age_ns:
            return None
        stamp = self._stamps[i - 1]
        return stamp, self._values[stamp]

    def interpolate(self, t_ns: int) -> Any | None:
        """Value at t, linear between its neighbours; None outside the stamps or across a gap > max_age_ns."""
        i = bisect_right(self._stamps, t_ns)
        if i == 0:
            return None
        before = self._stamps[i - 1]
        if before == t_ns:
            return self._values[before]
        if i == len(self._stamps):
            return None
        after = self._stamps[i]
        if after - before > self.max_age_ns:
            return None
        weight = (t_ns - before) / (after - before)
        return (1.0 - weight) * self._values[before] + weight * self._values[after]

    def clear(self) -> None:
        """Forget the values (not the counts): after a reset of the clock nothing old may be used."""
        self._stamps.clear()
        self._values.clear()
