"""An episode as a filter sees it: what is followed in each camera, and what the robot does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from autofocus_core.schema import Camera, Task

from saliency_server.looker import BagLooker
from saliency_server.motion import Motion
from saliency_server.phrases import ObjectPhrase
from saliency_server.values import Description, TrackResult


@dataclass(slots=True)
class Thing:
    """One thing that is followed in a camera: what it was found as, its name in the annotation, its track."""

    phrase: ObjectPhrase
    name: str
    track: TrackResult


@dataclass(slots=True)
class CameraView:
    """things: may be added to; find(objects): follow further objects through the same frames, their valid instances
    (AutofocusError where the detector cannot look for one)."""

    camera: Camera
    looker: BagLooker
    find: Callable[[tuple[ObjectPhrase, ...]], list[Thing]]
    things: list[Thing] = field(default_factory=list)

    @property
    def stamps_ns(self) -> np.ndarray:
        """(N,) int64."""
        return self.looker.frames.stamps_ns

    def nearest(self, stamp_ns: int) -> int:
        """The frame nearest to a time."""
        return int(np.abs(self.stamps_ns - stamp_ns).argmin())


@dataclass(frozen=True, slots=True)
class Episode:
    """cameras: in the task's order; motion: over the first camera's frames."""

    task: Task
    description: Description
    cameras: tuple[CameraView, ...]
    motion: Motion
