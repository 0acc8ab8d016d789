"""The stamps of one stream, in the order in which they belong: intervals, gaps, and stamps that are wrong.

All sums are whole numbers, so the figures do not depend on the order in which messages were handed over, as long as
none of them comes more than WINDOW messages late: what a reader finds in the bag is what was found live.
"""

from __future__ import annotations

import copy
import math
import threading
from dataclasses import dataclass, field

from autofocus_core.episode_meta import StampFaults

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000
#: An interval longer than this many expected periods is a gap.
GAP_PERIODS = 1.5
#: A header stamp later than its receipt by more than this is from a clock that is wrong. Where a rate is expected, by
#: more than this and a period: an action may carry the time at which it applies, which is the next tick.
FUTURE_NS = 50 * NS_PER_MS
#: Messages that wait until those which overtook them have been sorted in.
WINDOW = 128


@dataclass(slots=True)
class Figures:
    """What the settled messages say. Of intervals: their number, the sum of their squares, the longest one; `gaps` are
    those of more than 1.5 expected periods, `missing` the messages that should have been in between; `gap_ns`: the last
    interval, where it was a gap."""

    zero: int = 0
    duplicate: int = 0
    backwards: int = 0
    future: int = 0
    first_ns: int | None = None
    last_ns: int | None = None
    intervals: int = 0
    squares: int = 0
    gaps: int = 0
    missing: int = 0
    gap_ns: int = 0
    longest_ns: int = 0
    newest_ns: int = 0  # the latest stamp by receipt
    known: frozenset[int] = field(default_factory=frozenset)  # stamps of the messages settled last

    @property
    def rate_hz(self) -> float:
        """Different stamps per second, 0 for fewer than two."""
        if self.first_ns is None or self.last_ns is None or not self.intervals:
            return 0.0
        return self.intervals * NS_PER_S / (self.last_ns - self.first_ns)

    @property
    def jitter_ms(self) -> float:
        """Standard deviation of the intervals, 0 for fewer than two."""
        if self.first_ns is None or self.last_ns is None or not self.intervals:
            return 0.0
        spread = self.intervals * self.squares - (self.last_ns - self.first_ns) ** 2
        return math.sqrt(spread) / self.intervals / NS_PER_MS

    @property
    def stamp_faults(self) -> StampFaults:
        """Stamps that were zero, repeated, out of order, ahead of their receipt."""
        return StampFaults(self.zero, self.duplicate, self.backwards, self.future)


class Timeline:
    """Takes (receive stamp, stamp) in any order within the window; gives Figures at any time.

    One thread adds; another one may ask for the figures meanwhile.
    """

    __slots__ = (
        "_added",
        "_arrivals",
        "_future_ns",
        "_gap_ns",
        "_period_ns",
        "_settled",
        "_settling",
        "_shown",
        "_stamps",
    )

    def __init__(self, expected_rate_hz: float | None) -> None:
        """Without an expected rate there are no gaps, and several messages to a stamp are no fault: markers do so."""
        self._period_ns = None if expected_rate_hz is None else round(NS_PER_S / expected_rate_hz)
        self._gap_ns = None if expected_rate_hz is None else int(GAP_PERIODS * NS_PER_S / expected_rate_hz)
        self._future_ns = FUTURE_NS + (self._period_ns or 0)
        self._arrivals: list[tuple[int, int]] = []
        self._stamps: list[int] = []
        self._settled = Figures()
        self._added = 0
        self._shown = (0, Figures())  # of so many messages
        self._settling = threading.Lock()

    def add(self, receive_ns: int, stamp_ns: int) -> None:
        """One message. Takes well below a microsecond, but for every WINDOW-th one."""
        self._arrivals.append((receive_ns, stamp_ns))
        if stamp_ns > 0:
            self._stamps.append(stamp_ns)
        if len(self._arrivals) >= 2 * WINDOW or len(self._stamps) >= 2 * WINDOW:
            self._settle()
        self._added += 1  # last, so that figures without this message are not taken for those with it

    def figures(self) -> Figures:
        """The figures of all messages so far."""
        shown_of, shown = self._shown
        added = self._added
        if shown_of == added:
            return shown
        with self._settling:
            shown = copy.copy(self._settled)
            self._settle_arrivals(shown, sorted(self._arrivals))
            self._settle_stamps(shown, sorted(self._stamps))
        self._shown = (added, shown)
        return shown

    def _settle(self) -> None:
        """Count the older half of what waits: what comes now cannot overtake it any more."""
        with self._settling:
            if len(self._arrivals) >= 2 * WINDOW:
                self._arrivals.sort()
                self._settle_arrivals(self._settled, self._arrivals[:WINDOW])
                del self._arrivals[:WINDOW]
            if len(self._stamps) >= 2 * WINDOW:
                self._stamps.sort()
                self._settle_stamps(self._settled, self._stamps[:WINDOW])
                del self._stamps[:WINDOW]

    def _settle_arrivals(self, figures: Figures, arrivals: list[tuple[int, int]]) -> None:
        """Count the faults of stamps, in order of receipt."""
        known = set(figures.known)
        for receive_ns, stamp_ns in arrivals:
            if stamp_ns <= 0:
                figures.zero += 1
                continue
            if stamp_ns - receive_ns > self._future_ns:
                figures.future += 1
            if self._period_ns is not None and stamp_ns in known:
                figures.duplicate += 1
            elif stamp_ns < figures.newest_ns:
                figures.backwards += 1
            else:
                figures.newest_ns = stamp_ns
            known.add(stamp_ns)
        figures.known = frozenset(stamp_ns for _, stamp_ns in arrivals)

    def _settle_stamps(self, figures: Figures, stamps: list[int]) -> None:
        """Add up the intervals, in order of the stamps."""
        last_ns, gap_ns, period_ns = figures.last_ns, self._gap_ns, self._period_ns
        for stamp_ns in stamps:
            if last_ns is None:
                figures.first_ns = last_ns = stamp_ns
                continue
            interval_ns = stamp_ns - last_ns
            if interval_ns <= 0:  # the same stamp again, or one that came too late to be sorted in
                continue
            last_ns = stamp_ns
            figures.intervals += 1
            figures.squares += interval_ns * interval_ns
            if interval_ns > figures.longest_ns:
                figures.longest_ns = interval_ns
            if gap_ns is None:
                continue
            if interval_ns > gap_ns:
                figures.gaps += 1
                figures.missing += _missing(interval_ns, 1, period_ns)
                figures.gap_ns = interval_ns
            elif figures.gap_ns:
                if interval_ns < period_ns:
                    # The message that ended the gap was late: only with the next one it is known how many there should
                    # have been in both intervals, and that is never more.
                    both = _missing(figures.gap_ns + interval_ns, 2, period_ns)
                    figures.missing -= _missing(figures.gap_ns, 1, period_ns) - both
                figures.gap_ns = 0
        figures.last_ns = last_ns


def _missing(span_ns: int, intervals: int, period_ns: int) -> int:
    """Messages that lack where so long a time has only so many intervals."""
    return max(0, (2 * span_ns + period_ns) // (2 * period_ns) - intervals)
