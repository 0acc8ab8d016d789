"""Letters three rows high, from half blocks: a state that is read from where the robot stands."""

from __future__ import annotations

GLYPH_ROWS_PX = 5
#: Rows of a glyph in px, "#" is ink. What is in here is what the screen has to say in large.
GLYPHS = {
    " ": "../../../../..",
    "!": "#/#/#/./#",
    "-": ".../.../###/.../...",
    ".": "././././#",
    ":": "./#/./#/.",
    "?": "##./..#/.#./.../.#.",
    "0": "###/#.#/#.#/#.#/###",
    "1": ".#./##./.#./.#./###",
    "2": "###/..#/###/#../###",
    "3": "###/..#/.##/..#/###",
    "4": "#.#/#.#/###/..#/..#",
    "5": "###/#../###/..#/###",
    "6": "###/#../###/#.#/###",
    "7": "###/..#/..#/..#/..#",
    "8": "###/#.#/###/#.#/###",
    "9": "###/#.#/###/..#/###",
    "A": ".#./#.#/###/#.#/#.#",
    "B": "##./#.#/##./#.#/##.",
    "C": "###/#../#../#../###",
    "D": "##./#.#/#.#/#.#/##.",
    "E": "###/#../##./#../###",
    "F": "###/#../##./#../#..",
    "G": "####/#.../#.##/#..#/####",
    "H": "#.#/#.#/###/#.#/#.#",
    "I": "#/#/#/#/#",
    "K": "#.#/#.#/##./#.#/#.#",
    "L": "#../#../#../#../###",
    "M": "#...#/##.##/#.#.#/#...#/#...#",
    "N": "#..#/##.#/#.##/#..#/#..#",
    "O": "###/#.#/#.#/#.#/###",
    "P": "###/#.#/###/#../#..",
    "R": "##./#.#/##./#.#/#.#",
    "S": "###/#../###/..#/###",
    "T": "###/.#./.#./.#./.#.",
    "U": "#.#/#.#/#.#/#.#/###",
    "V": "#.#/#.#/#.#/#.#/.#.",
    "W": "#...#/#...#/#.#.#/##.##/#...#",
    "X": "#.#/#.#/.#./#.#/#.#",
    "Y": "#.#/#.#/.#./.#./.#.",
}
_BLOCKS = {("#", "#"): "█", ("#", "."): "▀", (".", "#"): "▄", (".", "."): " "}


def big(text: str, width: int) -> tuple[str, ...]:
    """`text` in capitals on three rows of the same length; on one row as it is where `width` columns do not do."""
    glyphs = [GLYPHS.get(character, GLYPHS["?"]).split("/") for character in text.upper()]
    rows_px = [".".join(glyph[y] for glyph in glyphs) for y in range(GLYPH_ROWS_PX)]
    if not glyphs or len(rows_px[0]) > width:
        return (text,)
    rows_px.append("." * len(rows_px[0]))
    return tuple(
        "".join(_BLOCKS[pair] for pair in zip(rows_px[y], rows_px[y + 1])) for y in range(0, GLYPH_ROWS_PX, 2)
    )
