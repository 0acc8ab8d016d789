"""One MCAP chunk being put together. Large messages are not copied: the bytes that came in are what is written.

mcap's own writer copies every message three times before the system does; see docs/adr/0010.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

import zstandard
from mcap.opcode import Opcode
from mcap.records import ChunkIndex

from autofocus_core.crc import crc32

#: Messages of at least this size are kept as they came in; smaller ones are cheaper to copy than to keep apart.
BIG_BYTES = 16 << 10
COMPRESSIONS = {"none": "", "zstd": "zstd"}

_MESSAGE = struct.Struct("<BQHIQQ")  # opcode, length, channel, sequence, log_time, publish_time
_MESSAGE_HEAD = _MESSAGE.size - 9
_CHUNK = struct.Struct("<BQQQQII")  # opcode, length, start, end, uncompressed_size, crc, length of the next
_INDEX = struct.Struct("<BQHI")  # opcode, length, channel, bytes of the entries


@dataclass(frozen=True, slots=True)
class Sealed:
    """A chunk as it goes to the file: `head` + `body` + `tail` (the message indexes), to be written at `index`'s
    offset; `body_crc` is the CRC-32 of the whole body."""

    head: bytes
    body: list[bytes | bytearray]
    body_crc: int
    tail: bytes
    index: ChunkIndex

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return self.index.chunk_length + len(self.tail)


@dataclass(slots=True)
class ChunkInHand:
    """Collects records; `seal` gives the chunk. `size`: bytes of the records, uncompressed."""

    size: int = 0
    messages: int = 0
    start_ns: int = 0
    end_ns: int = 0
    _parts: list[bytes | bytearray] = field(default_factory=list)
    _tail: bytearray = field(default_factory=bytearray)
    _entries: dict[int, list[int]] = field(default_factory=dict)  # channel -> log_time, offset, log_time, offset ...

    def add_record(self, record: bytes) -> None:
        """Append a whole schema or channel record."""
        self._tail += record
        self.size += len(record)

    def add_message(self, channel: int, raw: bytes, log_ns: int, publish_ns: int) -> None:
        """Append a message, whose bytes are kept. Raises struct.error for a negative stamp, and changes nothing."""
        if type(raw) is not bytes:
            raw = bytes(raw)  # the caller may change it before it is written
        size = len(raw)
        head = _MESSAGE.pack(Opcode.MESSAGE, _MESSAGE_HEAD + size, channel, 0, log_ns, publish_ns)
        entries = self._entries.get(channel)
        if entries is None:
            entries = self._entries[channel] = []
        entries += (log_ns, self.size)
        if self.messages == 0:
            self.start_ns = self.end_ns = log_ns
        elif log_ns < self.start_ns:
            self.start_ns = log_ns
        elif log_ns > self.end_ns:
            self.end_ns = log_ns
        self.messages += 1
        self._tail += head
        if size < BIG_BYTES:
            self._tail += raw
        else:
            self._parts += (self._tail, raw)
            self._tail = bytearray()
        self.size += _MESSAGE.size + size

    def seal(self, compression: str, offset: int) -> Sealed:
        """The chunk as it will lie at `offset` in the file; `compression` as MCAP names it. The parts stay here."""
        body = [*self._parts, self._tail] if self._tail else list(self._parts)
        if compression == "zstd":
            plain = b"".join(body)
            crc = crc32(plain)
            body = [zstandard.compress(plain)]
            body_crc = crc32(body[0])
        else:
            crc = 0
            for part in body:
                crc = crc32(part, crc)
            body_crc = crc
        name = compression.encode()
        stored = sum(map(len, body))
        length = _CHUNK.size - 9 + len(name) + 8 + stored
        head = _CHUNK.pack(Opcode.CHUNK, length, self.start_ns, self.end_ns, self.size, crc, len(name))
        tail_offset = offset + 9 + length
        tail, offsets = self._message_indexes(tail_offset)
        index = ChunkIndex(
            chunk_length=9 + length,
            chunk_start_offset=offset,
            compression=compression,
            compressed_size=stored,
            message_end_time=self.end_ns,
            message_index_length=len(tail),
            message_index_offsets=offsets,
            message_start_time=self.start_ns,
            uncompressed_size=self.size,
        )
        return Sealed(head + name + struct.pack("<Q", stored), body, body_crc, tail, index)

    def _message_indexes(self, offset: int) -> tuple[bytes, dict[int, int]]:
        records, offsets = bytearray(), {}
        for channel, entries in self._entries.items():
            offsets[channel] = offset + len(records)
            size = 8 * len(entries)
            records += _INDEX.pack(Opcode.MESSAGE_INDEX, 6 + size, channel, size)
            records += struct.pack(f"<{len(entries)}Q", *entries)
        return bytes(records), offsets
