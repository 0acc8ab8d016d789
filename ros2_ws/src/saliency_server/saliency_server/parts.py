"""The robot's own parts, such as two fingertips, told from things of the same colour by their motion."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from saliency_server.tracklets import Tracklet, build_tracklets
from saliency_server.values import Detection

MOVES_SHARE = 0.03  # of the diagonal: a part that strays less far from where it was first is not the robot's
NEAR_SHARE = 0.2  # of the diagonal: how far a part may be from the ones that surely move
SURE_S = 0.7  # a tracklet must be this long to prove by its motion, or its rest, what it is


def join_parts(
    candidates: Sequence[Sequence[Detection]], stamps_s: np.ndarray, diagonal_px: float
) -> list[tuple[Detection, ...]]:
    """Per frame, the patches that are the robot's, as one detection (or none).

    A robot moves in a demonstration and what stands on the table does not: tracklets that last and stay are left out,
    those that last and move are kept, short ones are kept if they are near kept ones. If nothing moves, all is kept.
    """
    tracklets = build_tracklets(candidates, stamps_s, diagonal_px)
    lasting = [t for t in tracklets if stamps_s[t.frames[-1]] - stamps_s[t.frames[0]] >= SURE_S]
    moving = [t for t in lasting if _reach(t) > MOVES_SHARE * diagonal_px]
    kept = moving or lasting or tracklets
    parts: list[list[Detection]] = [[] for _ in candidates]
    for tracklet in kept:
        for frame, detection in zip(tracklet.frames, tracklet.detections, strict=True):
            parts[frame].append(detection)
    sure = [tuple(found) for found in parts]
    for tracklet in tracklets:
        if any(tracklet is other for other in (*kept, *lasting)):
            continue
        for frame, detection in zip(tracklet.frames, tracklet.detections, strict=True):
            if any(_distance(detection, other) < NEAR_SHARE * diagonal_px for other in sure[frame]):
                parts[frame].append(detection)
    return [(union(found),) if found else () for found in parts]


def union(parts: Sequence[Detection]) -> Detection:
    """Several patches as one: centred on the mean of their middles, as large as the box around all of them; the
    score averaged by area."""
    boxes = np.array([part.box_px for part in parts])
    x, y = (float(v) for v in ((boxes[:, :2] + boxes[:, 2:]) / 2).mean(axis=0))
    half_w, half_h = (float(v) / 2 for v in boxes[:, 2:].max(axis=0) - boxes[:, :2].min(axis=0))
    area = np.array([part.area_px for part in parts])
    score = float(np.average([part.score for part in parts], weights=area))
    return Detection((x - half_w, y - half_h, x + half_w, y + half_h), (x, y), score, float(area.sum()))


def _reach(tracklet: Tracklet) -> float:
    """How far it gets from its median place, by the 90th percentile."""
    centres = np.array([detection.centre_px for detection in tracklet.detections])
    return float(np.percentile(np.hypot(*(centres - np.median(centres, axis=0)).T), 90))


def _distance(a: Detection, b: Detection) -> float:
    return float(np.hypot(*np.subtract(a.centre_px, b.centre_px)))
