"""What ~/status says, as texts: one row for the recorder, one for each topic. No ROS here."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from demo_recorder.quality import StreamMonitor

OK, WARN, ERROR = 0, 1, 2
#: A rate is over at least this long.
RATE_WINDOW_S = 2.0


@dataclass(frozen=True, slots=True)
class StatusRow:
    """One DiagnosticStatus."""

    name: str
    level: int
    message: str
    values: dict[str, str] = field(default_factory=dict)


class RateMeter:
    """Messages per second over about the last two seconds, from a counter that is read now and then."""

    def __init__(self) -> None:
        self._readings: deque[tuple[float, int]] = deque()

    def read(self, now_s: float, count: int) -> float:
        """The counter's value now; gives the rate."""
        self._readings.append((now_s, count))
        while len(self._readings) > 2 and self._readings[1][0] <= now_s - RATE_WINDOW_S:
            self._readings.popleft()
        since_s, before = self._readings[0]
        return (count - before) / (now_s - since_s) if now_s > since_s else 0.0


@dataclass(frozen=True, slots=True)
class TopicView:
    """What is known of a topic now. `silent_ms` is None before its first message; `monitor`: of the running episode."""

    name: str
    type: str
    required: bool
    publishers: int
    qos: str
    rate_hz: float
    expected_rate_hz: float | None
    silent_ms: float | None
    silent: bool
    failures: int = 0
    monitor: StreamMonitor | None = None


def topic_row(topic: TopicView) -> StatusRow:
    """The row of a topic: ERROR where an episode cannot do without it and it does not come."""
    monitor = topic.monitor
    values = {
        "topic": topic.name,
        "type": topic.type,
        "required": str(topic.required).lower(),
        "publishers": str(topic.publishers),
        "qos": topic.qos,
        "rate_hz": f"{topic.rate_hz:.1f}",
        "expected_rate_hz": "" if topic.expected_rate_hz is None else f"{topic.expected_rate_hz:g}",
        "silent_ms": "" if topic.silent_ms is None else f"{topic.silent_ms:.0f}",
        "failures": str(topic.failures),
        **_counts(monitor),
    }
    level, message = OK, f"{topic.rate_hz:.1f} Hz"
    drops = 0 if monitor is None else monitor.drops
    faults = 0 if monitor is None else monitor.stamp_faults.total
    if not topic.publishers:
        level, message = (ERROR, "nobody publishes it") if topic.required else (OK, "not published")
    elif topic.silent:
        level, message = (ERROR if topic.required else WARN), f"silent for {topic.silent_ms or 0:.0f} ms"
    elif drops or faults or topic.failures:
        level = WARN
        message += f", {drops} lost or refused, {faults} faulty stamps"
        message += f", {topic.failures} could not be handled" if topic.failures else ""
    return StatusRow(f"demo_recorder: {topic.name}", level, message, values)


def _counts(monitor: StreamMonitor | None) -> dict[str, str]:
    if monitor is None:
        keys = ("count", "lost", "refused", "missing", "gaps", "longest_gap_ms", "jitter_ms", "stamp_faults")
        return {**dict.fromkeys(keys, "0"), "latency_p50_ms": "", "latency_p99_ms": ""}
    latency = monitor.latency
    return {
        "count": str(monitor.count),
        "lost": str(monitor.lost),
        "refused": str(monitor.refused),
        "missing": str(monitor.missing),
        "gaps": str(monitor.gaps),
        "longest_gap_ms": f"{monitor.longest_gap_ns / 1e6:.1f}",
        "jitter_ms": f"{monitor.jitter_ms:.2f}",
        "latency_p50_ms": "" if latency is None else f"{latency.p50_ms:.2f}",
        "latency_p99_ms": "" if latency is None else f"{latency.p99_ms:.2f}",
        "stamp_faults": str(monitor.stamp_faults.total),
    }


def summary_row(values: dict[str, str], topics: list[StatusRow]) -> StatusRow:
    """The recorder's own row: as bad as the worst topic, in one sentence."""
    state, error = values["state"], values["error"]
    worst = max(topics, key=lambda row: row.level, default=StatusRow("", OK, ""))
    level = ERROR if error else min(worst.level, WARN) if state != "recording" else worst.level
    if error:
        message = error
    elif state == "recording":
        message = f"recording {values['episode']}, {float(values['elapsed_s']):.1f} s"
    elif state == "countdown":
        message = f"recording starts in {float(values['countdown_s']):.1f} s"
    else:
        message = f"ready, last episode {state}" if values["last_episode"] else "ready"
    if worst.level > OK and not error:
        message += f"; {worst.values.get('topic', '')}: {worst.message}"
    return StatusRow("demo_recorder", level, message, values)
