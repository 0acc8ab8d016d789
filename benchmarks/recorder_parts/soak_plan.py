"""What a soak does to the recorder, episode by episode, and what must come of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

NORMAL, DISCARD, RESTART, KILL = "normal", "discard", "publisher restart", "recorder killed"
#: Where in the soak these happen (share of its episodes), once each.
SPECIAL = ((DISCARD, 0.25), (KILL, 0.5), (RESTART, 0.75))
#: The least in which each of them has an episode of its own, with an ordinary one before and after.
MIN_EPISODES = 7
#: Every this many ordinary episodes one is called a failure, as in a real session.
FAILURE_EVERY = 4


@dataclass(frozen=True, slots=True)
class Planned:
    """One episode to come."""

    number: int
    kind: str
    success: bool


def plan(episodes: int) -> list[Planned]:
    """Kinds of so many episodes (at least MIN_EPISODES)."""
    count = max(episodes, MIN_EPISODES)
    special = {round(share * (count - 1)): kind for kind, share in SPECIAL}
    return [Planned(n, special.get(n, NORMAL), n % FAILURE_EVERY != FAILURE_EVERY - 1) for n in range(count)]


@dataclass(slots=True)
class Episode:
    """What came of one. Times are monotonic, in s since the soak began; sizes in bytes.

    `missing`, `unreported`, `unmatched` (see audit.py) and `wrong` (doubled or foreign) count messages. `tail_s`: for a
    killed one, the longest time by which a stream ends before the kill. `problems`: what is not as it must be, in
    words. `late`: a publisher was late or a message was lost, so that the verdict may be other than good. `threads`,
    `files`: of the recorder's process.
    """

    number: int
    kind: str
    life: int
    start_s: float
    end_s: float = 0.0
    messages: int = 0
    bytes: int = 0
    splits: int = 0
    missing: int = 0
    unmatched: int = 0
    unreported: int = 0
    wrong: int = 0
    grade: str = ""
    reasons: tuple[str, ...] = ()
    tail_s: float = 0.0
    late: bool = False
    threads: int = 0
    files: int = 0
    problems: list[str] = field(default_factory=list)


def verdict_problems(episode: Episode, reasons: Sequence[str]) -> list[str]:
    """Whether the verdict is what such an episode must get."""
    if episode.kind in (NORMAL, DISCARD):
        if episode.grade != "good" and not episode.late:
            return [f"nothing was lost or late, but the verdict is {episode.grade}: {'; '.join(reasons)}"]
        return []
    if episode.grade != "bad" or not reasons:
        return [f"{episode.kind}, but the verdict is {episode.grade} ({'; '.join(reasons) or 'no reason'})"]
    return []
