"""What the screen shows beside the banner and the streams, and in which tone: pure functions of a snapshot."""

from __future__ import annotations

from demo_recorder.screen.banner import GRADE_TONES
from demo_recorder.screen.parts import (
    FILLED,
    MARGIN,
    Line,
    Piece,
    Tone,
    bar,
    flow,
    length,
    line,
    shorten,
    shorten_end,
    size,
    span_s,
    wrapped,
)
from demo_recorder.screen.snapshot import Snapshot
from demo_recorder.screen.status import Status

#: The disk for less than this is a warning, and less than that an alarm.
DISK_WARN_S, DISK_BAD_S = 1800.0, 300.0
QUEUE_WARN, QUEUE_BAD = 0.25, 0.75


def title_line(snapshot: Snapshot, width: int) -> Line:
    """Task and instruction, and where the episodes go."""
    status = snapshot.status
    if status is None:
        return line(MARGIN, Piece("AutoFocus-IL recorder", Tone.STRONG))
    left = (Piece(MARGIN), Piece(status.task, Tone.STRONG), Piece(f"  {status.instruction}"))
    room = width - length(left) - 2 * len(MARGIN)
    right = shorten(f"{status.robot} → {status.output}", room) if room > 8 else ""
    return (*left, Piece(right.rjust(room + len(MARGIN)), Tone.MUTED))


def session_lines(snapshot: Snapshot, width: int) -> list[Line]:
    """Episodes of the target, disk and how long it lasts, the queue, the present episode."""
    status = snapshot.status
    if status is None:
        return []
    items = [_episodes(status), _disk(status, snapshot.data_rate_bps), _queue(status)]
    if status.state == "recording":
        files = f" in {status.files} files" if status.files > 1 else ""
        items.append(line(Piece("this episode ", Tone.MUTED), f"{size(status.bytes_written)}{files}"))
        if status.outcome in ("success", "failure"):
            items.append(line(Piece("outcome ", Tone.MUTED), status.outcome))
    if status.note:
        items.append(line(Piece("note ", Tone.MUTED), shorten(status.note, max(width - 10, 10))))
    rows = [(Piece(MARGIN), *row) for row in flow(items, width - 2 * len(MARGIN))]
    if snapshot.live is None:
        return [tuple(Piece(piece.text, Tone.MUTED) for piece in row) for row in rows]
    return rows


def _episodes(status: Status) -> Line:
    parts = [Piece("episodes ", Tone.MUTED)]
    if status.target_episodes is None:
        parts.append(Piece(str(status.episodes)))
    else:
        parts += [Piece(f"{status.episodes} of {status.target_episodes} ")]
        parts += bar(status.episodes / status.target_episodes, 12, Tone.GOOD)
    return (*parts, Piece(f", {status.successes} successes" if status.successes != 1 else ", 1 success"))


def _disk(status: Status, rate_bps: float | None) -> Line:
    room = status.disk_free_bytes - status.reserve_bytes
    text, tone = f"{size(status.disk_free_bytes)} free", Tone.PLAIN
    if room <= 0:
        text, tone = f"{text}, below the reserve of {size(status.reserve_bytes)}", Tone.BAD
    elif rate_bps:
        left_s = room / rate_bps
        text += f", {span_s(left_s)} at {size(rate_bps)}/s"
        tone = Tone.BAD if left_s < DISK_BAD_S else Tone.WARN if left_s < DISK_WARN_S else Tone.PLAIN
    return line(Piece("disk ", Tone.MUTED), Piece(text, tone))


def _queue(status: Status) -> Line:
    share = status.queue_bytes / status.queue_limit_bytes if status.queue_limit_bytes else 0.0
    tone = Tone.BAD if share > QUEUE_BAD else Tone.WARN if share > QUEUE_WARN else Tone.PLAIN
    return line(Piece("queue ", Tone.MUTED), Piece(f"{100 * share:.0f} %", tone))


def message_lines(snapshot: Snapshot, width: int) -> list[Line]:
    """What has to be read: errors and refusals in full, the last verdict with every reason, left-overs, events.

    While the next episode is recorded, its events come first, and of the last verdict one line is enough.
    """
    room = width - 2 * len(MARGIN)
    status = snapshot.status
    rows: list[Line] = []
    if snapshot.answer:
        rows += _badge("refused", snapshot.answer, Tone.BAD, room)
    events = [row for event in snapshot.events for row in wrapped(event, room, Tone.MUTED, rest=" " * 9)]
    if status is not None:
        if status.error:
            rows += _badge("error", status.error, Tone.BAD, room)
        if status.busy:
            rows += events
        rows += _verdict(status, room)
        if status.interrupted:
            many = "recordings were" if status.interrupted > 1 else "recording was"
            text = f"{status.interrupted} {many} cut off: `autofocus episodes recover {status.output}`"
            rows += _badge("left over", text, Tone.WARN, room)
    if snapshot.notice:
        rows += wrapped(snapshot.notice, room)
    if status is None or not status.busy:
        rows += events
    return [(Piece(MARGIN), *row) for row in rows]


def _badge(label: str, text: str, tone: Tone, width: int) -> list[Line]:
    indent = " " * (len(label) + 3)
    first, *rest = wrapped(text, width - len(indent))
    rows = [line(Piece(f" {label} ", FILLED[tone]), " ", *first)]
    return rows + [(Piece(indent), *row) for row in rest]


def _verdict(status: Status, width: int) -> list[Line]:
    if not status.last_grade:
        return []
    outcome = f", {status.last_outcome}" if status.last_outcome in ("success", "failure") else ""
    text = f"{status.last_episode}{outcome}"
    if status.busy:
        first = f": {status.last_reasons[0]}" if status.last_reasons else ""
        text = shorten_end(f"last: {text}{first}", width - len(status.last_grade) - 3)
    rows = _badge(status.last_grade, text, GRADE_TONES.get(status.last_grade, Tone.ACTIVE), width)
    for reason in () if status.busy else status.last_reasons:
        rows += wrapped(reason, width, first="- ", rest="  ")
    return rows


def keys(snapshot: Snapshot) -> list[tuple[str, str]]:
    """The keys and what they do now, in the order of the footer."""
    status = snapshot.live
    space = "stop" if status is not None and status.busy else "start"
    sound = "sound off" if snapshot.sound else "sound"
    return [
        ("space", space), ("s", "success"), ("f", "failure"), ("d", "discard"), ("n", "note"), ("m", sound),
        ("l", "log"), ("?", "help"), ("q", "quit"),
    ]  # fmt: skip


def footer_lines(snapshot: Snapshot, width: int) -> list[Line]:
    """The keys, on one line where they fit; the gaps give way first."""
    items = [line(Piece(key, Tone.STRONG), Piece(f" {label}")) for key, label in keys(snapshot)]
    room = width - len(MARGIN)
    total = sum(map(length, items))
    gap = next((gap for gap in (3, 2, 1) if total + gap * (len(items) - 1) <= room), 1)
    return [(Piece(MARGIN), *row) for row in flow(items, room, " " * gap)]
