"""All that the screen is a picture of: the last status, how old it is, what was asked and refused."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum

from autofocus_core.schema import QualityRules

from demo_recorder.screen.status import Status

#: Two status periods and some: after that nobody knows whether the recorder still records.
STALE_S = 2.0
#: A recorder that has just been started may take this long to its first status.
START_UP_S = 15.0


class Link(Enum):
    """What is known of the recorder itself."""

    STARTING = "starting"
    LIVE = "live"
    SILENT = "silent"
    ENDED = "ended"
    GARBLED = "garbled"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that the screen is a picture of. `age_s`: since the last status (or, without one, since the start);
    `exit_code`: of a recorder that has ended; `garbled`: why the last status was not understood; `answer`: what the
    recorder refused; `pending`: what it has been asked and has not answered; `data_rate_bps`: bytes/s."""

    status: Status | None = None
    age_s: float = 0.0
    exit_code: int | None = None
    garbled: str = ""
    attached: bool = False
    log_path: str = ""
    answer: str = ""
    notice: str = ""
    pending: str = ""
    data_rate_bps: float | None = None
    events: tuple[str, ...] = ()
    sound: bool = False
    rules: QualityRules = field(default_factory=QualityRules)

    @property
    def link(self) -> Link:
        """Whether the figures of `status` are those of now."""
        if self.exit_code is not None:
            return Link.ENDED
        if self.garbled:
            return Link.GARBLED
        if self.status is None:
            return Link.STARTING if self.age_s <= START_UP_S else Link.SILENT
        return Link.LIVE if self.age_s <= STALE_S else Link.SILENT

    @property
    def live(self) -> Status | None:
        """The status, where it is that of now."""
        return self.status if self.link is Link.LIVE else None


class DataRate:
    """Bytes per second over the last seconds of recording; kept between episodes."""

    WINDOW_S = 5.0
    MIN_S = 1.0

    def __init__(self) -> None:
        self.bytes_per_s: float | None = None
        self._episode = ""
        self._points: deque[tuple[float, int]] = deque()

    def take(self, status: Status) -> None:
        """Note what a status says of the running episode."""
        if status.state != "recording":
            return
        if status.episode != self._episode:
            self._episode = status.episode
            self._points.clear()
        self._points.append((status.elapsed_s, status.bytes_written))
        while self._points[-1][0] - self._points[0][0] > self.WINDOW_S:
            self._points.popleft()
        seconds = self._points[-1][0] - self._points[0][0]
        if seconds >= self.MIN_S:
            self.bytes_per_s = (self._points[-1][1] - self._points[0][1]) / seconds
