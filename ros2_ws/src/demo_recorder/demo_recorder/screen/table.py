"""The table of streams: each topic's rate against what is expected, and what has gone wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autofocus_core.schema import QualityRules

from demo_recorder.screen.live import SEVERITY, Grades, grade, trouble
from demo_recorder.screen.parts import INKS, Line, Piece, Tone, bar, length, line, shorten, span_ms
from demo_recorder.screen.status import Level, Stream

BAR_COLUMNS = 6
MARKS = {
    Tone.PLAIN: Piece("●", Tone.GOOD),
    Tone.WARN: Piece("▲", Tone.INK_WARN),
    Tone.BAD: Piece("✗", Tone.INK_BAD),
}
#: Columns for the topic: at least, and before anything is added to the columns that are always there.
MIN_TOPIC_COLUMNS, GOOD_TOPIC_COLUMNS = 12, 32


@dataclass(frozen=True, slots=True)
class Column:
    """A column's heading and width; numbers stand at its right edge. Those of rank 0 are always there, the others
    come in order of their ranks as the terminal is wider."""

    heading: str
    width: int
    rank: int = 0


COLUMNS = (
    Column("msgs", 7),
    Column("drops", 6),
    Column("lost", 6, rank=3),
    Column("refused", 8, rank=3),
    Column("missing", 8, rank=3),
    Column("gaps", 6, rank=1),
    Column("gap max", 8),
    Column("jitter", 9, rank=2),
    Column("latency ms", 11),
    Column("faults", 7, rank=1),
    Column("silent", 8),
)
RATE = Column("Hz / expected", BAR_COLUMNS + 13)


def stream_lines(
    streams: Sequence[Stream],
    width: int,
    height: int,
    rules: QualityRules,
    *,
    counts: bool,
    recording: bool = False,
    live: bool = True,
) -> list[Line]:
    """A heading and the streams on at most `height` lines of `width` columns.

    Where there are more streams than lines, those with a problem and those that are required come first, and the
    last line says what is not shown; where there are fewer, what the recorder says of a problem is below its stream.
    `counts`: whether there is an episode that the counts belong to. `recording`: it is still being recorded, so that a
    mark tells of its figures, too; afterwards it is that of the stream now. `live`: False for figures of a recorder
    that does not answer any more.
    """
    columns, topic_columns = _columns(width)
    tones = [trouble(stream, rules, recording=counts) for stream in streams]
    shown = _chosen(streams, height - 1, tones)
    lines = [_heading(columns, topic_columns)]
    details = height - 1 - len(streams) >= sum(bool(_detail(stream)) for stream in streams)
    for stream in (streams[k] for k in shown):
        lines.append(_row(stream, columns, topic_columns, rules, counts, recording))
        if details and _detail(stream):
            lines.append(line(Piece(f"    {_detail(stream)}"[:width], Tone.MUTED)))
    if len(shown) < len(streams):
        troubled = sum(tones[k] is not Tone.PLAIN for k in range(len(streams)) if k not in shown)
        text = f"and {len(streams) - len(shown)} more" + (f", {troubled} with a problem" if troubled else ", all well")
        lines.append(line("  ", Piece(text, Tone.WARN if troubled else Tone.MUTED)))
    if not live:
        lines = [tuple(Piece(piece.text, Tone.MUTED) for piece in row) for row in lines]
    return lines


def _columns(width: int) -> tuple[list[Column], int]:
    """The columns that fit, and how wide that leaves the topic."""
    found: tuple[list[Column], int] = ([], 0)
    for rank in range(max(column.rank for column in COLUMNS) + 1):
        columns = [column for column in COLUMNS if column.rank <= rank]
        topic_columns = width - 2 - RATE.width - sum(column.width for column in columns)
        if rank and topic_columns < GOOD_TOPIC_COLUMNS:
            break
        found = columns, max(topic_columns, MIN_TOPIC_COLUMNS)
    return found


def _chosen(streams: Sequence[Stream], room: int, tones: Sequence[Tone]) -> list[int]:
    """Which streams are shown on `room` lines, one of which may be for what is not."""
    if len(streams) <= room:
        return list(range(len(streams)))
    by_need = sorted(range(len(streams)), key=lambda k: (-SEVERITY.index(tones[k]), not streams[k].required))
    return sorted(by_need[: max(room - 1, 0)])


def _heading(columns: Sequence[Column], topic_columns: int) -> Line:
    text = "  " + "topic".ljust(topic_columns) + RATE.heading.rjust(RATE.width)
    return line(Piece(text + "".join(column.heading.rjust(column.width) for column in columns), Tone.MUTED))


def _row(
    stream: Stream, columns: Sequence[Column], topic_columns: int, rules: QualityRules, counts: bool, recording: bool
) -> Line:
    tone = Tone.PLAIN if stream.publishers else Tone.MUTED
    topic = Piece(shorten(stream.topic, topic_columns - 1).ljust(topic_columns), tone)
    state = trouble(stream, rules, recording=recording)
    mark = MARKS[state] if stream.publishers or state is not Tone.PLAIN else Piece("·", Tone.MUTED)
    head = (mark, Piece(" "), topic)
    if not stream.publishers and not stream.count:
        text = "nobody publishes it" + ("" if stream.required else "; recorded if somebody does")
        return (*head, Piece(text, Tone.BAD if stream.required else Tone.MUTED))
    grades = grade(stream, rules)
    figures = _figures(stream, grades) if counts else {}
    figures["silent"] = _silent(stream, grades.silent)
    pieces = [*head, *_rate(stream, grades.rate)]
    for column in columns:
        pieces += _right(figures.get(column.heading, Piece("")), column.width)
    return tuple(pieces)


def _detail(stream: Stream) -> str:
    """What the recorder says of a stream in trouble, where its row does not say it already."""
    told = not stream.publishers or stream.message.startswith("silent")
    return "" if told or stream.level is Level.OK else stream.message


def _figures(stream: Stream, grades: Grades) -> dict[str, Piece]:
    """What is known of the episode, by column."""
    # A drop that the rules allow is still one: it is never shown as if nothing had been.
    drops = Tone.STRONG if stream.drops and grades.drops is Tone.PLAIN else grades.drops
    latency = Piece("-", Tone.MUTED)
    if stream.latency_p50_ms is not None and stream.latency_p99_ms is not None:
        latency = Piece(f"{stream.latency_p50_ms:.0f}/{stream.latency_p99_ms:.0f}", grades.latency)
    return {
        "msgs": Piece(str(stream.count)),
        "drops": _number(stream.drops, drops),
        "lost": _number(stream.lost, drops),
        "refused": _number(stream.refused, drops),
        "missing": _number(stream.missing, drops),
        "gaps": _number(stream.gaps, Tone.PLAIN),
        "gap max": Piece(span_ms(stream.longest_gap_ms), grades.gap),
        "jitter": Piece(f"{stream.jitter_ms:.1f} ms", grades.jitter),
        "latency ms": latency,
        "faults": _number(stream.stamp_faults, grades.faults),
    }


def _number(count: int, tone: Tone) -> Piece:
    return Piece(str(count), tone if count else Tone.MUTED)


def _rate(stream: Stream, tone: Tone) -> Line:
    rate, expected = stream.rate_hz, stream.expected_rate_hz
    if expected is None:
        return tuple(_right(Piece(f"{rate:.1f}", Tone.PLAIN if rate else Tone.MUTED), RATE.width))
    figures = line(Piece(f"{rate:.1f}", tone), Piece(f" / {expected:g}", Tone.MUTED))
    gap = Piece(" " * max(RATE.width - BAR_COLUMNS - 1 - length(figures), 1))
    return (gap, *figures, Piece(" "), *bar(rate / expected, BAR_COLUMNS, INKS[tone]))


def _silent(stream: Stream, tone: Tone) -> Piece:
    if stream.silent_ms is None:
        return Piece("-", Tone.MUTED)
    return Piece(span_ms(stream.silent_ms), Tone.MUTED if tone is Tone.PLAIN else tone)


def _right(piece: Piece, width: int) -> Line:
    """The piece at the right edge of a column, its tone on its text alone."""
    return Piece(" " * max(width - len(piece.text), 1)), piece
