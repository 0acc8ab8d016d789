"""A recorded message, and a topic's messages kept while others are read."""

from __future__ import annotations

from typing import NamedTuple


class BagMessage(NamedTuple):
    """One message as recorded: CDR bytes, receive stamp."""

    topic: str
    type: str
    receive_ns: int
    raw: bytes


class Kept:
    """Messages of one topic that were met while others were read. `complete`: these are all there are."""

    MOST_BYTES = 32 << 20

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.messages: list[BagMessage] = []
        self.complete = False
        self._bytes = 0

    def add(self, message: BagMessage) -> bool:
        """False where it is too much to keep."""
        self._bytes += len(message.raw)
        self.messages.append(message)
        return self._bytes <= self.MOST_BYTES
