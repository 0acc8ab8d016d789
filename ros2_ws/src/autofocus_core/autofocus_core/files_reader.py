"""The MCAP files of one bag as one: rosbags reads each of them, this puts them in order.

rosbags reads the files of a directory one after the other, whatever their times, and leaves out, without a word, the
topics of a file whose type or QoS metadata.yaml spells differently.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from rosbags.interfaces import Connection
from rosbags.rosbag2 import Reader

from autofocus_core.mcap_summary import check_summary


class _Part(NamedTuple):
    reader: Reader
    start_ns: int
    end_ns: int


class FilesReader:
    """Has the part of the rosbags reader's face that Bag uses: `connections`, `start_time`, `end_time` (exclusive)."""

    def __init__(self, files: Sequence[Path], ros_distro: str) -> None:
        """Raises ReaderError or another error of rosbags, or DamagedError, for files that are not whole."""
        self.ros_distro = ros_distro
        self._parts: list[_Part] = []
        self._merged: dict[tuple[str, str], Connection] = {}  # (topic, type)
        with ExitStack() as stack:
            for file in files:
                check_summary(file)  # of a few bytes, before rosbags believes them
                reader = Reader(file)
                reader.open()
                stack.callback(reader.close)
                self._add(reader)
            self._files = stack.pop_all()
        self._parts.sort(key=lambda part: part.start_ns)
        self.start_time = min((part.start_ns for part in self._parts), default=0)
        self.end_time = max((part.end_ns for part in self._parts), default=0)

    @property
    def connections(self) -> list[Connection]:
        """The topics of all files, with the messages of all files."""
        return list(self._merged.values())

    def messages(self, connections: Collection[Connection]) -> Iterator[tuple[Connection, int, bytes]]:
        """(connection, receive_ns, raw) of the given connections, by receive stamp over all files."""
        wanted = {(c.topic, c.msgtype) for c in connections}
        for group in _overlapping(self._parts):
            streams = [self._messages(part.reader, wanted) for part in group]
            yield from streams[0] if len(streams) == 1 else heapq.merge(*streams, key=lambda found: found[1])

    def close(self) -> None:
        """Let go of the files."""
        self._files.close()

    def _add(self, reader: Reader) -> None:
        for connection in reader.connections:
            key = (connection.topic, connection.msgtype)
            known = self._merged.get(key)
            if known is None:
                self._merged[key] = connection._replace(id=len(self._merged) + 1, owner=self)
            else:
                self._merged[key] = known._replace(msgcount=known.msgcount + connection.msgcount)
        if reader.message_count:
            self._parts.append(_Part(reader, reader.start_time, reader.end_time))

    def _messages(self, reader: Reader, wanted: set[tuple[str, str]]) -> Iterator[tuple[Connection, int, bytes]]:
        own = [c for c in reader.connections if (c.topic, c.msgtype) in wanted]
        if own:  # rosbags takes no connections for all
            for connection, receive_ns, raw in reader.messages(own):
                yield self._merged[connection.topic, connection.msgtype], receive_ns, raw


def _overlapping(parts: Sequence[_Part]) -> Iterator[list[_Part]]:
    """Groups of parts (sorted by start) whose times overlap; within a bag of one recorder these are single files."""
    group: list[_Part] = []
    for part in parts:
        if group and part.start_ns >= max(p.end_ns for p in group):
            yield group
            group = []
        group.append(part)
    if group:
        yield group
