"""Reading any rosbag2 recording: a directory or a single file, MCAP or SQLite. Writing: see BagWriter."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath
from types import TracebackType
from typing import Any

from rosbags.rosbag2 import Reader
from rosbags.serde import SerdeError
from rosbags.typesys import TypesysError

from autofocus_core import messages as standard
from autofocus_core.bag_damage import READ_ERRORS, DamagedBagError, damaged
from autofocus_core.bag_message import BagMessage, Kept
from autofocus_core.bag_metadata import load, qos_profile
from autofocus_core.bag_storage import STORAGE_SUFFIXES, storage_files
from autofocus_core.bag_types import store_of
from autofocus_core.bag_writer import BagWriter
from autofocus_core.dropped import Dropped
from autofocus_core.errors import AutofocusError
from autofocus_core.files_reader import FilesReader
from autofocus_core.mcap_summary import check_summary
from autofocus_core.recovered_reader import RecoveredReader
from autofocus_core.recovered_sqlite import RecoveredSqlite

__all__ = [
    "STORAGE_SUFFIXES",
    "Bag",
    "BagMessage",
    "BagWriter",
    "DamagedBagError",
    "open_bag",
    "qos_profile",
    "storage_files",
]

_METADATA = "metadata.yaml"
_SERIALIZE_SLACK = 8


class Bag:
    """An open recording. Use :func:`open_bag`; close it, or use it as a context manager.

    `topics` {name: type}, `counts` {name: messages}, `lossy` (True: read from damaged or unfinished files),
    `losses` (what is known about each damage: file, byte, times) and `loss` (the same in one line), `dropped` (messages
    that a reader could not decode and noted there), `start_ns`/`end_ns` receive stamps (0 in a bag without messages),
    `ros_distro`.
    """

    def __init__(
        self,
        path: Path,
        reader: Reader | FilesReader | RecoveredReader | RecoveredSqlite,
        losses: Iterable[str] = (),
    ) -> None:
        self.path = path
        self._reader = reader
        recovered = isinstance(reader, (RecoveredReader, RecoveredSqlite))
        self.losses = (*losses, *reader.losses) if recovered else ()
        self.lossy = bool(self.losses)
        self.loss = "; ".join(self.losses)
        self.dropped = Dropped()
        self._kept: Kept | None = None
        self.topics: dict[str, str] = {}
        self.counts: dict[str, int] = {}
        for connection in reader.connections:
            known = self.topics.setdefault(connection.topic, connection.msgtype)
            if known != connection.msgtype:
                raise AutofocusError(
                    f"bag {path}: topic {connection.topic}",
                    f"types {known} and {connection.msgtype}",
                    "one type for each topic",
                    "record the topic again with one type, or filter it with `ros2 bag convert`",
                )
            self.counts[connection.topic] = self.counts.get(connection.topic, 0) + connection.msgcount
        self.start_ns = reader.start_time if any(self.counts.values()) else 0
        self.end_ns = reader.end_time if any(self.counts.values()) else 0
        self.ros_distro = reader.ros_distro or ""
        try:
            self._store = store_of(reader.connections, self.ros_distro)
        except (TypesysError, KeyError) as error:
            raise damaged(path, error) from error

    @property
    def message_count(self) -> int:
        """Messages in the bag, over all topics."""
        return sum(self.counts.values())

    def messages(self, topics: Iterable[str] | None = None) -> Iterator[BagMessage]:
        """Messages in the order of their receive stamps, of all or of the given topics.

        Raises AutofocusError for a topic that is not in the bag, and for damage met while reading.
        """
        wanted = set(self.topics) if topics is None else set(topics)
        self.require(wanted)
        kept = self._kept
        if kept is not None and kept.complete and wanted == {kept.topic}:
            yield from kept.messages
            return
        beside = {kept.topic} if kept is not None and not kept.complete else set()
        connections = [c for c in self._reader.connections if c.topic in wanted | beside]
        if not connections:
            return
        if beside:
            kept = self._kept = Kept(kept.topic)
        try:
            for connection, receive_ns, raw in self._reader.messages(connections):
                message = BagMessage(connection.topic, connection.msgtype, receive_ns, raw)
                if message.topic in beside and not kept.add(message):
                    beside, self._kept = set(), None
                if message.topic in wanted:
                    yield message
        except READ_ERRORS as error:
            raise damaged(self.path, error) from error
        if beside:
            kept.complete = True

    def keep(self, topic: str) -> None:
        """Keep this topic's messages while others are read, so that reading it afterwards costs no second pass through
        the files; as long as they are few (Kept.MOST_BYTES), and one topic at a time. Nothing where it is not there."""
        if topic in self.topics:
            self._kept = Kept(topic)

    def require(self, topics: Iterable[str]) -> None:
        """Raise AutofocusError if one of the topics is not in the bag."""
        missing = sorted(set(topics) - set(self.topics))
        if missing:
            raise AutofocusError(
                f"bag {self.path}",
                f"no topic {', '.join(missing)}",
                ", ".join(sorted(self.topics)) or "(the bag has no topics)",
                "correct the topic in the robot YAML, or record it",
            )

    def _deserialise(self, type: str, raw: bytes) -> Any:
        """rclpy.serialization.serialize_message, which scripts write bags with, reserves up to 8 bytes after a message
        whose last sequence is empty (a JointState without effort); what comes over the wire has none."""
        try:
            return self._store.deserialize_cdr(raw, type)
        except SerdeError:
            if len(raw) <= _SERIALIZE_SLACK:
                raise
            return self._store.deserialize_cdr(raw[:-_SERIALIZE_SLACK], type)

    def decode(self, type: str, raw: bytes, *, topic: str = "", receive_ns: int | None = None) -> Any:
        """Deserialise CDR bytes into a message object; `topic` and `receive_ns` make errors name the message."""
        try:
            return self._deserialise(type, raw)
        except (
            SerdeError,
            TypesysError,
            KeyError,
            struct.error,
            ValueError,
            IndexError,
            AssertionError,
            OverflowError,
        ) as error:
            place = f"bag {self.path}" + (f": topic {topic}" if topic else "")
            if receive_ns is not None:
                place += f": message received at {receive_ns} ns"
            raise AutofocusError(
                place,
                f"{len(raw)} bytes that are no {type} ({error!r})",
                f"CDR of {type}",
                "leave this bag out, or record it again",
            ) from error

    def decoded(
        self, topics: Iterable[str] | None = None, dropped: Dropped | None = None
    ) -> Iterator[tuple[BagMessage, Any]]:
        """Like :meth:`messages`, each with its deserialised form. One that cannot be deserialised raises
        AutofocusError, or with `dropped` is left out and noted there."""
        for message in self.messages(topics):
            try:
                msg = self.decode(message.type, message.raw, topic=message.topic, receive_ns=message.receive_ns)
            except AutofocusError as error:
                if dropped is None:
                    raise
                dropped.add(message.topic, message.receive_ns, self.header_ns(message), error)
                continue
            yield message, msg

    def header_ns(self, message: BagMessage) -> int | None:
        """Header stamp in ns, None for types without a leading Header."""
        if not standard.starts_with_header(message.type, self._store):
            return None
        return standard.header_stamp_ns(message.raw)

    def close(self) -> None:
        """Let go of the files."""
        self._reader.close()

    def __enter__(self) -> Bag:
        return self

    def __exit__(self, exc_type: type | None, exc: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def open_bag(path: str | Path, *, allow_truncated: bool = False) -> Bag:
    """Open a rosbag2 directory or a single .mcap/.db3 file.

    `allow_truncated`: look at every byte first and read what is whole of damaged files (or of a directory
    without metadata.yaml); if anything is damaged, the bag has `lossy` set and `losses` says what. SQLite has no
    checksums: cut or broken pages are found, a wrong bit within a message is not. Raises AutofocusError for what is
    missing or empty, and DamagedBagError for what is damaged.
    """
    path = Path(path)
    files = storage_files(path, allow_empty=allow_truncated)
    complete = path.is_file() or (path / _METADATA).is_file()
    if allow_truncated and any(file.suffix == ".mcap" for file in files):
        return _open_damaged(path, [file for file in files if file.suffix == ".mcap"], complete)
    if allow_truncated and all(file.suffix == ".db3" for file in files):
        return _open_damaged_sqlite(path, files, complete)
    if not complete:
        raise DamagedBagError(
            f"bag {path}",
            "no metadata.yaml (the recording was not finished)",
            "a directory that rosbag2 or the recorder finished",
            f"`autofocus episodes recover`, `ros2 bag reindex {path}`, or read it with allow_truncated=True",
        )
    try:
        return Bag(path, _whole_reader(path))
    except READ_ERRORS as error:
        raise damaged(path, error) from error


def _open_damaged(path: Path, files: list[Path], complete: bool) -> Bag:
    recovered = RecoveredReader(files)
    if not complete:
        return Bag(path, recovered, [f"no {_METADATA}: it was not finished"])
    if recovered.losses:
        return Bag(path, recovered)
    try:
        reader = _whole_reader(path)
    except READ_ERRORS as error:
        return Bag(path, recovered, [str(error)])
    if not recovered.chunked:
        reader.close()
        return Bag(path, recovered)
    recovered.close()
    return Bag(path, reader)


def _open_damaged_sqlite(path: Path, files: list[Path], complete: bool) -> Bag:
    losses = [] if complete else [f"no {_METADATA}: it was not finished"]
    losses += [f"{file.name}: it is empty" for file in files if not file.stat().st_size]
    expected, distro = None, ""
    if complete and path.is_dir():
        try:
            document = load((path / _METADATA).read_text(encoding="utf-8"))["rosbag2_bagfile_information"]
            expected, distro = int(document["message_count"]), str(document.get("ros_distro") or "")
        except READ_ERRORS as error:
            losses.append(f"{_METADATA}: {error}")
    recovered = RecoveredSqlite([file for file in files if file.stat().st_size], expected, distro)
    if losses or recovered.losses:
        return Bag(path, recovered, losses)
    recovered.close()
    try:
        return Bag(path, _whole_reader(path))
    except READ_ERRORS as error:
        raise damaged(path, error) from error


def _whole_reader(path: Path) -> Reader | FilesReader:
    """Raises one of READ_ERRORS for a bag that is not whole, as far as a look at its ends can tell."""
    if path.is_file():
        if path.suffix == ".mcap":
            return FilesReader([path], "")
        reader = Reader(path)
        reader.open()
        return reader
    document = load((path / _METADATA).read_text(encoding="utf-8"))["rosbag2_bagfile_information"]
    files = [path / PurePath(name).name for name in document["relative_file_paths"]]
    ours = all(file.suffix == ".mcap" for file in files)
    if ours:
        for file in files:
            check_summary(file)
    reader = Reader(path)
    reader.open()
    if not ours or reader.compression_mode:
        return reader
    distro = reader.ros_distro or ""
    reader.close()
    return FilesReader(files, distro)
