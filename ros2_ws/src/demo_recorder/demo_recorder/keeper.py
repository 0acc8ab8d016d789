"""Begins and ends episodes: the session's state, the recording in hand, the folder, the disk. No ROS here."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from autofocus_core.episode import load_episode, update_meta
from autofocus_core.episode_meta import Verdict
from autofocus_core.errors import AutofocusError
from autofocus_core.names import DEVICE_INFO_NAME

from demo_recorder.describe import Describer, device_info
from demo_recorder.disk import DiskWatch
from demo_recorder.folder import EpisodeFolder
from demo_recorder.intake import Intake
from demo_recorder.memory import give_back_memory
from demo_recorder.session import Session
from demo_recorder.writer import Recording, TopicSpec, WriterSettings, put_aside

#: How long a stop waits for a stream that has just fallen behind; one that is silent for LATE_S is not just late.
STRAGGLER_S = 0.25
LATE_S = 1.0
LATE_PERIODS = 2.0


class Topic(Protocol):
    """A topic that is there to be recorded."""

    name: str
    latched: bool
    expected_rate_hz: float | None
    last_ns: int

    def spec(self) -> TopicSpec:
        """What the writer has to know."""

    def latched_now(self) -> list[bytes]:
        """The messages from before the start that an episode begins with."""

    def lost(self) -> int:
        """Messages that the middleware says were lost since it was last asked."""


@dataclass(frozen=True, slots=True)
class Last:
    """The episode that was recorded last; `path` is None where it could not be finished."""

    episode: str = ""
    path: Path | None = None
    verdict: Verdict = field(default_factory=lambda: Verdict(""))
    outcome: str = ""


class Keeper:
    """One session of episodes. All calls from one thread; `intake.recording` is the recording in hand."""

    def __init__(
        self,
        describer: Describer,
        intake: Intake,
        disk: DiskWatch,
        folder: EpisodeFolder,
        settings: WriterSettings,
    ) -> None:
        self.session = Session(describer.task.recording)
        self.last = Last()
        self.error = ""
        self.shown: Recording | None = None  # the recording in hand or, until the next start, the one before
        self.folder = folder
        self.disk = disk
        self._describer = describer
        self._intake = intake
        self._settings = settings

    @property
    def recording(self) -> Recording | None:
        """The recording in hand."""
        return self._intake.recording

    def begin(self, topics: Sequence[Topic]) -> str:
        """Start an episode with these topics; gives its name. What arrived before now is not part of it."""
        self.disk.require_room()
        with self._intake.lock:
            self._intake.drain()
            self._intake.reanchor()
            start_ns = self._intake.clock.now_ns()
            recording = Recording(
                self.folder.new_path(self._describer.task.name),
                [topic.spec() for topic in topics],
                start_ns,
                self._settings,
                self._describer.begun,
            )
            for topic in topics:
                for raw in topic.latched_now() if topic.latched else ():
                    recording.put(topic.name, raw, start_ns)
            for topic in topics:
                topic.lost()  # before the start
            self._intake.begin(recording)
        self.session.start(recording.path.name, time.monotonic())
        self.error = ""
        self.shown = recording
        return recording.path.name

    def add(self, topic: Topic) -> None:
        """A topic has turned up in mid-recording."""
        with self._intake.lock:
            recording = self._intake.recording
            if recording is not None and topic.name not in recording.monitors:
                recording.add_topic(topic.spec())
                for raw in topic.latched_now() if topic.latched else ():
                    recording.put(topic.name, raw, self._intake.clock.now_ns())

    def end(self, reason: str, topics: Sequence[Topic]) -> Path:
        """End the running episode and keep it; gives its path."""
        self.session.stop()
        return self._finish(reason, topics, discard=False)

    def discard(self, topics: Sequence[Topic]) -> Path:
        """Put the running episode aside, or the one stopped last; gives where it lies now."""
        if self.session.discard():
            path = self._finish("discarded", topics, discard=True)
        else:
            path = put_aside(self._last_path("discard"))
            self.folder.remove(path.name)
        self.last = replace(self.last, path=None, outcome="discarded")
        self.shown = None
        return path

    def set_outcome(self, success: bool) -> str:
        """Note how the running (or last stopped) episode went; gives the outcome's name."""
        running = self.recording is not None
        path = None if running else self._last_path("outcome")
        outcome = self.session.set_outcome(success)
        if path is not None:
            update_meta(path, outcome=outcome)
            self.folder.put(path.name, outcome)
            self.last = replace(self.last, outcome=outcome)
        return outcome

    def set_note(self, note: str) -> None:
        """The operator's note on the running (or last stopped) episode."""
        path = None if self.recording is not None else self._last_path("note")
        self.session.set_note(note)
        if path is not None:
            update_meta(path, note=note)

    def values(self, now_s: float) -> dict[str, str]:
        """The recorder's own values on ~/status."""
        session, task, rules = self.session, self._describer.task, self.session.rules
        shown, last = self.shown, self.last
        return {
            "state": session.state.value,
            "task": task.name,
            "instruction": task.instruction,
            "robot": self._describer.robot.name,
            "output": str(self.folder.path),
            "episode": session.episode,
            "elapsed_s": f"{session.elapsed_s(now_s):.2f}",
            "countdown_s": f"{session.countdown_s(now_s):.2f}",
            "max_duration_s": "" if rules.max_duration_s is None else f"{rules.max_duration_s:g}",
            "outcome": session.outcome,
            "note": session.note,
            "bytes_written": str(0 if shown is None else shown.bytes_written),
            "files": str(0 if shown is None else shown.files),
            "queue_bytes": str(0 if shown is None else shown.queue_bytes),
            "queue_limit_bytes": str(self._settings.queue_bytes),
            "disk_free_bytes": str(self.disk.free_bytes),
            "reserve_bytes": str(self.disk.reserve_bytes),
            "episodes": str(self.folder.episodes),
            "successes": str(self.folder.successes),
            "target_episodes": "" if rules.target_episodes is None else str(rules.target_episodes),
            "interrupted": str(len(self.folder.interrupted)),
            "last_episode": last.episode,
            "last_path": "" if last.path is None else str(last.path),
            "last_grade": last.verdict.grade,
            "last_reasons": "; ".join(last.verdict.reasons),
            "last_outcome": last.outcome,
            "events": str(0 if shown is None else shown.events.count),
            "last_event": "" if shown is None else shown.events.last_words,
            "error": self.error or self.disk.problem,
        }

    def _finish(self, reason: str, topics: Sequence[Topic], *, discard: bool) -> Path:
        self._await_stragglers(topics)
        with self._intake.lock:
            self._intake.drain()
            recording = self._intake.recording
            assert recording is not None  # the session was recording
            self._intake.recording = None
            for topic in topics:
                if topic.name in recording.monitors:
                    recording.monitors[topic.name].lost_event(topic.lost())
            end_ns = self._intake.clock.now_ns()
        self.last = Last(recording.path.name)  # should finishing fail, nobody must take the episode before for it
        self.error = reason if reason.startswith(("error", "type change")) else ""
        devices = {
            topic.name: device_info(topic.latched_now())
            for topic in topics
            if topic.name.endswith(f"/{DEVICE_INFO_NAME}") and topic.latched_now()
        }
        try:
            path = recording.finish(
                lambda: self._describer.ended(
                    recording, end_ns, reason, self.session.outcome, self.session.note, devices
                ),
                discard=discard,
            )
        except AutofocusError as error:
            self.error = f"error: {error.got}"
            self.folder.interrupted.append(recording.working)
            raise
        give_back_memory()
        meta = load_episode(path).meta
        assert meta is not None  # just written
        self.last = Last(path.name, path, meta.verdict, meta.outcome)
        if not discard:
            self.folder.put(path.name, meta.outcome)
        return path

    def _await_stragglers(self, topics: Sequence[Topic]) -> None:
        """A stream that has fallen behind may be about to catch up: what is being sent again was published in time."""
        give_up_s = time.monotonic() + STRAGGLER_S
        while any(_is_late(topic, self._intake.clock.now_ns()) for topic in topics):
            if time.monotonic() >= give_up_s:
                return
            time.sleep(0.01)

    def _last_path(self, what: str) -> Path:
        if self.last.path is None:
            raise AutofocusError(
                f"recorder: {what}",
                f"{self.last.episode} is not there to be changed" if self.last.episode else self.session.state.value,
                "an episode that runs or was stopped last",
                "record an episode first",
            )
        return self.last.path


def _is_late(topic: Topic, now_ns: int) -> bool:
    if topic.expected_rate_hz is None or not topic.last_ns:
        return False
    return LATE_PERIODS / topic.expected_rate_hz < (now_ns - topic.last_ns) / 1e9 < LATE_S
