"""Episodes on disk: a rosbag2 directory with a sidecar `episode.json`. Foreign rosbag2 directories are
episodes without a sidecar."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from autofocus_core.bag_writer import write_atomic
from autofocus_core.bags import STORAGE_SUFFIXES, Bag, open_bag, storage_files
from autofocus_core.episode_meta import OUTCOMES, EpisodeMeta, Trim, Verdict, read_meta
from autofocus_core.errors import AutofocusError
from autofocus_core.names import ANNOTATION_SUFFIX, EPISODE_SIDECAR
from autofocus_core.schema import Robot

#: Directories that are not finished episodes: being written, annotations, being replaced.
_NOT_EPISODES = (".recording", ".partial", ".old", ANNOTATION_SUFFIX)


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
    def verdict(self) -> Verdict:
        """The recorder's verdict; its grade is "unknown" for bags that are not ours."""
        return self.meta.verdict if self.meta is not None else Verdict()

    @property
    def trim(self) -> Trim | None:
        """The part worth learning from, None for all of it."""
        return self.meta.trim if self.meta is not None else None

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
    if robot is not None and meta is not None and meta.robot not in ("", robot.name):
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
    return [load_episode(path, robot) for path in episode_paths(folder)]


def episode_paths(folder: str | Path) -> list[Path]:
    """Where the finished episodes in `folder` lie, by name; see :func:`list_episodes`. Opens none of them."""
    folder = Path(folder)
    if not folder.exists():
        raise AutofocusError(
            f"episodes in {folder}", "does not exist", "a folder of episodes", "record some, or correct the path"
        )
    if folder.is_file() or (folder / "metadata.yaml").is_file():
        return [folder]
    found = [entry for entry in sorted(folder.iterdir()) if _is_episode(entry)]
    if not found:
        raise AutofocusError(
            f"episodes in {folder}",
            "no finished recording",
            "directories with a metadata.yaml",
            "record demonstrations there, or give the folder that has them",
        )
    return found


def list_unfinished(folder: str | Path) -> list[Path]:
    """Directories of recordings that are still running or were killed, by name."""
    return sorted(entry for entry in Path(folder).iterdir() if entry.name.endswith(".recording") and entry.is_dir())


def set_outcome(path: str | Path, outcome: str, note: str | None = None) -> Episode:
    """Write the outcome (and note) of one of our episodes into its sidecar, atomically."""
    if outcome not in OUTCOMES:
        raise AutofocusError(f"episode {path}: outcome", repr(outcome), " | ".join(OUTCOMES), "choose one of these")
    return update_meta(path, outcome=outcome, **({} if note is None else {"note": note}))


def update_meta(path: str | Path, **changes: Any) -> Episode:
    """Replace fields of an episode's sidecar, atomically. The bag itself is never changed.

    Raises AutofocusError for a foreign bag, which has no sidecar.
    """
    episode = load_episode(path)
    if episode.meta is None:
        raise AutofocusError(
            f"episode {path}",
            f"no {EPISODE_SIDECAR}",
            "an episode of the recorder",
            "only recorded episodes have an outcome, a note and a trim",
        )
    meta = dataclasses.replace(episode.meta, **changes)
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
