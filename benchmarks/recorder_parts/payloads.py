"""Messages serialised once; before each publishing, only the stamp and the counter are written into them.

The counter is at a fixed place of each payload: the first 8 bytes of an image's pixels, the first effort of a
JointState. So the reader of a bag knows for each message whether it is there, without deserialising anything.
"""

from __future__ import annotations

import struct

import numpy as np
from autofocus_core.messages import message_class, serialize

from recorder_parts.workloads import JOINTS, Stream

_STAMP = struct.Struct("<iI")
_STAMP_OFFSET = 4  # after the encapsulation header
_INTEGER, _REAL = struct.Struct("<Q"), struct.Struct("<d")
_MARK_INTEGER, _MARK_REAL = 0x5AFE_C0DE_1234_5678, 1.2345678e300
NS_PER_S = 1_000_000_000


class Payload:
    """The CDR bytes of one stream's message, with the places of stamp and counter."""

    def __init__(self, stream: Stream) -> None:
        raw, self._number, mark = _image(stream) if stream.width_px else _joints()
        self._offset = raw.index(self._number.pack(mark))
        self._buffer = bytearray(raw)

    def __len__(self) -> int:
        return len(self._buffer)

    def message(self, stamp_ns: int, counter: int) -> bytes:
        """The bytes to publish."""
        _STAMP.pack_into(self._buffer, _STAMP_OFFSET, *divmod(stamp_ns, NS_PER_S))
        self._number.pack_into(self._buffer, self._offset, counter)
        return bytes(self._buffer)

    def counter(self, raw: bytes | memoryview) -> int:
        """The counter in a message of this stream."""
        return int(self._number.unpack_from(raw, self._offset)[0])


def _header(frame: str) -> object:
    time = message_class("builtin_interfaces/msg/Time")(0, 0)
    return message_class("std_msgs/msg/Header")(time, frame)


def _image(stream: Stream) -> tuple[bytes, struct.Struct, int]:
    # Noise: nothing on the way may profit from pages or pixels that are all alike.
    pixels = np.random.default_rng(0).integers(0, 256, stream.pixel_bytes, np.uint8)
    pixels[:8] = np.frombuffer(_INTEGER.pack(_MARK_INTEGER), np.uint8)
    step = stream.pixel_bytes // stream.height_px
    image = message_class(stream.type)(
        _header("camera_color_optical_frame"), stream.height_px, stream.width_px, stream.encoding, 0, step, pixels
    )
    return serialize(image, stream.type), _INTEGER, _MARK_INTEGER


def _joints() -> tuple[bytes, struct.Struct, float]:
    zeros = np.zeros(len(JOINTS))
    effort = zeros.copy()
    effort[0] = _MARK_REAL
    name = "sensor_msgs/msg/JointState"
    joints = message_class(name)(_header("base_link"), list(JOINTS), zeros, zeros, effort)
    return serialize(joints, name), _REAL, _MARK_REAL
