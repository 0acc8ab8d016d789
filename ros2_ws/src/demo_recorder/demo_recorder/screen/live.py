"""What the task's quality rules say of a stream while its episode is still recorded: the verdict to come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autofocus_core.schema import QualityRules, Threshold

from demo_recorder.screen.parts import Tone, span_ms
from demo_recorder.screen.status import Level, Stream

#: A stream is silent for too long after two periods and this.
STALL_MARGIN_MS = 100.0
#: The deviation of fewer intervals says nothing yet.
MIN_JITTER_COUNT = 30
SEVERITY = (Tone.PLAIN, Tone.WARN, Tone.BAD)
LEVELS = {Level.OK: Tone.PLAIN, Level.WARN: Tone.WARN, Level.ERROR: Tone.BAD, Level.STALE: Tone.BAD}


@dataclass(frozen=True, slots=True)
class Grades:
    """PLAIN, WARN or BAD for each figure of a stream. Streams without an expected rate are not judged."""

    rate: Tone = Tone.PLAIN
    drops: Tone = Tone.PLAIN
    gap: Tone = Tone.PLAIN
    jitter: Tone = Tone.PLAIN
    latency: Tone = Tone.PLAIN
    faults: Tone = Tone.PLAIN
    silent: Tone = Tone.PLAIN

    @property
    def episode(self) -> Tone:
        """The worst of the figures that stay with the episode, whatever comes."""
        return worst(self.drops, self.gap, self.jitter, self.latency, self.faults)


def worst(*tones: Tone) -> Tone:
    """The most severe of them."""
    return max(tones, key=SEVERITY.index)


def graded(value: float, threshold: Threshold) -> Tone:
    """What the verdict will say of this figure: good, usable at best, bad."""
    if value <= threshold.good:
        return Tone.PLAIN
    return Tone.WARN if value <= threshold.usable else Tone.BAD


def grade(stream: Stream, rules: QualityRules) -> Grades:
    """Each figure of a stream by the rules."""
    if stream.expected_rate_hz is None:
        return Grades()
    period_ms = 1000.0 / stream.expected_rate_hz
    due = max(stream.count + stream.drops, 1)
    enough = stream.count >= MIN_JITTER_COUNT
    stalled = stream.silent_ms is not None and stream.silent_ms > 2 * period_ms + STALL_MARGIN_MS
    return Grades(
        rate=graded(1.0 - stream.rate_hz / stream.expected_rate_hz, rules.rate_deficit),
        drops=graded(stream.drops / due, rules.missing_share),
        gap=graded(stream.longest_gap_ms / period_ms, rules.longest_gap_periods),
        jitter=graded(stream.jitter_ms / period_ms, rules.jitter_share) if enough else Tone.PLAIN,
        latency=graded(stream.latency_p99_ms or 0.0, rules.latency_ms),
        faults=graded(stream.stamp_faults / due, rules.stamp_fault_share),
        silent=Tone.BAD if stalled else Tone.PLAIN,
    )


def trouble(stream: Stream, rules: QualityRules, *, recording: bool) -> Tone:
    """How bad it is: what the recorder says of the stream now and, while recording, its figures so far."""
    now = LEVELS[stream.level]
    return worst(now, grade(stream, rules).episode) if recording else now


def troubles(streams: Sequence[Stream], rules: QualityRules) -> tuple[Tone, str]:
    """The state of a recording by its worst stream, and what is the matter with that one ("" if nothing is)."""
    if not streams:
        return Tone.PLAIN, ""
    tones = [trouble(stream, rules, recording=True) for stream in streams]
    found = worst(*tones)
    if found is Tone.PLAIN:
        return found, ""
    stream = streams[tones.index(found)]
    others = sum(tone is not Tone.PLAIN for tone in tones) - 1
    more = f"; and {others} more stream{'s' if others > 1 else ''}" if others else ""
    return found, f"{stream.topic}: {_words(stream, rules)}{more}"


def _words(stream: Stream, rules: QualityRules) -> str:
    grades = grade(stream, rules)
    figures = [
        (grades.drops, f"{stream.drops} messages missing"),
        (grades.gap, f"a gap of {span_ms(stream.longest_gap_ms)}"),
        (grades.jitter, f"intervals vary by {stream.jitter_ms:.1f} ms"),
        (grades.latency, f"late by {span_ms(stream.latency_p99_ms or 0.0)}"),
        (grades.faults, f"{stream.stamp_faults} faulty stamps"),
    ]
    words = [text for tone, text in figures if tone is not Tone.PLAIN]
    return ", ".join(([stream.message] if stream.level is not Level.OK else []) + words)
