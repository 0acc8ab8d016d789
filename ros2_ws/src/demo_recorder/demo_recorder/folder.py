"""What lies in the output folder: how many episodes, how they went, and recordings that were killed."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

from autofocus_core.bag_writer import is_being_written
from autofocus_core.episode import list_episodes, list_unfinished
from autofocus_core.errors import AutofocusError

from demo_recorder.writer import DISCARDED_FOLDER, WORKING_SUFFIX


class EpisodeFolder:
    """Counts once, then keeps count. `interrupted`: recordings that nobody is writing any more."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.interrupted: list[Path] = []
        self._outcomes: dict[str, str] = {}
        if path.is_dir():
            self.interrupted = [entry for entry in list_unfinished(path) if not is_being_written(entry)]
            try:
                self._outcomes = {episode.id: episode.outcome for episode in list_episodes(path)}
            except AutofocusError:  # none yet, or one that cannot be read: `autofocus episodes list` says which
                self._outcomes = {}

    @property
    def episodes(self) -> int:
        """Finished episodes."""
        return len(self._outcomes)

    @property
    def successes(self) -> int:
        """Of which so many were a success."""
        return sum(outcome == "success" for outcome in self._outcomes.values())

    def put(self, episode: str, outcome: str) -> None:
        """An episode was finished, or its outcome changed."""
        self._outcomes[episode] = outcome

    def remove(self, episode: str) -> None:
        """An episode was put aside."""
        self._outcomes.pop(episode, None)

    def new_path(self, task: str) -> Path:
        """A path for the next episode that sorts by time and is taken by nothing, not even by a discarded one."""
        while True:
            now = datetime.now(timezone.utc)
            path = self.path / f"{task}_{now:%Y%m%d_%H%M%S}_{now.microsecond // 1000:03d}"
            taken = (path, path.with_name(path.name + WORKING_SUFFIX), self.path / DISCARDED_FOLDER / path.name)
            if not any(place.exists() for place in taken):
                return path
