"""Value types that the stages hand to one another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from saliency_server.phrases import ObjectPhrase


@dataclass(frozen=True, slots=True)
class Description:
    """What a describer found: the objects, one sentence about the task, and how many questions a model was asked.

    affordances, phases: for each object what can be done with it and in which phases it matters; empty where nobody
    said.
    """

    objects: tuple[ObjectPhrase, ...]
    sentence: str
    queries: int
    affordances: tuple[str, ...] = ()
    phases: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Scene:
    """What a describer is shown of an episode. images: rgb uint8 (H, W, 3), in order of time, `times_s` (N,) from the
    first on; motion: the robot's motion in words, as `motion.Motion.words` gives it."""

    images: tuple[np.ndarray, ...]
    times_s: tuple[float, ...]
    motion: tuple[dict[str, object], ...]


@dataclass(frozen=True, slots=True)
class Detection:
    """One candidate in one frame.

    box_px: x0, y0, x1, y1, edges of the box in pixels (x1, y1 exclusive); centre_px: x, y, sub-pixel (a pixel's own
    centre is at +0.5); score: 0 to 1; area_px: pixels that belong to it.
    """

    box_px: tuple[float, float, float, float]
    centre_px: tuple[float, float]
    score: float
    area_px: float


@dataclass(frozen=True, slots=True)
class TrackResult:
    """One object over all N frames: boxes_px (N, 4) float32, NaN where invalid; score (N,) float32 in [0, 1];
    valid (N,) bool; reason: N strings, "" where valid."""

    boxes_px: np.ndarray
    score: np.ndarray
    valid: np.ndarray
    reason: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Selection:
    """What a filter kept in one camera: keep (K, N) bool, per track and frame; undecided: N strings, why a frame's
    choice is not known, "" where it is; notes: for the provenance."""

    keep: np.ndarray
    undecided: tuple[str, ...]
    notes: tuple[str, ...] = ()


#: Why a frame is not valid whose image could not be decoded.
UNREADABLE = "unreadable image"

#: candidates of one frame, per object in the order of `Description.objects`
FrameDetections = tuple[tuple[Detection, ...], ...]
