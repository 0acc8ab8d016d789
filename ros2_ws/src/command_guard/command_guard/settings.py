"""The guard's own settings; what depends on the robot (limits, timeouts, distances) is in the robot YAML."""

from __future__ import annotations

from dataclasses import dataclass, fields

from autofocus_core.errors import AutofocusError


@dataclass(frozen=True, slots=True)
class Setting:
    """Default, allowed range (inclusive), unit and meaning of one setting; the ROS parameters are made from this."""

    default: float
    lowest: float
    highest: float
    unit: str
    meaning: str


TABLE = {
    "rate_hz": Setting(100.0, 20.0, 500.0, "Hz", "rate of the commands"),
    "resume_within_s": Setting(
        1.0, 0.0, 10.0, "s", "a hold by a watchdog longer than this ends only with ~/arm, not by itself"
    ),
    "ramp_velocity_scale": Setting(
        0.2, 0.01, 1.0, "1", "share of the velocity limits while a far first request is approached"
    ),
    "max_stamp_age_s": Setting(1.0, 0.05, 10.0, "s", "requests stamped longer ago are refused"),
    "max_stamp_ahead_s": Setting(0.1, 0.0, 1.0, "s", "requests stamped farther in the future are refused"),
    "deadman_timeout_s": Setting(
        0.3, 0.05, 2.0, "s", "with a deadman topic: silence for longer than this counts as letting go"
    ),
    "late_limit_s": Setting(
        0.25, 0.05, 5.0, "s", "at full speed a joint would be this late at the requested point: it is being limited"
    ),
    "late_abort_s": Setting(0.5, 0.05, 10.0, "s", "limited for longer than this without a pause: fault"),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """Values of `TABLE`; raises AutofocusError for one that is out of its range (NaN included)."""

    rate_hz: float = TABLE["rate_hz"].default
    resume_within_s: float = TABLE["resume_within_s"].default
    ramp_velocity_scale: float = TABLE["ramp_velocity_scale"].default
    max_stamp_age_s: float = TABLE["max_stamp_age_s"].default
    max_stamp_ahead_s: float = TABLE["max_stamp_ahead_s"].default
    deadman_timeout_s: float = TABLE["deadman_timeout_s"].default
    late_limit_s: float = TABLE["late_limit_s"].default
    late_abort_s: float = TABLE["late_abort_s"].default

    def __post_init__(self) -> None:
        for field in fields(self):
            value, row = getattr(self, field.name), TABLE[field.name]
            if not row.lowest <= value <= row.highest:
                allowed = f"{row.lowest:g} to {row.highest:g} {row.unit} ({row.meaning})"
                fix = f"leave it out for the default of {row.default:g}"
                raise AutofocusError(f"command guard: {field.name}", str(value), allowed, fix)
