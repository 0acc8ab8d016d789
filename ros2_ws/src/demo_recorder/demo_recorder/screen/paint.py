"""What each tone looks like. The terminal's own colours, so that it reads on light and on dark; no colour at all
where NO_COLOR is set: then bold, underline and reverse say the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from textual.content import Content

from demo_recorder.screen.parts import Line, Tone

#: Warnings and errors are badges: yellow or red letters are hard to read on one of the two backgrounds.
COLOURS: Mapping[Tone, str] = {
    Tone.PLAIN: "",
    Tone.MUTED: "dim",
    Tone.STRONG: "bold",
    Tone.GOOD: "ansi_green",
    Tone.WARN: "ansi_black on ansi_yellow",
    Tone.BAD: "bold ansi_bright_white on ansi_red",
    Tone.ACTIVE: "bold ansi_blue",
    Tone.INK_WARN: "bold ansi_yellow",
    Tone.INK_BAD: "bold ansi_red",
    Tone.FILLED_GOOD: "bold ansi_black on ansi_green",
    Tone.FILLED_WARN: "bold ansi_black on ansi_yellow",
    Tone.FILLED_BAD: "bold ansi_bright_white on ansi_red",
    Tone.FILLED_ACTIVE: "bold ansi_bright_white on ansi_blue",
}
MONOCHROME: Mapping[Tone, str] = {
    Tone.PLAIN: "",
    Tone.MUTED: "dim",
    Tone.STRONG: "bold",
    Tone.GOOD: "",
    Tone.WARN: "bold underline",
    Tone.BAD: "bold reverse",
    Tone.ACTIVE: "bold",
    Tone.INK_WARN: "bold",
    Tone.INK_BAD: "bold",
    Tone.FILLED_GOOD: "bold reverse",
    Tone.FILLED_WARN: "bold reverse",
    Tone.FILLED_BAD: "bold reverse",
    Tone.FILLED_ACTIVE: "bold reverse",
}


def painted(lines: Sequence[Line], palette: Mapping[Tone, str]) -> Content:
    """The lines as textual shows them."""
    rows = [Content.assemble(*((piece.text, palette[piece.tone]) for piece in pieces)) for pieces in lines]
    return Content("\n").join(rows)
