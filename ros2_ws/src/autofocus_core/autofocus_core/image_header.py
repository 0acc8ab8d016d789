"""What a JPEG or PNG says of itself, read before anything is decoded: a few bytes can ask for gigabytes."""

from __future__ import annotations

import struct

JPEG_MAGIC, PNG_MAGIC = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
#: Markers that begin a frame and hold its size (ITU-T T.81, table B.1): SOF0 to SOF15 without DHT, JPG and DAC.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ALONE = frozenset(range(0xD0, 0xD9)) | {0x01}  # markers without a length


def image_size_px(data: bytes | memoryview) -> tuple[int, int] | None:
    """(width, height) in px that the head of a JPEG or PNG names; None for other data, and where it names none."""
    data = memoryview(data)
    if bytes(data[:3]) == JPEG_MAGIC:
        return _jpeg_size_px(data)
    if bytes(data[:8]) == PNG_MAGIC and len(data) >= 24 and bytes(data[12:16]) == b"IHDR":
        width, height = struct.unpack_from(">II", data, 16)
        return width, height
    return None


def jpeg_scans(data: bytes) -> int:
    """Scans of a JPEG: a progressive one has about ten. Each of them costs a pass over all of its pixels."""
    return data.count(b"\xff\xda")


def png_chunks_fit(data: bytes | memoryview) -> bool:
    """Whether every chunk of a PNG ends within it. OpenCV takes as much memory as a chunk's length claims, up to 4 GB,
    before it looks whether there is as much to read."""
    data, at = memoryview(data), len(PNG_MAGIC)
    while at + 12 <= len(data):  # length, type, content, CRC
        length, kind = struct.unpack_from(">I4s", data, at)
        at += 12 + length
        if kind == b"IEND":
            break
    return at <= len(data)


def _jpeg_size_px(data: memoryview) -> tuple[int, int] | None:
    at = 2
    while at + 9 <= len(data):
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
        elif marker in _ALONE:
            at += 2
        elif marker in _FRAMES:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        else:
            length = struct.unpack_from(">H", data, at + 2)[0]
            if length < 2:
                return None
            at += 2 + length
    return None
