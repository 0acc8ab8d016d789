"""The storage files of a bag while it is written: one after the other, each complete in itself."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from autofocus_core.bag_metadata import FileEntry, TopicEntry, dump, information
from autofocus_core.mcap_file import McapFile
from autofocus_core.sync_queue import SyncQueue

#: Finished files that wait for sync(); beyond these a split waits for the disk, so that descriptors stay few.
MAX_UNSYNCED = 16


@dataclass(frozen=True, slots=True)
class FileRules:
    """How storage files are written: compression of chunks, and when the next file is begun (None: never)."""

    compression: str = "none"
    max_bytes: int | None = None
    max_ns: int | None = None


@dataclass(slots=True)
class _Topic:
    entry: TopicEntry  # counts the messages of finished files
    schema: tuple[str, str, str]  # type, encoding, text
    channel_metadata: dict[str, str]
    channel: int = 0  # in the current file


class BagFiles:
    """Writes NAME_0.mcap, NAME_1.mcap ... into `folder`. One thread writes; the figures and sync() are for any."""

    def __init__(
        self,
        folder: Path,
        name: str,
        rules: FileRules,
        ros_distro: str,
        custom_data: Mapping[str, str],
        new_in: Iterable[Path],
    ) -> None:
        """`new_in`: folders that got new names for this bag. Raises OSError where no file can be made."""
        self._folder = folder
        self._name = name
        self._rules = rules
        self._ros_distro = ros_distro
        self._custom_data = custom_data
        self._topics: dict[str, _Topic] = {}
        self._finished: list[FileEntry] = []
        self._finished_bytes = 0
        self._swapping = threading.Lock()  # held while one file follows another, so that figures add up
        self._unsynced = SyncQueue(new_in)
        self._file = self._new_file(0)
        self._unsynced.begin(self._file)

    def __contains__(self, topic: str) -> bool:
        return topic in self._topics

    @property
    def counts(self) -> dict[str, int]:
        """Messages so far, by topic."""
        with self._swapping:
            current = self._file.counts
            return {name: t.entry.count + current.get(t.channel, 0) for name, t in list(self._topics.items())}

    @property
    def begun(self) -> int:
        """Files begun so far."""
        return len(self._finished) + 1

    @property
    def size(self) -> int:
        """Bytes of all files so far, with those of the chunk in hand."""
        with self._swapping:
            return self._finished_bytes + self._file.size

    def add_topic(self, entry: TopicEntry, msgdef: str, msgdef_encoding: str) -> None:
        """Declare a topic, in this file and all that follow."""
        metadata = {
            "offered_qos_profiles": dump(entry.qos).strip() if entry.qos else "",
            "topic_type_hash": entry.type_hash,
        }
        topic = _Topic(entry, (entry.type, msgdef_encoding, msgdef), metadata)
        self._topics[entry.name] = topic
        self._register(topic)

    def write(self, topic: str, raw_cdr: bytes, receive_ns: int, publish_ns: int) -> None:
        """Append a message on a topic that was added."""
        if self._is_full(receive_ns):
            self._split()
        self._file.write(self._topics[topic].channel, raw_cdr, receive_ns, publish_ns)

    def flush(self) -> None:
        """Close the chunk in hand and give it to the system."""
        self._file.flush()

    def sync(self) -> None:
        """Wait until all that was flushed is on the disk; raises OSError."""
        self._unsynced.sync()

    def finish(self) -> dict[str, Any]:
        """Complete the last file, wait until all are on the disk, and give what metadata.yaml says of them.

        Raises OSError where the disk fails, or failed in an earlier sync.
        """
        last = self._finish_file()
        self.sync()
        if self._unsynced.error is not None:
            raise self._unsynced.error
        counts = self.counts
        topics = [replace(topic.entry, count=counts[name]) for name, topic in self._topics.items()]
        return information(topics, [*self._finished, last], self._ros_distro, self._custom_data)

    def close(self) -> None:
        """Let go of all files."""
        self._unsynced.close()

    def _register(self, topic: _Topic) -> None:
        schema = self._file.add_schema(*topic.schema)
        topic.channel = self._file.add_channel(topic.entry.name, schema, topic.channel_metadata)

    def _is_full(self, receive_ns: int) -> bool:
        rules, start_ns = self._rules, self._file.start_ns
        if start_ns is None:
            return False
        if rules.max_bytes is not None and self._file.size >= rules.max_bytes:
            return True
        return rules.max_ns is not None and receive_ns - start_ns >= rules.max_ns

    def _split(self) -> None:
        """End the current file and begin the next one; the old one waits for sync().

        Where the disk fails, nothing has changed: the same file goes on if there is room again.
        """
        following = self._new_file(len(self._finished) + 1)
        try:
            finished = self._finish_file()
        except OSError:
            following.remove()
            raise
        with self._swapping:
            self._finished.append(finished)
            self._finished_bytes += self._file.size
            for topic in self._topics.values():
                topic.entry.count += self._file.counts.get(topic.channel, 0)
            self._file = following
            for topic in self._topics.values():
                self._register(topic)
        if self._unsynced.begin(following) > MAX_UNSYNCED:
            self.sync()

    def _new_file(self, number: int) -> McapFile:
        name = f"{self._name}_{number}.mcap"  # as rosbag2 names it
        topics = [replace(topic.entry, count=0) for topic in self._topics.values()]
        record = self._record(topics, FileEntry(name, 0, None, None))
        return McapFile(self._folder / name, self._rules.compression, record)

    def _finish_file(self) -> FileEntry:
        file = self._file
        entry = FileEntry(file.path.name, sum(file.counts.values()), file.start_ns, file.end_ns)
        topics = [replace(t.entry, count=file.counts.get(t.channel, 0)) for t in self._topics.values()]
        file.finish(self._record(topics, entry))
        return entry

    def _record(self, topics: list[TopicEntry], file: FileEntry) -> dict[str, str]:
        """The metadata record of one file: as rosbag2 does, at its start and, complete, at its end."""
        return {"serialized_metadata": dump(information(topics, [file], self._ros_distro, self._custom_data))}
