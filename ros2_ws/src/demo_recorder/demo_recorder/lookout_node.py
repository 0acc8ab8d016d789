"""Looks at what happens around a recording: the clock and the disk after each pass, the graph four times a second."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from autofocus_core.episode_meta import Event
from autofocus_core.errors import AutofocusError

from demo_recorder.disk import DiskWatch
from demo_recorder.intake import Intake
from demo_recorder.keeper import Keeper
from demo_recorder.session import Due
from demo_recorder.topics_node import Attachments, Wanted
from demo_recorder.watch import PublisherWatch, SilenceWatch

#: How long a start waits for publishers to be discovered before it refuses.
DISCOVERY_TIMEOUT_S = 2.5


class Lookout:
    """`end` is called with the reason for which a recording ends by itself, `warn` with what people should know."""

    def __init__(
        self,
        wanted: Sequence[Wanted],
        keeper: Keeper,
        intake: Intake,
        disk: DiskWatch,
        attachments: Attachments,
        end: Callable[[str], None],
        warn: Callable[[str], None],
    ) -> None:
        self.silence = SilenceWatch({topic.name: topic.expected_rate_hz for topic in wanted})
        self._wanted = wanted
        self._keeper = keeper
        self._intake = intake
        self._disk = disk
        self._attachments = attachments
        self._end = end
        self._warn = warn
        self._publishers = PublisherWatch()
        self._seen: tuple[object, ...] = ()

    def news(self, now_ns: int) -> bool:
        """After each pass of the intake, in its thread: whether something has happened that cannot wait."""
        recording = self._intake.recording
        if recording is not None:
            recording.tend(now_ns)
            if self._disk.problem:
                recording.fail(self._disk.problem)
        last_ns = {topic.name: topic.last_ns for topic in self._wanted if topic.subscription is not None}
        changed = self.silence.look(last_ns, now_ns)
        seen = (recording, recording and (recording.events.count, recording.error), self._disk.problem)
        if seen != self._seen:
            self._seen = seen
            changed = True
        return changed or self._keeper.session.due(time.monotonic()) is not Due.NOTHING

    def await_publishers(self) -> None:
        """Subscribe to what there is; raises AutofocusError if a required topic does not turn up."""
        deadline_s = time.monotonic() + DISCOVERY_TIMEOUT_S
        while True:
            missing = [topic for topic in self._wanted if not self._attach(topic) and topic.required]
            if not missing:
                return
            if time.monotonic() > deadline_s:
                raise AutofocusError(
                    "recorder: start",
                    f"nobody publishes {', '.join(topic.name for topic in missing)}",
                    "a publisher for each required topic",
                    "start what publishes it (camera, driver, teleoperation), or correct the topic in the robot YAML",
                )
            time.sleep(0.02)

    def watch_graph(self, wanted: Wanted) -> None:
        """Subscribe to a topic that has turned up; while recording, note who went and end where the type has changed.

        Raises AutofocusError where the topic cannot be recorded as it is.
        """
        self._ask_middleware(wanted)
        recording = self._keeper.recording is not None
        if recording:
            self._attachments.look(wanted)
        else:
            self._attach(wanted)
        change = self._publishers.look(wanted.name, wanted.publishers, wanted.type)
        if not recording:
            return
        for publisher in change.gone:
            left = f"{change.left} left" if change.left else "nobody publishes it any more"
            self._note("publisher_lost", wanted.name, f"{publisher.node} went away, {left}")
        if change.other_type is not None:
            text = f"{wanted.type} -> {change.other_type.type}"
            self._note("type_change", wanted.name, f"{text} ({change.other_type.node})")
            self._end(f"type change: {wanted.name} {text}")
        elif wanted.publishers != wanted.fitted and self._attach(wanted):
            self._keeper.add(wanted)

    def _attach(self, wanted: Wanted) -> bool:
        attached = self._attachments.attach(wanted)
        if attached and wanted not in self._intake.sources:
            with self._intake.lock:
                wanted.last_ns = self._intake.clock.now_ns()
                self._intake.sources.append(wanted)
        return attached

    def _ask_middleware(self, wanted: Wanted) -> None:
        """What it reports about a subscription goes to the recording."""
        if wanted.events is None:
            return
        lost, unfit = wanted.lost(), wanted.events.unfit()
        recording = self._keeper.recording
        if recording is not None and wanted.name in recording.monitors:
            recording.monitors[wanted.name].lost_event(lost)
        if unfit:
            text = f"a publisher offers a {unfit} that does not fit what is asked for: nothing of it is recorded"
            self._note("error", wanted.name, text)

    def _note(self, kind: str, topic: str, text: str) -> None:
        recording = self._keeper.recording
        if recording is not None:
            now_ns = self._intake.clock.now_ns()
            recording.events.add(Event(kind, topic, now_ns, now_ns, text))
            self._warn(f"{topic}: {text}")
