"""One MCAP file on its way to disk, complete in itself: schemas, channels, chunks with a CRC, index, statistics."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from mcap.writer import CompressionType, Writer

#: rosbag2 and MCAP both suggest this; a lost chunk is then about 0.15 s of a 320x240 camera.
CHUNK_BYTES = 1 << 20
COMPRESSIONS = {"none": CompressionType.NONE, "zstd": CompressionType.ZSTD}


class McapFile:
    """Writes one file. `counts` {channel: messages}, `start_ns`/`end_ns` receive stamps (None while it is empty)."""

    def __init__(self, path: Path, compression: str) -> None:
        """Raises OSError where the file exists already or cannot be made."""
        self.path = path
        self.counts: dict[int, int] = {}
        self.start_ns: int | None = None
        self.end_ns: int | None = None
        self._schemas: dict[str, int] = {}
        self._pending = 0
        self._written = 0
        self._stream = path.open("xb")
        self._writer = Writer(self._stream, chunk_size=CHUNK_BYTES, compression=COMPRESSIONS[compression])
        self._writer.start(profile="ros2", library="autofocus_core")

    @property
    def size(self) -> int:
        """Bytes so far, with those of the chunk in hand."""
        return self._written + self._pending

    def add_schema(self, name: str, encoding: str, text: str) -> int:
        """Declare a message type; gives its id, the same one for the same type."""
        if name not in self._schemas:
            self._schemas[name] = self._writer.register_schema(name, encoding, text.encode())
        return self._schemas[name]

    def add_channel(self, topic: str, schema: int, metadata: dict[str, str]) -> int:
        """Declare a topic of CDR messages; gives its id."""
        return self._writer.register_channel(topic, "cdr", schema, metadata)

    def write(self, channel: int, raw: bytes, log_ns: int, publish_ns: int) -> None:
        """Append a message to the chunk in hand."""
        self._writer.add_message(channel, log_time=log_ns, data=raw, publish_time=publish_ns)
        position = self._stream.tell()
        self._pending = 0 if position > self._written else self._pending + len(raw) + 31
        self._written = position
        self.counts[channel] = self.counts.get(channel, 0) + 1
        self.start_ns = log_ns if self.start_ns is None else min(self.start_ns, log_ns)
        self.end_ns = log_ns if self.end_ns is None else max(self.end_ns, log_ns)

    def flush(self) -> None:
        """Close the chunk in hand and give it to the system."""
        self._writer.flush()
        self._pending = 0
        self._written = self._stream.tell()

    def fileno(self) -> int:
        """The open file's descriptor."""
        return self._stream.fileno()

    def finish(self, metadata: dict[str, str]) -> None:
        """Write the metadata record `rosbag2`, index, statistics and footer; the file stays open, to be synced."""
        self._writer.add_metadata("rosbag2", metadata)
        self._writer.finish()
        self._stream.flush()
        self._pending = 0
        self._written = self._stream.tell()

    def close(self) -> None:
        """Let go of the file; what a full disk does not take is lost."""
        with contextlib.suppress(OSError):
            self._stream.close()

    def handle(self) -> int:
        """Another descriptor of the same file, which may be synced and must be closed."""
        return os.dup(self._stream.fileno())
