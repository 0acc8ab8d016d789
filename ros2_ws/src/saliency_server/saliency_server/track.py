"""One track per object over a whole demonstration: which candidates, where gaps may be filled, where not and why."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import median_filter

from saliency_server.hidden import complete, merge_split, typical_size
from saliency_server.parts import join_parts
from saliency_server.tracklets import Tracklet, build_tracklets
from saliency_server.values import Detection, TrackResult

MAX_GAP_S = 0.5  # longer gaps are not filled
MAX_GAP_MOTION_SHARE = 0.05  # of the diagonal: what moved farther while unseen may have been anywhere
RIVAL_SCORE_RATIO = 0.75  # another candidate this good, of like size, makes a frame ambiguous
RIVAL_AREA_RATIO = 0.3
RIVAL_MIN_FRAMES = 4
OVERLAP_FRAMES = 10
FILLED_SCORE = 0.5  # a filled frame's score, times that of its neighbours
SMOOTH_S = 0.12  # half-width of the smoothing window


def track_object(
    candidates: Sequence[Sequence[Detection]],
    stamps_s: np.ndarray,
    size_px: tuple[int, int],
    role: str = "object",
    occluders: Sequence[Sequence[Detection]] | None = None,
) -> TrackResult:
    """The track of one object.

    candidates: per frame, best first; stamps_s: (N,) strictly increasing; size_px: (height, width) of the image;
    role "robot": the candidates are parts of one thing that moves (see `parts.join_parts`); occluders: the other
    objects' candidates per frame, which may be in front of this one.
    The tracklets with the most evidence that do not overlap in time make the track; frames where another one is as
    good are not valid ("ambiguous: 2 candidates"); short gaps with little motion are interpolated, others are not
    valid ("not detected", "left the image"). Who hides it is for `explain_occlusions` to say.
    """
    n = len(stamps_s)
    diagonal_px = float(np.hypot(*size_px))
    if role == "robot":
        candidates = join_parts(candidates, stamps_s, diagonal_px)
    tracklets = build_tracklets(candidates, stamps_s, diagonal_px)
    if role != "robot" and tracklets:
        full_size_px = typical_size([d for tracklet in _best_chain(tracklets) for d in tracklet.detections])
        candidates = merge_split(candidates, full_size_px)
        tracklets = build_tracklets(candidates, stamps_s, diagonal_px)
    chosen = _best_chain(tracklets)
    seen = _detections(chosen, n)
    score = np.array([0.0 if d is None else d.score for d in seen], dtype=np.float32)
    if role == "robot":
        # Its size changes as it opens and turns: what is seen is what there is.
        boxes = np.array([[np.nan] * 4 if d is None else d.box_px for d in seen])
    else:
        boxes = complete(seen, [()] * n if occluders is None else occluders, stamps_s)
    boxes = _smooth(_fill(boxes, score, stamps_s, diagonal_px), stamps_s)
    valid, reason = ~np.isnan(boxes[:, 0]), ["not detected"] * n
    for first, last in runs(~valid):
        if first > 0 and _at_border(boxes[first - 1], size_px):
            reason[first : last + 1] = ["left the image"] * (last + 1 - first)
    _mark_ambiguous(tracklets, chosen, valid, reason)
    boxes[~valid] = np.nan
    score[~valid] = 0.0
    return TrackResult(
        boxes_px=boxes.astype(np.float32),
        score=score,
        valid=valid,
        reason=tuple("" if ok else why for ok, why in zip(valid, reason, strict=True)),
    )


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


def runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """First and last index of each stretch of true values of (N,) bool."""
    padded = np.diff(np.r_[0, flags.astype(np.int8), 0])
    starts, ends = np.flatnonzero(padded == 1), np.flatnonzero(padded == -1) - 1
    return [(int(a), int(b)) for a, b in zip(starts, ends, strict=True)]


def _best_chain(tracklets: list[Tracklet]) -> list[Tracklet]:
    """The tracklets that overlap nowhere in time and together weigh most (weighted interval scheduling).

    Specks and reflections are left out: a tracklet counts if it is about as large as the one with most evidence.
    """
    if not tracklets:
        return []
    best = max(tracklets, key=lambda t: t.weight)
    like = [
        t for t in tracklets
        if t is best or (len(t.frames) >= RIVAL_MIN_FRAMES and t.area_px >= RIVAL_AREA_RATIO * best.area_px
                         and t.mean_score >= RIVAL_SCORE_RATIO * best.mean_score)
    ]
    like.sort(key=lambda t: t.frames[-1])
    ends = [t.frames[-1] for t in like]
    value, choice = [0.0], []
    for i, tracklet in enumerate(like):
        # A little overlap is a thing that comes apart or together while something passes in front of it.
        start = tracklet.frames[0] + min(OVERLAP_FRAMES, len(tracklet.frames) // 5)
        before = int(np.searchsorted(ends[:i], start, side="left"))
        take = value[before] + tracklet.weight
        choice.append((take > value[i], before))
        value.append(max(take, value[i]))
    chain, i = [], len(like)
    while i > 0:
        taken, before = choice[i - 1]
        if taken:
            chain.append(like[i - 1])
        i = before if taken else i - 1
    return chain[::-1]


def _detections(chosen: list[Tracklet], n: int) -> list[Detection | None]:
    """The detection of each of N frames; where two tracklets overlap, that of the one with more evidence."""
    seen: list[Detection | None] = [None] * n
    for tracklet in sorted(chosen, key=lambda t: t.weight):
        for frame, detection in zip(tracklet.frames, tracklet.detections, strict=True):
            seen[frame] = detection
    return seen


def _mark_ambiguous(
    tracklets: list[Tracklet], chosen: list[Tracklet], valid: np.ndarray, reason: list[str]
) -> None:
    """Take validity from frames where tracklets that were not chosen are as good as the chosen one."""
    rivals = np.zeros(len(valid), dtype=int)
    for tracklet in chosen:
        for other in tracklets:
            if any(other is c for c in chosen) or len(other.frames) < RIVAL_MIN_FRAMES:
                continue
            if (
                other.mean_score >= RIVAL_SCORE_RATIO * tracklet.mean_score
                and RIVAL_AREA_RATIO <= other.area_px / tracklet.area_px <= 1 / RIVAL_AREA_RATIO
            ):
                both = [f for f in range(max(other.frames[0], tracklet.frames[0]),
                                         min(other.frames[-1], tracklet.frames[-1]) + 1)]
                rivals[both] += 1
    for i in np.flatnonzero(rivals):
        valid[i] = False
        reason[i] = f"ambiguous: {rivals[i] + 1} candidates"


def _fill(boxes: np.ndarray, score: np.ndarray, stamps_s: np.ndarray, diagonal_px: float) -> np.ndarray:
    """Interpolate over gaps that are short and across which the centre hardly moved; scores of filled frames drop."""
    boxes = boxes.copy()
    n = len(boxes)
    for first, last in runs(np.isnan(boxes[:, 0])):
        if first == 0 or last == n - 1:
            continue
        a, b = first - 1, last + 1
        moved = np.hypot(*((boxes[b, :2] + boxes[b, 2:] - boxes[a, :2] - boxes[a, 2:]) / 2))
        if stamps_s[b] - stamps_s[a] > MAX_GAP_S or moved > MAX_GAP_MOTION_SHARE * diagonal_px:
            continue
        share = ((stamps_s[first:b] - stamps_s[a]) / (stamps_s[b] - stamps_s[a]))[:, None]
        boxes[first:b] = (1 - share) * boxes[a] + share * boxes[b]
        score[first:b] = FILLED_SCORE * min(score[a], score[b])
    return boxes


def _smooth(boxes: np.ndarray, stamps_s: np.ndarray) -> np.ndarray:
    """Centres by a local straight line over +-SMOOTH_S (least squares, uneven stamps allowed), sizes by a median.

    A straight line, not a mean: a moving object's centre must not lag or lead.
    """
    boxes = boxes.copy()
    for first, last in runs(~np.isnan(boxes[:, 0])):
        part, t = boxes[first : last + 1], stamps_s[first : last + 1]
        centre, size = (part[:, :2] + part[:, 2:]) / 2, part[:, 2:] - part[:, :2]
        size = median_filter(size, size=(min(5, len(part)), 1), mode="nearest")
        smooth = centre.copy()
        for i in range(len(part)):
            low, high = np.searchsorted(t, (t[i] - SMOOTH_S, t[i] + SMOOTH_S + 1e-9))
            reach = min(i - low, high - 1 - i)  # symmetric, so that the ends keep what was seen there
            if reach >= 2:
                around = slice(i - reach, i + reach + 1)
                smooth[i] = np.polynomial.polynomial.polyfit(t[around] - t[i], centre[around], 2)[0]
        boxes[first : last + 1] = np.hstack([smooth - size / 2, smooth + size / 2])
    return boxes


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
