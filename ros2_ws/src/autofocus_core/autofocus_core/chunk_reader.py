"""The chunks of an MCAP file that may be damaged: what is at an offset, and where the next one is."""

from __future__ import annotations

import os
import re
from bisect import bisect_right
from dataclasses import dataclass

from mcap.opcode import Opcode
from mcap.records import ChunkIndex

from autofocus_core.crc import crc32
from autofocus_core.mcap_parse import (
    CHUNK_HEAD_MAX,
    MESSAGE,
    PARSED,
    RECORD,
    ChunkHead,
    Contents,
    DamagedError,
    chunk_head,
    chunk_length,
    contents,
    message_index,
    parse,
    plain_bytes,
)
from autofocus_core.mcap_summary import Summary

_WINDOW_BYTES = 4 << 20
#: What a chunk may begin with: opcode, a length below 2^40, two times, a size below 2^40, a CRC, a compression, and
#: a stored size below 2^40.
_CHUNK_START = re.compile(rb"\x06.{5}\0{3}.{16}.{5}\0{3}.{4}(?:\0{4}|\x03\0{3}lz4|\x04\0{3}zstd).{5}\0{3}", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk whose messages are whole. `problem`: what its head says wrongly; `size`: of its records, plain."""

    head: ChunkHead
    contents: Contents
    size: int
    body_crc: int
    problem: str


def read_at(handle: int, offset: int, count: int) -> bytes:
    """Bytes of a file; fewer at its end."""
    data = os.pread(handle, count, offset)
    while 0 < len(data) < count:
        more = os.pread(handle, count - len(data), offset + len(data))
        if not more:
            break
        data += more
    return data


class ChunkReader:
    """`end`: of the part of the file that may have chunks."""

    def __init__(self, handle: int, size: int) -> None:
        self._handle = handle
        self.end = size
        self._index: dict[int, ChunkIndex] = {}
        self._offsets: list[int] = []

    def use(self, summary: Summary) -> None:
        """Believe this summary: its checksum matches."""
        self.end = summary.data_end
        self._index = summary.chunks
        self._offsets = sorted(summary.chunks)

    def read(self, offset: int, count: int) -> bytes:
        """Bytes of the file; fewer at its end."""
        return read_at(self._handle, offset, count)

    def limit(self, offset: int) -> int:
        """No record that begins at `offset` reaches beyond this."""
        after = bisect_right(self._offsets, offset)
        return self._offsets[after] if after < len(self._offsets) else self.end

    def chunk(self, offset: int) -> Chunk:
        """The chunk at `offset`; raises DamagedError unless its messages are whole."""
        data = self.read(offset, CHUNK_HEAD_MAX)
        why = DamagedError("its head makes no sense")
        for head in self._candidates(data, offset):
            if head.body + head.stored > self.limit(offset):
                why = DamagedError(f"cut off, or a wrong length ({head.stored} bytes)")
                continue
            body = self.read(head.body, head.stored)
            try:
                plain = plain_bytes(body, head.compression, head.size, head.crc)
                inside = contents(plain)
                problem = self._problem(data, offset, head, len(plain), inside)
                if problem and not head.crc:  # nothing vouches for its messages
                    raise DamagedError(problem)
            except DamagedError as error:
                why = error
                continue
            body_crc = head.crc if head.crc and not head.compression else crc32(body)
            return Chunk(head, inside, len(plain), body_crc, problem)
        raise why

    def is_chunk(self, offset: int) -> bool:
        """Whether a whole chunk with a checksum lies at `offset`, whatever its opcode is."""
        try:
            return self.chunk(offset).head.crc != 0
        except DamagedError:
            return False

    def claims(self, offset: int) -> tuple[int | None, int | None, int]:
        """(first stamp, last stamp, offset of the next record) of a damaged chunk, as far as they are known."""
        index = self._index.get(offset)
        if index is not None:
            return index.message_start_time, index.message_end_time, offset + index.chunk_length
        try:
            head = chunk_head(self.read(offset, CHUNK_HEAD_MAX), offset)
        except DamagedError:
            return None, None, offset
        ends = (offset + RECORD.size + head.length, head.body + head.stored)
        return head.start_ns, head.end_ns, next((end for end in ends if self._is_record(end)), offset)

    def resume(self, offset: int, after: int) -> int:
        """Where to go on after damage at `offset`; `after`: where the next record is, if the length there is right."""
        if self._index:
            return after if after > offset and self._is_record(after) else self.limit(offset)
        if after > offset and self._is_record(after):
            return after
        return self._search(offset + 1)

    def _search(self, offset: int) -> int:
        """The next whole chunk from `offset` on, found by its looks and its checksum; the end where there is none."""
        while offset < self.end:
            window = self.read(offset, _WINDOW_BYTES)
            for match in _CHUNK_START.finditer(window):
                at = offset + match.start()
                head = chunk_head(window[match.start() : match.end() + 8], at)
                if head.length == chunk_length(head.compression, head.stored) and self.is_chunk(at):
                    return at
            if len(window) < _WINDOW_BYTES:
                break
            offset += _WINDOW_BYTES - CHUNK_HEAD_MAX
        return self.end

    def _is_record(self, offset: int) -> bool:
        """Whether a record that makes sense begins at `offset`, or the end of the data is there."""
        if offset == self.end:
            return True
        data = self.read(offset, CHUNK_HEAD_MAX)
        if len(data) < RECORD.size:
            return False
        opcode, length = RECORD.unpack_from(data)
        if offset + RECORD.size + length > self.end:
            return False
        try:
            if opcode == Opcode.CHUNK:
                head = chunk_head(data, offset)
                return head.length == chunk_length(head.compression, head.stored)
            if opcode == Opcode.MESSAGE_INDEX:
                message_index(self.read(offset + RECORD.size, length))
                return True
            if opcode in PARSED:
                parse(opcode, self.read(offset + RECORD.size, length))
                return True
        except DamagedError:
            return False
        lengths = {Opcode.DATA_END: length == 4, Opcode.MESSAGE: length >= MESSAGE.size, Opcode.ATTACHMENT: True}
        return lengths.get(opcode, False)

    def _candidates(self, data: bytes, offset: int) -> list[ChunkHead]:
        """Where the bytes of the chunk may be: as the index says; without one, as the head says, and as it would be
        if the one or the other of its two lengths were damaged."""
        try:
            said = chunk_head(data, offset)
        except DamagedError:
            said = None
        index = self._index.get(offset)
        if index is not None:
            body = offset + index.chunk_length - index.compressed_size
            return [
                ChunkHead(
                    length=index.chunk_length - RECORD.size,
                    start_ns=index.message_start_time,
                    end_ns=index.message_end_time,
                    size=index.uncompressed_size,
                    crc=int.from_bytes(data[_CRC_AT : _CRC_AT + 4], "little"),
                    compression=index.compression,
                    stored=index.compressed_size,
                    body=body,
                )
            ]
        if said is None:
            return []
        other = said.length - chunk_length(said.compression, 0)
        return [said] if other in (said.stored,) or other <= 0 else [said, said._replace(stored=other)]

    def _problem(self, data: bytes, offset: int, used: ChunkHead, size: int, inside: Contents) -> str:
        """What the head says that is not so; "" where all is right."""
        try:
            said = chunk_head(data, offset)
        except DamagedError as error:
            return str(error)
        if data[0] != Opcode.CHUNK:
            return f"opcode {data[0]}"
        if said.length != chunk_length(used.compression, used.stored):
            return "length of the record"
        for name, one, other in (
            ("compression", said.compression, used.compression),
            ("stored size", said.stored, used.stored),
            ("size", said.size, size),
            ("start", said.start_ns, used.start_ns),
            ("end", said.end_ns, used.end_ns),
        ):
            if one != other:
                return name
        if (
            offset not in self._index
            and inside.entries
            and (said.start_ns, said.end_ns)
            != (
                inside.start_ns,
                inside.end_ns,
            )
        ):
            return "times"
        return ""


_CRC_AT = RECORD.size + 24
