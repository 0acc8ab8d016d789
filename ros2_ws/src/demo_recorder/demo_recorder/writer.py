"""One recording on its way to disk: a bounded queue, a thread that writes, a monitor for each stream."""

from __future__ import annotations

import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from autofocus_core.bag_writer import BagWriter
from autofocus_core.episode_meta import EpisodeMeta
from autofocus_core.errors import AutofocusError
from autofocus_core.messages import header_stamp_ns, starts_with_header
from autofocus_core.names import EPISODE_SIDECAR

from demo_recorder.quality import StreamMonitor

WORKING_SUFFIX = ".recording"
DISCARDED_FOLDER = ".discarded"
#: Memory that may wait for a slow disk: about 1.5 s of a 1280x720 camera at 60 Hz.
QUEUE_BYTES = 256 << 20
#: A recording that is killed loses at most this much; one that loses its power, at most SYNC_PERIOD_S.
FLUSH_PERIOD_S = 0.5
SYNC_PERIOD_S = 2.0
#: Free space below which nothing is recorded, so that the system keeps some room to breathe.
RESERVE_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic to record. `qos_yaml`: the publishers' offers for the bag's metadata; `expected_rate_hz`: None
    where nobody said it; `latched`: the last message from before the start is part of the episode."""

    name: str
    type: str
    qos_yaml: str = ""
    expected_rate_hz: float | None = None
    latched: bool = False


class Recording:
    """Takes messages from one thread, writes them in another. Made at start, ended by finish()."""

    def __init__(
        self,
        path: Path,
        topics: Iterable[TopicSpec],
        start_ns: int,
        *,
        compression: str,
        ros_distro: str | None,
        queue_bytes: int = QUEUE_BYTES,
        reserve_bytes: int = RESERVE_BYTES,
    ) -> None:
        self.path = path
        self.start_ns = start_ns
        self.error = ""
        self.monitors: dict[str, StreamMonitor] = {}
        self._headers: dict[str, bool] = {}
        self._reserve_bytes = reserve_bytes
        path.parent.mkdir(parents=True, exist_ok=True)
        self._check_space(path.parent)
        self._bag = BagWriter(path, compression, ros_distro, working_suffix=WORKING_SUFFIX)
        self._queue: deque[tuple[str, bytes, int, int | None] | TopicSpec] = deque()
        self._queue_limit = queue_bytes
        self._queue_bytes = 0
        self._wake = threading.Condition()
        self._closing = False
        for topic in topics:
            self.add_topic(topic)
        self._thread = threading.Thread(target=self._run, name=f"write {path.name}", daemon=True)
        self._thread.start()

    def add_topic(self, topic: TopicSpec) -> None:
        """Record one more topic; it may turn up in mid-recording."""
        self.monitors[topic.name] = StreamMonitor(topic.type, topic.expected_rate_hz, self.start_ns)
        self._headers[topic.name] = starts_with_header(topic.type)
        with self._wake:
            self._queue.append(topic)

    def put(self, topic: str, raw: bytes, receive_ns: int, publisher: bytes = b"", sequence: int | None = None) -> bool:
        """Take a message; False (and counted) if the queue is full. Never waits for the disk."""
        monitor = self.monitors[topic]
        if sequence is not None:
            monitor.sequence(publisher, sequence)
        if self.error or self._queue_bytes + len(raw) > self._queue_limit:
            monitor.refused += 1
            return False
        stamp_ns = header_stamp_ns(raw) if self._headers[topic] else None
        monitor.message(stamp_ns, receive_ns)
        with self._wake:
            self._queue.append((topic, raw, receive_ns, stamp_ns))
            self._queue_bytes += len(raw)
            self._wake.notify()
        return True

    def finish(self, describe: Callable[[], EpisodeMeta], *, discard: bool = False) -> Path:
        """Write what is queued, close the bag with its sidecar, rename it; gives its final path.

        `describe` is called after the last message was written. `discard`: the episode goes to
        `.discarded/` beside the others instead. Raises AutofocusError if the disk let us down: what could be
        written is then in the `.recording` directory.
        """
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()
        if self.error:
            self._bag.abort()
            raise AutofocusError(
                f"recording {self.path}",
                self.error,
                "a disk with room",
                f"free some space; what was written is in {self._bag.working} (read it with allow_truncated=True)",
            )
        target = self.path.parent / DISCARDED_FOLDER / self.path.name if discard else None
        return self._bag.close({EPISODE_SIDECAR: describe().to_json()}, destination=target)

    def qualities(self, end_ns: int) -> dict:
        """StreamQuality of each topic, for the sidecar."""
        return {name: monitor.finish(end_ns) for name, monitor in sorted(self.monitors.items())}

    def _run(self) -> None:
        next_flush_s = time.monotonic() + FLUSH_PERIOD_S
        next_sync_s = time.monotonic() + SYNC_PERIOD_S
        try:
            while True:
                with self._wake:
                    if not self._queue and not self._closing:
                        self._wake.wait(FLUSH_PERIOD_S)
                    batch = list(self._queue)
                    self._queue.clear()
                    closing = self._closing
                for entry in batch:
                    self._write(entry)
                if closing and not self._queue:
                    return
                now_s = time.monotonic()
                if now_s >= next_flush_s:
                    sync = now_s >= next_sync_s
                    self._bag.flush(sync=sync)
                    next_flush_s = now_s + FLUSH_PERIOD_S
                    if sync:
                        self._check_space(self.path.parent)
                        next_sync_s = now_s + SYNC_PERIOD_S
        except Exception as error:
            # Whatever ends this thread, the node stops the session with this text and finish() does not call the
            # episode complete; from now on every message counts as refused.
            self.error = str(error) if isinstance(error, (OSError, AutofocusError)) else repr(error)

    def _write(self, entry: tuple[str, bytes, int, int | None] | TopicSpec) -> None:
        if isinstance(entry, TopicSpec):
            self._bag.add_topic(entry.name, entry.type, entry.qos_yaml)
            return
        topic, raw, receive_ns, stamp_ns = entry
        self._bag.write(topic, raw, receive_ns, stamp_ns)
        with self._wake:
            self._queue_bytes -= len(raw)

    def _check_space(self, folder: Path) -> None:
        free = shutil.disk_usage(folder).free
        if free < self._reserve_bytes:
            raise AutofocusError(
                f"recording into {folder}",
                f"{free / 1e9:.1f} GB free",
                f"at least {self._reserve_bytes / 1e9:.1f} GB free",
                "free some space, or record to another disk",
            )


def put_aside(path: Path) -> Path:
    """Move a finished episode to `.discarded/` beside it; gives its new path."""
    folder = path.parent / DISCARDED_FOLDER
    folder.mkdir(exist_ok=True)
    target = folder / path.name
    path.rename(target)
    return target
