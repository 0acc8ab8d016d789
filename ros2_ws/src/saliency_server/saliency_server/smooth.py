"""Gaps that may be filled, and centres smoothed below a pixel: local fits over as long a time as the motion allows."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import median_filter

MAX_GAP_S = 0.5  # longer gaps are not filled
MAX_GAP_MOTION_SHARE = 0.05  # of the diagonal: what moved farther while unseen may have been anywhere ...
MEETING_SHARE = 0.02  # ... unless constant velocities from both sides meet this well
VELOCITY_S = 0.2
FILLED_SCORE = 0.5  # a filled frame's score, times that of its neighbours
SMOOTH_S = 0.12  # half-width of the smoothing window that any motion of an arm's allows
LONGER_S = (0.2, 0.35, 0.6)  # half-widths tried where noise is larger than the motion's bend
AGREE = 2.0  # standard deviations of noise by which a longer fit may differ from a shorter one
QUIET_PX = 0.3  # noise below this is not worth a longer fit
GUESS_WEIGHT = 0.05  # of a filled frame, or an outlier, in a fit


def runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """First and last index of each stretch of true values of (N,) bool."""
    padded = np.diff(np.r_[0, flags.astype(np.int8), 0])
    starts, ends = np.flatnonzero(padded == 1), np.flatnonzero(padded == -1) - 1
    return [(int(a), int(b)) for a, b in zip(starts, ends, strict=True)]


def fill(boxes: np.ndarray, score: np.ndarray, stamps_s: np.ndarray, diagonal_px: float) -> np.ndarray:
    """Interpolate over gaps that are short and across which the centre hardly moved, or moved as the velocities on
    both sides say. boxes (N, 4) px with NaN in the gaps; `score` (N,) is set (lower) in filled frames."""
    boxes = boxes.copy()
    n, seen = len(boxes), ~np.isnan(boxes[:, 0])
    for first, last in runs(~seen):
        if first == 0 or last == n - 1:
            continue
        a, b = first - 1, last + 1
        gap_s = stamps_s[b] - stamps_s[a]
        moved = np.hypot(*((boxes[b, :2] + boxes[b, 2:] - boxes[a, :2] - boxes[a, 2:]) / 2))
        if gap_s > MAX_GAP_S:
            continue
        share = ((stamps_s[first:b] - stamps_s[a]) / gap_s)[:, None]
        if moved > MAX_GAP_MOTION_SHARE * diagonal_px:
            before = _velocity(boxes, seen, stamps_s, a, -VELOCITY_S)
            after = _velocity(boxes, seen, stamps_s, b, VELOCITY_S)
            centre_a, centre_b = boxes[a, :2] + boxes[a, 2:], boxes[b, :2] + boxes[b, 2:]
            off = max(
                np.hypot(*((centre_b - centre_a) / 2 - velocity * gap_s)) for velocity in (before, after)
            )
            if off > MEETING_SHARE * diagonal_px:
                continue
        boxes[first:b] = (1 - share) * boxes[a] + share * boxes[b]
        score[first:b] = FILLED_SCORE * min(score[a], score[b])
    return boxes


def smooth(boxes: np.ndarray, seen: np.ndarray, stamps_s: np.ndarray) -> np.ndarray:
    """Centres by local quadratics (least squares, uneven stamps allowed), sizes by a median.

    boxes (N, 4) px, NaN where unknown; seen (N,) bool: false where a box was filled in, which then hardly counts.
    A curve, not a mean: a moving object's centre must not lag or lead. How long a stretch is fitted is decided for
    each frame by the noise itself (Lepski's rule): longer, as long as the longer fits agree with the shorter ones.
    """
    boxes = boxes.copy()
    for first, last in runs(~np.isnan(boxes[:, 0])):
        part, t = boxes[first : last + 1], stamps_s[first : last + 1]
        centre, size = (part[:, :2] + part[:, 2:]) / 2, part[:, 2:] - part[:, :2]
        size = median_filter(size, size=(min(5, len(part)), 1), mode="nearest")
        centre = _smooth_centres(centre, np.where(seen[first : last + 1], 1.0, GUESS_WEIGHT), t)
        boxes[first : last + 1] = np.hstack([centre - size / 2, centre + size / 2])
    return boxes


def _smooth_centres(centre: np.ndarray, weight: np.ndarray, t: np.ndarray) -> np.ndarray:
    """(L, 2) px smoothed over (L,) s."""
    if len(centre) < 5:
        return centre
    noise_px = _noise(centre)
    median = median_filter(centre, size=(5, 1), mode="nearest")
    # An outlier is off by more than noise, and by more than the motion of two frames: a turn is none.
    allowed_px = 4 * noise_px + 1.0 + 2 * np.abs(np.gradient(median, axis=0)).max(axis=1)
    weight = np.where(np.abs(centre - median).max(axis=1) > allowed_px, GUESS_WEIGHT, weight)
    best, variance = _local_fit(centre, weight, t, SMOOTH_S, symmetric=True)
    if noise_px < QUIET_PX:
        return best
    tried, alive = [(best, variance)], np.ones(len(centre), dtype=bool)
    for half_s in LONGER_S:
        longer, its_variance = _local_fit(centre, weight, t, half_s, symmetric=False)
        for shorter, their_variance in tried:
            spread = np.sqrt(np.maximum(their_variance - its_variance, 0.1 * their_variance))[:, None]
            alive &= (np.abs(longer - shorter) <= AGREE * noise_px * spread).all(axis=1)
        tried.append((longer, its_variance))
        best = np.where(alive[:, None], longer, best)
    return best


def _local_fit(
    y: np.ndarray, weight: np.ndarray, t: np.ndarray, half_s: float, symmetric: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Value (L, 2) of the quadratic fitted around each of L frames, and its variance (L,) for unit noise.

    symmetric: as many frames on both sides, so that the ends keep what was seen there; else all within `half_s`.
    """
    n = len(t)
    low = np.searchsorted(t, t - half_s - 1e-9)
    high = np.searchsorted(t, t + half_s + 1e-9) - 1
    i = np.arange(n)
    before, after = i - low, high - i
    if symmetric:
        before = after = np.minimum(before, after)
    widest = int(max(before.max(), after.max()))
    offset = np.arange(-widest, widest + 1)
    at = np.clip(i[:, None] + offset, 0, n - 1)
    w = np.where((offset >= -before[:, None]) & (offset <= after[:, None]), weight[at], 0.0)
    x = (t[at] - t[:, None]) / half_s
    basis = np.stack([np.ones_like(x), x, x * x], axis=2)
    normal = np.einsum("lk,lki,lkj->lij", w, basis, basis) + 1e-9 * np.eye(3)
    inverse = np.linalg.inv(normal)
    value = np.einsum("lj,lk,lkj,lkc->lc", inverse[:, 0], w, basis, y[at])
    variance = np.einsum("li,lk,lki,lkj,lj->l", inverse[:, 0], w * w, basis, basis, inverse[:, 0])
    few = before + after + 1 < 5
    return np.where(few[:, None], y, value), np.where(few, 1.0, variance)


def _noise(centre: np.ndarray) -> float:
    """Standard deviation in px of one coordinate's frame-to-frame noise: of third differences, robustly."""
    third = np.diff(centre, n=3, axis=0)
    return float(np.median(1.4826 * np.median(np.abs(third), axis=0)) / np.sqrt(20)) if len(third) else 0.0


def _velocity(boxes: np.ndarray, seen: np.ndarray, stamps_s: np.ndarray, at: int, span_s: float) -> np.ndarray:
    """(2,) px/s at a seen frame, over `span_s` before (negative) or after it; NaN where there is too little to tell."""
    low, high = sorted((stamps_s[at], stamps_s[at] + span_s))
    near = seen & (stamps_s >= low - 1e-9) & (stamps_s <= high + 1e-9)
    if near.sum() < 3:
        return np.full(2, np.inf)
    t = stamps_s[near] - stamps_s[near].mean()
    centre = (boxes[near, :2] + boxes[near, 2:]) / 2
    return t @ (centre - centre.mean(axis=0)) / (t @ t)
