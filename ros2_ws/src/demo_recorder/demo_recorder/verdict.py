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


def judge(meta: EpisodeMeta, rules: QualityRules, required: Collection[str]) -> Verdict:
    """The grade of the worst finding, and all findings in words, the worst first.

    Bad at once: a recording that was killed or ended by an error or a change of type, a clock that was set meanwhile
    (stamps before and after do not compare), a `required` topic without messages, less than `min_duration_s`.
    The thresholds are for streams with an expected rate.
    """
    findings = [*_whole(meta, rules, required)]
    for topic, stream in meta.streams.items():
        if stream.count and stream.expected_rate_hz is not None:
            findings += [found for rule in _RULES if (found := rule(topic, stream, stream.expected_rate_hz, rules))]
    findings.sort(key=lambda finding: (-_GRADES.index(finding.grade), -finding.weight))
    return Verdict(findings[0].grade if findings else "good", tuple(finding.text for finding in findings))


def _whole(meta: EpisodeMeta, rules: QualityRules, required: Collection[str]) -> Iterator[_Finding]:
    """What is wrong with the recording as a whole."""
    if meta.stop_reason == INTERRUPTED:
        yield _bad(5, "the recording was interrupted: the recorder or the machine was killed")
    elif meta.stop_reason.startswith(("error", "type change")):
        yield _bad(5, f"the recording ended by itself: {meta.stop_reason}")
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


def _missing(topic: str, stream: StreamQuality, rate_hz: float, rules: QualityRules) -> _Finding | None:
    """`missing` is seen in the stamps, `lost` and `refused` were told: they overlap, so the greater count holds."""
    missing = max(stream.missing, stream.drops)
    total = stream.count + missing
    known = [f"{stream.lost} lost on the way"] if stream.lost else []
    known += [f"{stream.refused} refused because the disk was too slow"] if stream.refused else []

    def text(limit: str) -> str:
        return f"{topic}: {missing} of {total} messages missing ({'; '.join([f'{_percent(missing / total)}, {limit}', *known])})"

    return _against(rules.missing_share, missing / total, text, _percent)


def _deficit(topic: str, stream: StreamQuality, rate_hz: float, rules: QualityRules) -> _Finding | None:
    share = 1.0 - stream.achieved_rate_hz / rate_hz

    def text(limit: str) -> str:
        return f"{topic}: {stream.achieved_rate_hz:.1f} Hz instead of {rate_hz:g} Hz ({_percent(share)} less, {limit})"

    return _against(rules.rate_deficit, share, text, _percent)


def _longest_gap(topic: str, stream: StreamQuality, rate_hz: float, rules: QualityRules) -> _Finding | None:
    def show(periods: float) -> str:
        return f"{periods * 1000 / rate_hz:.0f} ms"

    def text(limit: str) -> str:
        return f"{topic}: nothing for {show(stream.longest_gap_ms * rate_hz / 1000)} ({limit})"

    return _against(rules.longest_gap_periods, stream.longest_gap_ms * rate_hz / 1000, text, show)


def _jitter(topic: str, stream: StreamQuality, rate_hz: float, rules: QualityRules) -> _Finding | None:
    def show(periods: float) -> str:
        return f"{periods * 1000 / rate_hz:.1f} ms"

    def text(limit: str) -> str:
        return f"{topic}: irregular, intervals of {1000 / rate_hz:.1f} ms vary by {stream.jitter_ms:.1f} ms ({limit})"

    return _against(rules.jitter_share, stream.jitter_ms * rate_hz / 1000, text, show)


def _stamps(topic: str, stream: StreamQuality, rate_hz: float, rules: QualityRules) -> _Finding | None:
    faults = stream.stamp_faults
    share = faults.total / stream.count
    kinds = ("zero", faults.zero), ("twice the same", faults.duplicate), ("backwards", faults.backwards)
    counted = ", ".join(f"{count} {kind}" for kind, count in (*kinds, ("in the future", faults.future)) if count)

    def text(limit: str) -> str:
        return f"{topic}: {faults.total} of {stream.count} time stamps are wrong: {counted} ({_percent(share)}, {limit})"

    return _against(rules.stamp_fault_share, share, text, _percent)


def _latency(topic: str, stream: StreamQuality, rate_hz: float, rules: QualityRules) -> _Finding | None:
    if stream.latency is None:
        return None

    def text(limit: str) -> str:
        return f"{topic}: arrives late, 1 message in 100 after more than {show(late_ms)} ({limit})"

    def show(value_ms: float) -> str:
        return f"{value_ms:.0f} ms"

    late_ms = stream.latency.p99_ms
    return _against(rules.latency_ms, late_ms, text, show)


_RULES = (_missing, _deficit, _longest_gap, _jitter, _stamps, _latency)


def _against(
    threshold: Threshold, value: float, text: Callable[[str], str], show: Callable[[float], str]
) -> _Finding | None:
    """Nothing where the value is good; `text` is given the limit that it is beyond."""
    if value <= threshold.good:
        return None
    grade, better, limit = "usable", "good", threshold.good
    if value > threshold.usable:
        grade, better, limit = "bad", "usable", threshold.usable
    return _Finding(grade, 1.0 - limit / value, text(f"{better} up to {show(limit)}"))


def _bad(weight: float, text: str) -> _Finding:
    return _Finding("bad", weight, text)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
