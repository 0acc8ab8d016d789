"""Where the recorders that we compare with put messages: MCAP by the stock writer, or nowhere at all."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
from autofocus_core.messages import definition
from mcap.writer import CompressionType, Writer

from recorder_parts.payloads import Payload
from recorder_parts.workloads import Stream

COUNTERS_SUFFIX = ".npy"


class Sink(Protocol):
    """Where messages go."""

    path: Path

    def write(self, index: int, raw: bytes, receive_ns: int) -> None:
        """One message of the stream with this index."""

    def close(self) -> None:
        """No more will come."""


class McapSink:
    """An MCAP file by the `mcap` package's writer, with rosbag2's settings: chunks with a CRC, not compressed."""

    def __init__(self, path: Path, streams: list[Stream]) -> None:
        self.path = path
        self._file = path.open("wb")
        self._writer = Writer(self._file, compression=CompressionType.NONE)
        self._writer.start(profile="ros2")
        schemas = {type_: self._schema(type_) for type_ in {stream.type for stream in streams}}
        self._channels = [self._writer.register_channel(s.topic, "cdr", schemas[s.type]) for s in streams]

    def _schema(self, type_: str) -> int:
        return self._writer.register_schema(type_, "ros2msg", definition(type_)[0].encode())

    def write(self, index: int, raw: bytes, receive_ns: int) -> None:
        self._writer.add_message(self._channels[index], receive_ns, raw, receive_ns)

    def close(self) -> None:
        self._writer.finish()
        self._file.close()


class NoSink:
    """Notes each message's counter and length and forgets the message; the notes are all that is written."""

    def __init__(self, path: Path, streams: list[Stream]) -> None:
        self.path = path.with_suffix(COUNTERS_SUFFIX)
        self._payloads = [Payload(stream) for stream in streams]
        self._notes: list[tuple[int, int, int]] = []

    def write(self, index: int, raw: bytes, receive_ns: int) -> None:
        self._notes.append((index, self._payloads[index].counter(raw), len(raw)))

    def close(self) -> None:
        np.save(self.path, np.array(self._notes, np.int64).reshape(-1, 3))
