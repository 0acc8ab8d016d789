"""The summary section of an MCAP file: where the chunks are, what they hold, and whether it is whole."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.records import Channel, ChunkIndex, Schema, Statistics

from autofocus_core.crc import crc32
from autofocus_core.mcap_parse import MAGIC, RECORD, DamagedError, parse

_FOOTER = struct.Struct("<BQQQI")  # opcode, length, summary_start, summary_offset_start, summary_crc
_TAIL = _FOOTER.size + len(MAGIC)
_NO_CRC = _FOOTER.size - 4
#: Bytes of the record that ends the data section.
DATA_END_BYTES = RECORD.size + 4

Read = Callable[[int, int], bytes]


@dataclass(slots=True)
class Summary:
    """`data_end`: end of the data section; `chunks` {offset: index}; `problem`: damage that left the rest usable."""

    data_end: int
    chunks: dict[int, ChunkIndex] = field(default_factory=dict)
    schemas: dict[int, Schema] = field(default_factory=dict)
    channels: dict[int, Channel] = field(default_factory=dict)
    statistics: Statistics | None = None
    problem: str = ""


def read_summary(read: Read, size: int) -> Summary | None:
    """The summary of a file of `size` bytes; None where the file has no end (it was cut, or its writer killed).

    `read(offset, count)` gives bytes of the file. Raises DamagedError for an end that is there and damaged.
    """
    if size < len(MAGIC) + _TAIL:
        return None
    tail = read(size - _TAIL, _TAIL)
    opcode, length, start, _, crc = _FOOTER.unpack_from(tail)
    footer_ok = (opcode, length) == (Opcode.FOOTER, _FOOTER.size - RECORD.size)
    magic_ok = tail[-len(MAGIC) :] == MAGIC
    if not footer_ok and not magic_ok:
        return None
    if not footer_ok:
        raise DamagedError("the footer is damaged")
    end = size - _TAIL
    if start and not len(MAGIC) <= start - DATA_END_BYTES <= end:
        raise DamagedError("the footer points outside of the file")
    section = read(start, end - start) if start else b""
    if crc and crc32(tail[:_NO_CRC], crc32(section)) != crc:
        raise DamagedError("its checksum does not match")
    summary = Summary(data_end=start or end)
    _parse(section, summary)
    if not magic_ok:
        summary.problem = "the magic bytes at the end are damaged"
    return summary


def _parse(section: bytes, summary: Summary) -> None:
    offset = 0
    while offset < len(section):
        if offset + RECORD.size > len(section):
            raise DamagedError("half a record at its end")
        opcode, length = RECORD.unpack_from(section, offset)
        body = section[offset + RECORD.size : offset + RECORD.size + length]
        offset += RECORD.size + length
        if len(body) != length:
            raise DamagedError("a record that is longer than it")
        try:
            if opcode == Opcode.CHUNK_INDEX:
                index = ChunkIndex.read(ReadDataStream(BytesIO(body)))
                summary.chunks[index.chunk_start_offset] = index
            elif opcode == Opcode.STATISTICS:
                summary.statistics = Statistics.read(ReadDataStream(BytesIO(body)))
            elif opcode in (Opcode.SCHEMA, Opcode.CHANNEL):
                record = parse(opcode, body)
                if isinstance(record, Schema):
                    summary.schemas[record.id] = record
                elif isinstance(record, Channel):
                    summary.channels[record.id] = record
        except (McapError, struct.error) as error:
            raise DamagedError(f"a record that makes no sense ({error!r})") from error


def check_summary(path: Path) -> None:
    """Raise DamagedError where the ends of a file are not whole: readers trust the summary without looking."""
    with path.open("rb") as stream:
        if stream.read(len(MAGIC)) != MAGIC:
            raise DamagedError(f"{path.name}: the magic bytes at the start are damaged, or it is no MCAP")
        head = stream.read(RECORD.size)
        if len(head) == RECORD.size and RECORD.unpack(head)[1] > path.stat().st_size:
            raise DamagedError(f"{path.name}: the header is damaged")

        def read(offset: int, count: int) -> bytes:
            stream.seek(offset)
            return stream.read(count)

        try:
            summary = read_summary(read, stream.seek(0, 2))
        except DamagedError as error:
            raise DamagedError(f"{path.name}: index: {error}") from error
    if summary is None or summary.problem:
        raise DamagedError(f"{path.name}: {summary.problem if summary else 'it has no end: it was cut or not closed'}")
