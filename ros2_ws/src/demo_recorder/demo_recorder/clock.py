"""The time at which messages arrived: the wall clock at the start, carried on by the steady clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

NS_PER_MS = 1_000_000
#: The wall clock is said to have been set when it moves against the steady one by more than this between two looks.
#: What it gains or loses more slowly (NTP slews by 0.5 ms per second) is followed.
STEP_NS = 50 * NS_PER_MS
#: A message is handed over at most this long after it arrived; an older receive stamp is not believed.
MAX_AGE_NS = 5_000 * NS_PER_MS
#: Both clocks are read within this, or again: a process that loses the processor in between would see a step.
_READ_WITHIN_NS = NS_PER_MS
_READ_TRIES = 5


@dataclass(frozen=True, slots=True)
class ClockStep:
    """The wall clock was set by `size_ns` (positive: forward) at `at_ns` of our own time."""

    at_ns: int
    size_ns: int


class ReceiveClock:
    """Our time in ns since the epoch: never set, so that stamps taken from it cannot run backwards.

    Somebody who sets the system's clock in mid-recording, or NTP at its first contact, would otherwise turn the order
    of messages round. Not thread-safe but for :meth:`now_ns`.
    """

    def __init__(
        self,
        wall_ns: Callable[[], int] = time.time_ns,
        steady_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._wall_ns = wall_ns
        self._steady_ns = steady_ns
        self._offset_ns = 0
        self.reanchor()

    def reanchor(self) -> int:
        """Take the wall clock's time from here on; gives by how much our time jumped (for an episode's start)."""
        wall, steady, _ = self._read()
        jump_ns = wall - steady - self._offset_ns
        self._offset_ns = wall - steady
        self._looked_ns = self._floor_ns = wall
        self._unsure_ns: int | None = None
        self._ahead_ns = 0  # of the wall clock before ours, when we looked last
        return jump_ns

    def now_ns(self) -> int:
        """Our time now."""
        return self._steady_ns() + self._offset_ns

    def look(self) -> ClockStep | None:
        """Compare both clocks, before messages are taken; gives the step that the wall clock has made since."""
        wall, steady, uncertain_ns = self._read()
        before_ns = self._looked_ns
        self._looked_ns = steady + self._offset_ns
        moved_ns = wall - self._looked_ns - self._ahead_ns
        stepped = abs(moved_ns) > STEP_NS + uncertain_ns
        # What arrived before a step has a stamp of the other time: of those messages it is only known that they came
        # after the last look, because that one left none behind.
        self._floor_ns = before_ns if stepped else self._looked_ns - MAX_AGE_NS
        self._unsure_ns = before_ns if stepped else None
        self._ahead_ns += moved_ns
        return ClockStep(self._looked_ns, moved_ns) if stepped else None

    def arrival_ns(self, received_ns: int) -> int:
        """Our time of a message's arrival, from its receive stamp on the wall clock (0: the middleware gives none)."""
        if not received_ns:
            return self.now_ns()
        arrival_ns = received_ns - self._ahead_ns
        if self._floor_ns <= arrival_ns <= self._looked_ns:
            return arrival_ns
        now_ns = self.now_ns()
        if self._looked_ns < arrival_ns <= now_ns:  # it came while others were being taken
            return arrival_ns
        if self._unsure_ns is not None:
            return self._unsure_ns
        return now_ns if arrival_ns > now_ns else self._looked_ns

    def _read(self) -> tuple[int, int, int]:
        """(wall, steady, by how much they may be apart), read as closely together as the system lets us."""
        best: tuple[int, int, int] | None = None
        for _ in range(_READ_TRIES):
            before = self._steady_ns()
            wall = self._wall_ns()
            after = self._steady_ns()
            if best is None or after - before < best[2]:
                best = wall, (before + after) // 2, after - before
            if after - before <= _READ_WITHIN_NS:
                break
        assert best is not None
        return best
