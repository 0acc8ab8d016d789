"""Episode format v1: a rosbag2 directory with a sidecar `episode.json`. Foreign rosbag2 directories are
episodes without a sidecar."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from autofocus_core.bag_writer import write_atomic
from autofocus_core.bags import STORAGE_SUFFIXES, Bag, open_bag, storage_files
from autofocus_core.errors import AutofocusError
from autofocus_core.fields import Fields
from autofocus_core.names import ANNOTATION_SUFFIX, EPISODE_SIDECAR
from autofocus_core.schema import Robot

EPISODE_SCHEMA = 1
OUTCOMES = ("success", "failure", "unknown")
#: Directories that are not finished episodes: being written, annotations, being replaced.
_NOT_EPISODES = (".recording", ".partial", ".old", ANNOTATION_SUFFIX)


@dataclass(frozen=True, slots=True)
class StampFaults:
    """Header stamps that were zero, the same as the one before, or earlier than it."""

    zero: int = 0
    duplicate: int = 0
    backwards: int = 0


@dataclass(frozen=True, slots=True)
class StreamQuality:
    """What was recorded of a topic. Rates in Hz (expected: None where nobody said it), gaps by header stamps.

    `gaps`: intervals longer than 1.5 expected periods; `drops`: messages received and not written.
    """

    type: str
    count: int
    expected_rate_hz: float | None
    achieved_rate_hz: float
    longest_gap_ms: float
    gaps: int
    drops: int
    stamp_faults: StampFaults = field(default_factory=StampFaults)


@dataclass(frozen=True, slots=True)
class EpisodeMeta:
    """The sidecar. `start_ns` and `end_ns` are on the ROS clock; `stop_reason` is "requested" or says what happened."""

    id: str
    task: str
    instruction: str
    robot: str
    robot_hash: str
    outcome: str
    note: str
    start_ns: int
    end_ns: int
    stop_reason: str
    streams: dict[str, StreamQuality]

    def to_json(self) -> str:
        """Text of the sidecar."""
        return json.dumps({"schema": EPISODE_SCHEMA, **dataclasses.asdict(self)}, indent=2, ensure_ascii=False) + "\n"


@dataclass(frozen=True, slots=True)
class Episode:
    """A recording on disk. `meta` is None for one that is not ours."""

    path: Path
    meta: EpisodeMeta | None

    @property
    def id(self) -> str:
        """Name of the episode: that of its directory or file."""
        return self.path.name

    @property
    def outcome(self) -> str:
        """ "success", "failure" or "unknown"."""
        return self.meta.outcome if self.meta is not None else "unknown"

    @property
    def annotation_path(self) -> Path:
        """Where its annotation lies, if it has one."""
        return annotation_path(self.path)

    def open(self) -> Bag:
        """Its bag, opened; see :func:`autofocus_core.bags.open_bag`."""
        return open_bag(self.path)

    def content_hash(self) -> str:
        """Hex SHA-256 of the recorded messages' files; the sidecar (outcome, note) is not part of it."""
        return content_hash(self.path)


def load_episode(path: str | Path, robot: Robot | None = None) -> Episode:
    """The episode at `path`. With `robot`: raises AutofocusError if it was recorded from another one.

    Raises AutofocusError for a missing or empty directory and for an unreadable sidecar.
    """
    path = Path(path)
    storage_files(path)
    sidecar = path / EPISODE_SIDECAR
    meta = read_meta(sidecar) if sidecar.is_file() else None
    if robot is not None and meta is not None and meta.robot != robot.name:
        raise AutofocusError(
            f"episode {path}",
            f"recorded from robot {meta.robot!r}",
            f"robot {robot.name!r}",
            "give the YAML of the robot it was recorded from",
        )
    return Episode(path, meta)


def list_episodes(folder: str | Path, robot: Robot | None = None) -> list[Episode]:
    """All finished episodes in `folder` (or `folder` itself, if it is one), by name.

    Raises AutofocusError where there are none.
    """
    folder = Path(folder)
    if not folder.exists():
        raise AutofocusError(
            f"episodes in {folder}", "does not exist", "a folder of episodes", "record some, or correct the path"
        )
    if folder.is_file() or (folder / "metadata.yaml").is_file():
        return [load_episode(folder, robot)]
    found = [entry for entry in sorted(folder.iterdir()) if _is_episode(entry)]
    if not found:
        raise AutofocusError(
            f"episodes in {folder}",
            "no finished recording",
            "directories with a metadata.yaml",
            "record demonstrations there, or give the folder that has them",
        )
    return [load_episode(entry, robot) for entry in found]


def list_unfinished(folder: str | Path) -> list[Path]:
    """Directories of recordings that are still running or were killed, by name."""
    return sorted(entry for entry in Path(folder).iterdir() if entry.name.endswith(".recording") and entry.is_dir())


def read_meta(sidecar: Path) -> EpisodeMeta:
    """Parse a sidecar; raises AutofocusError for anything missing, unknown or of a newer version."""
    try:
        fields = Fields(json.loads(sidecar.read_text(encoding="utf-8")), str(sidecar))
    except (OSError, ValueError) as error:
        raise AutofocusError(
            str(sidecar), f"unreadable: {error}", "the JSON of an episode", "delete it: the bag is used without"
        ) from error
    version = fields.integer("schema", minimum=1)
    if version != EPISODE_SCHEMA:
        raise AutofocusError(f"{sidecar}: schema", str(version), str(EPISODE_SCHEMA), "update AutoFocus-IL")
    streams = fields.sub("streams")
    meta = EpisodeMeta(
        id=fields.text("id"),
        task=_any_text(fields, "task"),
        instruction=_any_text(fields, "instruction"),
        robot=fields.text("robot"),
        robot_hash=fields.text("robot_hash"),
        outcome=fields.choice("outcome", OUTCOMES),
        note=_any_text(fields, "note"),
        start_ns=fields.integer("start_ns", minimum=0),
        end_ns=fields.integer("end_ns", minimum=0),
        stop_reason=fields.text("stop_reason"),
        streams={str(topic): _stream(streams.sub(topic)) for topic in streams.raw},
    )
    fields.done()
    return meta


def set_outcome(path: str | Path, outcome: str, note: str | None = None) -> Episode:
    """Write the outcome (and note) of one of our episodes into its sidecar, atomically."""
    episode = load_episode(path)
    if episode.meta is None:
        raise AutofocusError(
            f"episode {path}", "no episode.json", "an episode of the recorder", "only recorded episodes have an outcome"
        )
    if outcome not in OUTCOMES:
        raise AutofocusError(f"episode {path}: outcome", repr(outcome), " | ".join(OUTCOMES), "choose one of these")
    meta = dataclasses.replace(episode.meta, outcome=outcome, note=episode.meta.note if note is None else note)
    write_atomic(episode.path / EPISODE_SIDECAR, meta.to_json())
    return Episode(episode.path, meta)


def annotation_path(episode: str | Path) -> Path:
    """Directory of the annotation that belongs to an episode."""
    episode = Path(episode)
    return episode.with_name(episode.name + ANNOTATION_SUFFIX)


def content_hash(path: str | Path) -> str:
    """Hex SHA-256 over the storage files of a bag, in order of their names."""
    state = tuple((str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in storage_files(Path(path)))
    return _hash_files(state)


@lru_cache(maxsize=4096)
def _hash_files(state: tuple[tuple[str, int, int], ...]) -> str:
    digest = hashlib.sha256()
    for name, _, _ in state:
        with open(name, "rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _is_episode(entry: Path) -> bool:
    if entry.name.startswith(".") or entry.name.endswith(_NOT_EPISODES) or not entry.is_dir():
        return False
    if (entry / "metadata.yaml").is_file():
        return True
    # Storage without metadata.yaml is listed too, so that opening it says what is wrong: never skip in silence.
    return any(file.suffix in STORAGE_SUFFIXES for file in entry.iterdir())


def _any_text(fields: Fields, key: str) -> str:
    value = fields.take(key, "a text")
    if not isinstance(value, str):
        raise AutofocusError(f"{fields.where}: {key}", repr(value), "a text", f"set `{key}` to a text")
    return value


def _stream(fields: Fields) -> StreamQuality:
    faults = fields.sub("stamp_faults")
    quality = StreamQuality(
        type=fields.text("type"),
        count=fields.integer("count", minimum=0),
        expected_rate_hz=fields.number("expected_rate_hz", above=0.0) if fields.has("expected_rate_hz") else None,
        achieved_rate_hz=fields.number("achieved_rate_hz", minimum=0.0),
        longest_gap_ms=fields.number("longest_gap_ms", minimum=0.0),
        gaps=fields.integer("gaps", minimum=0),
        drops=fields.integer("drops", minimum=0),
        stamp_faults=StampFaults(
            faults.integer("zero", minimum=0),
            faults.integer("duplicate", minimum=0),
            faults.integer("backwards", minimum=0),
        ),
    )
    faults.done()
    fields.done()
    return quality
