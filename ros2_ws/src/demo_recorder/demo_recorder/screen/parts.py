"""Pieces of a line with their meaning, and numbers as people read them. Pure; what a tone looks like is in `paint`."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


class Tone(Enum):
    """What a piece of text means. FILLED_* are bands and badges, which are seen without colours, too; INK_* are for
    large letters, whose blocks a background would fill."""

    PLAIN = "plain"
    MUTED = "muted"
    STRONG = "strong"
    GOOD = "good"
    WARN = "warn"
    BAD = "bad"
    ACTIVE = "active"
    INK_WARN = "letters that warn"
    INK_BAD = "letters of an alarm"
    FILLED_GOOD = "filled good"
    FILLED_WARN = "filled warn"
    FILLED_BAD = "filled bad"
    FILLED_ACTIVE = "filled active"


FILLED = {
    Tone.GOOD: Tone.FILLED_GOOD,
    Tone.WARN: Tone.FILLED_WARN,
    Tone.BAD: Tone.FILLED_BAD,
    Tone.ACTIVE: Tone.FILLED_ACTIVE,
}

#: The same for large letters, bars and marks; what is well is green there.
INKS = {Tone.PLAIN: Tone.GOOD, Tone.WARN: Tone.INK_WARN, Tone.BAD: Tone.INK_BAD}


@dataclass(frozen=True, slots=True)
class Piece:
    """Some text in one tone."""

    text: str
    tone: Tone = Tone.PLAIN


Line = tuple[Piece, ...]
#: What every line is set in by.
MARGIN = "  "


def line(*parts: str | Piece) -> Line:
    """A line of pieces; bare texts are plain."""
    return tuple(Piece(part) if isinstance(part, str) else part for part in parts)


def length(pieces: Iterable[Piece]) -> int:
    """Columns of a line. All that the screen writes is one column wide to the character."""
    return sum(len(piece.text) for piece in pieces)


def flow(items: Iterable[Line], width: int, gap: str = "   ") -> list[Line]:
    """Items side by side, on as many lines as `width` columns ask for."""
    lines: list[list[Piece]] = []
    for item in items:
        if lines and length(lines[-1]) + len(gap) + length(item) <= width:
            lines[-1] += [Piece(gap), *item]
        else:
            lines.append(list(item))
    return [tuple(pieces) for pieces in lines]


def wrapped(text: str, width: int, tone: Tone = Tone.PLAIN, first: str = "", rest: str = "") -> list[Line]:
    """`text` on lines of `width` columns, the first begun with `first`, the others with `rest`. Line breaks stay."""
    lines: list[Line] = []
    for number, part in enumerate(text.splitlines() or [""]):
        indent = rest + " " * (len(part) - len(part.lstrip()))
        begin = first if number == 0 else indent
        found = textwrap.wrap(part.strip(), max(width, 20), initial_indent=begin, subsequent_indent=indent)
        lines += [line(Piece(row, tone)) for row in found or [begin]]
    return lines


def shorten(text: str, width: int) -> str:
    """The end of `text` behind an ellipsis where it is longer than `width`: ends of paths tell them apart."""
    return text if len(text) <= width else "…" + text[len(text) - max(width - 1, 0) :]


def shorten_end(text: str, width: int) -> str:
    """The beginning of `text`, with an ellipsis where it is longer than `width`."""
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"


def clock(seconds: float, *, tenths: bool = True) -> str:
    """`00:12.3`, `1:02:03.4`; without tenths `00:12`."""
    ticks = int(max(seconds, 0.0) * 10)
    minutes, ticks = divmod(ticks, 600)
    hours, minutes = divmod(minutes, 60)
    text = f"{minutes:02d}:{ticks // 10:02d}" + (f".{ticks % 10}" if tenths else "")
    return f"{hours}:{text}" if hours else text


def size(count: float) -> str:
    """Bytes: `812 GB`, `4.2 MB`, `312 kB`."""
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if count >= unit:
            value = count / unit
            return f"{value:.0f} {name}" if value >= 100 else f"{value:.1f} {name}"
    return f"{count / 1e3:.0f} kB"


def span_ms(milliseconds: float) -> str:
    """A short time: `41 ms`, `2.30 s`, `4.2 min`."""
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms"
    seconds = milliseconds / 1000
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.0f} h"


def span_s(seconds: float) -> str:
    """A long time: `48 s`, `143 min`, `5 h 12 min`."""
    minutes = int(seconds // 60)
    if minutes < 2:
        return f"{int(seconds)} s"
    if minutes < 180:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min" if minutes < 100 * 60 else f"{minutes // 60} h"


def bar(share: float, width: int, tone: Tone) -> Line:
    """A bar of `width` columns, to half a column."""
    halves = round(min(max(share, 0.0), 1.0) * width * 2)
    full = "━" * (halves // 2) + "╸" * (halves % 2)
    return line(Piece(full, tone), Piece("─" * (width - len(full)), Tone.MUTED))
