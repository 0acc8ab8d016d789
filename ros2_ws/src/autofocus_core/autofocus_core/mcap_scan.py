"""Finding every whole chunk of an MCAP file, and naming what is not: one pass, one chunk in memory at a time.

With an index (a finished file) the index says where the chunks are. Without one (the writer was killed, or the index
is damaged) the records are followed by their lengths, and where a length lies, the next chunk is searched for.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from mcap.opcode import Opcode
from mcap.records import Channel, ChunkIndex, Header, Metadata, Schema

from autofocus_core.chunk_reader import ChunkReader
from autofocus_core.crc import concat, crc32
from autofocus_core.mcap_parse import (
    MAGIC,
    MESSAGE,
    RECORD,
    Contents,
    DamagedError,
    contents,
    message_index,
    parse,
    same_entries,
)
from autofocus_core.mcap_summary import Summary, read_summary

#: Messages outside of chunks are taken together in blocks of about this size.
_RUN_BYTES = 1 << 20
#: Opcodes from here on are private to applications.
_PRIVATE = 0x80


@dataclass(frozen=True, slots=True)
class Block:
    """`stored` bytes at `offset` of the file that hold whole messages: a chunk, or records outside of chunks."""

    offset: int
    stored: int
    compression: str
    size: int
    start_ns: int
    end_ns: int
    counts: dict[int, int]


@dataclass(slots=True)
class Damage:
    """What is wrong at byte `offset`. `counts`: messages lost by it, by channel, as far as they are known; the times
    are those that the chunk claims (None: it is no chunk); `behind`: offset of the chunk before (None: none is)."""

    offset: int
    what: str
    start_ns: int | None = None
    end_ns: int | None = None
    behind: int | None = None
    counts: dict[int, int] = field(default_factory=dict)


@dataclass(slots=True)
class Scan:
    """What one file holds. `finished`: it has an end. `metadata`: newest text of the record `rosbag2`. `chunked`: its
    messages are in chunks."""

    path: Path
    blocks: list[Block] = field(default_factory=list)
    schemas: dict[int, Schema] = field(default_factory=dict)
    channels: dict[int, Channel] = field(default_factory=dict)
    damages: list[Damage] = field(default_factory=list)
    finished: bool = False
    metadata: str = ""
    chunked: bool = True


def scan(path: Path) -> Scan:
    """Read a file from its start to its end; whatever it contains, this ends. Raises OSError for one that is gone."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _Scanner(path, handle).run()
    finally:
        os.close(handle)


class _Scanner:
    def __init__(self, path: Path, handle: int) -> None:
        self.found = Scan(path)
        self._size = os.fstat(handle).st_size
        self._file = ChunkReader(handle, self._size)
        self._index: dict[int, ChunkIndex] = {}
        self._crc = 0  # of the data section so far
        self._ended = False  # the record that ends the data section was met
        self._last: Contents | Damage | None = None  # the last chunk, for the message indexes that follow it
        self._last_offset: int | None = None
        self._runs: list[tuple[Block, int | None]] = []  # and the chunk before
        self._run_start: int | None = None

    def run(self) -> Scan:
        """Do it."""
        summary = self._summary()
        if self._file.read(0, len(MAGIC)) != MAGIC:
            self._damage(0, "the magic bytes at the start are damaged")
        self._crc = crc32(MAGIC)
        offset = len(MAGIC)
        while offset < self._file.end:
            offset = self._record(offset)
        self._end_run(min(offset, self._file.end))
        self._keep_runs(summary)
        if self.found.damages:
            return self.found
        if not self.found.finished:
            self._damage(self._size, "it ends here, without an index: it was not closed, the last moments are missing")
        elif not self._ended:
            self._damage(self._file.end, "the record that ends the data is damaged; no message is")
        return self.found

    def _summary(self) -> Summary | None:
        try:
            summary = read_summary(self._file.read, self._size)
        except DamagedError as error:
            self._damage(self._size, f"the index before this is damaged: {error}")
            self.found.finished = True
            return None
        if summary is not None:
            self.found.finished = True
            self.found.schemas |= summary.schemas
            self.found.channels |= summary.channels
            self._index = summary.chunks
            self._file.use(summary)
            if summary.problem:
                self._damage(self._size - len(MAGIC), summary.problem)
        return summary

    def _record(self, offset: int) -> int:
        """Take the record at `offset`; gives the offset of the next one."""
        if offset in self._index:
            return self._chunk(offset)
        head = self._file.read(offset, RECORD.size)
        if len(head) < RECORD.size:
            return self._lost(offset, offset, "cut off")
        opcode, length = RECORD.unpack(head)
        if opcode == Opcode.CHUNK:
            return self._chunk(offset)
        after = offset + RECORD.size + length
        if after > self._file.limit(offset):
            return self._lost(offset, offset, f"a record of {length} bytes is cut off, or no record")
        try:
            return self._small_record(offset, opcode, after)
        except DamagedError as error:
            return self._lost(offset, after, str(error))

    def _small_record(self, offset: int, opcode: int, after: int) -> int:
        start = offset + RECORD.size
        if opcode == Opcode.MESSAGE and after - start >= MESSAGE.size:
            if self._run_start is None:
                self._run_start = offset
            if after - self._run_start >= _RUN_BYTES:
                self._end_run(after)
            self._add_crc(offset, after)
            return after
        self._end_run(offset)
        if opcode == Opcode.DATA_END and after - start == 4:
            self._data_end(offset, int.from_bytes(self._file.read(start, 4), "little"))
            return self._size
        if opcode in (Opcode.SCHEMA, Opcode.CHANNEL, Opcode.HEADER, Opcode.METADATA):
            self._definition(parse(opcode, self._file.read(start, after - start)))
        elif opcode == Opcode.MESSAGE_INDEX:
            self._message_index(offset, *message_index(self._file.read(start, after - start)))
        elif opcode != Opcode.ATTACHMENT and (opcode < _PRIVATE or not self.found.finished):
            raise DamagedError(f"a record that does not belong here (opcode {opcode})")
        self._add_crc(offset, after)
        return after

    def _definition(self, record: Schema | Channel | Header | Metadata) -> None:
        if isinstance(record, Schema):
            self.found.schemas.setdefault(record.id, record)
        elif isinstance(record, Channel):
            self.found.channels.setdefault(record.id, record)
        elif isinstance(record, Metadata) and record.name == "rosbag2":
            self.found.metadata = record.metadata.get("serialized_metadata", "")

    def _data_end(self, offset: int, stored: int) -> None:
        self._ended = True
        if stored and stored != self._crc and not self.found.damages:
            what = "the checksum of the whole file does not match; no chunk is damaged, so a header or metadata is"
            self._damage(offset, what)

    def _message_index(self, offset: int, channel: int, entries: bytes) -> None:
        if isinstance(self._last, Damage):
            self._last.counts[channel] = len(entries) // 16
        elif self._last is not None and not same_entries(self._last.entries.get(channel, []), entries):
            self._damage(offset, "the message index is damaged; the messages are whole")
        elif self._last is None and not self.found.damages:
            self._damage(offset, "a message index without a chunk")

    def _chunk(self, offset: int) -> int:
        self._end_run(offset)
        try:
            chunk = self._file.chunk(offset)
        except DamagedError as error:
            return self._lost_chunk(offset, str(error))
        head, inside = chunk.head, chunk.contents
        self.found.schemas |= {key: value for key, value in inside.schemas.items() if key not in self.found.schemas}
        self.found.channels |= {key: value for key, value in inside.channels.items() if key not in self.found.channels}
        self.found.blocks.append(
            Block(head.body, head.stored, head.compression, chunk.size, inside.start_ns, inside.end_ns, inside.counts)
        )
        if chunk.problem:
            what = f"the head of this chunk is damaged ({chunk.problem}); its messages are whole"
            self._damage(offset, what, inside.start_ns, inside.end_ns)
        self._add_crc(offset, head.body)
        self._crc = concat(self._crc, chunk.body_crc, head.stored)
        self._last, self._last_offset = inside, offset
        return head.body + head.stored

    def _lost_chunk(self, offset: int, why: str) -> int:
        start_ns, end_ns, after = self._file.claims(offset)
        damage = self._damage(offset, f"chunk: {why}", start_ns, end_ns)
        # What has no head may be another record; what follows it belongs to we do not know what.
        self._last = damage if start_ns is not None else None
        self._last_offset = offset if start_ns is not None else self._last_offset
        return self._file.resume(offset, after)

    def _lost(self, offset: int, after: int, why: str) -> int:
        """Nothing makes sense at `offset`; `after`: where the next record would be. Gives where to go on."""
        self._end_run(offset)
        if self._file.is_chunk(offset):  # but for its opcode
            return self._chunk(offset)
        resume = self._file.resume(offset, after)
        self._damage(offset, f"{why}; {resume - offset} bytes left out")
        return resume

    def _end_run(self, stop: int) -> None:
        """Messages outside of chunks, up to `stop`, become a block."""
        if self._run_start is None:
            return
        start, self._run_start = self._run_start, None
        inside = contents(self._file.read(start, stop - start))
        size = stop - start
        block = Block(start, size, "", size, inside.start_ns, inside.end_ns, inside.counts)
        self._runs.append((block, self._last_offset))

    def _keep_runs(self, summary: Summary | None) -> None:
        """Nobody writes messages both in chunks and outside: in a file with chunks they are damaged other records."""
        chunked = self.found.blocks or (summary and summary.statistics and summary.statistics.chunk_count)
        if not chunked:
            self.found.blocks = [run for run, _ in self._runs]
            self.found.chunked = not self._runs
            return
        for run, behind in self._runs:
            self._last_offset = behind
            self._damage(run.offset, "a message outside of the chunks, left out: another record that is damaged")

    def _damage(self, offset: int, what: str, start_ns: int | None = None, end_ns: int | None = None) -> Damage:
        damage = Damage(offset, what, start_ns, end_ns, self._last_offset)
        self.found.damages.append(damage)
        return damage

    def _add_crc(self, start: int, stop: int) -> None:
        for offset in range(start, stop, _RUN_BYTES):
            self._crc = crc32(self._file.read(offset, min(_RUN_BYTES, stop - offset)), self._crc)
