"""Episodes to learn from, wherever they lie: what a data set asks of one, and the recorded ones."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from autofocus_core.annotation import Annotation
from autofocus_core.bags import storage_files
from autofocus_core.episode import Episode
from autofocus_core.names import ANNOTATION_SIDECAR
from autofocus_core.review import read_reviewed, review_path
from autofocus_core.schema import Robot, Task
from autofocus_training.config import Config
from autofocus_training.reading import Part, read_part


class Source(Protocol):
    """One episode. It is sent to the processes that read: plain values, no open files."""

    def annotation(self, needed: bool) -> Annotation | None:
        """Where the objects are; None where nobody said so. Raises AutofocusError for that where it is `needed`."""

    def content_hash(self) -> str:
        """Of what was recorded and of which part of it is used; the annotation is not in it."""

    def fingerprint(self) -> tuple[object, ...]:
        """What changes whenever its content or its annotation does, found without reading the recording."""

    def read(
        self, robot: Robot, task: Task, annotation: Annotation | None, objects: tuple[str, ...], config: Config
    ) -> Part:
        """Its samples; see `reading.read_part`."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """An episode in a bag, with the annotation beside it as a person's review left it."""

    episode: Episode

    def annotation(self, needed: bool) -> Annotation | None:
        """See Source."""
        return read_reviewed(self.episode.path) if needed or self.episode.annotation_path.is_dir() else None

    def content_hash(self) -> str:
        """See Source."""
        trim = self.episode.trim
        return self.episode.content_hash() + ("" if trim is None else f"trim {trim.start_ns} {trim.end_ns}")

    def fingerprint(self) -> tuple[object, ...]:
        """See Source."""
        parts: list[object] = [self.episode.trim]
        for file in storage_files(self.episode.path):
            stat = file.stat()
            parts.append((str(file.resolve()), stat.st_size, stat.st_mtime_ns, stat.st_ino))
        for file in (self.episode.annotation_path / ANNOTATION_SIDECAR, review_path(self.episode.path)):
            parts.append(hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else None)
        return tuple(parts)

    def read(
        self, robot: Robot, task: Task, annotation: Annotation | None, objects: tuple[str, ...], config: Config
    ) -> Part:
        """See Source."""
        with self.episode.open() as bag:
            return read_part(bag, robot, task, annotation, objects, config, self.episode.trim)


def as_sources(episodes: Iterable[Episode | Source]) -> list[Source]:
    """Recorded episodes among `episodes` as sources; sources as they are."""
    return [Recorded(episode) if isinstance(episode, Episode) else episode for episode in episodes]
