"""The table of streams: each topic's rate against what is expected, and what has gone wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autofocus_core.schema import QualityRules, Threshold

from demo_recorder.screen.parts import Line, Piece, Tone, bar, length, line, shorten, span_ms
from demo_recorder.screen.status import Level, Stream

BAR_COLUMNS = 6
#: A stream is silent for too long after two periods and this: the recorder's own rule for a gap.
STALL_MARGIN_MS = 100.0
MARKS = {
    Level.OK: Piece("●", Tone.GOOD),
    Level.WARN: Piece("▲", Tone.WARN),
    Level.ERROR: Piece("✗", Tone.BAD),
    Level.STALE: Piece("?", Tone.MUTED),
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


def graded(value: float, threshold: Threshold) -> Tone:
    """PLAIN, WARN or BAD by the task's rules: what the verdict will say of this figure."""
    if value <= threshold.good:
        return Tone.PLAIN
    return Tone.WARN if value <= threshold.usable else Tone.BAD


def stream_lines(
    streams: Sequence[Stream], width: int, height: int, rules: QualityRules, *, counts: bool, live: bool = True
) -> list[Line]:
    """A heading and the streams on at most `height` lines of `width` columns.

    Where there are more streams than lines, those with a problem and those that are required come first, and the
    last line says what is not shown; where there are fewer, what the recorder says of a problem is below its stream.
    `counts`: whether there is an episode that the counts belong to. `live`: False for figures of a recorder that does
    not answer any more.
    """
    columns, topic_columns = _columns(width)
    shown = _chosen(streams, height - 1)
    lines = [_heading(columns, topic_columns)]
    details = height - 1 - len(streams) >= sum(bool(_detail(stream)) for stream in streams)
    for stream in shown:
        lines.append(_row(stream, columns, topic_columns, rules, counts))
        if details and _detail(stream):
            lines.append(line(Piece(f"    {_detail(stream)}"[:width], Tone.MUTED)))
    if len(shown) < len(streams):
        hidden = [stream for stream in streams if stream not in shown]
        troubled = sum(stream.level is not Level.OK for stream in hidden)
        text = f"  and {len(hidden)} more" + (f", {troubled} with a problem" if troubled else ", all well")
        lines.append(line(Piece(text, Tone.WARN if troubled else Tone.MUTED)))
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


def _chosen(streams: Sequence[Stream], room: int) -> list[Stream]:
    if len(streams) <= room:
        return list(streams)
    by_need = sorted(streams, key=lambda stream: (stream.level is Level.OK, not stream.required))
    wanted = by_need[: max(room - 1, 0)]
    return [stream for stream in streams if stream in wanted]


def _heading(columns: Sequence[Column], topic_columns: int) -> Line:
    text = "  " + "topic".ljust(topic_columns) + RATE.heading.rjust(RATE.width)
    return line(Piece(text + "".join(column.heading.rjust(column.width) for column in columns), Tone.MUTED))


def _row(
    stream: Stream, columns: Sequence[Column], topic_columns: int, rules: QualityRules, counts: bool
) -> Line:
    tone = Tone.PLAIN if stream.publishers else Tone.MUTED
    topic = Piece(shorten(stream.topic, topic_columns - 1).ljust(topic_columns), tone)
    mark = MARKS[stream.level] if stream.publishers or stream.level is not Level.OK else Piece("·", Tone.MUTED)
    head = (mark, Piece(" "), topic)
    if not stream.publishers and not stream.count:
        text = "nobody publishes it" + ("" if stream.required else "; recorded if somebody does")
        return (*head, Piece(text, Tone.BAD if stream.required else Tone.MUTED))
    figures = _figures(stream, rules) if counts else {}
    figures["silent"] = _silent(stream)
    pieces = [*head, *_rate(stream, rules)]
    for column in columns:
        pieces += _right(figures.get(column.heading, Piece("")), column.width)
    return tuple(pieces)


def _detail(stream: Stream) -> str:
    """What the recorder says of a stream in trouble, where its row does not say it all."""
    return stream.message if stream.level is not Level.OK and stream.publishers else ""


def _figures(stream: Stream, rules: QualityRules) -> dict[str, Piece]:
    """What is known of the episode, by column."""
    period_ms = None if stream.expected_rate_hz is None else 1000.0 / stream.expected_rate_hz
    due = max(stream.count + stream.drops, 1)
    drops = graded(stream.drops / due, rules.missing_share)
    # A drop that the rules allow is still one: it is never shown as if nothing had been.
    drops = Tone.WARN if stream.drops and drops is Tone.PLAIN else drops
    gap = Tone.PLAIN if period_ms is None else graded(stream.longest_gap_ms / period_ms, rules.longest_gap_periods)
    jitter = Tone.PLAIN if period_ms is None else graded(stream.jitter_ms / period_ms, rules.jitter_share)
    latency = Piece("-", Tone.MUTED)
    if stream.latency_p50_ms is not None and stream.latency_p99_ms is not None:
        text = f"{stream.latency_p50_ms:.0f}/{stream.latency_p99_ms:.0f}"
        latency = Piece(text, graded(stream.latency_p99_ms, rules.latency_ms))
    faults = graded(stream.stamp_faults / due, rules.stamp_fault_share)
    return {
        "msgs": Piece(str(stream.count)),
        "drops": _number(stream.drops, drops),
        "lost": _number(stream.lost, drops),
        "refused": _number(stream.refused, drops),
        "missing": _number(stream.missing, drops),
        "gaps": _number(stream.gaps, Tone.PLAIN),
        "gap max": Piece(span_ms(stream.longest_gap_ms), gap),
        "jitter": Piece(f"{stream.jitter_ms:.1f} ms", jitter),
        "latency ms": latency,
        "faults": _number(stream.stamp_faults, faults),
    }


def _number(count: int, tone: Tone) -> Piece:
    return Piece(str(count), tone if count else Tone.MUTED)


def _rate(stream: Stream, rules: QualityRules) -> Line:
    rate, expected = stream.rate_hz, stream.expected_rate_hz
    if expected is None:
        return tuple(_right(Piece(f"{rate:.1f}", Tone.PLAIN if rate else Tone.MUTED), RATE.width))
    tone = graded(1.0 - rate / expected, rules.rate_deficit)
    figures = line(Piece(f"{rate:.1f}", tone), Piece(f" / {expected:g}", Tone.MUTED))
    gap = Piece(" " * max(RATE.width - BAR_COLUMNS - 1 - length(figures), 1))
    return (gap, *figures, Piece(" "), *bar(rate / expected, BAR_COLUMNS, Tone.GOOD if tone is Tone.PLAIN else tone))


def _silent(stream: Stream) -> Piece:
    if stream.silent_ms is None:
        return Piece("-", Tone.MUTED)
    stalled = stream.expected_rate_hz is not None and (
        stream.silent_ms > 2000.0 / stream.expected_rate_hz + STALL_MARGIN_MS
    )
    return Piece(span_ms(stream.silent_ms), Tone.BAD if stalled else Tone.MUTED)


def _right(piece: Piece, width: int) -> Line:
    """The piece at the right edge of a column, its tone on its text alone."""
    return Piece(" " * max(width - len(piece.text), 1)), piece
