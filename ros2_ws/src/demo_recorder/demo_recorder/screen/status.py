"""The recorder's status as values: parsed once, from the key/values of its diagnostics. No ROS here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from autofocus_core.errors import AutofocusError

NODE = "demo_recorder"
STATES = ("idle", "countdown", "recording", "stopped", "discarded")


class Level(IntEnum):
    """As diagnostic_msgs numbers them."""

    OK = 0
    WARN = 1
    ERROR = 2
    STALE = 3


@dataclass(frozen=True, slots=True)
class Row:
    """One DiagnosticStatus as plain values."""

    name: str
    level: int
    message: str
    values: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Stream:
    """One topic. `rate_hz` is that of the last seconds, also while idle; counts are those of the running or last
    episode. `expected_rate_hz` is None where nobody said it, latencies where the type has no header."""

    topic: str
    type: str
    level: Level
    message: str
    required: bool
    publishers: int
    qos: str
    rate_hz: float
    expected_rate_hz: float | None
    silent_ms: float | None
    count: int
    lost: int
    refused: int
    missing: int
    gaps: int
    longest_gap_ms: float
    jitter_ms: float
    latency_p50_ms: float | None
    latency_p99_ms: float | None
    stamp_faults: int

    @property
    def drops(self) -> int:
        """Messages that are not in the bag: lost and refused, or missing by their stamps where that is more.

        One message may be counted both ways, so that the sum would be too much; the verdict counts likewise.
        """
        return max(self.missing, self.lost + self.refused)


@dataclass(frozen=True, slots=True)
class Status:
    """What the recorder said last. Numbers that it left empty are None."""

    level: Level
    message: str
    state: str
    task: str
    instruction: str
    robot: str
    output: str
    episode: str
    elapsed_s: float
    countdown_s: float
    max_duration_s: float | None
    outcome: str
    note: str
    bytes_written: int
    files: int
    queue_bytes: int
    queue_limit_bytes: int
    disk_free_bytes: int
    reserve_bytes: int
    episodes: int
    successes: int
    target_episodes: int | None
    interrupted: int
    last_episode: str
    last_path: str
    last_grade: str
    last_reasons: tuple[str, ...]
    last_outcome: str
    events: int
    last_event: str
    error: str
    streams: tuple[Stream, ...]

    @property
    def busy(self) -> bool:
        """Whether an episode is being recorded or about to be."""
        return self.state in ("recording", "countdown")


class _Values:
    """Typed reading of one row's texts; an AutofocusError names what is missing or no number."""

    def __init__(self, row: Row) -> None:
        self._row = row

    def text(self, key: str) -> str:
        if key not in self._row.values:
            raise self._wrong(key, "not there", "every key that this version knows")
        return self._row.values[key]

    def number(self, key: str) -> float | None:
        """A finite number; None for an empty text."""
        text = self.text(key)
        if not text:
            return None
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise self._wrong(key, repr(text), "a finite number, or empty")
        return number

    def count(self, key: str) -> int:
        """A whole number; 0 for an empty text."""
        return int(self.number(key) or 0)

    def _wrong(self, key: str, got: str, allowed: str) -> AutofocusError:
        where = f"status of {self._row.name or NODE}: {key}"
        return AutofocusError(where, got, allowed, "use a recorder and a screen of the same version of AutoFocus-IL")


def parse_status(rows: Sequence[Row]) -> Status:
    """The status of the recorder and its topics; keys that nobody knows are left alone.

    Raises AutofocusError where the rows are not those of our recorder, or of another version of it.
    """
    if not rows or rows[0].name != NODE:
        names = ", ".join(row.name for row in rows) or "nothing"
        raise AutofocusError("status of the recorder", names, f"{NODE!r} first", "look who else publishes this topic")
    head = rows[0]
    values = _Values(head)
    state = values.text("state")
    if state not in STATES:
        raise values._wrong("state", repr(state), " | ".join(STATES))
    target = values.number("target_episodes")
    return Status(
        level=_level(head.level),
        message=head.message,
        state=state,
        task=values.text("task"),
        instruction=values.text("instruction"),
        robot=values.text("robot"),
        output=values.text("output"),
        episode=values.text("episode"),
        elapsed_s=values.number("elapsed_s") or 0.0,
        countdown_s=values.number("countdown_s") or 0.0,
        max_duration_s=values.number("max_duration_s"),
        outcome=values.text("outcome"),
        note=values.text("note"),
        bytes_written=values.count("bytes_written"),
        files=values.count("files"),
        queue_bytes=values.count("queue_bytes"),
        queue_limit_bytes=values.count("queue_limit_bytes"),
        disk_free_bytes=values.count("disk_free_bytes"),
        reserve_bytes=values.count("reserve_bytes"),
        episodes=values.count("episodes"),
        successes=values.count("successes"),
        target_episodes=None if target is None else int(target),
        interrupted=values.count("interrupted"),
        last_episode=values.text("last_episode"),
        last_path=values.text("last_path"),
        last_grade=values.text("last_grade"),
        last_reasons=tuple(reason for reason in values.text("last_reasons").split("; ") if reason),
        last_outcome=values.text("last_outcome"),
        events=values.count("events"),
        last_event=values.text("last_event"),
        error=values.text("error"),
        streams=tuple(_stream(row) for row in rows[1:]),
    )


def _stream(row: Row) -> Stream:
    values = _Values(row)
    return Stream(
        topic=values.text("topic"),
        type=values.text("type"),
        level=_level(row.level),
        message=row.message,
        required=values.text("required") == "true",
        publishers=values.count("publishers"),
        qos=values.text("qos"),
        rate_hz=values.number("rate_hz") or 0.0,
        expected_rate_hz=values.number("expected_rate_hz"),
        silent_ms=values.number("silent_ms"),
        count=values.count("count"),
        lost=values.count("lost"),
        refused=values.count("refused"),
        missing=values.count("missing"),
        gaps=values.count("gaps"),
        longest_gap_ms=values.number("longest_gap_ms") or 0.0,
        jitter_ms=values.number("jitter_ms") or 0.0,
        latency_p50_ms=values.number("latency_p50_ms"),
        latency_p99_ms=values.number("latency_p99_ms"),
        stamp_faults=values.count("stamp_faults"),
    )


def _level(number: int) -> Level:
    return Level(number) if number in Level._value2member_map_ else Level.STALE
