"""Where annotating an episode has got to: told while it runs, and the seconds that each stage took."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

TELL_EVERY_S = 0.1
WAIT = "wait"  # for somebody else who has the episode


@dataclass(frozen=True, slots=True)
class Progress:
    """stage: "describe", "detect", "track", "filter", "masks", "write" or WAIT; frames done of a total, 0 of 0 where a
    stage does not go frame by frame."""

    stage: str
    done: int = 0
    total: int = 0


Tell = Callable[[Progress], None]


def silent(progress: Progress) -> None:
    """Tells nobody."""


class Course:
    """Tells `tell` what is done, at most every TELL_EVERY_S, and keeps the time."""

    def __init__(self, tell: Tell = silent) -> None:
        self._tell = tell
        self._begun_s = self._last_s = time.perf_counter()
        self._told_s = float("-inf")
        self._spent: dict[str, float] = {}
        self._before = self._total = 0

    def begin(self, stage: str, total: int = 0) -> None:
        """total: how many frames the stage goes through, all cameras together."""
        self._before, self._total = 0, total
        self._tell(Progress(stage, 0, total))

    def frame(self, stage: str, done: int) -> None:
        """The stage has done so many frames of the camera in hand."""
        now_s = time.monotonic()
        if now_s - self._told_s >= TELL_EVERY_S:
            self._told_s = now_s
            self._tell(Progress(stage, min(self._before + done, self._total), self._total))

    def camera(self, frames: int) -> None:
        """A camera of so many frames is done, the next one begins."""
        self._before += frames

    def done(self, stage: str) -> None:
        """The time since the last call was this stage's."""
        now_s = time.perf_counter()
        self._spent[stage] = self._spent.get(stage, 0.0) + now_s - self._last_s
        self._last_s = now_s

    def seconds(self) -> dict[str, float]:
        """By stage, and "total"."""
        spent = self._spent | {"total": time.perf_counter() - self._begun_s}
        return {stage: round(value, 4) for stage, value in spent.items()}
