"""What happened during a recording, in order and bounded; and refusals, told once for each stretch of them."""

from __future__ import annotations

import threading

from autofocus_core.episode_meta import Event

#: Events that one sidecar holds: far more than anybody reads, far less than a broken cable makes in an hour.
MAX_EVENTS = 500
#: Refusals of a stream that are this far apart are two events.
QUIET_NS = 1_000_000_000


class EventLog:
    """Takes events from any thread; keeps the first MAX_EVENTS and counts the rest."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._lock = threading.Lock()
        self.left_out = 0
        self.last: Event | None = None

    def add(self, event: Event) -> None:
        """One more event."""
        with self._lock:
            self.last = event
            if len(self._events) < MAX_EVENTS:
                self._events.append(event)
            else:
                self.left_out += 1

    @property
    def count(self) -> int:
        """All events, with those left out."""
        return len(self._events) + self.left_out

    @property
    def last_words(self) -> str:
        """The last event in words, empty before the first."""
        last = self.last
        return "" if last is None else " ".join(filter(None, (last.kind, last.topic, last.detail)))

    def by_time(self) -> tuple[Event, ...]:
        """The events kept, by their start."""
        with self._lock:
            return tuple(sorted(self._events, key=lambda event: (event.start_ns, event.topic)))


class RefusedSpan:
    """The stretch of refusals that a stream is in, if any."""

    __slots__ = ("_count", "_first_ns", "_last_ns", "_topic", "_why")

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._count = 0
        self._first_ns = 0
        self._last_ns = 0
        self._why = ""

    def refuse(self, receive_ns: int, why: str) -> None:
        """One more message was refused."""
        if not self._count:
            self._first_ns = receive_ns
            self._why = why
        self._count += 1
        self._last_ns = receive_ns

    def ended(self, now_ns: int) -> Event | None:
        """The stretch as an event, once it has been over for a while; give the end of time to have it at once."""
        if not self._count or now_ns - self._last_ns < QUIET_NS:
            return None
        event = Event("refused", self._topic, self._first_ns, self._last_ns, f"{self._count} messages: {self._why}")
        self._count = 0
        return event

    def overlaps(self, start_ns: int) -> bool:
        """Whether messages were refused after `start_ns`: what looks like silence then was none."""
        return self._last_ns > start_ns
