"""The Linux joystick API (/dev/input/js0): events to axes and buttons, as joy_linux turns them into sensor_msgs/Joy."""

from __future__ import annotations

import array
import contextlib
import errno
import fcntl
import os
import select
import struct
from collections.abc import Iterator

#: struct js_event of linux/joystick.h: time ms u32, value s16, type u8, number u8.
_EVENT = struct.Struct("=IhBB")
_BUTTON, _AXIS, _INIT = 0x01, 0x02, 0x80
_FULL = 32767.0
#: ioctls of linux/joystick.h: how many axes and buttons the device has.
_JSIOCGAXES, _JSIOCGBUTTONS = 0x80016A11, 0x80016A12


class JoystickState:
    """Axes from -1 to 1 (left and up are +1, as joy_node has them) and buttons 0 or 1, grown by the events."""

    def __init__(self, deadzone: float, sticky_buttons: bool, axes: int = 0, buttons: int = 0) -> None:
        """`deadzone` from 0 to 0.9: that share around the middle reads 0, and what is left is stretched."""
        self._deadzone, self._sticky = deadzone, sticky_buttons
        self.axes = [0.0] * axes
        self.buttons = [0] * buttons
        self._awaited = {(_AXIS, i) for i in range(axes)} | {(_BUTTON, i) for i in range(buttons)}

    @property
    def complete(self) -> bool:
        """Whether every axis and button has said where it is: before that a trigger at rest reads as half pressed."""
        return not self._awaited

    def apply(self, value: int, kind: int, number: int) -> bool:
        """Take one event; returns whether a button changed, which must not wait."""
        self._awaited.discard((kind & ~_INIT, number))
        if kind & ~_INIT == _AXIS:
            self.axes += [0.0] * (number + 1 - len(self.axes))
            self.axes[number] = self._scaled(value)
        elif kind & ~_INIT == _BUTTON:
            self.buttons += [0] * (number + 1 - len(self.buttons))
            if not self._sticky:
                self.buttons[number] = int(value != 0)
            elif value and not kind & _INIT:
                self.buttons[number] = 1 - self.buttons[number]
            return not kind & _INIT
        return False

    def _scaled(self, value: int) -> float:
        share = max(-1.0, value / _FULL)
        beyond = max(0.0, abs(share) - self._deadzone) / (1.0 - self._deadzone)
        return -beyond if share > 0.0 else beyond  # the kernel counts right and down as positive


class Device:
    """A joystick device that may come and go."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._fd: int | None = None
        self._rest = b""

    def open(self) -> tuple[int, int]:
        """(number of axes, of buttons), 0 and 0 where the device does not say. Raises OSError where it is not there."""
        self.close()
        self._fd = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
        self._rest = b""
        return self._count(_JSIOCGAXES), self._count(_JSIOCGBUTTONS)

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def events(self, timeout_s: float) -> Iterator[tuple[int, int, int]]:
        """(value, type, number) of what arrives within `timeout_s`; raises OSError where the device is gone."""
        assert self._fd is not None, "open it first"
        if not select.select([self._fd], [], [], max(0.0, timeout_s))[0]:
            return
        try:
            data = os.read(self._fd, 64 * _EVENT.size)
        except BlockingIOError:
            return
        if not data:
            raise OSError(errno.ENODEV, "the device has ended", self.path)
        data = self._rest + data
        whole = len(data) // _EVENT.size * _EVENT.size
        self._rest = data[whole:]
        for _, value, kind, number in _EVENT.iter_unpack(data[:whole]):
            yield value, kind, number

    def _count(self, request: int) -> int:
        answer = array.array("B", [0])
        with contextlib.suppress(OSError):  # a pipe knows no ioctl
            fcntl.ioctl(self._fd, request, answer)
        return answer[0]
