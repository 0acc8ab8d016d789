"""One recording on its way to disk: a bounded queue, a thread that writes and one that syncs, a monitor per stream."""

from __future__ import annotations

import errno
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from autofocus_core.bag_writer import BagWriter
from autofocus_core.episode_meta import EpisodeMeta, Event, StreamQuality
from autofocus_core.errors import AutofocusError
from autofocus_core.messages import header_stamp_ns, starts_with_header
from autofocus_core.names import EPISODE_SIDECAR

from demo_recorder.ballast import Ballast
from demo_recorder.definitions import Definition
from demo_recorder.events import EventLog, RefusedSpan
from demo_recorder.quality import StreamMonitor

WORKING_SUFFIX = ".recording"
DISCARDED_FOLDER = ".discarded"
#: A recording that is killed loses at most this much, and what waits in the queue.
FLUSH_PERIOD_S = 0.4
#: What has come meanwhile is written in one go: a thread that wakes for each message costs more than the writing.
BATCH_PERIOD_S = 0.03
#: The last part of the queue is for small messages: a camera that fills it must not cost the joints theirs.
SMALL_BYTES = 64 << 10
SMALL_ONLY_SHARE = 1 / 16
FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_END_OF_TIME_NS = 1 << 63


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic to record. `qos_yaml`: the publishers' offers for the bag's metadata; `expected_rate_hz`: None
    where nobody said it; `definition`: None for a standard type."""

    name: str
    type: str
    qos_yaml: str = ""
    expected_rate_hz: float | None = None
    definition: Definition | None = None


@dataclass(frozen=True, slots=True)
class WriterSettings:
    """How a recording is written. `queue_bytes`: memory that may wait for a slow disk; `max_file_bytes`, `max_file_s`:
    a new storage file is begun beyond these (None: never); `sync_period_s`: what a power cut may cost at most."""

    compression: str = "none"
    ros_distro: str | None = None
    queue_bytes: int = 256 << 20
    max_file_bytes: int | None = None
    max_file_s: float | None = None
    sync_period_s: float = 2.0


class _Track:
    """A stream of the recording."""

    __slots__ = ("has_header", "monitor", "refused")

    def __init__(self, topic: TopicSpec, start_ns: int) -> None:
        self.monitor = StreamMonitor(topic.type, topic.expected_rate_hz, start_ns, topic.name)
        known = topic.definition
        self.has_header = starts_with_header(topic.type) if known is None else known.has_header
        self.refused = RefusedSpan(topic.name)


class Recording:
    """Takes messages from one thread, writes them in another. Made at start, ended by finish().

    `error` is empty, or says why nothing more is taken; the recording must then be finished.
    """

    def __init__(
        self,
        path: Path,
        topics: Iterable[TopicSpec],
        start_ns: int,
        settings: WriterSettings,
        begun: Callable[[Recording], EpisodeMeta] | None = None,
    ) -> None:
        """`begun` gives the sidecar that lies beside the messages until finish(): a killed recording is recovered
        with it. Raises AutofocusError where nothing can be written."""
        self.path = path
        self.start_ns = start_ns
        self.settings = settings
        self.error = ""
        self.events = EventLog()
        self.monitors: dict[str, StreamMonitor] = {}
        self._tracks: dict[str, _Track] = {}
        self._bag = BagWriter(
            path,
            settings.compression,
            settings.ros_distro,
            working_suffix=WORKING_SUFFIX,
            max_file_bytes=settings.max_file_bytes,
            max_file_s=settings.max_file_s,
        )
        self._ballast = Ballast(self._bag.working)
        # Only the taking thread adds to `_taken`, only the writing thread to `_done`: no lock between them.
        self._queue: deque[tuple[str, bytes, int, int | None] | TopicSpec] = deque()
        self._taken_bytes = 0
        self._done_bytes = 0
        self._limit_bytes = round(settings.queue_bytes * (1 - SMALL_ONLY_SHARE))
        self._broken = False
        self._closing = threading.Event()
        self._written = threading.Event()
        for topic in topics:
            self.add_topic(topic)
        if begun is not None:
            self._put_sidecar(begun(self))
        self._threads = [
            threading.Thread(target=target, name=name, daemon=True)
            for target, name in ((self._write_all, "write"), (self._sync_all, "sync"))
        ]
        for thread in self._threads:
            thread.start()

    @property
    def working(self) -> Path:
        """Where it is written until it is finished."""
        return self._bag.working

    @property
    def queue_bytes(self) -> int:
        """Memory that waits for the disk."""
        return self._taken_bytes - self._done_bytes

    @property
    def bytes_written(self) -> int:
        """Bytes in the storage files so far."""
        return self._bag.bytes_written

    @property
    def files(self) -> int:
        """Storage files begun so far."""
        return self._bag.files

    def add_topic(self, topic: TopicSpec) -> None:
        """Record one more topic; it may turn up in mid-recording. From the thread that puts."""
        track = _Track(topic, self.start_ns)
        self._tracks[topic.name] = track
        self.monitors[topic.name] = track.monitor
        self._queue.append(topic)

    def put(self, topic: str, raw: bytes, receive_ns: int, publisher: bytes = b"", sequence: int | None = None) -> bool:
        """Take a message; False (and counted) if it cannot be kept. Never waits for the disk. From one thread."""
        track = self._tracks[topic]
        monitor = track.monitor
        if sequence is not None:
            monitor.sequence(publisher, sequence)
        size = len(raw)
        waiting = self._taken_bytes - self._done_bytes + size
        if self.error or (waiting > self._limit_bytes and (size > SMALL_BYTES or waiting > self.settings.queue_bytes)):
            monitor.refused += 1
            track.refused.refuse(receive_ns, self.error or "the disk is too slow, the queue was full")
            return False
        stamp_ns = header_stamp_ns(raw) if track.has_header else None
        silence = monitor.message(stamp_ns, receive_ns, size)
        self._taken_bytes += size
        self._queue.append((topic, raw, receive_ns, stamp_ns))
        if silence is not None:
            self._note_silence(track, silence)
        return True

    def refuse(self, topic: str, receive_ns: int, why: str) -> None:
        """Count a message that was received and could not be handled."""
        track = self._tracks[topic]
        track.monitor.refused += 1
        track.refused.refuse(receive_ns, why)

    def tend(self, now_ns: int) -> None:
        """Note the refusals that are over; to be called now and then. From the thread that puts."""
        for track in self._tracks.values():
            event = track.refused.ended(now_ns)
            if event is not None:
                self.events.add(event)

    def fail(self, why: str) -> None:
        """Take nothing more, for this reason; the first one counts. From any thread."""
        self.error = self.error or why

    def finish(self, describe: Callable[[], EpisodeMeta], *, discard: bool = False) -> Path:
        """Write what is queued, close the bag with its sidecar, rename it; gives its final path.

        `describe` is called after the last message was written. `discard`: the episode goes to `.discarded/` beside
        the others instead. Raises AutofocusError if the disk let us down: what could be written is then in the
        `.recording` directory.
        """
        self._closing.set()
        for thread in self._threads:
            thread.join()
        self.tend(_END_OF_TIME_NS)
        target = self.path.parent / DISCARDED_FOLDER / self.path.name if discard else None
        if not self._broken:
            try:
                self._ballast.drop()
                self._bag.finish()
                return self._bag.close({EPISODE_SIDECAR: describe().to_json()}, destination=target)
            except OSError as error:
                self.fail(f"{error.strerror or error}")
        self._bag.abort()
        raise AutofocusError(
            f"recording {self.path}",
            self.error,
            "a disk with room",
            f"free some space, then: autofocus episodes recover {self._bag.working}",
        )

    def qualities(self, end_ns: int) -> dict[str, StreamQuality]:
        """StreamQuality of each topic, for the sidecar. What was taken and did not get onto a full disk is refused."""
        written = self._bag.counts
        qualities = {}
        for name in sorted(self.monitors):
            quality = self.monitors[name].finish(end_ns)
            lacking = quality.count - written.get(name, 0)
            if lacking:
                quality = replace(quality, count=quality.count - lacking, refused=quality.refused + lacking)
            qualities[name] = quality
        return qualities

    def silences(self, end_ns: int) -> list[Event]:
        """The gaps that are still open at the end."""
        found = []
        for track in self._tracks.values():
            silence = track.monitor.open_gap(end_ns)
            if silence is not None and not track.refused.overlaps(silence.start_ns):
                found.append(silence)
        return found

    def _put_sidecar(self, meta: EpisodeMeta) -> None:
        try:
            self._bag.put_sidecar(EPISODE_SIDECAR, meta.to_json())
        except OSError as error:
            self._bag.abort()
            raise AutofocusError(
                f"recording {self.path}", error.strerror or str(error), "a disk that can be written", "look at the disk"
            ) from error

    def _note_silence(self, track: _Track, silence: Event) -> None:
        if not track.refused.overlaps(silence.start_ns):
            self.events.add(silence)

    def _write_all(self) -> None:
        """The writing thread."""
        try:
            flush_at_s = time.monotonic() + FLUSH_PERIOD_S
            while True:
                closing = self._closing.is_set()
                while self._queue:
                    self._write(self._queue.popleft())
                    if time.monotonic() >= flush_at_s:
                        break
                if time.monotonic() >= flush_at_s or closing:
                    self._bag.flush()
                    flush_at_s = time.monotonic() + FLUSH_PERIOD_S
                if self._queue:
                    continue
                if closing:
                    return
                self._closing.wait(BATCH_PERIOD_S)
        except Exception as error:
            # Whatever ends this thread, the node stops the session with this text and the episode is not called
            # complete; from now on every message counts as refused.
            known = isinstance(error, (OSError, AutofocusError))
            self.fail(str(error) if known else repr(error))
            self._broken = not (isinstance(error, OSError) and error.errno in FULL_DISK)
        finally:
            self._queue.clear()
            self._written.set()

    def _write(self, entry: tuple[str, bytes, int, int | None] | TopicSpec) -> None:
        if isinstance(entry, TopicSpec):
            known = entry.definition or Definition(False)
            self._bag.add_topic(entry.name, entry.type, entry.qos_yaml, msgdef=known.text, type_hash=known.type_hash)
            return
        self._bag.write(*entry)
        self._done_bytes += len(entry[1])

    def _sync_all(self) -> None:
        """The syncing thread: a disk that takes seconds for a sync does not stop the writing."""
        while not self._written.wait(self.settings.sync_period_s):
            try:
                self._bag.sync()
            except OSError as error:
                self.fail(f"the disk failed: {error.strerror or error}")
                self._broken = True
                return


def put_aside(path: Path) -> Path:
    """Move a finished episode to `.discarded/` beside it; gives its new path."""
    folder = path.parent / DISCARDED_FOLDER
    folder.mkdir(exist_ok=True)
    target = folder / path.name
    path.rename(target)
    return target
