"""The table of episodes that the page may show: looked up by key, never by a path, and nothing outside the folder."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass
from pathlib import Path

from autofocus_core.annotation import Annotation, read_annotation
from autofocus_core.episode import Episode, annotation_path, episode_paths, load_episode
from autofocus_core.errors import AutofocusError
from autofocus_core.names import ANNOTATION_SIDECAR, EPISODE_SIDECAR
from autofocus_core.review import Review, apply_review, read_review, review_path

from saliency_server.failures import failure_path, read_failure
from saliency_server.quality import Quality, judge

KEY_DIGITS = 16


@dataclass(frozen=True, slots=True)
class Seen:
    """An episode as it is now. annotation: the annotator's, None where there is none that can be read; reviewed: with
    the decisions applied; revision: changes with every one of its files; problem: why something cannot be read."""

    key: str
    path: Path
    revision: str
    episode: Episode | None
    annotation: Annotation | None
    review: Review | None
    reviewed: Annotation | None
    quality: Quality
    problem: str

    @property
    def status(self) -> str:
        """Of the review; "open" where there is none."""
        return self.review.status if self.review is not None else "open"


class Catalogue:
    """The episodes of a folder. Raises AutofocusError where there is none."""

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder).resolve()
        single = self._folder.is_file() or (self._folder / "metadata.yaml").is_file()
        self.root = self._folder.parent if single else self._folder
        self._lock = threading.Lock()
        self._seen: dict[str, Seen] = {}
        self._paths: dict[str, Path] = {}
        self.refresh()

    def refresh(self) -> None:
        """Look into the folder again."""
        self._paths = {key_of(path.name): path for path in episode_paths(self._folder)}

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of all episodes, by name."""
        return tuple(self._paths)

    def look(self, key: str) -> Seen:
        """The episode of that key, read again if its files have changed. KeyError for a key that is not in the table;
        AutofocusError for an episode with a part outside the folder."""
        path = self._paths[key]
        self._inside(path)
        revision = _revision(path)
        with self._lock:
            known = self._seen.get(key)
            if known is None or known.revision != revision:
                known = self._seen[key] = _read(key, path, revision)
            return known

    def _inside(self, path: Path) -> None:
        """Raise AutofocusError if the episode or a file that belongs to it is a link that leads out of the folder."""
        review = review_path(path)
        parts = [path, annotation_path(path), review, review.with_name(review.name + ".tmp"), failure_path(path)]
        parts += [each for folder in parts[:2] if folder.is_dir() for each in folder.iterdir()]
        for part in parts:
            try:
                inside = part.resolve().is_relative_to(self.root)
            except (OSError, RuntimeError):  # a link to itself
                inside = False
            if not inside:
                raise AutofocusError(
                    f"episode {path.name}", f"{part.name} leads out of {self.root}", "files inside the folder",
                    "review the folder where it really lies, or put a copy in place of the link",
                )


def key_of(name: str) -> str:
    """A key for an episode's name: hex digits only, so it means nothing to a file system."""
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:KEY_DIGITS]


def _revision(path: Path) -> str:
    digest = hashlib.sha256()
    sidecars = (path / EPISODE_SIDECAR, annotation_path(path) / ANNOTATION_SIDECAR, review_path(path))
    for file in (*sidecars, failure_path(path), path):
        try:
            state = file.stat()
            digest.update(f"{state.st_mtime_ns} {state.st_size} {state.st_ino};".encode())
        except OSError:
            digest.update(b"none;")
    return digest.hexdigest()[:KEY_DIGITS]


def _read(key: str, path: Path, revision: str) -> Seen:
    """Whatever of it cannot be read is told as its problem: the others are still to be reviewed."""
    episode = annotation = review = reviewed = None
    problem = failure = ""
    try:
        failed = read_failure(path)
        failure = "" if failed is None else failed.brief
        episode = load_episode(path)
        review = read_review(path)
        if annotation_path(path).is_dir():
            annotation = read_annotation(path)
            reviewed = annotation if review is None else apply_review(annotation, review)
    except AutofocusError as error:
        problem = f"{error.where}: {error.got}"
    except (KeyError, TypeError, ValueError) as error:  # JSON that is none of ours, where our reader is not strict
        problem = f"annotation: damaged ({type(error).__name__})"
    quality = judge(episode, reviewed, problem, failure)
    return Seen(key, path, revision, episode, annotation, review, reviewed, quality, problem)
