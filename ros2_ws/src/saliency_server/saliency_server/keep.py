"""What matters when: phases out of the robot's signals, and the filter that keeps all of the task's objects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from saliency_server.values import Selection

if TYPE_CHECKING:
    from saliency_server.ask import Asker
    from saliency_server.views import Episode

#: m or rad: a gripper that moved less did nothing
MIN_TRAVEL = 2e-3


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of a demonstration between two gripper events: frames [first, last], name "open" or "closed"."""

    first: int
    last: int
    name: str


def gripper_phases(frame_s: np.ndarray, gripper_s: np.ndarray, gripper: np.ndarray) -> tuple[Phase, ...]:
    """Split N frames at the times the gripper closes or opens.

    frame_s (N,), gripper_s (M,): stamps in s; gripper (M,): its position, larger is wider. Of a gripper that moved
    less than MIN_TRAVEL nothing is concluded: one phase "steady". A Schmitt trigger at 40 % and 60 % of the travel
    seen makes one event of a bouncing signal.
    """
    n = len(frame_s)
    if n == 0:
        return ()
    travel = float(np.ptp(gripper)) if len(gripper) else 0.0
    if len(gripper) < 2 or travel < MIN_TRAVEL:
        return (Phase(0, n - 1, "steady"),)
    level = (np.interp(frame_s, gripper_s, gripper) - gripper.min()) / travel
    opened = np.empty(n, dtype=bool)
    state = level[0] >= 0.5
    for i, value in enumerate(level):
        state = value > 0.4 if state else value >= 0.6
        opened[i] = state
    starts = np.flatnonzero(np.r_[True, opened[1:] != opened[:-1]])
    ends = np.r_[starts[1:] - 1, n - 1]
    return tuple(Phase(int(a), int(b), "open" if opened[a] else "closed") for a, b in zip(starts, ends, strict=True))


class KeepTaskObjects:
    """Keeps every object that the task names, in every frame: the choice that can be made without a model."""

    name = "task-objects"
    version = "1"
    chooses = False

    def select(self, episode: Episode, asker: Asker | None = None, most: int = 0) -> list[Selection]:
        """All K objects in all N frames of each camera; no question asked."""
        return [
            Selection(np.ones((len(view.things), len(view.stamps_ns)), dtype=bool), ("",) * len(view.stamps_ns))
            for view in episode.cameras
        ]
