"""Message by message: what was published during a recording, what is in the bag, what the recorder reported."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from autofocus_core.names import EPISODE_SIDECAR
from mcap.reader import make_reader

from recorder_parts.payloads import NS_PER_S, Payload
from recorder_parts.publications import LIFE, Publications
from recorder_parts.sinks import COUNTERS_SUFFIX
from recorder_parts.workloads import Stream

#: A message published this shortly before the stop was asked for may still be under way.
EDGE_NS = NS_PER_S // 10


@dataclass(frozen=True, slots=True)
class Account:
    """One topic of one recording. Counts are of messages.

    `published`: in the time that must be in the bag; `missing`: not in the bag, `head` and `tail` of them before the
    first and after the last that is; `unmatched`: published by a publisher that was started meanwhile, before its first
    message in the bag: DDS promises nothing before the two have found each other, and these are not among the missing;
    `reported`: what the recorder says is missing (in its sidecar); `doubled`: in the bag more than once; `foreign`: in
    the bag, but never published.
    """

    topic: str
    published: int
    recorded: int
    missing: int
    head: int
    tail: int
    unmatched: int
    reported: int
    doubled: int
    foreign: int
    bytes: int
    rate_share: float

    @property
    def unreported(self) -> int:
        """Missing, and nothing said about it."""
        return max(0, self.missing - self.reported)


def recorded(path: Path, streams: Sequence[Stream]) -> Iterator[tuple[str, int, int]]:
    """(topic, counter, bytes) of every message in a recording: an episode's folder, an .mcap, or a peer's notes.

    Reads with the `mcap` package, which is not what our own reader uses.
    """
    if path.suffix == COUNTERS_SUFFIX:
        for index, counter, size in np.load(path).tolist():
            yield streams[index].topic, counter, size
        return
    payloads = {stream.topic: Payload(stream) for stream in streams}
    for file in storage_files(path):
        with file.open("rb") as stream:
            for _, channel, message in make_reader(stream, validate_crcs=True).iter_messages(log_time_order=False):
                if channel.topic in payloads:
                    yield channel.topic, payloads[channel.topic].counter(message.data), len(message.data)


def storage_files(path: Path) -> list[Path]:
    """The files that hold a recording's messages."""
    return sorted(path.glob("*.mcap")) if path.is_dir() else [path]


def reported_losses(path: Path) -> dict[str, int]:
    """Messages that an episode's sidecar calls lost or refused, by topic; empty for recorders that do not say."""
    sidecar = path / EPISODE_SIDECAR
    if not path.is_dir() or not sidecar.is_file():
        return {}
    streams = json.loads(sidecar.read_text())["streams"]
    return {topic: stream["lost"] + stream["refused"] for topic, stream in streams.items()}


def audit(
    path: Path,
    streams: Sequence[Stream],
    published: Mapping[str, Publications],
    start_ns: int,
    stop_ns: int,
) -> list[Account]:
    """Account for every message of a recording.

    All that was published between the answer to the start and the request to stop (less EDGE_NS) must be in the bag; so
    must all between the first and the last message that are.
    """
    found: dict[str, list[int]] = {stream.topic: [] for stream in streams}
    sizes = dict.fromkeys(found, 0)
    for topic, counter, size in recorded(path, streams):
        found[topic].append(counter)
        sizes[topic] += size
    reported = reported_losses(path)
    accounts = []
    for stream in streams:
        topic, sent = stream.topic, published[stream.topic]
        due = sent.between(start_ns, stop_ns - EDGE_NS)
        numbers = np.array(found[topic], np.int64)
        held = np.isin(sent.counters, numbers)  # which of the published messages are in the bag
        kept = np.flatnonzero(held)
        span = [*due[:1], *due[-1:], *kept[:1], *kept[-1:]]
        first, last = (int(min(span)), int(max(span))) if span else (0, -1)
        head, tail = (int(kept[0]) - first, last - int(kept[-1])) if len(kept) else (last + 1 - first, 0)
        unmatched = _unmatched(sent.counters[first : last + 1], held[first : last + 1])
        nominal = stream.rate_hz * (stop_ns - EDGE_NS - start_ns) / NS_PER_S
        accounts.append(
            Account(
                topic=topic,
                published=last + 1 - first,
                recorded=len(numbers),
                missing=last + 1 - first - len(kept) - unmatched,
                head=head,
                tail=tail,
                unmatched=unmatched,
                reported=reported.get(topic, 0),
                doubled=len(numbers) - len(np.unique(numbers)),
                foreign=len(np.setdiff1d(numbers, sent.counters)),
                bytes=sizes[topic],
                rate_share=len(due) / nominal if nominal > 0 else 0.0,
            )
        )
    return accounts


def _unmatched(counters: np.ndarray, held: np.ndarray) -> int:
    """Messages before the first held one of each life but the first."""
    lives = counters // LIFE
    count = 0
    for life in np.unique(lives)[1:]:
        mine = held[lives == life]
        count += int(mine.argmax()) if mine.any() else len(mine)
    return count
