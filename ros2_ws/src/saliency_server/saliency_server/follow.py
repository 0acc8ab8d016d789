"""Every named thing followed over a whole recording, all instances of each name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from saliency_server.chains import RIVAL_AREA_RATIO, RIVAL_MIN_FRAMES, RIVAL_SCORE_RATIO
from saliency_server.keyframes import Looker, look_sparsely
from saliency_server.phrases import ObjectPhrase
from saliency_server.track import explain_occlusions, track_instances
from saliency_server.values import UNREADABLE, TrackResult

__all__ = ["InstanceTrack", "Looker", "follow", "unambiguous"]


@dataclass(frozen=True, slots=True)
class InstanceTrack:
    """One thing over all N frames. phrase: index of the name it was found under; instance: 0 for the one with most
    evidence of that name."""

    track: TrackResult
    phrase: int
    instance: int


def follow(
    looker: Looker, phrases: Sequence[ObjectPhrase], *, keyframe_s: float | None
) -> tuple[InstanceTrack, ...]:
    """The tracks of everything that goes by one of the names, by name and then by evidence; each name has at least one,
    which has no valid frame where nothing was found.

    keyframe_s None: the detector looks at every frame, and short gaps are interpolated. Else it looks at keyframes so
    far apart and where it is in doubt (see `keyframes.look_sparsely`), and optical flow, forward and backward, leads
    between. Frames in which a thing's place is not known are not valid and say why. Raises ValueError for a
    keyframe_s that is not positive.
    """
    if keyframe_s is not None and not keyframe_s > 0:
        raise ValueError(f"keyframe_s is {keyframe_s}: it must be positive, or None for every frame")
    n = len(looker.stamps_s)
    if keyframe_s is None:
        detections, readable = looker.detect(range(n)), np.ones(n, dtype=bool)
    else:
        looked = look_sparsely(looker, len(phrases), keyframe_s)
        detections, readable = looked.detections, looked.readable
    found: list[InstanceTrack] = []
    for k, phrase in enumerate(phrases):
        others = [[d for j, each in enumerate(frame) if j != k for d in each] for frame in detections]
        tracks = track_instances(
            [frame[k] for frame in detections], looker.stamps_s, looker.size_px, phrase.role, others
        )
        found += [InstanceTrack(_only(track, readable), k, i) for i, track in enumerate(tracks)]
    explained = explain_occlusions([each.track for each in found])
    return tuple(
        InstanceTrack(track, each.phrase, each.instance) for track, each in zip(explained, found, strict=True)
    )


def unambiguous(tracks: Sequence[InstanceTrack], phrase: int) -> TrackResult:
    """The one track of a name, for a filter that cannot choose: instance 0, not valid ("ambiguous: 2 candidates")
    between the first and last frame of any other thing of that name that is as good."""
    own = sorted((each for each in tracks if each.phrase == phrase), key=lambda each: each.instance)
    best = own[0].track
    rivals = np.zeros(len(best.valid), dtype=int)
    for other in own[1:]:
        if _rivals(best, other.track):
            seen = np.flatnonzero(other.track.valid)
            rivals[seen[0] : seen[-1] + 1] += 1
    doubtful = rivals > 0
    boxes, score = best.boxes_px.copy(), best.score.copy()
    boxes[doubtful], score[doubtful] = np.nan, 0.0
    reason = tuple(f"ambiguous: {count + 1} candidates" if count else why
                   for count, why in zip(rivals, best.reason, strict=True))
    return TrackResult(boxes, score, best.valid & ~doubtful, reason)


def _rivals(best: TrackResult, other: TrackResult) -> bool:
    """Whether the other is about as large and as surely seen."""
    if other.valid.sum() < RIVAL_MIN_FRAMES or not best.valid.any():
        return False
    sizes = [np.nanpercentile((t.boxes_px[:, 2:] - t.boxes_px[:, :2]).prod(axis=1), 75) for t in (other, best)]
    scores = [float(t.score[t.valid].mean()) for t in (other, best)]
    alike = RIVAL_AREA_RATIO <= sizes[0] / max(sizes[1], 1e-6) <= 1 / RIVAL_AREA_RATIO
    return alike and scores[0] >= RIVAL_SCORE_RATIO * scores[1]


def _only(track: TrackResult, readable: np.ndarray) -> TrackResult:
    """The track with unreadable frames not valid: a box bridged over them is a guess."""
    if readable.all():
        return track
    boxes, score = track.boxes_px.copy(), track.score.copy()
    boxes[~readable], score[~readable] = np.nan, 0.0
    reason = tuple(why if ok else UNREADABLE for ok, why in zip(readable, track.reason, strict=True))
    return TrackResult(boxes, score, track.valid & readable, reason)
