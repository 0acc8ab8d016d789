"""An object's track made again from boxes that a person drew: those are kept as they are, the image's motion leads
from them to where they meet the old track, or are lost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from autofocus_core.annotation import ObjectTrack

from saliency_server.patch import carry_patch
from saliency_server.quality import iou, jumped

MIN_TRUST = 0.25  # below this a carried box is lost
GOOD_SHARE = 0.4  # of a box's points: with so many the flow is as sure as with all
HALF_LIFE_S = 3.0  # of the trust in a carried box, on top of what the flow says
MEETS = 0.5  # intersection over union at which the old track is the same thing
STEADY_FRAMES = 5  # so many in a row, and the old track takes over again
APART = 0.75  # of the box's diagonal: corrections before and after that lead farther apart than this disagree

LOST = "not followed from the corrected box"
DISAGREE = "corrected boxes before and after lead apart"


@dataclass(slots=True)
class _Claim:
    """What one corrected box says in one direction of time: `boxes` {frame: (box, trust, frames from the corrected
    one)}; `doubted`: frames whose old box is not to be trusted."""

    boxes: dict[int, tuple[np.ndarray, float, int]] = field(default_factory=dict)
    doubted: set[int] = field(default_factory=set)


def retrack(
    track: ObjectTrack, fixes: Mapping[int, np.ndarray], stamps_s: np.ndarray, size_px: tuple[int, int],
    grey: Callable[[int], np.ndarray | None],
) -> ObjectTrack:
    """The track with `fixes` {frame: box (4,) px} as they are and the frames around them followed from them.

    From each fix the box is carried forward and backward, as far as the next fix, until the old track has agreed with
    it for STEADY_FRAMES, which from there on is right, or until it is lost. Where it is lost, the old track is not
    trusted either up to its next gap or jump, since so far it followed something else; these frames say so. Where two
    fixes claim a frame, they are blended by trust and nearness, or the frame says that they disagree. stamps_s (N,),
    size_px (height, width); grey: a frame's image, None where unreadable.
    """
    boxes, score, valid = track.boxes_px.astype(np.float64), track.score.copy(), track.valid.copy()
    reason = list(track.reason)
    frames = sorted(fixes)
    claims: list[_Claim] = []
    for place, frame in enumerate(frames):
        after = frames[place + 1] if place + 1 < len(frames) else len(stamps_s)
        before = frames[place - 1] if place else -1
        for way in (range(frame, after), range(frame, before, -1)):
            claims.append(_claim(track, fixes[frame], way, stamps_s, size_px, grey))
    for i in set().union(*(claim.boxes.keys() | claim.doubted for claim in claims)):
        says = [claim.boxes[i] for claim in claims if i in claim.boxes]
        box, trust, why = _agreed(says)
        boxes[i], score[i], valid[i], reason[i] = box, trust, not why, why
    for frame, box in fixes.items():
        boxes[frame], score[frame], valid[frame], reason[frame] = box, 1.0, True, ""
    return ObjectTrack(track.name, track.role, boxes.astype(np.float32), score, valid, tuple(reason))


def _claim(
    old: ObjectTrack, fix: np.ndarray, way: range, stamps_s: np.ndarray, size_px: tuple[int, int],
    grey: Callable[[int], np.ndarray | None],
) -> _Claim:
    """`way`: frames from the corrected one on, forward or backward."""
    claim = _Claim()
    carried, last_sure = carry_patch(grey, way, np.asarray(fix, np.float64), size_px)
    flow = _trust(carried.trust)
    steady = 0
    for k, i in enumerate(way[1:], start=1):
        box = carried.boxes_px[k]
        trust = float(flow[k] * 0.5 ** (abs(stamps_s[i] - stamps_s[way[last_sure[k]]]) / HALF_LIFE_S))
        if trust >= MIN_TRUST and np.isnan(box).any():  # hidden, and found again later
            steady = 0
            claim.doubted.add(i)
            continue
        if trust < MIN_TRUST:
            claim.doubted |= _following(old, way[k:], size_px)
            break
        agrees = bool(old.valid[i]) and iou(box, old.boxes_px[i]) >= MEETS
        steady = steady + 1 if agrees else 0
        if steady >= STEADY_FRAMES:
            break
        # The nearer to taking over, the more of the old box: no step where it does.
        share = steady / STEADY_FRAMES
        claim.boxes[i] = ((1 - share) * box + share * old.boxes_px[i] if agrees else box, trust, k)
    return claim


def _trust(trust: np.ndarray) -> np.ndarray:
    """(L,) of products of shares of points, with shares above GOOD_SHARE taken for whole: a plain side of a box has
    points that no flow can follow, on every frame, and says nothing against the others."""
    before = np.r_[1.0, np.maximum.accumulate(trust[::-1])[::-1][:-1]]
    return np.cumprod(np.minimum(1.0, trust / np.maximum(before, 1e-12) / GOOD_SHARE))


def _following(old: ObjectTrack, way: range, size_px: tuple[int, int]) -> set[int]:
    """Frames on the way that the old track reaches without a gap or a jump: one thing, and so far the wrong one."""
    jumps = set(jumped(old, size_px).tolist())
    found: set[int] = set()
    for i in way:
        if not old.valid[i] or (i if way.step > 0 else i + 1) in jumps:
            break
        found.add(i)
    return found


def _agreed(says: Sequence[tuple[np.ndarray, float, int]]) -> tuple[np.ndarray, float, str]:
    """Box, score, and why there is none."""
    nothing = np.full(4, np.nan)
    if not says:
        return nothing, 0.0, LOST
    boxes = np.array([box for box, _, _ in says])
    side = np.hypot(*(boxes[0, 2:] - boxes[0, :2]))
    if any(_distance(boxes[0], other) > APART * side for other in boxes[1:]):
        return nothing, 0.0, DISAGREE
    weights = np.array([trust / k for _, trust, k in says])
    return weights @ boxes / weights.sum(), max(trust for _, trust, _ in says), ""


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.hypot(*((a[:2] + a[2:] - b[:2] - b[2:]) / 2)))
