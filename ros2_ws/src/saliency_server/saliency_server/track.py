"""Tracks of things over a whole demonstration: which candidates, where gaps may be filled, where not and why."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from saliency_server.chains import best_chain, instances, reidentify
from saliency_server.hidden import complete, distinct, merge_split, typical_size
from saliency_server.parts import join_parts
from saliency_server.smooth import fill, runs, smooth
from saliency_server.tracklets import Tracklet, build_tracklets
from saliency_server.values import Detection, TrackResult

MOST_INSTANCES = 8
DOUBT_SHARE = 0.5  # of its length: a detection this far from the smooth path counts for little

Candidates = Sequence[Sequence[Detection]]


def track_instances(
    candidates: Candidates,
    stamps_s: np.ndarray,
    size_px: tuple[int, int],
    role: str = "object",
    occluders: Candidates | None = None,
) -> tuple[TrackResult, ...]:
    """The tracks of all things that go by one name, the one with most evidence first; never none.

    candidates: per frame, in any order; stamps_s: (N,) strictly increasing; size_px: (height, width) of the image;
    role "robot": the candidates are parts of one thing that moves (see `parts.join_parts`); occluders: the other
    objects' candidates per frame, which may be in front of this one. At most MOST_INSTANCES things.
    Short gaps that the motion on both sides explains are interpolated, others are not valid ("not detected", "left
    the image"). Who hides it is for `explain_occlusions` to say. score: the detection's, lower the farther it is from
    the smooth path, and where the box was filled in.
    """
    chains = _things(candidates, stamps_s, size_px, role)
    nothing: Candidates = [()] * len(stamps_s) if occluders is None else occluders
    tracks = []
    for chain in chains or [[]]:
        others = [list(found) for found in nothing]
        for other in chains:
            if other is not chain:
                for tracklet in other:
                    for frame, detection in zip(tracklet.frames, tracklet.detections, strict=True):
                        others[frame].append(detection)
        tracks.append(_finish(chain, role, stamps_s, size_px, others))
    return tuple(tracks)


def _things(
    candidates: Candidates, stamps_s: np.ndarray, size_px: tuple[int, int], role: str
) -> list[list[Tracklet]]:
    """The tracklets of each thing. The order of a frame's candidates does not matter."""
    diagonal_px = float(np.hypot(*size_px))
    candidates = [distinct(found) for found in candidates]
    if role == "robot":
        candidates = join_parts(candidates, stamps_s, diagonal_px)
    tracklets = build_tracklets(candidates, stamps_s, diagonal_px)
    if role != "robot" and tracklets:
        full_size_px = typical_size([d for tracklet in best_chain(tracklets) for d in tracklet.detections])
        candidates = merge_split(candidates, full_size_px)
        tracklets = build_tracklets(candidates, stamps_s, diagonal_px)
    tracklets = reidentify(tracklets, stamps_s, diagonal_px)
    return instances(tracklets, stamps_s, 1 if role == "robot" else MOST_INSTANCES)


def _finish(
    chain: list[Tracklet], role: str, stamps_s: np.ndarray, size_px: tuple[int, int], occluders: Candidates
) -> TrackResult:
    """The track along a chain of tracklets: hidden sides put back, gaps filled, smoothed, what is missing explained."""
    n = len(stamps_s)
    diagonal_px = float(np.hypot(*size_px))
    seen = _detections(chain, n)
    found = np.array([d is not None for d in seen], dtype=bool)
    score = np.array([0.0 if d is None else d.score for d in seen], dtype=np.float32)
    if role == "robot":
        # Its size changes as it opens and turns: what is seen is what there is.
        boxes = np.array([[np.nan] * 4 if d is None else d.box_px for d in seen]).reshape(n, 4)
    else:
        boxes = complete(seen, occluders, stamps_s)
    filled = fill(boxes, score, stamps_s, diagonal_px)
    boxes = smooth(filled, found, stamps_s)
    score *= _confidence(filled, boxes)
    valid, reason = ~np.isnan(boxes[:, 0]), ["not detected"] * n
    for first, last in runs(~valid):
        if first > 0 and _at_border(boxes[first - 1], size_px):
            reason[first : last + 1] = ["left the image"] * (last + 1 - first)
    boxes[~valid], score[~valid] = np.nan, 0.0
    return TrackResult(
        boxes_px=boxes.astype(np.float32),
        score=score,
        valid=valid,
        reason=tuple("" if ok else why for ok, why in zip(valid, reason, strict=True)),
    )


def _confidence(raw: np.ndarray, smoothed: np.ndarray) -> np.ndarray:
    """(N,) float32, 1 where a box is on its smooth path, falling with its distance in lengths of the box."""
    centre = (smoothed[:, :2] + smoothed[:, 2:]) / 2
    off = np.hypot(*(((raw[:, :2] + raw[:, 2:]) / 2 - centre).T))
    length = np.sqrt(np.maximum((smoothed[:, 2:] - smoothed[:, :2]).prod(axis=1), 1.0))
    return np.nan_to_num(np.exp(-0.5 * (off / (DOUBT_SHARE * length)) ** 2), nan=0.0).astype(np.float32)


def explain_occlusions(tracks: Sequence[TrackResult]) -> tuple[TrackResult, ...]:
    """Replace "not detected" by "occluded" where another object's box is over the place the object was last seen
    (or is next seen) at."""
    explained = []
    for k, track in enumerate(tracks):
        reason = list(track.reason)
        for first, last in runs(np.array([why == "not detected" for why in reason])):
            seen = [i for i in (first - 1, last + 1) if 0 <= i < len(reason) and track.valid[i]]
            for i in range(first, last + 1):
                others = [t.boxes_px[i] for j, t in enumerate(tracks) if j != k and t.valid[i]]
                if any(_covered(track.boxes_px[s], other) > 0.25 for s in seen for other in others):
                    reason[i] = "occluded"
        explained.append(TrackResult(track.boxes_px, track.score, track.valid, tuple(reason)))
    return tuple(explained)


def _detections(chosen: list[Tracklet], n: int) -> list[Detection | None]:
    """The detection of each of N frames; where two tracklets overlap, that of the one with more evidence."""
    seen: list[Detection | None] = [None] * n
    for tracklet in sorted(chosen, key=lambda t: t.weight):
        for frame, detection in zip(tracklet.frames, tracklet.detections, strict=True):
            seen[frame] = detection
    return seen


def _at_border(box: np.ndarray, size_px: tuple[int, int], margin_px: float = 2.0) -> bool:
    height, width = size_px
    return bool(
        box[0] < margin_px or box[1] < margin_px or box[2] > width - margin_px or box[3] > height - margin_px
    )


def _covered(box: np.ndarray, other: np.ndarray) -> float:
    """Share of `box` that `other` covers."""
    w = min(box[2], other[2]) - max(box[0], other[0])
    h = min(box[3], other[3]) - max(box[1], other[1])
    area = (box[2] - box[0]) * (box[3] - box[1])
    return float(max(w, 0) * max(h, 0) / area) if area > 0 else 0.0
