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
from recorder_parts.sinks import COUNTERS_SUFFIX
from recorder_parts.workloads import Stream

#: A message published this shortly before the stop was asked for may still be under way.
EDGE_NS = NS_PER_S // 10


@dataclass(frozen=True, slots=True)
class Account:
    """One topic of one recording. Counts are of messages.

    `published`: in the time that must be in the bag; `missing`: not in the bag; `reported`: what the recorder says is
    missing (in its sidecar); `doubled`: in the bag more than once; `foreign`: in the bag, but never published.
    """

    topic: str
    published: int
    recorded: int
    missing: int
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
    times_ns: Mapping[str, np.ndarray],
    start_ns: int,
    stop_ns: int,
) -> list[Account]:
    """Account for every message of a recording.

    `times_ns`: when message 0, 1, 2 ... of a topic was published. All that was published between the answer to the
    start and the request to stop (less EDGE_NS) must be in the bag; so must all between the first and last that are.
    """
    found: dict[str, list[int]] = {stream.topic: [] for stream in streams}
    sizes = dict.fromkeys(found, 0)
    for topic, counter, size in recorded(path, streams):
        found[topic].append(counter)
        sizes[topic] += size
    reported = reported_losses(path)
    return [
        _account(stream, found[stream.topic], sizes[stream.topic], times_ns[stream.topic], start_ns, stop_ns, reported)
        for stream in streams
    ]


def _account(
    stream: Stream,
    found: list[int],
    size: int,
    times_ns: np.ndarray,
    start_ns: int,
    stop_ns: int,
    reported: Mapping[str, int],
) -> Account:
    numbers = set(found)
    foreign = {number for number in numbers if not 0 <= number < len(times_ns)}
    inside = numbers - foreign
    due = np.flatnonzero((times_ns >= start_ns) & (times_ns <= stop_ns - EDGE_NS))
    first = min([*due[:1].tolist(), *inside], default=0)
    last = max([*due[-1:].tolist(), *inside], default=-1)
    nominal = stream.rate_hz * (stop_ns - EDGE_NS - start_ns) / NS_PER_S
    return Account(
        topic=stream.topic,
        published=last + 1 - first,
        recorded=len(found),
        missing=last + 1 - first - len(inside),
        reported=reported.get(stream.topic, 0),
        doubled=len(found) - len(numbers),
        foreign=len(foreign),
        bytes=size,
        rate_share=len(due) / nominal if nominal > 0 else 0.0,
    )
