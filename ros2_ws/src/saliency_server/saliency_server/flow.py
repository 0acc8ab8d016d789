"""Boxes carried from frame to frame by the image's own motion (pyramidal Lucas-Kanade), with how far to trust it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

GRID = 6  # points on a side of a box
INNER = 0.8  # of the box's sides: its rim is mostly background
ROUND_TRIP_PX = 1.0  # a point that does not come back to within this is lost
MIN_KEPT = 0.3  # of the points: with fewer the box is lost
MAX_SCALE_STEP = 1.1  # from frame to frame; more is points on two things
LUCAS_KANADE = {
    "winSize": (9, 9), "maxLevel": 2,
    "criteria": (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 12, 0.03),
}


@dataclass(frozen=True, slots=True)
class Carried:
    """One box over L frames, the first as given: boxes_px (L, 4) float64, NaN once lost; trust (L,) in [0, 1]: the
    product of the shares of points that could be followed."""

    boxes_px: np.ndarray
    trust: np.ndarray


def carry(
    grey: Callable[[int], np.ndarray | None], frames: Sequence[int], boxes_px: np.ndarray, size_px: tuple[int, int]
) -> list[Carried]:
    """Carry boxes (K, 4) px along `frames` (L of them, forward or backward; the boxes are those of the first).

    grey: a frame's image uint8 (h, w) at any scale of size_px (height, width), None where unreadable: such frames are
    bridged. A box moves by the median motion of the points in it that come back when followed backward, and grows by
    the median change of their distances; it is lost where few come back or its middle leaves the image.
    """
    count, length = len(boxes_px), len(frames)
    path = np.full((count, length, 4), np.nan)
    trust = np.zeros((count, length))
    path[:, 0], trust[:, 0] = boxes_px, 1.0
    before, at = grey(frames[0]), 0
    if before is None:
        return [Carried(path[k], trust[k]) for k in range(count)]
    scale = np.array([before.shape[1] / size_px[1], before.shape[0] / size_px[0]])
    for i in range(1, length):
        image = grey(frames[i])
        if image is None or image.shape != before.shape:
            continue
        alive = [k for k in range(count) if trust[k, at] > 0]
        if not alive:
            break
        now, kept = _step(before, image, path[alive, at] * np.tile(scale, 2))
        for k, box, share in zip(alive, now / np.tile(scale, 2), kept, strict=True):
            if share >= MIN_KEPT and _inside(box, size_px):
                path[k, i], trust[k, i] = box, trust[k, at] * share
                bridge(path[k], trust[k], at, i)
        before, at = image, i
    return [Carried(path[k], trust[k]) for k in range(count)]


def _step(before: np.ndarray, after: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (K, 4) in the next image, and the share of points of each (K,) that could be followed."""
    ticks = np.linspace(-INNER / 2, INNER / 2, GRID)
    grid = np.stack(np.meshgrid(ticks, ticks), axis=2).reshape(-1, 2)
    middle, side = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    # A pixel's own centre is at +0.5 in boxes and at 0 for OpenCV.
    start = (middle[:, None] + grid[None] * side[:, None] - 0.5).astype(np.float32)
    flat = np.ascontiguousarray(start.reshape(-1, 1, 2))
    there, found, _ = cv2.calcOpticalFlowPyrLK(before, after, flat, None, **LUCAS_KANADE)
    back, found_back, _ = cv2.calcOpticalFlowPyrLK(after, before, there, None, **LUCAS_KANADE)
    good = (found.ravel() == 1) & (found_back.ravel() == 1)
    good &= np.hypot(*(back - flat).reshape(-1, 2).T) <= ROUND_TRIP_PX
    there, good = there.reshape(start.shape), good.reshape(start.shape[:2])
    return _moved(boxes, start, there, good)


def _moved(boxes: np.ndarray, a: np.ndarray, b: np.ndarray, good: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (K, 4) moved and grown as those of their points are that are good: from a to b, (K, P, 2), good (K, P)."""
    kept = good.mean(axis=1)
    kept[good.sum(axis=1) < 3] = 0.0
    moved = _medians(b - a, good)
    spread = [np.hypot(*np.moveaxis(points - _medians(points, good)[:, None], 2, 0)) for points in (a, b)]
    far = good & (spread[0] > 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        growth = _medians((spread[1] / spread[0])[..., None], far)[:, 0]
    growth = np.where(far.sum(axis=1) >= 3, np.clip(growth, 1 / MAX_SCALE_STEP, MAX_SCALE_STEP), 1.0)
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2 + moved
    half = (boxes[:, 2:] - boxes[:, :2]) * growth[:, None] / 2
    now = np.hstack([centre - half, centre + half])
    return np.where(kept[:, None] > 0, now, boxes), kept


def _medians(values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Median of the chosen ones of (K, P, D) values along P, chosen (K, P): (K, D); NaN where none is."""
    count = chosen.sum(axis=1)
    ordered = np.sort(np.where(chosen[..., None], values, np.inf), axis=1)
    row, last = np.arange(len(values)), np.maximum(count - 1, 0)
    middle = (ordered[row, last // 2] + ordered[row, np.minimum(count // 2, last)]) / 2
    return np.where(count[:, None] > 0, middle, np.nan)


def bridge(path: np.ndarray, trust: np.ndarray, a: int, b: int) -> None:
    """Straight line over unreadable frames between a and b."""
    for i in range(a + 1, b):
        share = (i - a) / (b - a)
        path[i] = (1 - share) * path[a] + share * path[b]
        trust[i] = trust[b]


def _inside(box: np.ndarray, size_px: tuple[int, int]) -> bool:
    x, y = (box[:2] + box[2:]) / 2
    return bool(0 <= x < size_px[1] and 0 <= y < size_px[0])
