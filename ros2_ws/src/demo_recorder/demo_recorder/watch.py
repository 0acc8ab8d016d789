"""What is noticed while it happens: streams that fall silent, publishers that go or change their type."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000
#: A stream is called silent after two periods and this. In the sidecar a gap takes 100 ms: what is left is the time in
#: which the operator must have been told.
SILENT_PERIODS = 2.0
SILENT_EXTRA_NS = 50 * NS_PER_MS


class SilenceWatch:
    """Which streams have fallen silent, asked many times a second. Knows the streams with an expected rate only."""

    def __init__(self, rates_hz: Mapping[str, float | None]) -> None:
        self._limits_ns = {
            topic: round(SILENT_PERIODS * NS_PER_S / rate) + SILENT_EXTRA_NS
            for topic, rate in rates_hz.items()
            if rate is not None
        }
        self._silent: set[str] = set()

    @property
    def silent(self) -> frozenset[str]:
        """The streams from which nothing has come for too long."""
        return frozenset(self._silent)

    def look(self, last_ns: Mapping[str, int], now_ns: int) -> bool:
        """Compare the last arrivals of streams with the time; True if one has fallen silent or has come back.

        A stream that is not in `last_ns` is not looked at: nobody has ever heard of it.
        """
        silent = {
            topic
            for topic, limit_ns in self._limits_ns.items()
            if topic in last_ns and now_ns - last_ns[topic] > limit_ns
        }
        changed = silent != self._silent
        self._silent = silent
        return changed


@dataclass(frozen=True, slots=True)
class Publisher:
    """One publisher of a topic, as the graph shows it: identity, name of its node, type."""

    gid: bytes
    node: str
    type: str


@dataclass(slots=True)
class TopicChange:
    """What has changed on a topic since it was last looked at: who went, and who publishes another type."""

    gone: list[Publisher] = field(default_factory=list)
    other_type: Publisher | None = None
    left: int = 0


class PublisherWatch:
    """Compares the publishers of topics with those of the last look."""

    def __init__(self) -> None:
        self._known: dict[str, dict[bytes, Publisher]] = {}

    def look(self, topic: str, publishers: Iterable[Publisher], type: str) -> TopicChange:
        """`type` is the one that is being recorded; "" accepts any."""
        now = {publisher.gid: publisher for publisher in publishers}
        before = self._known.get(topic, {})
        self._known[topic] = now
        return TopicChange(
            gone=[publisher for gid, publisher in before.items() if gid not in now],
            other_type=next((p for p in now.values() if type and p.type != type), None),
            left=len(now),
        )
