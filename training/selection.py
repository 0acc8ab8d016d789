"""Which of the recorded episodes are learned from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from autofocus_core.episode import Episode, list_episodes
from autofocus_core.errors import AutofocusError
from autofocus_core.review import read_review
from autofocus_core.schema import Robot

#: Names that a message lists; beyond that it says how many more there are.
NAMED = 8


@dataclass(frozen=True, slots=True)
class Selection:
    """`kept` to learn from; left out: `failures` by their outcome, `bad` by the recorder's verdict,
    `rejected` by a person (`autofocus review`)."""

    kept: tuple[Episode, ...]
    failures: tuple[Episode, ...]
    bad: tuple[Episode, ...]
    rejected: tuple[Episode, ...] = ()

    def lines(self) -> list[str]:
        """What was left out, and what of the others is trimmed, for people."""
        lines = []
        if self.failures:
            lines.append(f"left out {len(self.failures)} episodes marked as failures")
        if self.bad:
            lines.append(f"left out {len(self.bad)} episodes whose recording is bad: {_names(self.bad)} "
                         "(`autofocus episodes show` says why; --include-bad takes them)")
        if self.rejected:
            lines.append(f"left out {len(self.rejected)} episodes rejected in review: {_names(self.rejected)}")
        trimmed = sum(episode.trim is not None for episode in self.kept)
        if trimmed:
            lines.append(f"{trimmed} of {len(self.kept)} episodes are trimmed: only what is inside is learned from")
        return lines


def select_episodes(paths: Sequence[Path], robot: Robot, include_bad: bool = False) -> Selection:
    """Episodes in `paths` (folders or single ones). Raises AutofocusError where none is left to learn from."""
    found = [episode for path in paths for episode in list_episodes(path, robot)]
    failures = tuple(episode for episode in found if episode.outcome == "failure")
    attempts = [episode for episode in found if episode.outcome != "failure"]
    rejected = tuple(episode for episode in attempts if _rejected(episode))
    attempts = [episode for episode in attempts if episode not in rejected]
    bad = tuple(episode for episode in attempts if episode.verdict.grade == "bad" and not include_bad)
    kept = tuple(episode for episode in attempts if episode.verdict.grade != "bad" or include_bad)
    if not kept:
        raise AutofocusError(
            "episodes", f"{len(found)}: {len(failures)} marked as failures, {len(bad)} badly recorded"
            + (f", {len(rejected)} rejected in review" if rejected else ""),
            "at least one well recorded success or unknown",
            "see `autofocus episodes list`; record more, mark the good ones with `autofocus episodes outcome`, "
            "or take bad recordings with --include-bad",
        )  # fmt: skip
    return Selection(kept, failures, bad, rejected)


def _rejected(episode: Episode) -> bool:
    review = read_review(episode.path)
    return review is not None and review.status == "rejected"


def _names(episodes: Sequence[Episode]) -> str:
    more = len(episodes) - NAMED
    return ", ".join(episode.id for episode in episodes[:NAMED]) + (f" and {more} more" if more > 0 else "")
