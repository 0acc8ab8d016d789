"""A camera's status as plain rows: the node makes diagnostics of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from demo_recorder.realsense.camera import STREAMING, WAITING, CameraState
from demo_recorder.realsense.clock import FrameClock
from demo_recorder.realsense.outputs import ALIGNED
from demo_recorder.realsense.settings import Settings

OK, WARN, ERROR = 0, 1, 2
#: A stream below this share of the rate that was asked for is slow.
SLOW_SHARE = 0.9
#: Counts whose growth since the last status is worth a warning.
_LOSSES = ("lost", "dropped", "late", "duplicates")


@dataclass(frozen=True, slots=True)
class Row:
    """One DiagnosticStatus: `level` OK, WARN or ERROR."""

    name: str
    level: int
    message: str
    values: dict[str, object]


@dataclass(slots=True)
class StatusReport:
    """Makes the rows, and remembers the counts of the last ones."""

    settings: Settings
    topics: dict[str, str]
    _before: dict[str, dict[str, int]] = field(default_factory=dict)

    def rows(self, name: str, state: CameraState, clock: FrameClock, now_ns: int) -> list[Row]:
        """The camera first, then a row for each output; `topics` {output: topic of its images}."""
        streams = [self._stream(name, output, state, now_ns) for output in self.settings.outputs]
        level = max([row.level for row in streams])
        message = ", ".join(f"{output} {row.message}" for output, row in zip(self.topics, streams))
        if state.state != STREAMING:
            level, message = ERROR if state.state == WAITING else WARN, f"{state.state}: {state.error}".rstrip(": ")
        elif state.warning:
            level, message = max(level, WARN), f"{message}; {state.warning}"
        values = {
            "state": state.state,
            "error": state.error,
            "warning": state.warning,
            "device": state.device,
            "connections": state.connections,
            "losses": state.losses,
            "last_loss": state.last_loss,
            "hangs": state.hangs,
            "resets": state.resets,
            "epoch": clock.epoch,
            "clock_jumps": clock.jumps,
            "last_jump_ms": round(clock.last_jump_ms, 3),
            "stamps_held": clock.held,
            "unstamped": clock.unstamped,
        }
        return [Row(name, level, message, values), *streams]

    def _stream(self, name: str, output: str, state: CameraState, now_ns: int) -> Row:
        count = state.counts[output]
        request = self.settings.depth if output == ALIGNED else getattr(self.settings, output)
        rate_hz = count.rate_hz(now_ns)
        numbers = {
            "received": count.received,
            "published": count.published,
            "lost": count.lost,
            "gaps": count.gaps,
            "dropped": count.dropped,
            "unstamped": count.unstamped,
            "duplicates": count.duplicates,
            "restarts": count.restarts,
            "late": count.late,
        }
        before = self._before.get(output, {})
        grown = [f"{numbers[key] - before.get(key, 0)} {key}" for key in _LOSSES if numbers[key] > before.get(key, 0)]
        self._before[output] = numbers
        level = WARN if grown or rate_hz < SLOW_SHARE * request.rate_hz else OK
        if state.state != STREAMING:
            level = ERROR
        message = f"{rate_hz:.1f} of {request.rate_hz} Hz" + (f" ({', '.join(grown)})" if grown else "")
        values = {
            "topic": self.topics[output],
            "rate_hz": f"{rate_hz:.2f}",
            "expected_rate_hz": request.rate_hz,
            "subscribed": int(count.published > before.get("published", 0)),
            **numbers,
        }
        return Row(f"{name}: {output}", level, message, values)
