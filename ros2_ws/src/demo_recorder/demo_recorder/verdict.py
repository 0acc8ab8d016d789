"""Whether an episode can be learned from: its figures against the rules of the task, in words for the operator."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from autofocus_core.episode_meta import INTERRUPTED, EpisodeMeta, StreamQuality, Verdict
from autofocus_core.schema import QualityRules, Threshold

NS_PER_S = 1_000_000_000
_GRADES = ("good", "usable", "bad")


@dataclass(frozen=True, slots=True)
class _Finding:
    """Something that is not good. `weight` puts the worst first within a grade."""

    grade: str
    weight: float
    text: str


@dataclass(frozen=True, slots=True)
class _Figure:
    """A figure of a stream, what it means, and how it is shown with its limit."""

    threshold: Threshold
    value: float
    words: str
    show: Callable[[float], str]


def judge(meta: EpisodeMeta, rules: QualityRules, required: Collection[str]) -> Verdict:
    """The grade of the worst finding, and all findings in words, the worst first.

    Bad at once: a recording that was killed or ended by an error or a change of type, a clock that was set meanwhile
    (stamps before and after do not compare), a `required` topic without messages, less than `min_duration_s`.
    The thresholds are for streams with an expected rate.
    """
    findings = list(_whole(meta, rules, required))
    for topic, stream in meta.streams.items():
        if stream.count and stream.expected_rate_hz is not None:
            for figure in _figures(stream, stream.expected_rate_hz, rules):
                findings += _against_threshold(topic, figure)
    findings.sort(key=lambda finding: (-_GRADES.index(finding.grade), -finding.weight))
    texts = dict.fromkeys(finding.text for finding in findings)  # the same thing may happen twice
    return Verdict(findings[0].grade if findings else "good", tuple(texts))


def _whole(meta: EpisodeMeta, rules: QualityRules, required: Collection[str]) -> Iterator[_Finding]:
    """What is wrong with the recording as a whole."""
    if meta.stop_reason == INTERRUPTED:
        yield _bad(5, "the recording was interrupted: the recorder or the machine was killed")
    elif meta.stop_reason.startswith(("error", "type change")):
        article = "an" if meta.stop_reason.startswith("e") else "a"
        yield _bad(5, f"the recording ended with {article} {meta.stop_reason}")
    for event in meta.events:
        if event.kind == "clock_step":
            detail = f" ({event.detail})" if event.detail else ""
            yield _bad(4, f"the clock was set during the recording{detail}: times before and after do not compare")
    for topic in sorted(required):
        if topic not in meta.streams or not meta.streams[topic].count:
            yield _bad(3, f"{topic}: no message at all")
    duration_s = (meta.end_ns - meta.start_ns) / NS_PER_S
    if duration_s < rules.min_duration_s:
        yield _bad(2, f"only {duration_s:.2f} s long (at least {rules.min_duration_s:g} s)")


def _figures(stream: StreamQuality, rate_hz: float, rules: QualityRules) -> Iterator[_Figure]:
    """What is judged of a stream with messages and an expected rate."""

    def in_ms(periods: float) -> str:
        return f"{1000 * periods / rate_hz:.{0 if periods > 1 else 1}f} ms"

    # Seen in the stamps, and told by publishers and queue: they overlap, so the greater count holds.
    missing = max(stream.missing, stream.drops)
    total = stream.count + missing
    told = f" ({stream.lost} lost on the way)" if stream.lost else ""
    told += f" ({stream.refused} refused, the disk was too slow)" if stream.refused else ""
    yield _Figure(rules.missing_share, missing / total, f"{missing} of {total} messages missing{told}", _percent)

    words = f"{stream.achieved_rate_hz:.1f} Hz instead of {rate_hz:g} Hz"
    yield _Figure(rules.rate_deficit, 1.0 - stream.achieved_rate_hz / rate_hz, words, lambda v: f"{_percent(v)} less")

    gap_periods = stream.longest_gap_ms * rate_hz / 1000
    yield _Figure(rules.longest_gap_periods, gap_periods, "a gap in the data", in_ms)

    words = f"irregular, its intervals of {1000 / rate_hz:.0f} ms vary"
    yield _Figure(rules.jitter_share, stream.jitter_ms * rate_hz / 1000, words, in_ms)

    faults = stream.stamp_faults
    kinds = {"zero": faults.zero, "repeated": faults.duplicate, "backwards": faults.backwards, "future": faults.future}
    counted = ", ".join(f"{count} {kind}" for kind, count in kinds.items() if count)
    words = f"{faults.total} of {stream.count} time stamps wrong: {counted}"
    yield _Figure(rules.stamp_fault_share, faults.total / stream.count, words, _percent)

    if stream.latency is not None:
        words = "arrives late, 1 message in 100 even later than this"
        yield _Figure(rules.latency_ms, stream.latency.p99_ms, words, lambda value_ms: f"{value_ms:.0f} ms")


def _against_threshold(topic: str, figure: _Figure) -> list[_Finding]:
    """One finding, or none where the figure is good."""
    if figure.value <= figure.threshold.good:
        return []
    grade, better, limit = "usable", "good", figure.threshold.good
    if figure.value > figure.threshold.usable:
        grade, better, limit = "bad", "usable", figure.threshold.usable
    text = f"{topic}: {figure.words} ({figure.show(figure.value)}, {better} up to {figure.show(limit)})"
    return [_Finding(grade, 1.0 - limit / figure.value, text)]


def _bad(weight: float, text: str) -> _Finding:
    return _Finding("bad", weight, text)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
