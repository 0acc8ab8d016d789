"""Reading what is whole of damaged MCAP files, in receive order, one chunk in memory at a time.

Has the part of the rosbags reader's face that Bag uses.
"""

from __future__ import annotations

import contextlib
import heapq
import os
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

from rosbags.interfaces import Connection, ConnectionExtRosbag2, MessageDefinition, MessageDefinitionFormat

from autofocus_core.bag_metadata import compresses_messages
from autofocus_core.bag_types import FORMATS
from autofocus_core.chunk_reader import read_at
from autofocus_core.errors import AutofocusError
from autofocus_core.mcap_parse import DamagedError, messages, plain_bytes
from autofocus_core.mcap_scan import Block, Damage, Scan, scan

_T = TypeVar("_T")
#: Receive stamp, number of the block, offset in it (so that no two compare equal), topic, publish stamp, bytes.
_Entry = tuple[int, int, int, _T, int, bytes]
_NEVER_NS = 1 << 64


@dataclass(frozen=True, slots=True)
class RecoveredTopic:
    """A topic with all that is needed to write it again."""

    name: str
    type: str
    qos_yaml: str = ""
    msgdef: str = ""
    msgdef_encoding: str = ""
    type_hash: str = ""


class RawMessage(NamedTuple):
    """A message with both stamps of the MCAP, in ns."""

    topic: RecoveredTopic
    receive_ns: int
    publish_ns: int
    raw: bytes


class RecoveredReader:
    """`topics` that the files have, `losses`: what is damaged or missing, each with file, byte and times (empty: all
    is well), `start_time` and `end_time` (exclusive) receive stamps in ns."""

    def __init__(self, files: Sequence[Path]) -> None:
        """Reads all files once. Raises AutofocusError where no message is whole."""
        self._scans = [scan(file) for file in files if file.stat().st_size]
        self._names = [_topics_of(found) for found in self._scans]  # {channel: topic}, by file
        self._handles: dict[int, int] = {}
        self._zipped = _messages_are_compressed(self._scans)
        counts: Counter[RecoveredTopic] = Counter()
        self.losses = [f"{file.name}: it is empty" for file in files if not file.stat().st_size]
        self.losses += [f"{name} is missing" for name in _missing_numbers(files)]
        for found, names in zip(self._scans, self._names, strict=True):
            unknown = 0
            for block in found.blocks:
                for channel, count in block.counts.items():
                    if channel in names:
                        counts[names[channel]] += count
                    else:
                        unknown += count
            self.losses += [f"{found.path.name}: {_words(damage, names)}" for damage in _sorted(found.damages)]
            if unknown:
                self.losses.append(f"{found.path.name}: {unknown} messages of topics whose definition was damaged")
        self.counts = dict(counts)
        if not any(counts.values()):
            raise AutofocusError(
                f"bag {files[0].parent if files else '(none)'}",
                "no whole message in it" + (f" ({'; '.join(self.losses)})" if self.losses else ""),
                "an MCAP with at least one whole chunk",
                "delete it and record again",
            )
        self.topics = list(dict.fromkeys(topic for names in self._names for topic in names.values()))
        self.ros_distro = _distro(self._scans)
        self.start_time = min(block.start_ns for found in self._scans for block in found.blocks if block.counts)
        self.end_time = max(block.end_ns for found in self._scans for block in found.blocks if block.counts) + 1
        self._connections = {topic: self._connection(number, topic) for number, topic in enumerate(self.topics, 1)}

    @property
    def chunked(self) -> bool:
        """Whether all messages are in chunks; rosbags reads others only if they were written by receive stamp."""
        return all(found.chunked for found in self._scans)

    @property
    def compression(self) -> str:
        """How the first chunk is compressed, as BagWriter calls it; "none" for what that does not write."""
        first = next((block.compression for found in self._scans for block in found.blocks), "")
        return first if first == "zstd" else "none"

    @property
    def connections(self) -> list[Connection]:
        """The topics as rosbags has them."""
        return list(self._connections.values())

    def messages(self, connections: Collection[Connection]) -> Iterator[tuple[Connection, int, bytes]]:
        """(connection, receive_ns, raw) of the given connections, by receive stamp."""
        wanted = {topic: connection for topic, connection in self._connections.items() if connection in connections}
        for receive_ns, _, _, connection, _, raw in self._in_order(wanted):
            yield connection, receive_ns, raw

    def raw_messages(self) -> Iterator[RawMessage]:
        """All messages by receive stamp; equal ones as they lie in the files."""
        for receive_ns, _, _, topic, publish_ns, raw in self._in_order({topic: topic for topic in self.topics}):
            yield RawMessage(topic, receive_ns, publish_ns, raw)

    def _in_order(self, wanted: Mapping[RecoveredTopic, _T]) -> Iterator[_Entry[_T]]:
        """The messages of these topics; only chunks whose times overlap are in memory together."""
        channels = [{c: wanted[topic] for c, topic in names.items() if topic in wanted} for names in self._names]
        blocks = sorted(
            (block.start_ns, file, block.offset, block)
            for file, found in enumerate(self._scans)
            for block in found.blocks
            if not channels[file].keys().isdisjoint(block.counts)
        )
        starts = [start_ns for start_ns, *_ in blocks[1:]] + [_NEVER_NS]
        waiting: list[_Entry[_T]] = []  # a heap
        for number, (start_ns, file, _, block) in enumerate(blocks):
            while waiting and waiting[0][0] <= start_ns:
                yield heapq.heappop(waiting)
            entries = self._load(number, file, block, channels[file])
            if not waiting and block.end_ns <= starts[number]:  # the usual case: nothing overlaps
                entries.sort()
                yield from entries
                continue
            for entry in entries:
                heapq.heappush(waiting, entry)
        while waiting:
            yield heapq.heappop(waiting)

    def close(self) -> None:
        """Let go of the files."""
        for handle in self._handles.values():
            os.close(handle)
        self._handles.clear()

    def _load(self, number: int, file: int, block: Block, channels: Mapping[int, _T]) -> list[_Entry[_T]]:
        if file not in self._handles:
            self._handles[file] = os.open(self._scans[file].path, os.O_RDONLY | os.O_CLOEXEC)
        stored = read_at(self._handles[file], block.offset, block.stored)
        plain = plain_bytes(stored, block.compression, block.size, 0)
        if len(plain) != block.size:
            raise DamagedError(f"{self._scans[file].path.name}: changed while it was read")
        return [
            (log_ns, number, offset, channels[channel], publish_ns, self._unzip(plain[offset : offset + size]))
            for channel, log_ns, publish_ns, offset, size in messages(plain, channels)
        ]

    def _unzip(self, raw: bytes) -> bytes:
        return plain_bytes(raw, "zstd", 0, 0) if self._zipped else raw

    def _connection(self, number: int, topic: RecoveredTopic) -> Connection:
        return Connection(
            id=number,
            topic=topic.name,
            msgtype=topic.type,
            msgdef=MessageDefinition(FORMATS.get(topic.msgdef_encoding, MessageDefinitionFormat.NONE), topic.msgdef),
            digest=topic.type_hash,
            msgcount=self.counts.get(topic, 0),
            ext=ConnectionExtRosbag2("cdr", []),
            owner=self,
        )


def _topics_of(found: Scan) -> dict[int, RecoveredTopic]:
    """{channel: topic} of a file; channels without their schema are left out."""
    topics = {}
    for channel in found.channels.values():
        schema = found.schemas.get(channel.schema_id)
        if schema is not None:
            qos, type_hash = (channel.metadata.get(key, "") for key in ("offered_qos_profiles", "topic_type_hash"))
            text = schema.data.decode(errors="replace")
            topics[channel.id] = RecoveredTopic(channel.topic, schema.name, qos, text, schema.encoding, type_hash)
    return topics


def _words(damage: Damage, names: dict[int, RecoveredTopic]) -> str:
    times = ""
    if damage.start_ns is not None and damage.end_ns is not None:
        seconds = (damage.end_ns - damage.start_ns) / 1e9
        times = f", from {damage.start_ns} to {damage.end_ns} ns ({seconds:.3f} s)"
    lost = Counter({names[c].name if c in names else "?": count for c, count in damage.counts.items()})
    messages_lost = ", ".join(f"{count} x {name}" for name, count in sorted(lost.items()))
    behind = "" if damage.behind is None or times else f", behind the chunk at byte {damage.behind}"
    return f"byte {damage.offset}{times}{behind}: {damage.what}" + (f"; lost: {messages_lost}" if messages_lost else "")


def _sorted(damages: list[Damage]) -> list[Damage]:
    return sorted(damages, key=lambda damage: damage.offset)


def _missing_numbers(files: Sequence[Path]) -> list[str]:
    """Names between the first file and the last, as rosbag2 counts them, that are not there."""
    numbered: dict[str, list[int]] = {}
    for file in files:
        match = re.fullmatch(r"(.*_)(\d+)", file.stem)
        if match:
            numbered.setdefault(match[1], []).append(int(match[2]))
    return [
        f"{stem}{number}.mcap"
        for stem, numbers in numbered.items()
        for number in range(max(numbers))
        if number not in numbers
    ]


def _messages_are_compressed(scans: list[Scan]) -> bool:
    texts = [found.metadata for found in scans]
    for folder in {found.path.parent for found in scans}:
        with contextlib.suppress(OSError):
            texts.append((folder / "metadata.yaml").read_text(errors="replace"))
    return any(map(compresses_messages, texts))


def _distro(scans: list[Scan]) -> str:
    """What the metadata record of the first file says; YAML would have to be whole to be parsed."""
    match = re.search(r"^ros_distro: (\w+)$", scans[0].metadata, re.MULTILINE) if scans else None
    return match[1] if match else ""
