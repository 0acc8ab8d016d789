"""What could not be decoded: left out, counted by topic, the first ones of each topic by stamp and reason."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from autofocus_core.errors import AutofocusError

KEPT = 20  # of each topic: by stamp and reason; the others are counted


@dataclass(frozen=True, slots=True)
class DroppedMessage:
    """One message that was left out. header_ns: None for a type, or too few bytes, without a header."""

    topic: str
    receive_ns: int
    header_ns: int | None
    reason: str


class Dropped:
    """`counts` by topic; `first`: of each topic up to KEPT messages, in the order in which they were met.

    A message is counted once, however often the bag is read.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.first: list[DroppedMessage] = []
        self._known: set[tuple[str, int, int | None]] = set()

    def add(self, topic: str, receive_ns: int, header_ns: int | None, reason: str | AutofocusError) -> None:
        """Note a message that is left out, and why."""
        key = (topic, receive_ns, header_ns)
        if key in self._known:
            return
        self._known.add(key)
        self.counts[topic] += 1
        if self.counts[topic] <= KEPT:
            why = reason.got if isinstance(reason, AutofocusError) else reason
            self.first.append(DroppedMessage(topic, receive_ns, header_ns, why))

    def __bool__(self) -> bool:
        return bool(self.counts)
