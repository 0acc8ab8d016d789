"""metadata.yaml of a rosbag2 directory, version 9: its keys in rosbag2's own order."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

METADATA_VERSION = 9


@dataclass(slots=True)
class TopicEntry:
    """A topic of the bag. `qos`: offered profiles as :func:`qos_profile` gives them."""

    name: str
    type: str
    type_hash: str
    qos: list[dict[str, Any]]
    count: int = 0


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A storage file of the bag: receive stamps of its first and last message (None: it has none)."""

    name: str
    count: int
    start_ns: int | None
    end_ns: int | None


def information(
    topics: Sequence[TopicEntry], files: Sequence[FileEntry], ros_distro: str, custom_data: Mapping[str, str]
) -> dict[str, Any]:
    """The mapping under `rosbag2_bagfile_information` (rosbag2_storage/yaml.hpp, version 9)."""
    starts = [file.start_ns for file in files if file.start_ns is not None]
    ends = [file.end_ns for file in files if file.end_ns is not None]
    return {
        "version": METADATA_VERSION,
        "storage_identifier": "mcap",
        "duration": {"nanoseconds": max(ends, default=0) - min(starts, default=0)},
        "starting_time": {"nanoseconds_since_epoch": min(starts, default=0)},
        "message_count": sum(topic.count for topic in topics),
        "topics_with_message_count": [
            {
                "topic_metadata": {
                    "name": topic.name,
                    "type": topic.type,
                    "serialization_format": "cdr",
                    "offered_qos_profiles": topic.qos,
                    "type_description_hash": topic.type_hash,
                },
                "message_count": topic.count,
            }
            for topic in topics
        ],
        "compression_format": "",
        "compression_mode": "",
        "relative_file_paths": [file.name for file in files],
        "files": [
            {
                "path": file.name,
                "starting_time": {"nanoseconds_since_epoch": file.start_ns or 0},
                "duration": {"nanoseconds": (file.end_ns or 0) - (file.start_ns or 0)},
                "message_count": file.count,
            }
            for file in files
        ],
        "custom_data": dict(custom_data) or None,
        "ros_distro": ros_distro,
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


def dump(document: object) -> str:
    """YAML as rosbag2 writes it."""
    # Without a width limit PyYAML folds the type hashes; aliases are not what yaml-cpp writes either.
    return yaml.dump(document, Dumper=_PlainDumper, sort_keys=False, width=1 << 20)


def load(text: str) -> Any:
    """The document of a YAML text; raises yaml.YAMLError."""
    return yaml.load(text, Loader=_LOADER)


def compresses_messages(text: str) -> bool:
    """Whether a metadata.yaml, maybe a damaged one, says that each message is a zstd frame (`ros2 bag record
    --compression-mode message`)."""
    return bool(re.search(r"^\s*compression_mode: [^\w\n]*message", text, re.MULTILINE | re.IGNORECASE))


# libyaml is six times as fast, which counts where a file follows another in the middle of a recording.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _PlainDumper(_DUMPER):
    def ignore_aliases(self, data: object) -> bool:
        return True
