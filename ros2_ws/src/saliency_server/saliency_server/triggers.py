"""When to ask a model which things matter: at the robot's own events, and when things come or go for good."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from saliency_server.keep import Phase
from saliency_server.smooth import runs
from saliency_server.values import TrackResult

SETTLED_S = 1.0  # a thing has come, or has gone, once it is there, or away, this long
APART_S = 0.7  # events nearer than this are one
GRIPPER_PHASES = frozenset({"open", "closed", "closing", "opening", "grasping", "releasing"})
STOPPED_PHASES = frozenset({"waiting", "stopped", "still"})
#: Which events are kept when there are too many: the lower, the sooner.
_START, _GRIPPER, _CHANGE, _STOP = range(4)


@dataclass(frozen=True, slots=True)
class Trigger:
    """A frame at which to ask, and why, in words: "start", "gripper: closed", "came: 2 things", "gone: 1 thing",
    "stopped: waiting"."""

    frame: int
    why: str


def triggers(
    phases: Sequence[Phase], tracks: Sequence[TrackResult], stamps_s: np.ndarray, most: int = 3
) -> tuple[Trigger, ...]:
    """At most `most` frames of N at which to ask, in order of time; none of a recording without frames or questions.

    phases: cover the N frames; tracks: all things that are followed; stamps_s (N,) s. The first question is asked
    where most things are in view within the first SETTLED_S. Then, by importance: the gripper closes or opens; the set
    of things changes for at least SETTLED_S, which a miss, a flicker or a hand passing by is not; the robot stops.
    Events within APART_S of a more important one are answered by it.
    """
    n = len(stamps_s)
    if n == 0 or most < 1:
        return ()
    start = _clearest(tracks, stamps_s)
    events = [(_START, start, "start")]
    for before, phase in pairwise(phases):
        if phase.name in GRIPPER_PHASES and phase.name != before.name:
            events.append((_GRIPPER, phase.first, f"gripper: {phase.name}"))
        elif phase.name in STOPPED_PHASES and phase.name != before.name:
            events.append((_STOP, phase.first, f"stopped: {phase.name}"))
    events += [(_CHANGE, frame, why) for frame, why in lasting_changes(tracks, stamps_s)]
    chosen: list[tuple[int, str]] = []
    for _, frame, why in sorted(events):
        apart = all(abs(stamps_s[frame] - stamps_s[other]) >= APART_S for other, _ in chosen)
        if len(chosen) < most and (apart or not chosen):
            chosen.append((frame, why))
    return tuple(Trigger(frame, why) for frame, why in sorted(chosen))


def lasting_changes(tracks: Sequence[TrackResult], stamps_s: np.ndarray) -> list[tuple[int, str]]:
    """Frames at which things come or go, and what happens, in words; what is there at the start has not come.

    A thing that is away for less than SETTLED_S, or there for less, has neither gone nor come; nor has one that
    something else hides ("occluded").
    """
    came: dict[int, int] = {}
    gone: dict[int, int] = {}
    n = len(stamps_s)
    for track in tracks:
        there = np.asarray(track.valid) | np.array([why == "occluded" for why in track.reason], dtype=bool)
        for flag in (False, True):  # first close short absences, then drop short presences
            for first, last in runs(there == flag):
                inner = first > 0 and last < n - 1
                if stamps_s[last] - stamps_s[first] < SETTLED_S and (inner or flag):
                    there[first : last + 1] = not flag
        for first, last in runs(there):
            if stamps_s[first] - stamps_s[0] >= SETTLED_S:
                came[first] = came.get(first, 0) + 1
            if stamps_s[-1] - stamps_s[last] >= SETTLED_S:
                gone[last + 1] = gone.get(last + 1, 0) + 1
    found = [(frame, f"came: {_things(count)}") for frame, count in came.items()]
    found += [(frame, f"gone: {_things(count)}") for frame, count in gone.items()]
    return sorted(found)


def _things(count: int) -> str:
    return "1 thing" if count == 1 else f"{count} things"


def _clearest(tracks: Sequence[TrackResult], stamps_s: np.ndarray) -> int:
    """The frame of the first SETTLED_S in which most things are in view, the earliest of those."""
    early = int(np.searchsorted(stamps_s, stamps_s[0] + SETTLED_S, side="right"))
    return int(np.sum([track.valid[:early] for track in tracks], axis=0).argmax()) if tracks else 0
