"""Bytes from a terminal to the names of keys."""

from __future__ import annotations

#: Last bytes of the escape sequences that mean something here.
_ARROWS = {"A": "up", "B": "down", "C": "right", "D": "left"}
_NUMBERED = {"5": "page_up", "6": "page_down"}
_CONTROL = {"\t": "tab", "\r": "enter", "\n": "enter", " ": "space", "\x03": "interrupt", "\x04": "end"}
#: A sequence that is not complete by then is none: keys never need more.
_LONGEST_SEQUENCE = 8


class KeyParser:
    """Feed it what was read; it returns whole keys and keeps what is not complete yet.

    Printable characters are themselves; others are called as in `_CONTROL`, `_ARROWS` and `_NUMBERED`. Escape
    sequences that mean nothing here (function keys, mouse, paste marks) are dropped whole, never read as letters.
    """

    def __init__(self) -> None:
        self._pending = ""

    def feed(self, data: bytes) -> list[str]:
        """The keys in `data`, in order."""
        text = self._pending + data.decode("ascii", errors="replace")
        self._pending = ""
        keys: list[str] = []
        while text:
            if text[0] == "\x1b":
                length = _sequence_length(text)
                if length == 0:
                    self._pending = text
                    break
                name = _sequence_name(text[:length])
            else:
                length, name = 1, _CONTROL.get(text[0], text[0] if text[0].isprintable() else None)
            if name is not None and name != "\ufffd":
                keys.append(name)
            text = text[length:]
        return keys

    def timeout(self) -> None:
        """Nothing has followed for a while: an escape that stands alone was the Esc key, which means nothing."""
        self._pending = ""


def _sequence_length(text: str) -> int:
    """Length of the escape sequence that `text` begins with, 0 where its end has not arrived yet."""
    if len(text) == 1:
        return 0
    if text[1] not in "[O":
        return 1  # Alt with a key, or Esc and then a key: the key counts
    for i in range(2, min(len(text), _LONGEST_SEQUENCE)):
        if "@" <= text[i] <= "~":
            return i + 1
    return len(text) if len(text) >= _LONGEST_SEQUENCE else 0


def _sequence_name(sequence: str) -> str | None:
    if len(sequence) == 3:
        return _ARROWS.get(sequence[-1])
    return _NUMBERED.get(sequence[2]) if len(sequence) == 4 and sequence[-1] == "~" else None
