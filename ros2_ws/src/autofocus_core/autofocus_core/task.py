"""What a task is, and its YAML, parsed once, at the edge."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from autofocus_core.fields import Fields, load_yaml

TASK_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Threshold:
    """A figure up to `good` is good, up to `usable` usable; beyond that the episode is bad."""

    good: float
    usable: float


@dataclass(frozen=True, slots=True)
class QualityRules:
    """What an episode must keep to be called good or usable, by its worst stream.

    Only streams with an expected rate (state, action, cameras) are judged. `missing_share`: messages lost, refused or
    missing by their stamps, of all that there should be; `rate_deficit`: 1 - achieved / expected rate;
    `longest_gap_periods`: longest interval in expected periods; `jitter_share`: standard deviation of the intervals
    in expected periods; `stamp_fault_share`: messages with a faulty stamp; `latency_ms`: p99 from stamp to receipt.
    """

    missing_share: Threshold = Threshold(0.01, 0.05)
    rate_deficit: Threshold = Threshold(0.05, 0.15)
    longest_gap_periods: Threshold = Threshold(3.5, 30.0)
    jitter_share: Threshold = Threshold(0.5, 1.5)
    stamp_fault_share: Threshold = Threshold(0.0, 0.01)
    latency_ms: Threshold = Threshold(200.0, 1000.0)
    min_duration_s: float = 1.0


@dataclass(frozen=True, slots=True)
class RecordingRules:
    """How a session goes: countdown before each episode, the length at which one is stopped, how many are wanted."""

    countdown_s: float = 0.0
    max_duration_s: float | None = None
    target_episodes: int | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be done: the instruction, the objects by name (may be empty: they are then read from the
    instruction), the cameras to annotate, how long an attempt may take, and how it is recorded and judged."""

    name: str
    instruction: str
    objects: tuple[str, ...]
    cameras: tuple[str, ...]
    timeout_s: float
    recording: RecordingRules = RecordingRules()
    quality: QualityRules = QualityRules()


def load_task(path: str | Path) -> Task:
    """Parse a task YAML; raises AutofocusError for anything missing, unknown, doubled or out of range."""
    return parse_task(load_yaml(path, "task"))


def parse_task(fields: Fields) -> Task:
    """A task from its mapping; see :func:`load_task`."""
    fields.version(TASK_SCHEMA)
    task = Task(
        name=fields.text("name"),
        instruction=fields.text("instruction"),
        objects=fields.texts("objects") if fields.has("objects") else (),
        cameras=fields.texts("cameras"),
        timeout_s=fields.number("timeout_s", above=0.0),
        recording=_recording(fields.sub("recording")) if fields.has("recording") else RecordingRules(),
        quality=_quality(fields.sub("quality")) if fields.has("quality") else QualityRules(),
    )
    fields.done()
    return task


def _recording(fields: Fields) -> RecordingRules:
    rules = RecordingRules(
        countdown_s=fields.number("countdown_s", minimum=0.0) if fields.has("countdown_s") else 0.0,
        max_duration_s=fields.number("max_duration_s", above=0.0) if fields.has("max_duration_s") else None,
        target_episodes=fields.integer("target_episodes", minimum=1) if fields.has("target_episodes") else None,
    )
    fields.done()
    return rules


def _quality(fields: Fields) -> QualityRules:
    default = QualityRules()
    changes: dict[str, Threshold | float] = {}
    for entry in dataclasses.fields(QualityRules):
        if entry.name == "min_duration_s":
            if fields.has("min_duration_s"):
                changes["min_duration_s"] = fields.number("min_duration_s", minimum=0.0)
        elif fields.has(entry.name):
            changes[entry.name] = _threshold(fields.sub(entry.name))
    fields.done()
    return dataclasses.replace(default, **changes)


def _threshold(fields: Fields) -> Threshold:
    good = fields.number("good", minimum=0.0)
    threshold = Threshold(good, fields.number("usable", minimum=good))
    fields.done()
    return threshold
