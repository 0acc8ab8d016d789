"""The whole picture: which part gets how many lines of the terminal."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from demo_recorder.screen.banner import banner, banner_lines
from demo_recorder.screen.parts import Line
from demo_recorder.screen.snapshot import Snapshot
from demo_recorder.screen.table import stream_lines
from demo_recorder.screen.view import footer_lines, message_lines, session_lines, title_line

#: From this height on there is air between the parts, and more events.
ROOMY_LINES = 30
EVENTS, EVENTS_ROOMY = 3, 8
#: What the streams and the messages have at least; a terminal of less than 80x24 cuts the last off. While recording
#: the streams matter more.
MIN_STREAM_LINES, MIN_STREAM_LINES_ROOMY, MIN_STREAM_LINES_RECORDING = 3, 6, 8
MIN_MESSAGE_LINES = 3
AIR: Line = ()


@dataclass(frozen=True, slots=True)
class Picture:
    """The lines of each part by its name, and how many of the messages fit (the rest is scrolled to)."""

    parts: dict[str, list[Line]]
    message_rows: int


def picture(snapshot: Snapshot, width: int, height: int) -> Picture:
    """The screen for a terminal of this size. Streams give way to messages, down to what is in trouble."""
    roomy = height >= ROOMY_LINES
    air = [AIR] if roomy else []
    snapshot = dataclasses.replace(snapshot, events=snapshot.events[: EVENTS_ROOMY if roomy else EVENTS])
    head = {
        "title": [*air, title_line(snapshot, width), *air],
        "banner": banner_lines(banner(snapshot), width),
        "session": [*air, *session_lines(snapshot, width), AIR],
    }
    footer = [*air, *footer_lines(snapshot, width)]
    messages = message_lines(snapshot, width)
    room = height - sum(map(len, head.values())) - len(footer)
    if messages:
        room -= 1  # the line between streams and messages
    status, streams = snapshot.status, []
    least = MIN_STREAM_LINES_ROOMY if roomy else MIN_STREAM_LINES
    if status is not None:
        least = min(MIN_STREAM_LINES_RECORDING if status.busy else least, len(status.streams) + 1)
    rows = min(len(messages), max(room - least, MIN_MESSAGE_LINES))
    room = max(room - rows, 0)
    if status is not None and room:
        recording = status.state == "recording"
        streams = stream_lines(
            status.streams, width - 1, room, snapshot.rules, counts=recording or status.state == "stopped",
            recording=recording, live=snapshot.live is not None,
        )  # fmt: skip
    streams += [AIR] * (room - len(streams) + bool(messages))
    return Picture({**head, "streams": streams, "message": messages, "footer": footer}, rows)
