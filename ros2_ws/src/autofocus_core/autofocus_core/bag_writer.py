"""Writing a rosbag2 directory: MCAP and metadata.yaml of version 9, complete or not there at all."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from mcap.writer import CompressionType, Writer

from autofocus_core import messages
from autofocus_core.errors import AutofocusError

METADATA_VERSION = 9
#: rosbag2 and MCAP both suggest this; a lost chunk is then about 0.15 s of a 320x240 camera.
CHUNK_BYTES = 1 << 20
COMPRESSIONS = {"none": CompressionType.NONE, "zstd": CompressionType.ZSTD}


@dataclass(slots=True)
class _Topic:
    channel: int
    type: str
    type_hash: str
    qos: list[dict[str, Any]]
    count: int = 0


class BagWriter:
    """Writes raw CDR messages into a bag that `ros2 bag info` and `ros2 bag play` open.

    All is written in ``<path><working_suffix>`` and renamed to `path` by :meth:`close`, after fsync: a
    directory under its final name is complete. What exists is not overwritten, except with `replace`,
    for what can be made again. Not thread-safe.

    `compression` is that of MCAP chunks ("none" or "zstd"). Each chunk and the summary carry a CRC.
    """

    def __init__(
        self,
        path: str | Path,
        compression: str = "none",
        ros_distro: str | None = None,
        *,
        working_suffix: str = ".partial",
        custom_data: Mapping[str, str] | None = None,
        replace: bool = False,
    ) -> None:
        self.path = Path(path)
        self.working = self.path.with_name(self.path.name + working_suffix)
        self.ros_distro = ros_distro or messages.default_distro()
        self._custom_data = dict(custom_data or {})
        if compression not in COMPRESSIONS:
            raise AutofocusError(
                f"bag {self.path}: compression", repr(compression), " | ".join(COMPRESSIONS), "choose one of these"
            )
        messages.typestore(self.ros_distro)
        self._replace = replace
        if replace and self.working.exists():
            shutil.rmtree(self.working)  # left by one that was killed
        for taken in (self.path, self.working):
            if taken.exists() and not replace:
                raise AutofocusError(
                    f"bag {self.path}",
                    f"{taken} exists",
                    "a path that does not exist",
                    "choose another name, or move it away",
                )
        self._topics: dict[str, _Topic] = {}
        self._schemas: dict[str, int] = {}
        self._start_ns: int | None = None
        self._end_ns: int | None = None
        try:
            self.working.mkdir(parents=True)
            self._file = (self.working / self.storage_name).open("wb")
        except OSError as error:
            raise AutofocusError(
                f"bag {self.path}", error.strerror or str(error), "a writable folder", "choose another output folder"
            ) from error
        self._mcap = Writer(self._file, chunk_size=CHUNK_BYTES, compression=COMPRESSIONS[compression])
        self._mcap.start(profile="ros2", library="autofocus_core")
        self._open = True

    @property
    def storage_name(self) -> str:
        """File name of the MCAP, named as rosbag2 does it."""
        return f"{self.path.name}_0.mcap"

    def add_topic(self, name: str, type: str, qos_yaml: str = "", *, msgdef: str = "", type_hash: str = "") -> None:
        """Declare a topic before its first message.

        `qos_yaml`: the publishers' offers as a YAML list of rosbag2 profiles (see :func:`qos_profile`); empty:
        unknown. `msgdef` and `type_hash` are needed for types that are not standard ones.
        """
        if name in self._topics:
            raise AutofocusError(f"bag {self.path}", f"topic {name} added twice", "each topic once", "add it once")
        if not (msgdef and type_hash):
            msgdef, type_hash = messages.definition(type, self.ros_distro)
        qos = yaml.safe_load(qos_yaml) if qos_yaml.strip() else []
        if type not in self._schemas:
            self._schemas[type] = self._mcap.register_schema(type, "ros2msg", msgdef.encode())
        channel = self._mcap.register_channel(
            topic=name,
            message_encoding="cdr",
            schema_id=self._schemas[type],
            metadata={"offered_qos_profiles": _dump(qos).strip() if qos else "", "topic_type_hash": type_hash},
        )
        self._topics[name] = _Topic(channel, type, type_hash, qos)

    def write(self, topic: str, raw_cdr: bytes, receive_ns: int, header_ns: int | None) -> None:
        """Append a message: CDR bytes as received, receive stamp, header stamp (None: it has none)."""
        entry = self._topics.get(topic)
        if entry is None:
            raise AutofocusError(f"bag {self.path}", f"topic {topic}", ", ".join(self._topics), "call add_topic first")
        # MCAP times are unsigned; a negative header stamp is a publisher's fault that is counted elsewhere.
        publish_ns = receive_ns if header_ns is None or header_ns < 0 else header_ns
        self._mcap.add_message(entry.channel, log_time=receive_ns, data=raw_cdr, publish_time=publish_ns)
        entry.count += 1
        self._start_ns = receive_ns if self._start_ns is None else min(self._start_ns, receive_ns)
        self._end_ns = receive_ns if self._end_ns is None else max(self._end_ns, receive_ns)

    def flush(self, *, sync: bool = False) -> None:
        """Close the chunk in hand and give it to the system (`sync`: wait until it is on the disk)."""
        self._mcap.flush()
        if sync:
            os.fsync(self._file.fileno())

    @property
    def counts(self) -> dict[str, int]:
        """Messages written so far, by topic."""
        return {name: topic.count for name, topic in self._topics.items()}

    def close(self, sidecars: Mapping[str, str] | None = None, *, destination: Path | None = None) -> Path:
        """Finish the bag, add `sidecars` {file name: text}, rename, and give the final path.

        `destination` replaces `path` (a discarded recording is kept elsewhere, not deleted).
        """
        if not self._open:
            raise AutofocusError(f"bag {self.path}", "closed already", "one close", "close it once")
        self._open = False
        target = Path(destination) if destination is not None else self.path
        information = self._information()
        self._mcap.add_metadata("rosbag2", {"serialized_metadata": _dump(information)})
        self._mcap.finish()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        texts = {"metadata.yaml": _dump({"rosbag2_bagfile_information": information}), **(sidecars or {})}
        for name, text in texts.items():
            write_synced(self.working / name, text)
        _sync_folder(self.working)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists() and not self._replace:
            raise AutofocusError(
                f"bag {target}",
                "exists already",
                "a path that does not exist",
                f"the finished bag is {self.working}: rename it by hand",
            )
        old = target.with_name(target.name + ".old")
        if target.exists():
            shutil.rmtree(old, ignore_errors=True)
            target.rename(old)
        self.working.rename(target)
        _sync_folder(target.parent)
        shutil.rmtree(old, ignore_errors=True)
        return target

    def abort(self) -> None:
        """Let go of the files and leave the working directory as it is, unfinished, for recovery."""
        if self._open:
            self._open = False
            with contextlib.suppress(OSError):  # the disk may be full: what is there, is there
                self._mcap.flush()
            self._file.close()

    def __enter__(self) -> BagWriter:
        return self

    def __exit__(self, exc_type: object, exc: object, trace: object) -> None:
        if exc_type is not None:
            self.abort()
        elif self._open:
            self.close()

    def _information(self) -> dict[str, Any]:
        """The metadata in rosbag2's own order of keys (rosbag2_storage/yaml.hpp, version 9)."""
        count = sum(topic.count for topic in self._topics.values())
        start = {"nanoseconds_since_epoch": self._start_ns or 0}
        duration = {"nanoseconds": (self._end_ns or 0) - (self._start_ns or 0)}
        return {
            "version": METADATA_VERSION,
            "storage_identifier": "mcap",
            "duration": duration,
            "starting_time": start,
            "message_count": count,
            "topics_with_message_count": [
                {
                    "topic_metadata": {
                        "name": name,
                        "type": topic.type,
                        "serialization_format": "cdr",
                        "offered_qos_profiles": topic.qos,
                        "type_description_hash": topic.type_hash,
                    },
                    "message_count": topic.count,
                }
                for name, topic in self._topics.items()
            ],
            "compression_format": "",
            "compression_mode": "",
            "relative_file_paths": [self.storage_name],
            "files": [
                {
                    "path": self.storage_name,
                    "starting_time": dict(start),
                    "duration": dict(duration),
                    "message_count": count,
                }
            ],
            "custom_data": self._custom_data or None,
            "ros_distro": self.ros_distro,
        }


def qos_profile(
    *, reliability: str = "reliable", durability: str = "volatile", history: str = "keep_last", depth: int = 10
) -> dict[str, Any]:
    """One profile as rosbag2 version 9 writes it: policies by name, durations {sec, nsec}, infinite by default."""
    infinite = {"sec": 9223372036, "nsec": 854775807}
    return {
        "history": history,
        "depth": depth,
        "reliability": reliability,
        "durability": durability,
        "deadline": dict(infinite),
        "lifespan": dict(infinite),
        "liveliness": "automatic",
        "liveliness_lease_duration": dict(infinite),
        "avoid_ros_namespace_conventions": False,
    }


def write_synced(path: Path, text: str) -> None:
    """Write a text file and wait until it is on the disk."""
    with path.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())


def write_atomic(path: Path, text: str) -> None:
    """Replace a text file: whoever reads it sees the old one or the new one, never a part."""
    temporary = path.with_name(path.name + ".tmp")
    write_synced(temporary, text)
    temporary.replace(path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _dump(document: object) -> str:
    # Without a width limit PyYAML folds the type hashes; aliases are not what yaml-cpp writes either.
    return yaml.dump(document, Dumper=_PlainDumper, sort_keys=False, width=1 << 20)


class _PlainDumper(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        return True
