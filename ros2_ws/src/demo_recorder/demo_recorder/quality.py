"""What is known about a stream while it is recorded: counts, gaps, losses, stamp faults."""

from __future__ import annotations

from dataclasses import dataclass, field

from autofocus_core.episode_meta import Event, StampFaults, StreamQuality

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000
#: An interval longer than this many expected periods is a gap.
GAP_PERIODS = 1.5
#: A stream that has been silent for this long is stalled: two periods and 100 ms.
STALL_PERIODS = 2.0
STALL_EXTRA_NS = 100 * NS_PER_MS


@dataclass(slots=True)
class StreamMonitor:
    """Counts one stream. Stamps are header stamps, or receive stamps for types that have none.

    `drops` are messages that are not in the bag: lost on the way (told by the publishers' sequence numbers,
    where the middleware gives them) or refused by a full write queue.
    """

    type: str
    expected_rate_hz: float | None
    start_ns: int
    topic: str = ""
    count: int = 0
    bytes: int = 0
    lost: int = 0
    refused: int = 0
    zero: int = 0
    duplicate: int = 0
    backwards: int = 0
    gaps: int = 0
    longest_gap_ns: int = 0
    _intervals: int = 0
    _first_ns: int | None = None
    _last_ns: int | None = None
    _last_receive_ns: int | None = None
    _lost_by_events: int = 0
    _sequences: dict[bytes, int] = field(default_factory=dict)

    def message(self, stamp_ns: int | None, receive_ns: int, size: int = 0) -> Event | None:
        """One message that will be written; `stamp_ns` None: its type has no header; `size` in bytes.

        Gives the gap (silence by receipt, where a rate is expected) that this message ends.
        """
        ended = self.open_gap(receive_ns)
        self.count += 1
        self.bytes += size
        self._last_receive_ns = receive_ns
        self._stamp(receive_ns, stamp_ns)
        return ended

    def open_gap(self, now_ns: int) -> Event | None:
        """The silence that is still going on, None where the stream is not stalled."""
        if not self.stalled(now_ns):
            return None
        silent_ns = self.silent_ns(now_ns)
        return Event("gap", self.topic, now_ns - silent_ns, now_ns, f"nothing for {silent_ns / NS_PER_S:.2f} s")

    def lost_event(self, count: int) -> None:
        """The middleware says that this many messages did not arrive."""
        self._lost_by_events += count
        self.lost = max(self.lost, self._lost_by_events)

    def _stamp(self, receive_ns: int, stamp_ns: int | None) -> None:
        stamp = receive_ns if stamp_ns is None else stamp_ns
        if stamp <= 0:
            self.zero += 1
            return
        if self._last_ns is None:
            self._first_ns = self._last_ns = stamp
            return
        interval_ns = stamp - self._last_ns
        if interval_ns == 0:
            # Markers come several to a stamp; only where a rate is declared is a second message a fault.
            self.duplicate += self.expected_rate_hz is not None
        elif interval_ns < 0:
            self.backwards += 1
        else:
            self._last_ns = stamp
            self._intervals += 1
            self._interval(interval_ns)

    def sequence(self, publisher: bytes, number: int) -> None:
        """The publisher's number of a received message; jumps are messages lost on the way."""
        last = self._sequences.get(publisher)
        if last is not None and number > last + 1:
            self.lost += number - last - 1
        if last is None or number > last:
            self._sequences[publisher] = number

    @property
    def drops(self) -> int:
        """Messages that were published and are not in the bag."""
        return self.lost + self.refused

    @property
    def rate_hz(self) -> float:
        """Different stamps per second, 0 for fewer than two."""
        if self._first_ns is None or self._last_ns is None or self._last_ns <= self._first_ns:
            return 0.0
        return self._intervals * NS_PER_S / (self._last_ns - self._first_ns)

    def silent_ns(self, now_ns: int) -> int:
        """Time since the last message (or since the start)."""
        return now_ns - (self.start_ns if self._last_receive_ns is None else self._last_receive_ns)

    def stalled(self, now_ns: int) -> bool:
        """Whether a stream with an expected rate has stopped coming."""
        if self.expected_rate_hz is None:
            return False
        return self.silent_ns(now_ns) > STALL_PERIODS * NS_PER_S / self.expected_rate_hz + STALL_EXTRA_NS

    def finish(self, end_ns: int) -> StreamQuality:
        """The verdict for the sidecar; silence until the end counts as a gap where a rate is expected."""
        if self.expected_rate_hz is not None and self.stalled(end_ns):
            self._interval(self.silent_ns(end_ns))
        return StreamQuality(
            type=self.type,
            count=self.count,
            expected_rate_hz=self.expected_rate_hz,
            achieved_rate_hz=round(self.rate_hz, 3),
            longest_gap_ms=round(self.longest_gap_ns / NS_PER_MS, 3),
            gaps=self.gaps,
            lost=self.lost,
            refused=self.refused,
            stamp_faults=StampFaults(self.zero, self.duplicate, self.backwards),
        )

    def _interval(self, interval_ns: int) -> None:
        self.longest_gap_ns = max(self.longest_gap_ns, interval_ns)
        if self.expected_rate_hz is not None and interval_ns * self.expected_rate_hz > GAP_PERIODS * NS_PER_S:
            self.gaps += 1
