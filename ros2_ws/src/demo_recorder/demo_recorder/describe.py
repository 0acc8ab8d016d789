"""The sidecar of an episode: before its first message, and with everything that is known at its end."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

from autofocus_core.episode_meta import INTERRUPTED, EpisodeMeta
from autofocus_core.schema import Robot, Task

from demo_recorder.verdict import judge
from demo_recorder.writer import Recording


@dataclass(frozen=True, slots=True)
class Describer:
    """What all episodes of a session have in common. `required`: the topics that an episode must have."""

    robot: Robot
    task: Task
    required: frozenset[str]

    def begun(self, recording: Recording) -> EpisodeMeta:
        """What a killed recording is recovered with: all but what was in its messages."""
        return self._judged(self._meta(recording, recording.start_ns, INTERRUPTED))

    def ended(
        self, recording: Recording, end_ns: int, reason: str, outcome: str, note: str, devices: Mapping[str, Any]
    ) -> EpisodeMeta:
        """Everything, with the verdict. To be called when the last message is written."""
        for silence in recording.silences(end_ns):
            recording.events.add(silence)
        return self._judged(
            replace(
                self._meta(recording, end_ns, reason),
                outcome=outcome,
                note=note,
                events=recording.events.by_time(),
                events_left_out=recording.events.left_out,
                devices=dict(devices),
            )
        )

    def _meta(self, recording: Recording, end_ns: int, reason: str) -> EpisodeMeta:
        return EpisodeMeta(
            id=recording.path.name,
            task=self.task.name,
            instruction=self.task.instruction,
            robot=self.robot.name,
            robot_hash=self.robot.hash(),
            outcome="unknown",
            note="",
            start_ns=recording.start_ns,
            end_ns=end_ns,
            stop_reason=reason,
            streams=recording.qualities(end_ns),
            software=f"demo_recorder {version('demo_recorder')}",
        )

    def _judged(self, meta: EpisodeMeta) -> EpisodeMeta:
        return replace(meta, verdict=judge(meta, self.task.quality, self.required))


def device_info(messages: Iterable[bytes]) -> Any:
    """The newest of a camera's descriptions (CDR of std_msgs/String, a JSON object), None where there is none."""
    found = None
    for raw in messages:
        text = raw[8:].rstrip(b"\0")  # after 4 bytes of encapsulation and 4 of length
        try:
            found = json.loads(text)
        except ValueError:
            found = {"unreadable": text.decode("utf-8", "replace")}
    return found
