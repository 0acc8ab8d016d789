"""The sidecar `episode.json`: what is known about a recording beside its messages. Version 2; version 1 is read."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autofocus_core.errors import AutofocusError
from autofocus_core.fields import Fields

EPISODE_SCHEMA = 2
#: Versions that can be read: 1 had no verdict, events, trim or devices, and less about each stream.
READABLE_SCHEMAS = (1, 2)
OUTCOMES = ("success", "failure", "unknown")
GRADES = ("good", "usable", "bad", "unknown")
#: What an event may be: a stream fell silent, the wall clock was set, a topic changed its type, a publisher went
#: away, messages were refused by a full queue, the middleware or the disk reported an error.
EVENT_KINDS = ("gap", "clock_step", "type_change", "publisher_lost", "refused", "error")
#: `stop_reason` of a recording that was killed, before and after its recovery.
INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class StampFaults:
    """Header stamps that were zero, came before (where a rate is expected), are earlier than one before, or later than
    their receipt by more than 50 ms (and a period, where a rate is expected: an action may say when it applies)."""

    zero: int = 0
    duplicate: int = 0
    backwards: int = 0
    future: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.zero + self.duplicate + self.backwards + self.future


@dataclass(frozen=True, slots=True)
class Latency:
    """From header stamp to receipt, in ms."""

    p50_ms: float
    p99_ms: float
    max_ms: float


@dataclass(frozen=True, slots=True)
class StreamQuality:
    """What was recorded of a topic. Rates in Hz (expected: None where nobody said it), intervals by header stamps.

    `jitter_ms`: standard deviation of the intervals; `gaps`: intervals longer than 1.5 expected periods, and silence at
    the end; `missing`: messages that should have been between the stamps around those gaps; `lost`: messages that the
    middleware knows did not arrive; `refused`: messages that arrived and were not written. `latency` is None for types
    without a header.
    """

    type: str
    count: int
    expected_rate_hz: float | None
    achieved_rate_hz: float
    longest_gap_ms: float
    gaps: int
    bytes: int = 0
    jitter_ms: float = 0.0
    missing: int = 0
    lost: int = 0
    refused: int = 0
    latency: Latency | None = None
    stamp_faults: StampFaults = field(default_factory=StampFaults)

    @property
    def drops(self) -> int:
        """Messages that are known to have been published and are not in the bag."""
        return self.lost + self.refused


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened while recording. Times are receive stamps; `topic` is "" where it concerns all."""

    kind: str
    topic: str
    start_ns: int
    end_ns: int
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`grade` "good", "usable" or "bad" ("unknown" in episodes from before there were verdicts), and why not better."""

    grade: str = "unknown"
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Trim:
    """The part that is worth learning from, by header stamps; the bag keeps everything."""

    start_ns: int
    end_ns: int
    reason: str


@dataclass(frozen=True, slots=True)
class EpisodeMeta:
    """The sidecar. `start_ns` and `end_ns` are on the ROS clock; `stop_reason` is "requested" or says what happened.

    `robot` and `robot_hash` are "" where nobody knows: a foreign recording that was recovered.
    `devices` {topic: JSON object}: what cameras say of themselves (serial, how their time was mapped).
    """

    id: str
    task: str
    instruction: str
    robot: str
    robot_hash: str
    outcome: str
    note: str
    start_ns: int
    end_ns: int
    stop_reason: str
    streams: dict[str, StreamQuality]
    verdict: Verdict = field(default_factory=Verdict)
    events: tuple[Event, ...] = ()
    events_left_out: int = 0
    trim: Trim | None = None
    devices: dict[str, Any] = field(default_factory=dict)
    software: str = ""

    def to_json(self) -> str:
        """Text of the sidecar."""
        return json.dumps({"schema": EPISODE_SCHEMA, **dataclasses.asdict(self)}, indent=2, ensure_ascii=False) + "\n"


def read_meta(sidecar: Path) -> EpisodeMeta:
    """Parse a sidecar; raises AutofocusError for anything missing, unknown or of a newer version."""
    try:
        fields = Fields(json.loads(sidecar.read_text(encoding="utf-8")), str(sidecar))
    except (OSError, ValueError) as error:
        raise AutofocusError(
            str(sidecar), f"unreadable: {error}", "the JSON of an episode", "`autofocus episodes recover` makes it anew"
        ) from error
    version = fields.version(*READABLE_SCHEMAS)
    streams = fields.sub("streams")
    parse_stream = _stream_1 if version == 1 else _stream
    common: dict[str, Any] = dict(
        id=fields.text("id"),
        task=fields.text("task", empty=True),
        instruction=fields.text("instruction", empty=True),
        robot=fields.text("robot", empty=True),
        robot_hash=fields.text("robot_hash", empty=True),
        outcome=fields.choice("outcome", OUTCOMES),
        note=fields.text("note", empty=True),
        start_ns=fields.integer("start_ns", minimum=0),
        end_ns=fields.integer("end_ns", minimum=0),
        stop_reason=fields.text("stop_reason"),
        streams={str(topic): parse_stream(streams.sub(topic)) for topic in streams.raw},
    )
    if version > 1:
        common |= dict(
            verdict=_verdict(fields.sub("verdict")),
            events=tuple(_event(item) for item in fields.items("events", empty=True)),
            events_left_out=fields.integer("events_left_out", minimum=0),
            trim=_trim(fields.sub("trim")) if fields.has("trim") else None,
            devices=dict(fields.sub("devices").raw),
            software=fields.text("software", empty=True),
        )
    fields.done()
    return EpisodeMeta(**common)


def _stream(fields: Fields) -> StreamQuality:
    quality = dataclasses.replace(
        _measured(fields),
        bytes=fields.integer("bytes", minimum=0),
        jitter_ms=fields.number("jitter_ms", minimum=0.0),
        missing=fields.integer("missing", minimum=0),
        lost=fields.integer("lost", minimum=0),
        refused=fields.integer("refused", minimum=0),
        latency=_latency(fields.sub("latency")) if fields.has("latency") else None,
        stamp_faults=_faults(fields.sub("stamp_faults"), ("zero", "duplicate", "backwards", "future")),
    )
    fields.done()
    return quality


def _stream_1(fields: Fields) -> StreamQuality:
    """Version 1 had one figure, `drops`, for messages lost on the way and refused."""
    quality = dataclasses.replace(
        _measured(fields),
        lost=fields.integer("drops", minimum=0),
        stamp_faults=_faults(fields.sub("stamp_faults"), ("zero", "duplicate", "backwards")),
    )
    fields.done()
    return quality


def _measured(fields: Fields) -> StreamQuality:
    return StreamQuality(
        type=fields.text("type"),
        count=fields.integer("count", minimum=0),
        expected_rate_hz=fields.number("expected_rate_hz", above=0.0) if fields.has("expected_rate_hz") else None,
        achieved_rate_hz=fields.number("achieved_rate_hz", minimum=0.0),
        longest_gap_ms=fields.number("longest_gap_ms", minimum=0.0),
        gaps=fields.integer("gaps", minimum=0),
    )


def _faults(fields: Fields, names: tuple[str, ...]) -> StampFaults:
    faults = StampFaults(**{name: fields.integer(name, minimum=0) for name in names})
    fields.done()
    return faults


def _latency(fields: Fields) -> Latency:
    latency = Latency(fields.number("p50_ms"), fields.number("p99_ms"), fields.number("max_ms"))
    fields.done()
    return latency


def _verdict(fields: Fields) -> Verdict:
    verdict = Verdict(fields.choice("grade", GRADES), fields.texts("reasons"))
    fields.done()
    return verdict


def _event(fields: Fields) -> Event:
    event = Event(
        kind=fields.choice("kind", EVENT_KINDS),
        topic=fields.text("topic", empty=True),
        start_ns=fields.integer("start_ns", minimum=0),
        end_ns=fields.integer("end_ns", minimum=0),
        detail=fields.text("detail", empty=True),
    )
    fields.done()
    return event


def _trim(fields: Fields) -> Trim:
    trim = Trim(fields.integer("start_ns", minimum=0), fields.integer("end_ns", minimum=0), fields.text("reason"))
    fields.done()
    return trim
