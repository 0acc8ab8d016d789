"""One MCAP file on its way to disk, complete in itself: schemas, channels, chunks with a CRC, index, statistics."""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

from mcap.data_stream import RecordBuilder
from mcap.opcode import Opcode
from mcap.records import (
    Channel,
    ChunkIndex,
    DataEnd,
    Footer,
    Header,
    McapRecord,
    Metadata,
    MetadataIndex,
    Schema,
    Statistics,
    SummaryOffset,
)
from mcap.writer import MCAP0_MAGIC

from autofocus_core.crc import concat, crc32
from autofocus_core.mcap_chunk import COMPRESSIONS, ChunkInHand, Sealed

#: rosbag2 and MCAP both suggest this; a lost chunk is then about 0.15 s of a 320x240 camera.
CHUNK_BYTES = 1 << 20
#: Schemas and channels are repeated in the second chunk, and again whenever the file has doubled or grown by this: so a
#: file without an index (its recorder was killed) can be read even if its first chunk is damaged.
REPEAT_BYTES = 64 << 20
METADATA_NAME = "rosbag2"


class McapFile:
    """Writes one file. `counts` {channel: messages}, `start_ns`/`end_ns` receive stamps (None while it is empty).

    A write that fails (a full disk) raises OSError, takes back what it had written of the chunk and keeps the chunk:
    the file always ends with a whole record, and another flush tries again.
    """

    def __init__(self, path: Path, compression: str, metadata: Mapping[str, str]) -> None:
        """`metadata`: of the record `rosbag2`, so far. Raises OSError where the file exists or cannot be made."""
        self.path = path
        self.counts: dict[int, int] = {}
        self.start_ns: int | None = None
        self.end_ns: int | None = None
        self._compression = COMPRESSIONS[compression]
        self._handle: int | None = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        self._position = 0
        self._crc = 0  # of everything up to _position
        self._schemas: dict[str, Schema] = {}
        self._channels: dict[int, Channel] = {}
        self._chunks: list[ChunkIndex] = []
        self._metadata: list[MetadataIndex] = []
        self._chunk = ChunkInHand()
        self._repeat_at = 0
        try:
            self._put([MCAP0_MAGIC, _record(Header("ros2", "autofocus_core"))])
            self._put_metadata(metadata)
        except OSError:
            self.remove()
            raise

    @property
    def size(self) -> int:
        """Bytes so far, with those of the chunk in hand."""
        return self._position + (self._chunk.size if self._chunk.messages else 0)

    def add_schema(self, name: str, encoding: str, text: str) -> int:
        """Declare a message type; gives its id, the same one for the same type."""
        schema = self._schemas.get(name)
        if schema is None:
            schema = Schema(id=len(self._schemas) + 1, name=name, encoding=encoding, data=text.encode())
            self._schemas[name] = schema
            self._chunk.add_record(_record(schema))
        return schema.id

    def add_channel(self, topic: str, schema: int, metadata: dict[str, str]) -> int:
        """Declare a topic of CDR messages; gives its id."""
        channel = Channel(
            id=len(self._channels) + 1, topic=topic, message_encoding="cdr", metadata=metadata, schema_id=schema
        )
        self._channels[channel.id] = channel
        self._chunk.add_record(_record(channel))
        return channel.id

    def write(self, channel: int, raw: bytes, log_ns: int, publish_ns: int) -> None:
        """Append a message to the chunk in hand."""
        self._chunk.add_message(channel, raw, log_ns, publish_ns)
        self.counts[channel] = self.counts.get(channel, 0) + 1
        if self.start_ns is None or self.end_ns is None:
            self.start_ns = self.end_ns = log_ns
        elif log_ns > self.end_ns:
            self.end_ns = log_ns
        elif log_ns < self.start_ns:
            self.start_ns = log_ns
        if self._chunk.size >= CHUNK_BYTES:
            self.flush()

    def flush(self) -> None:
        """Close the chunk in hand, if it has messages, and give it to the system."""
        if not self._chunk.messages:
            return
        sealed = self._chunk.seal(self._compression, self._position)
        self._put_chunk(sealed)
        self._chunks.append(sealed.index)
        self._chunk = ChunkInHand()
        if self._position >= self._repeat_at:
            self._repeat_at = min(2 * self._position, self._position + REPEAT_BYTES)
            for record in (*self._schemas.values(), *self._channels.values()):
                self._chunk.add_record(_record(record))

    def finish(self, metadata: Mapping[str, str]) -> None:
        """Write the metadata record, index, statistics and footer; the file stays open, to be synced.

        After an OSError it may be called again.
        """
        self.flush()
        self._put_metadata(metadata)
        end = _record(DataEnd(self._crc))
        summary_start = self._position + len(end)
        summary, offsets = b"", b""
        for opcode, records in self._summary_groups():
            group = b"".join(map(_record, records))
            if group:
                start = summary_start + len(summary)
                offsets += _record(SummaryOffset(group_opcode=opcode, group_start=start, group_length=len(group)))
                summary += group
        footer = struct.pack("<BQQQ", Opcode.FOOTER, 20, summary_start, summary_start + len(summary))
        summary_crc = crc32(footer, crc32(summary + offsets))
        footer_record = _record(Footer(summary_start, summary_start + len(summary), summary_crc))
        self._put([end, summary, offsets, footer_record, MCAP0_MAGIC])

    def _summary_groups(self) -> Sequence[tuple[Opcode, Sequence[McapRecord]]]:
        """What the summary section repeats or sums up, in the usual order."""
        statistics = Statistics(
            attachment_count=0,
            channel_count=len(self._channels),
            channel_message_counts=self.counts,
            chunk_count=len(self._chunks),
            message_count=sum(self.counts.values()),
            message_end_time=self.end_ns or 0,
            message_start_time=self.start_ns or 0,
            metadata_count=len(self._metadata),
            schema_count=len(self._schemas),
        )
        return (
            (Opcode.SCHEMA, list(self._schemas.values())),
            (Opcode.CHANNEL, list(self._channels.values())),
            (Opcode.STATISTICS, [statistics]),
            (Opcode.CHUNK_INDEX, self._chunks),
            (Opcode.METADATA_INDEX, self._metadata),
        )

    def fileno(self) -> int:
        """The open file's descriptor."""
        if self._handle is None:
            raise ValueError(f"{self.path} is closed")
        return self._handle

    def close(self) -> None:
        """Let go of the file."""
        if self._handle is not None:
            with contextlib.suppress(OSError):  # errors of writing are reported by fsync
                os.close(self._handle)
            self._handle = None

    def remove(self) -> None:
        """Take back a file that was begun just now."""
        self.close()
        self.path.unlink()

    def _put_metadata(self, metadata: Mapping[str, str]) -> None:
        record = _record(Metadata(METADATA_NAME, dict(metadata)))
        offset = self._position
        self._put([record])
        self._metadata.append(MetadataIndex(offset=offset, length=len(record), name=METADATA_NAME))

    def _put_chunk(self, sealed: Sealed) -> None:
        self._put_at_end([sealed.head, *sealed.body, sealed.tail])
        # The body's CRC is known already: the data section's is put together, not computed from the bytes again.
        stored = sealed.index.compressed_size
        self._crc = concat(crc32(sealed.head, self._crc), sealed.body_crc, stored)
        self._crc = crc32(sealed.tail, self._crc)

    def _put(self, pieces: Sequence[bytes]) -> None:
        self._put_at_end(pieces)
        for piece in pieces:
            self._crc = crc32(piece, self._crc)

    def _put_at_end(self, pieces: Sequence[bytes | bytearray]) -> None:
        """Write all of it or, with an OSError, nothing."""
        offset = self._position
        rest = [part for piece in pieces for part in _slices(piece)]
        try:
            while rest:
                written = os.pwritev(self.fileno(), _at_once(rest), offset)
                offset += written
                while rest and written >= len(rest[0]):
                    written -= len(rest.pop(0))
                if written:
                    rest[0] = rest[0][written:]
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self.fileno(), self._position)
            raise
        self._position = offset


_MOST_PIECES = 1024  # IOV_MAX
#: One write of a 2.7 MB image costs the system up to three times the CPU of three writes (ext4, measured).
_MOST_BYTES = 1 << 20


def _slices(piece: bytes | bytearray) -> list[memoryview]:
    view = memoryview(piece)
    return [view[i : i + _MOST_BYTES] for i in range(0, len(view), _MOST_BYTES)]


def _at_once(parts: Sequence[memoryview]) -> list[memoryview]:
    """As many of the parts as one write takes: the first, and more up to the limit of bytes."""
    taken, total = [], 0
    for part in parts[:_MOST_PIECES]:
        total += len(part)
        if taken and total > _MOST_BYTES:
            break
        taken.append(part)
    return taken


def _record(record: McapRecord) -> bytes:
    builder = RecordBuilder()
    record.write(builder)
    return builder.end()
