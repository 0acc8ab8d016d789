"""A batch of episodes over a crew of workers: each is done once, and no worker's death loses one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from autofocus_core.errors import AutofocusError

from saliency_server.course import Progress
from saliency_server.item import BUSY, Outcome, Work, failed

TRIES = 2  # of an episode whose worker dies: the second death is its own doing
MOST_LOST = 3  # workers in a row that end before they have begun

#: Told how far an episode is.
Told = Callable[[Path, Progress], None]


@dataclass(frozen=True, slots=True)
class Job:
    """An episode for a worker. wait: for whoever else has it; deaths: of workers that had it."""

    path: Path
    wait: bool = False
    deaths: int = 0


@dataclass(frozen=True, slots=True)
class Done:
    """The worker has the next job coming."""

    job: Job
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Died:
    """The worker that had the job (None: none yet) is gone; another takes its place. why: in words."""

    job: Job | None
    why: str


class Crew(Protocol):
    """Workers, here or elsewhere. A crew is closed by whoever made it."""

    def idle(self) -> int:
        """How many workers wait for a job."""
        ...

    def give(self, job: Job) -> None:
        """Have an idle worker do it."""
        ...

    def wait(self) -> list[Done | Died]:
        """What has happened since; returns at least every few hundred milliseconds."""
        ...

    def close(self) -> None:
        """End all workers; what they have in hand is left as it was."""
        ...


def run(crew: Crew, paths: Sequence[Path]) -> Iterator[Outcome]:
    """Outcomes as they come, one for each path.

    An episode that somebody else has comes again when all others are done. One whose worker dies is given to another
    worker once. Raises AutofocusError where workers cannot be started at all.
    """
    waiting = deque(Job(path) for path in paths)
    left, lost = len(waiting), 0
    while left:
        while waiting and crew.idle():
            crew.give(waiting.popleft())
        for event in crew.wait():
            if isinstance(event, Died) and event.job is None:
                lost += 1
                if lost >= MOST_LOST:
                    raise AutofocusError(
                        "workers", f"{lost} ended before they began: {event.why}", "workers that start",
                        "see what they wrote to the terminal; --workers 1 does without",
                    )
                continue
            lost = 0
            outcome = _outcome(event)
            if outcome is None:
                waiting.append(_again(event))
            else:
                left -= 1
                yield outcome


def run_here(work: Work, paths: Sequence[Path], told: Told) -> Iterator[Outcome]:
    """The same in this process."""
    later = []
    for path in paths:
        outcome = work.annotate(path, wait=False, tell=lambda progress, path=path: told(path, progress))
        if outcome.status == BUSY:
            later.append(path)
        else:
            yield outcome
    for path in later:
        yield work.annotate(path, tell=lambda progress, path=path: told(path, progress))


def _outcome(event: Done | Died) -> Outcome | None:
    """None: it comes again."""
    if isinstance(event, Done):
        return None if event.outcome.status == BUSY else event.outcome
    if event.job.deaths + 1 < TRIES:
        return None
    told = AutofocusError(
        f"episode {event.job.path}", f"the worker that had it ended {TRIES} times: {event.why}", "a worker that lives",
        "is there enough memory? try --workers 1 with this episode alone",
    )
    return failed(event.job.path, str(told))


def _again(event: Done | Died) -> Job:
    if isinstance(event, Done):
        return replace(event.job, wait=True)
    return replace(event.job, deaths=event.job.deaths + 1)
