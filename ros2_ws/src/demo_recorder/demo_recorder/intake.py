"""Takes what has arrived, fifty times a second, in a thread of its own: raw bytes, one stamp, one append.

The middleware's own threads receive and stamp each message; it waits in the subscription's history until it is taken
here. So a pass can take many at once, which costs a fraction of waking an executor for each, and stamps stay those of
the arrival. Everything that the recorder must notice fast is looked at between two passes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from autofocus_core.episode_meta import Event

from demo_recorder.clock import ReceiveClock
from demo_recorder.writer import Recording

PASS_PERIOD_S = 0.02
#: Even where there is more to do than time, others get their turn.
PASS_PAUSE_S = 0.002
#: Messages taken from one stream in one pass: a stream that floods us must not starve the others.
MOST_IN_A_PASS = 500
DRAIN_PASSES = 10
#: Every message begins with the 4 bytes that say how it is encoded.
LEAST_BYTES = 4


class Source(Protocol):
    """A subscription, as far as it matters here."""

    name: str
    latched: bool
    last: dict[bytes, bytes]
    numbers: dict[bytes, int]
    last_ns: int
    received: int
    failures: int

    def take(self) -> tuple[bytes, dict[str, Any]] | None:
        """The next raw message and what the middleware says about it; None if there is none. Does not wait."""


class Intake:
    """The thread and what it feeds. Hold `lock` to change `sources` or `recording`, or to call run_pass()."""

    def __init__(
        self,
        clock: ReceiveClock,
        tick: Callable[[int], None],
        warn: Callable[[str], None],
    ) -> None:
        """`tick` is called after each pass with the time; `warn` once for each stream with a failure."""
        self.clock = clock
        self.lock = threading.Lock()
        self.sources: list[Source] = []
        self.recording: Recording | None = None
        self._tick = tick
        self._warn = warn
        self._told: set[str] = set()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="intake", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._end.set()
        self._thread.join()

    def reanchor(self) -> None:
        """Take the wall clock's time from here on: at the start of an episode, after somebody may have set it."""
        jump_ns = self.clock.reanchor()
        for source in self.sources:
            source.last_ns += jump_ns

    def begin(self, recording: Recording) -> None:
        """What arrives from now on goes to this recording. The numbers of the last messages before it go along, so
        that a message that is lost right after the start is missed."""
        for source in self.sources:
            if source.name in recording.monitors:
                for publisher, number in source.numbers.items():
                    recording.monitors[source.name].sequence(publisher, number)
            source.numbers.clear()
        self.recording = recording

    def drain(self) -> None:
        """Take what has arrived, to the last message (but not for ever, from somebody who never pauses)."""
        for _ in range(DRAIN_PASSES):
            if not self.run_pass():
                return

    def run_pass(self) -> int:
        """Take what has arrived; gives how many messages."""
        count = 0
        step = self.clock.look()
        recording = self.recording
        if step is not None:
            text = f"the clock was set by {step.size_ns / 1e9:+.3f} s"
            self._warn(text)
            if recording is not None:
                recording.events.add(Event("clock_step", "", step.at_ns, step.at_ns, text))
        for source in self.sources:
            for _ in range(MOST_IN_A_PASS):
                try:
                    taken = source.take()
                except Exception as error:
                    self._failed(source, None, error)
                    break
                if taken is None:
                    break
                if len(taken[0]) < LEAST_BYTES:
                    self._nothing(source)
                    break
                count += 1
                try:
                    self._receive(source, recording, *taken)
                except Exception as error:
                    self._failed(source, recording, error)
        return count

    def _receive(self, source: Source, recording: Recording | None, raw: bytes, info: dict[str, Any]) -> None:
        arrival_ns = self.clock.arrival_ns(info.get("received_timestamp") or 0)
        if arrival_ns < source.last_ns:
            arrival_ns = source.last_ns
        source.last_ns = arrival_ns
        source.received += 1
        gid = info.get("publisher_gid")
        publisher = gid["data"] if gid else b""
        number = info.get("publication_sequence_number")
        if source.latched:
            source.last[publisher] = raw
        if recording is None and number is not None:
            source.numbers[publisher] = number
        if recording is None or source.name not in recording.monitors:  # it turned up this moment: see Keeper.add
            return
        if arrival_ns < recording.start_ns:
            if not source.latched:
                return
            arrival_ns = recording.start_ns
        recording.put(source.name, raw, arrival_ns, publisher, number)

    def _nothing(self, source: Source) -> None:
        """Fast DDS 3.2, after a fragmented image was lost on a busy machine, hands out a message without a single byte
        and without a publisher whenever there is none, for ever: that is what it means here."""
        text = f"{source.name}: the middleware hands out messages without content; they are left out"
        if text not in self._told:
            self._told.add(text)
            self._warn(text)

    def _failed(self, source: Source, recording: Recording | None, error: Exception) -> None:
        source.failures += 1
        if source.failures == 1:
            self._warn(f"{source.name}: a message could not be handled: {error!r}; more of these are only counted")
        if recording is not None:
            recording.refuse(source.name, self.clock.now_ns(), f"could not be handled: {error!r}")

    def _run(self) -> None:
        while not self._end.is_set():
            begin_s = time.monotonic()
            try:
                with self.lock:
                    self.run_pass()
                self._tick(self.clock.now_ns())
            except Exception as error:  # the one thread that must not end: say so once, go on
                if repr(error) not in self._told:
                    self._told.add(repr(error))
                    self._warn(f"while taking messages: {error!r}")
            time.sleep(max(PASS_PAUSE_S, PASS_PERIOD_S - (time.monotonic() - begin_s)))
