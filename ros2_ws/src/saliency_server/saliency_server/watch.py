"""Which episodes of a folder are still to be annotated: the server's memory, without ROS."""

from __future__ import annotations

from pathlib import Path

from autofocus_core.bags import storage_files
from autofocus_core.episode import list_episodes
from autofocus_core.errors import AutofocusError

from saliency_server.item import STATUSES, Outcome

MOST_NAMES, MOST_DOUBTS = 10, 3


class Watcher:
    """Looks into a folder again and again. Each recording is given out once, and again only when its files changed
    or when it is asked for (`forget`). Not thread-safe: scan and record from one thread."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.outcomes: dict[Path, Outcome] = {}
        self.problem = ""  # why the last look failed, "" if it did not
        self._given: dict[Path, tuple] = {}

    def scan(self) -> list[Path]:
        """Recordings to annotate now. An empty folder is no problem; one that is missing or unreadable is."""
        self.problem = ""
        try:
            found = [episode.path for episode in list_episodes(self.folder)] if self._has_entries() else []
        except AutofocusError as error:
            self.problem = f"{error.where}: {error.got}; {error.fix}"
            return []
        todo = [path for path in found if self._given.get(path) != _state(path)]
        self._given.update({path: _state(path) for path in todo})
        return todo

    def record(self, outcome: Outcome) -> None:
        """Remember what became of a recording."""
        self.outcomes[outcome.path] = outcome

    def forget(self, path: Path | None = None) -> None:
        """Give this recording, or all, out again at the next scan; what is up to date costs only a look."""
        if path is None:
            self._given.clear()
        else:
            self._given.pop(path, None)

    def counts(self) -> dict[str, int]:
        """Recordings by status, and "waiting" for those given out without an outcome."""
        counts = dict.fromkeys(STATUSES, 0)
        for outcome in self.outcomes.values():
            counts[outcome.status] += 1
        return counts | {"waiting": len(self._given.keys() - self.outcomes.keys())}

    def summary(self) -> tuple[dict[str, object], str]:
        """(figures for people, what is wrong in words, "" where nothing is): counts, which failed, and quality."""
        failed = [outcome.path.name for outcome in self.outcomes.values() if outcome.error]
        known = [outcome for outcome in self.outcomes.values() if outcome.quality is not None]
        doubtful = sorted((o for o in known if o.quality.doubts), key=lambda outcome: -outcome.quality.worst)
        values: dict[str, object] = {name.replace(" ", "_"): count for name, count in self.counts().items()}
        values |= {
            "failed_episodes": _named(failed),
            "doubtful_episodes": _named([outcome.path.name for outcome in doubtful]),
            **{key: sum(getattr(o.quality, key) for o in known) for key in ("jumps", "switches", "questions")},
            "seconds": f"{sum(o.quality.seconds for o in known):.1f}",
            "cost": f"{sum(o.quality.cost for o in known):.4g}",
        }
        for outcome in list(self.outcomes.values())[-1:]:
            values |= {"last": outcome.path.name, "last_doubts": "" if outcome.quality is None
                       else "; ".join(outcome.quality.doubts[:MOST_DOUBTS])}  # fmt: skip
            values |= {f"coverage.{name}": f"{share:.3f}" for name, share in outcome.coverage.items()}
        return values, self.problem or (f"{len(failed)} failed" if failed else "")

    def _has_entries(self) -> bool:
        # `list_episodes` calls a folder without recordings an error; here it is one that is not filled yet.
        return not self.folder.is_dir() or any(
            (entry / "metadata.yaml").is_file() for entry in self.folder.iterdir() if entry.is_dir()
        )


def _named(names: list[str]) -> str:
    more = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def _state(path: Path) -> tuple:
    """What changes when a recording is replaced under the same name."""
    return tuple((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in storage_files(path))
