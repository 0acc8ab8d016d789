"""Partly hidden objects: patches that a finger splits are one thing, sides behind something are put back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from saliency_server.values import Detection

SAME_THING = 0.6  # IoU at which two boxes of one frame are around one thing
FITS = 1.2  # patches are one thing if together they are at most this many times its size
SHORT = 0.88  # a side seen at less than this share of its length is partly hidden
FULL_AREA = 0.93  # less of its area than this, and a part of it is covered
TOUCH_PX = 2.0  # things whose boxes are this close may hide one another
NO_OCCLUDER_PX = 1.5  # what it costs to extend a side beside which nothing known stands


def merge_split(
    candidates: Sequence[Sequence[Detection]], full_size_px: tuple[float, float]
) -> list[tuple[Detection, ...]]:
    """Join patches of one frame that together fit into the object's full size (width, height).

    Greedy from the largest patch down: a finger in front of a cube leaves two or three patches of it.
    """
    merged = []
    for found in candidates:
        rest = sorted(found, key=lambda d: d.area_px, reverse=True)
        joined: list[Detection] = []
        while rest:
            whole, others = rest[0], rest[1:]
            rest = []
            for other in others:
                both = _around(whole, other)
                if _fits(both, full_size_px):
                    whole = both
                else:
                    rest.append(other)
            joined.append(whole)
        merged.append(tuple(sorted(joined, key=lambda d: d.score * d.area_px, reverse=True)))
    return merged


def distinct(found: Sequence[Detection]) -> list[Detection]:
    """A frame's candidates in an order of their own, without second boxes around what a better one is around."""
    kept: list[Detection] = []
    for detection in sorted(found, key=lambda d: (-d.score, d.box_px, d.centre_px)):
        if all(_overlap(detection, other) < SAME_THING for other in kept):
            kept.append(detection)
    return kept


def _overlap(a: Detection, b: Detection) -> float:
    """Intersection over union of two boxes."""
    width = min(a.box_px[2], b.box_px[2]) - max(a.box_px[0], b.box_px[0])
    height = min(a.box_px[3], b.box_px[3]) - max(a.box_px[1], b.box_px[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = sum((d.box_px[2] - d.box_px[0]) * (d.box_px[3] - d.box_px[1]) for d in (a, b))
    return width * height / (areas - width * height)


def complete(
    seen: Sequence[Detection | None], occluders: Sequence[Sequence[Detection]], stamps_s: np.ndarray
) -> np.ndarray:
    """Boxes (N, 4) px of the whole object, hidden sides included, NaN where nothing was seen.

    seen: the object's detection per frame; occluders: the other objects' candidates per frame. The full size is that of
    frames in which nothing touches the object, interpolated over time to the others. Where a side is shorter than
    that, the hidden end is chosen by continuity over the whole sequence (see `_choose_ends`).
    Boxes of frames with both sides whole are centred on the centroid, unless something covers a part inside.
    """
    n = len(seen)
    boxes = np.full((n, 4), np.nan)
    frames = np.array([i for i, detection in enumerate(seen) if detection is not None], dtype=int)
    if not len(frames):
        return boxes
    found = [seen[i] for i in frames]
    raw = np.array([d.box_px for d in found])
    centroid = np.array([d.centre_px for d in found])
    size = raw[:, 2:] - raw[:, :2]
    free = np.array([not any(_touch(d, o) for o in occluders[i]) for i, d in zip(frames, found, strict=True)])
    t_s = stamps_s[frames]
    full = _full_size(size, free, t_s)
    middle = (raw[:, :2] + raw[:, 2:]) / 2
    centre = np.where(_covered_inside(found, free, t_s)[:, None], middle + _offset(centroid - middle, free), centroid)
    for axis in (0, 1):
        short = size[:, axis] < SHORT * full[:, axis]
        if short.any():
            guesses = np.stack([
                raw[:, 2 + axis] - full[:, axis] / 2,  # the low end is hidden
                raw[:, axis] + full[:, axis] / 2,  # the high end is hidden
            ], axis=1)
            costs = np.array([
                [_unexplained(d, occluders[i], axis, low) for low in (True, False)]
                for i, d in zip(frames, found, strict=True)
            ])
            chosen = _choose_ends(guesses, costs, short, centre[:, axis], t_s)
            # What is hidden on one axis pulls the centroid on the other: take the middle of the box there.
            centre[:, axis] = np.where(short, chosen, centre[:, axis])
            other_axis = 1 - axis
            whole = short & (size[:, other_axis] >= SHORT * full[:, other_axis])
            centre[:, other_axis] = np.where(whole, middle[:, other_axis], centre[:, other_axis])
    whole_size = np.where(size < SHORT * full, full, size)
    boxes[frames] = np.hstack([centre - whole_size / 2, centre + whole_size / 2])
    return boxes


def typical_size(detections: Sequence[Detection]) -> tuple[float, float]:
    """Width and height in px of the larger half of the detections, by area: those that are least hidden."""
    area = np.array([d.area_px for d in detections])
    boxes = np.array([d.box_px for d in detections])[area >= np.median(area)]
    width, height = np.median(boxes[:, 2:] - boxes[:, :2], axis=0)
    return float(width), float(height)


def _covered_inside(found: Sequence[Detection], free: np.ndarray, t_s: np.ndarray) -> np.ndarray:
    """(N,) bool: frames in which an object that something touches shows clearly less area than when free."""
    if not free.any():
        return np.zeros(len(free), dtype=bool)
    area = np.array([d.area_px for d in found])
    return ~free & (area < FULL_AREA * np.interp(t_s, t_s[free], area[free]))


def _offset(offset_px: np.ndarray, free: np.ndarray) -> np.ndarray:
    """(2,) px from the middle of the box to the centroid, as it is in free frames."""
    return np.median(offset_px[free], axis=0) if free.any() else np.zeros(2)


def _full_size(size: np.ndarray, free: np.ndarray, t_s: np.ndarray) -> np.ndarray:
    """Size (N, 2) without occlusion: that of free frames, their median within half a second, linear in between."""
    if not free.any():
        return np.broadcast_to(np.percentile(size, 80, axis=0), size.shape)
    times, sizes = t_s[free], size[free]
    smooth = np.array([np.median(sizes[np.abs(times - t) <= 0.5], axis=0) for t in times])
    full = np.stack([np.interp(t_s, times, smooth[:, axis]) for axis in (0, 1)], axis=1)
    full[free] = np.minimum(full[free], size[free])  # a free object is as large as it looks
    return full


def _choose_ends(
    guesses: np.ndarray, costs: np.ndarray, short: np.ndarray, whole: np.ndarray, t_s: np.ndarray
) -> np.ndarray:
    """Centres (N,) along one axis: of the two guesses (N, 2) in each short frame the one that makes the path smooth.

    The path with the least travel plus `costs` (N, 2), through the known centres `whole` of the frames that are not
    short, by dynamic programming: what is hidden changes slowly, a wrong end jumps by the hidden length.
    """
    n = len(short)
    options = np.where(short[:, None], guesses, whole[:, None])
    own = np.where(short[:, None], costs, 0.0)
    total, back = own[0].copy(), np.zeros((n, 2), dtype=int)
    for i in range(1, n):
        travel = np.abs(options[i][:, None] - options[i - 1][None, :])
        if t_s[i] - t_s[i - 1] > 0.3:
            travel = travel * 0.3
        step = travel + total[None, :]
        back[i] = step.argmin(axis=1)
        total = step.min(axis=1) + own[i]
    at = int(total.argmin())
    path = np.empty(n)
    for i in range(n - 1, -1, -1):
        path[i] = options[i, at]
        at = int(back[i, at])
    return path


def _unexplained(seen: Detection, occluders: Sequence[Detection], axis: int, low_end: bool) -> float:
    """Cost of saying that this end of the object is hidden: none if a known thing stands there."""
    edge = seen.box_px[axis] if low_end else seen.box_px[2 + axis]
    across = 1 - axis
    for other in occluders:
        overlaps = other.box_px[across] < seen.box_px[2 + across] and other.box_px[2 + across] > seen.box_px[across]
        if overlaps and other.box_px[axis] - TOUCH_PX <= edge <= other.box_px[2 + axis] + TOUCH_PX:
            return 0.0
    return NO_OCCLUDER_PX


def _touch(a: Detection, b: Detection) -> bool:
    return (
        a.box_px[0] - TOUCH_PX < b.box_px[2] and b.box_px[0] - TOUCH_PX < a.box_px[2]
        and a.box_px[1] - TOUCH_PX < b.box_px[3] and b.box_px[1] - TOUCH_PX < a.box_px[3]
    )


def _fits(whole: Detection, full_size_px: tuple[float, float]) -> bool:
    x0, y0, x1, y1 = whole.box_px
    return x1 - x0 <= FITS * full_size_px[0] and y1 - y0 <= FITS * full_size_px[1]


def _around(a: Detection, b: Detection) -> Detection:
    """Both as one: the box around them, its middle, the score averaged by area."""
    x0, y0 = min(a.box_px[0], b.box_px[0]), min(a.box_px[1], b.box_px[1])
    x1, y1 = max(a.box_px[2], b.box_px[2]), max(a.box_px[3], b.box_px[3])
    area = a.area_px + b.area_px
    score = (a.score * a.area_px + b.score * b.area_px) / area
    return Detection((x0, y0, x1, y1), ((x0 + x1) / 2, (y0 + y1) / 2), score, area)
