"""The pieces of an MCAP file, read without trusting them: every length is checked before it is used."""

from __future__ import annotations

import struct
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from typing import NamedTuple

import lz4.frame
import zstandard
from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.records import Channel, Header, Metadata, Schema

from autofocus_core.crc import crc32

MAGIC = b"\x89MCAP0\r\n"
RECORD = struct.Struct("<BQ")  # opcode, length of what follows
MESSAGE = struct.Struct("<HIQQ")  # channel, sequence, log_time, publish_time
_CHUNK_HEAD = struct.Struct("<QQQII")  # start, end, uncompressed size, crc, length of the name of the compression
#: Bytes of a chunk record that are enough for its head.
CHUNK_HEAD_MAX = RECORD.size + _CHUNK_HEAD.size + 4 + 8
#: Memory that a damaged size may make us ask for.
MAX_PLAIN_BYTES = 4 << 30
_COMPRESSIONS = {0: b"", 3: b"lz4", 4: b"zstd"}
_PARSERS = {Opcode.SCHEMA: Schema, Opcode.CHANNEL: Channel, Opcode.HEADER: Header, Opcode.METADATA: Metadata}


class DamagedError(ValueError):
    """These bytes are not what they ought to be; the text says in which way."""


class ChunkHead(NamedTuple):
    """What stands before the bytes of a chunk. `body`: where these begin, `stored`: how many there are; `length`:
    of the record, as it says itself."""

    length: int
    start_ns: int
    end_ns: int
    size: int
    crc: int
    compression: str
    stored: int
    body: int


@dataclass(slots=True)
class Contents:
    """What a block holds. `entries` {channel: [log_time, offset, log_time, offset ...]}, as in its message index."""

    entries: dict[int, list[int]] = field(default_factory=dict)
    schemas: dict[int, Schema] = field(default_factory=dict)
    channels: dict[int, Channel] = field(default_factory=dict)
    start_ns: int = 0
    end_ns: int = 0

    @property
    def counts(self) -> dict[int, int]:
        """Messages by channel."""
        return {channel: len(entries) // 2 for channel, entries in self.entries.items()}


def chunk_head(data: bytes, offset: int) -> ChunkHead:
    """The head of the chunk record that `data` begins with; `offset`: where that is in the file."""
    try:
        _, length = RECORD.unpack_from(data)
        start_ns, end_ns, size, crc, name_length = _CHUNK_HEAD.unpack_from(data, RECORD.size)
        name_at = RECORD.size + _CHUNK_HEAD.size
        if name_length not in _COMPRESSIONS or data[name_at : name_at + name_length] != _COMPRESSIONS[name_length]:
            raise DamagedError("unknown compression")
        (stored,) = struct.unpack_from("<Q", data, name_at + name_length)
    except struct.error as error:
        raise DamagedError("cut off") from error
    name = _COMPRESSIONS[name_length].decode()
    return ChunkHead(length, start_ns, end_ns, size, crc, name, stored, offset + name_at + name_length + 8)


def chunk_length(compression: str, stored: int) -> int:
    """What the length of a chunk record ought to be."""
    return _CHUNK_HEAD.size + len(compression) + 8 + stored


def plain_bytes(body: bytes, compression: str, size: int, crc: int) -> bytes:
    """The records of a chunk. `size`: how many bytes the head says they are; `crc` 0: it has none."""
    try:
        if compression == "zstd":
            known = zstandard.get_frame_parameters(body).content_size
            if known != size and known not in (zstandard.CONTENTSIZE_UNKNOWN, zstandard.CONTENTSIZE_ERROR):
                size = known  # the checksum decides which of the two is right
            _check_size(size)
            plain = zstandard.ZstdDecompressor().decompress(body, max_output_size=size, allow_extra_data=False)
        elif compression == "lz4":
            _check_size(size)
            frame = lz4.frame.LZ4FrameDecompressor()
            plain = frame.decompress(body, max_length=size)
            if frame.unused_data:
                raise ValueError("bytes behind its end")
        else:
            plain = body
    except (zstandard.ZstdError, RuntimeError, ValueError, EOFError, MemoryError) as error:
        raise DamagedError(f"cannot be decompressed ({error})") from error
    if crc and crc32(plain) != crc:
        raise DamagedError("checksum does not match")
    return plain


def _check_size(size: int) -> None:
    if size > MAX_PLAIN_BYTES:
        raise DamagedError(f"says that it has {size} bytes")


def contents(plain: bytes) -> Contents:
    """Walk over the records of a block; raises DamagedError where a length does not fit."""
    found = Contents()
    entries, first = found.entries, True
    offset, end = 0, len(plain)
    while offset < end:
        if offset + RECORD.size > end:
            raise DamagedError("half a record at its end")
        opcode, length = RECORD.unpack_from(plain, offset)
        start, after = offset + RECORD.size, offset + RECORD.size + length
        if after > end:
            raise DamagedError("a record that is longer than it")
        if opcode == Opcode.MESSAGE:
            if length < MESSAGE.size:
                raise DamagedError("a message that is too short")
            channel, _, log_ns, _ = MESSAGE.unpack_from(plain, start)
            if channel in entries:
                entries[channel] += (log_ns, offset)
            else:
                entries[channel] = [log_ns, offset]
            if first:
                found.start_ns, found.end_ns, first = log_ns, log_ns, False
            elif log_ns < found.start_ns:
                found.start_ns = log_ns
            elif log_ns > found.end_ns:
                found.end_ns = log_ns
        elif opcode in (Opcode.SCHEMA, Opcode.CHANNEL):
            definition = parse(opcode, plain[start:after])
            if isinstance(definition, Schema):
                found.schemas[definition.id] = definition
            elif isinstance(definition, Channel):
                found.channels[definition.id] = definition
        offset = after
    return found


def messages(plain: bytes, channels: Container[int]) -> Iterator[tuple[int, int, int, int, int]]:
    """(channel, log_ns, publish_ns, offset, size) of the messages of the given channels, as they lie in a block that
    :func:`contents` has found sound; the payload is `plain[offset : offset + size]`."""
    offset, end = 0, len(plain)
    while offset < end:
        opcode, length = RECORD.unpack_from(plain, offset)
        start = offset + RECORD.size
        if opcode == Opcode.MESSAGE:
            channel, _, log_ns, publish_ns = MESSAGE.unpack_from(plain, start)
            if channel in channels:
                yield channel, log_ns, publish_ns, start + MESSAGE.size, length - MESSAGE.size
        offset = start + length


#: Opcodes of the records that :func:`parse` knows.
PARSED = frozenset(map(int, _PARSERS))


def parse(opcode: int, body: bytes) -> Schema | Channel | Header | Metadata:
    """A record without its head; raises DamagedError unless it fills its length exactly."""
    kind = _PARSERS[Opcode(opcode)]
    stream = ReadDataStream(BytesIO(body))
    try:
        record = kind.read(stream)
    except (McapError, struct.error, ValueError) as error:
        raise DamagedError(f"no {kind.__name__.lower()} ({error!r})") from error
    # The library takes what it gets where a length says more than there is, so its own count proves nothing.
    if stream.count != len(body) or _length(record) != len(body):
        raise DamagedError(f"a {kind.__name__.lower()} of another length than it says")
    return record


def _length(record: Schema | Channel | Header | Metadata) -> int:
    if isinstance(record, Schema):
        return 2 + 4 + len(record.name.encode()) + 4 + len(record.encoding.encode()) + 4 + len(record.data)
    if isinstance(record, Header):
        return 8 + len(record.profile.encode()) + len(record.library.encode())
    pairs = sum(8 + len(key.encode()) + len(value.encode()) for key, value in record.metadata.items())
    if isinstance(record, Channel):
        return 4 + 4 + len(record.topic.encode()) + 4 + len(record.message_encoding.encode()) + 4 + pairs
    return 4 + len(record.name.encode()) + 4 + pairs


def message_index(body: bytes) -> tuple[int, bytes]:
    """(channel, its entries as bytes) of a message index record without its head."""
    if len(body) < 6:
        raise DamagedError("a message index that is too short")
    channel, size = struct.unpack_from("<HI", body)
    if size != len(body) - 6 or size % 16:
        raise DamagedError("a message index of another length than it says")
    return channel, body[6:]


def same_entries(entries: list[int], stored: bytes) -> bool:
    """Whether a message index (bytes) says what the chunk holds; writers may sort it."""
    if len(stored) != 8 * len(entries):
        return False
    if struct.pack(f"<{len(entries)}Q", *entries) == stored:
        return True
    pairs = sorted(zip(entries[::2], entries[1::2], strict=True))
    return sorted(struct.iter_unpack("<QQ", stored)) == pairs
