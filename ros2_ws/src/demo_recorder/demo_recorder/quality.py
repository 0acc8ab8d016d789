"""What is known about a stream: counts, gaps, losses, stamp faults, lateness. The same live and from the bag."""

from __future__ import annotations

from collections.abc import Mapping

from autofocus_core.bags import Bag, BagMessage
from autofocus_core.episode_meta import Event, Latency, StampFaults, StreamQuality
from autofocus_core.schema import Robot

from demo_recorder.latency import LatencyHistogram
from demo_recorder.timeline import NS_PER_MS, NS_PER_S, Timeline

#: A stream that has been silent for this long is stalled: two periods and 100 ms.
STALL_PERIODS = 2.0
STALL_EXTRA_NS = 100 * NS_PER_MS
_NEVER_NS = 1 << 63


class StreamMonitor:
    """Counts one stream. Stamps are header stamps, or receive stamps for types that have none.

    Three things are told apart. *Gaps* and `missing` are between header stamps: nothing was measured there, or it was
    lost. `lost` and `refused` were published and are not in the bag: lost on the way (told by the publishers' sequence
    numbers or by the middleware) or refused by a full write queue. *Silence* is by receipt: it makes an event, and at
    the end of a recording a gap, because there is no second stamp to tell it.
    """

    def __init__(self, type: str, expected_rate_hz: float | None, start_ns: int, topic: str = "") -> None:
        """`expected_rate_hz` None where nobody said it: nothing is then missed. `topic` is put into events."""
        self.type = type
        self.expected_rate_hz = expected_rate_hz
        self.start_ns = start_ns
        self.topic = topic
        self.count = 0
        self.bytes = 0
        self.refused = 0
        self._timeline = Timeline(expected_rate_hz)
        self._latency = LatencyHistogram()
        self._last_receive_ns = start_ns
        self._stall_ns = _NEVER_NS
        if expected_rate_hz is not None:
            self._stall_ns = round(STALL_PERIODS * NS_PER_S / expected_rate_hz) + STALL_EXTRA_NS
        self._lost_by_sequence = 0
        self._lost_by_events = 0
        self._sequences: dict[bytes, int] = {}

    def message(self, stamp_ns: int | None, receive_ns: int, size: int = 0) -> Event | None:
        """One message that will be written; `stamp_ns` None: its type has no header; `size` in bytes.

        Gives the gap (silence by receipt, where a rate is expected) that this message ends.
        """
        silence = None
        if receive_ns > self._last_receive_ns:
            if receive_ns - self._last_receive_ns > self._stall_ns:
                silence = self.open_gap(receive_ns)
            self._last_receive_ns = receive_ns
        self.count += 1
        self.bytes += size
        if stamp_ns is None:
            self._timeline.add(receive_ns, receive_ns)
        else:
            self._timeline.add(receive_ns, stamp_ns)
            if stamp_ns > 0:
                self._latency.add(receive_ns - stamp_ns)
        return silence

    def sequence(self, publisher: bytes, number: int) -> None:
        """The publisher's number of a received message; jumps are messages lost on the way."""
        last = self._sequences.get(publisher)
        if last is not None and number > last + 1:
            self._lost_by_sequence += number - last - 1
        if last is None or number > last:
            self._sequences[publisher] = number

    def lost_event(self, count: int) -> None:
        """The middleware says that so many more messages did not arrive."""
        self._lost_by_events += count

    @property
    def lost(self) -> int:
        """Messages lost on the way: numbers and events tell of the same ones, so the greater count holds."""
        return max(self._lost_by_sequence, self._lost_by_events)

    @property
    def drops(self) -> int:
        """Messages that were published and are not in the bag."""
        return self.lost + self.refused

    @property
    def missing(self) -> int:
        """Messages that should have been in the gaps."""
        return self._timeline.figures().missing

    @property
    def gaps(self) -> int:
        """Intervals of more than 1.5 expected periods between header stamps."""
        return self._timeline.figures().gaps

    @property
    def longest_gap_ns(self) -> int:
        """The longest interval between header stamps."""
        return self._timeline.figures().longest_ns

    @property
    def rate_hz(self) -> float:
        """Different stamps per second since the start, 0 for fewer than two."""
        return self._timeline.figures().rate_hz

    @property
    def jitter_ms(self) -> float:
        """Standard deviation of the intervals between header stamps."""
        return self._timeline.figures().jitter_ms

    @property
    def latency(self) -> Latency | None:
        """From header stamp to receipt; None for types without a header."""
        return self._latency.summary()

    @property
    def stamp_faults(self) -> StampFaults:
        """Header stamps that are wrong."""
        return self._timeline.figures().stamp_faults

    def silent_ns(self, now_ns: int) -> int:
        """Time since the last message (or since the start)."""
        return now_ns - self._last_receive_ns

    def stalled(self, now_ns: int) -> bool:
        """Whether a stream with an expected rate has stopped coming."""
        return now_ns - self._last_receive_ns > self._stall_ns

    def open_gap(self, now_ns: int) -> Event | None:
        """The silence that is still going on, None where the stream is not stalled."""
        if not self.stalled(now_ns):
            return None
        text = f"nothing received for {self.silent_ns(now_ns) / NS_PER_S:.2f} s"
        if not self.count:
            text += " after the start"
        return Event("gap", self.topic, self._last_receive_ns, now_ns, text)

    def finish(self, end_ns: int) -> StreamQuality:
        """All of it, for the sidecar; silence until the end counts as a gap where a rate is expected."""
        figures = self._timeline.figures()
        gaps, longest_ns = figures.gaps, figures.longest_ns
        if self.stalled(end_ns):
            gaps += 1
            longest_ns = max(longest_ns, self.silent_ns(end_ns))
        return StreamQuality(
            type=self.type,
            count=self.count,
            expected_rate_hz=self.expected_rate_hz,
            achieved_rate_hz=round(figures.rate_hz, 3),
            longest_gap_ms=round(longest_ns / NS_PER_MS, 3),
            gaps=gaps,
            bytes=self.bytes,
            jitter_ms=round(figures.jitter_ms, 3),
            missing=figures.missing,
            lost=self.lost,
            refused=self.refused,
            latency=self.latency,
            stamp_faults=figures.stamp_faults,
        )


class Measurement:
    """Monitors for the topics of a bag, fed message by message: all that the bag itself can tell."""

    def __init__(self, bag: Bag, expected_rates: Mapping[str, float | None], start_ns: int) -> None:
        self._events: list[Event] = []
        self._monitors = {
            topic: StreamMonitor(type, expected_rates.get(topic), start_ns, topic)
            for topic, type in bag.topics.items()
        }
        self._header_ns = bag.header_ns

    def add(self, message: BagMessage) -> None:
        """The next message, by receive stamp."""
        stamp_ns = self._header_ns(message)
        event = self._monitors[message.topic].message(stamp_ns, message.receive_ns, len(message.raw))
        if event is not None:
            self._events.append(event)

    def finish(self, end_ns: int) -> tuple[dict[str, StreamQuality], tuple[Event, ...]]:
        """(quality of each topic, silences by their start)."""
        still_open = [monitor.open_gap(end_ns) for monitor in self._monitors.values()]
        events = sorted([*self._events, *(e for e in still_open if e is not None)], key=lambda e: (e.start_ns, e.topic))
        return {topic: self._monitors[topic].finish(end_ns) for topic in sorted(self._monitors)}, tuple(events)


def expected_rates(robot: Robot) -> dict[str, float | None]:
    """{topic: Hz} of the streams that an episode must have: state, action and cameras."""
    return {stream.topic: stream.rate_hz for stream in (robot.state, robot.action, *robot.cameras)}


def measure(
    bag: Bag, expected_rates: Mapping[str, float | None], start_ns: int, end_ns: int
) -> tuple[dict[str, StreamQuality], tuple[Event, ...]]:
    """What the recorder knew when it stopped, from the bag: (quality of each topic, its silences as events).

    All but `lost` and `refused`, which are 0 here: what never came is not in the bag.
    """
    measurement = Measurement(bag, expected_rates, start_ns)
    for message in bag.messages():
        measurement.add(message)
    return measurement.finish(end_ns)
